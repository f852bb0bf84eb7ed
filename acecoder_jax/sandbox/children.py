"""The supervisor's end of its child processes: a zygote, and channels to the players and judges that it forks."""

import collections
import contextlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
from typing import Any

from . import clocks
from .jail import wire
from .jail.zygote import LIMITS, REPORT
from .job import Limits
from .settings import ENVIRONMENT, PACKAGE, PYTHON

_CREDENTIALS = struct.Struct("=iII")
_SPACE = socket.CMSG_SPACE(_CREDENTIALS.size)
_BOOT = (
    "import sys, json; sys.path[:0] = [sys.argv[1]]; from jail import zygote; "
    "zygote.main(int(sys.argv[2]), json.loads(sys.argv[3]))"
)
PLAYER, JUDGE, SCRIPT = 0, 1, 2  # slots of the zygote
MAX_READS = 4
BACKSTOP_S = 2  # CPU seconds past a program's own: the kernel ends it where the supervisor has not
MAX_THREADS = 256  # of one program, in the library profile: past this it is a bomb
REAP_S = 5.0  # a killed child is reaped in microseconds: past this the zygote itself is broken


class ZygoteDied(Exception):  # noqa: N818 - it reads as what happened
    """The zygote is gone or does not answer: the sandbox's failure, not the program's."""


