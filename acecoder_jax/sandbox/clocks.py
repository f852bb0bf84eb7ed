"""What the kernel says of a process: the time which it ran and which it waited for a core, and its threads."""

import contextlib
import os
import time


def cpu_s(pid: int) -> float:
    """CPU time that a process has used; 0 when it has gone."""
    try:
        return time.clock_gettime((~pid << 3) | 2)  # the kernel's name for a process's CPU clock
    except OSError:
        return 0.0


def threads(pid: int) -> int:
    """How many a process has; 0 when it has gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[17])
    except (OSError, IndexError, ValueError):
        return 0


class Waits:
    """The time that a process was ready to run while the machine ran others; 0 where the kernel does not say.

    It keeps a file open, for those who ask often, until close().
    """

    def __init__(self, pid: int | None):
        try:
            self._fd: int | None = os.open(f"/proc/{pid}/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._fd = None

    def total_s(self) -> float:
        """Since the process began."""
        try:
            return 0.0 if self._fd is None else int(os.pread(self._fd, 128, 0).split()[1]) / 1e9
        except (OSError, ValueError, IndexError):
            return 0.0

    def close(self) -> None:
        """Close the file."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def waited_s(pid: int | None) -> float:
    """What Waits tells, for those who ask once."""
    with contextlib.closing(Waits(pid)) as waits:
        return waits.total_s()