class Channel:
    """A stream to one child. The kernel tells the child's process id with what it sends."""

    def __init__(self) -> None:
        self.socket, self.other = socket.socketpair()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.fd = self.socket.fileno()
        self.pid: int | None = None
        self.ended = False
        self._parser = wire.Parser()
        self._unsent = b""

    def send(self, data: bytes, fds: tuple[int, ...] = ()) -> None:
        """Queue bytes, and write what fits. A dead reader is seen at the next read, not here."""
        self._unsent += data
        self.flush(fds)

    def flush(self, fds: tuple[int, ...] = ()) -> None:
        """Write what fits of the queued bytes."""
        while self._unsent:
            try:
                if fds:
                    sent = socket.send_fds(self.socket, [self._unsent], list(fds), socket.MSG_DONTWAIT)
                    fds = ()
                else:
                    sent = self.socket.send(self._unsent, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except (BrokenPipeError, ConnectionResetError):
                self._unsent = b""
                return
            self._unsent = self._unsent[sent:]

    @property
    def events(self) -> int:
        """What to poll for."""
        return select.POLLIN | select.POLLOUT if self._unsent else select.POLLIN

    def read(self) -> list[tuple[int, bytes]]:
        """Frames that are there now. Sets `ended` at the end of the stream. Raises wire.Malformed.

        It stops after a few reads, since a program may write faster than anyone can read.
        """
        frames: list[tuple[int, bytes]] = []
        for _ in range(MAX_READS):
            if self.ended:
                break
            try:
                data, ancillary, _, _ = self.socket.recvmsg(1 << 18, _SPACE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except ConnectionResetError:  # it died with bytes unread
                self.ended = True
                break
            if self.pid is None:
                for _, kind, content in ancillary:
                    if kind == socket.SCM_CREDENTIALS:
                        self.pid = _CREDENTIALS.unpack(content)[0] or None
            if not data:
                self.ended = True
                break
            frames += self._parser.feed(data)
            if len(data) < 1 << 12:
                break
        return frames

    def cpu_s(self) -> float:
        """CPU time that the child has used; 0 while its process id is not known."""
        return 0.0 if self.pid is None else clocks.cpu_s(self.pid)

    def threads(self) -> int:
        """How many the child has; 0 while its process id is not known."""
        return 0 if self.pid is None else clocks.threads(self.pid)

    def kill(self) -> bool:
        """Kill the child. False when its process id is not known yet."""
        if self.pid is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        return True

    def close(self) -> None:
        """Close both ends."""
        self.socket.close()
        self.other.close()


class Child:
    """A forked player or judge."""

    def __init__(self, slot: int):
        self.slot = slot
        self.channel = Channel()
        self.frames: collections.deque[tuple[int, bytes]] = collections.deque()
        self.expected = 4  # frames that may wait here: more is a flood
        self.stepped = False  # a judge's test has gone on to another step since this was last looked at

    @property
    def order(self) -> bytes:
        """What makes the zygote fork it."""
        return bytes([b"FJS"[self.slot], self.slot])

    def read(self) -> None:
        """Take in what has arrived. Raises wire.Malformed."""
        for frame in self.channel.read():
            if frame[0] == wire.STEP and self.slot == JUDGE:
                self.stepped = True
            elif frame[0] != wire.HELLO:
                self.frames.append(frame)
        if len(self.frames) > self.expected:
            raise wire.Malformed("more answers than questions")


class Zygote:
    """A zygote process and the orders that it takes."""

    def __init__(self, config: dict[str, Any]):
        self.control, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.pid: int | None = None
        self._spare: Child | None = None  # a player that was forked ahead
        self._limits = b""  # those of the children that it forks
        library = config.get("library")
        self.max_threads = MAX_THREADS if library and library["threads"] else None  # None: they have one each
        command = [*PYTHON, "-c", _BOOT, PACKAGE, str(other.fileno()), json.dumps(config)]
        with other:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd="/",
                env=ENVIRONMENT | config.get("environment", {}), pass_fds=[other.fileno()], start_new_session=True,
            )  # fmt: skip
        self.report = self._ready()
        self._waits = (clocks.Waits(os.getpid()), clocks.Waits(self.pid))

    def _ready(self) -> dict[str, Any]:
        self.control.settimeout(60.0)
        try:
            data, ancillary, _, _ = self.control.recvmsg(1 << 16, _SPACE)
        except TimeoutError:
            data, ancillary = b"", []
        if not data:
            self.process.kill()
            told = self.process.communicate()[1].decode("utf-8", "replace").strip()
            raise ZygoteDied(f"the zygote did not start: {told[-2000:]}")
        self.pid = _CREDENTIALS.unpack(ancillary[0][2])[0]
        self.control.settimeout(REAP_S)
        self.control.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 0)
        return json.loads(data)

    def waits_s(self) -> float:
        """The time that this process and the zygote have waited for a core."""
        return sum(waits.total_s() for waits in self._waits)

    def limit(self, limits: Limits) -> None:
        """What the kernel lets the children use that are forked from now on. Before the first of them."""
        largest_file = max(limits.file_bytes, limits.output_bytes + 1)
        packed = LIMITS.pack(int(limits.program_s) + BACKSTOP_S, limits.memory_bytes, largest_file)
        if packed == self._limits:
            return
        self._order(b"L\0" + packed, [])
        self._limits = packed
        if self._spare is not None:  # it has the old ones, and ends when its channel does
            spare, self._spare = self._spare, None
            self.reap(spare)

    def fork(self, slot: int, fds: tuple[int, ...] = ()) -> Child:
        """A new child, or the player that was forked ahead."""
        if slot == PLAYER and (spare := self._take_spare()):
            return spare
        child = Child(slot)
        self._order(child.order, [child.channel.other.fileno(), *fds])
        child.channel.other.close()
        return child

    def reap(self, child: Child) -> tuple[int, int, float, float, int]:
        """Reap a child that is dead or dying: slot, wait status, user and system seconds, peak memory in bytes.

        After a player the next one is forked, so that the next program need not wait for it.
        """
        child.channel.close()
        order, fds, spare = bytes([ord("R"), child.slot]), [], None
        if child.slot == PLAYER:
            spare = Child(PLAYER)
            order += spare.order
            fds.append(spare.channel.other.fileno())
        self._order(order, fds)
        report = self._report()
        if spare is not None:
            spare.channel.other.close()
            self._spare = spare
        return report

    def _take_spare(self) -> Child | None:
        """The player that was forked ahead, unless something has killed it since."""
        spare, self._spare = self._spare, None
        if spare is not None:
            spare.read()
            if spare.channel.ended:
                self.reap(spare)
                spare, self._spare = self._spare, None
        return spare

    def _order(self, packet: bytes, fds: list[int]) -> None:
        """Send orders (see jail/zygote.py) and the descriptors that they need."""
        try:
            if fds:
                socket.send_fds(self.control, [packet], fds)
            else:
                self.control.send(packet)
        except OSError as error:
            raise ZygoteDied(f"the zygote is gone: {error}") from None

    def _report(self) -> tuple[int, int, float, float, int]:
        try:
            packet = self.control.recv(64)
        except OSError as error:
            raise ZygoteDied(f"the zygote does not answer: {error}") from None
        if len(packet) != REPORT.size:
            raise ZygoteDied("the zygote is gone")
        return REPORT.unpack(packet)

    def close(self) -> None:
        """Kill the zygote, and with it every child; reap it."""
        self.control.close()
        for waits in self._waits:
            waits.close()
        if self.pid is not None and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        try:
            self.process.wait(1.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stderr:
            self.process.stderr.close()
