"""The trainer's end of a supervisor process."""

import concurrent.futures
import dataclasses
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ..types import Status, Verdict
from . import clocks
from .job import Job, Limits
from .settings import SandboxError

START_S = 90.0  # a worker that has not started by then never will
SLACK_S = 30.0  # what a job may take beyond its limits: reading its tests, starting a zygote again
DEPTH = 24  # jobs that a worker holds: enough to hide the trainer's own delays
HELD_BYTES = 1 << 20  # of jobs that it holds, beyond which it gets no more: a slow program sends back those behind it
WALL_SLACK = 10  # and how many times as long on a crowded machine
_BOOT = "import sys; sys.path.insert(0, sys.argv[3]); from acecoder_jax.sandbox.supervisor import main; main()"


@dataclasses.dataclass
class Task:
    """A job under way. line: the job as the supervisor reads it."""

    job: Job
    future: concurrent.futures.Future[Verdict]
    line: bytes
    attempts: int = 0


class Worker:
    """A supervisor process and the jobs that it holds, in the order in which it grades them.

    failures: how many workers before this one have not started. failed: how it ended, in words. Raises SandboxError.
    """

    def __init__(self, settings: dict[str, Any], core: int | None, failures: int = 0):
        self.core, self.failures, self.failed = core, failures, ""
        self.socket, other = socket.socketpair()
        root = str(Path(__file__).resolve().parents[2])
        command = [sys.executable, "-W", "ignore", "-s", "-S", "-P", "-c", _BOOT]
        life, self._life = os.pipe()  # when our end closes, by whatever death, it dies too, whatever it is at
        with other:
            try:
                self.process = subprocess.Popen(
                    [*command, str(other.fileno()), json.dumps(settings | {"core": core, "life": life}), root],
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[other.fileno(), life],
                    start_new_session=True, env={"LC_ALL": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"},
                )  # fmt: skip
            except OSError as error:
                self.socket.close()
                os.close(self._life)
                raise SandboxError(f"a sandbox worker did not start: {error}") from None
            finally:
                os.close(life)
        self.socket.setblocking(False)
        self.held: dict[int, Task] = {}
        self.started = self.slow = False
        self.received = b""
        self.unsent = bytearray()  # a job may be many megabytes long: cutting off its front must cost nothing
        self.heard = time.monotonic(), 0.0  # when, on the clock and in its CPU time, it last had nothing to answer for

    def wait_until_started(self) -> None:
        """Raises SandboxError."""
        self.socket.settimeout(START_S)
        while not self.started:
            if self.receive() is None:
                raise SandboxError(self.failed)
        self.socket.setblocking(False)

    def receive(self) -> list[dict[str, Any]] | None:
        """What it has to say, in rows; None where it has died or could not start."""
        try:
            data = self.socket.recv(1 << 18)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        self.heard = time.monotonic(), clocks.cpu_s(self.process.pid)
        *lines, self.received = (self.received + data).split(b"\n")
        rows = [json.loads(line) for line in lines]
        if not self.started:
            if rows and "failed" in rows[0]:
                self.failed = f"a sandbox worker did not start: {rows[0]['failed']}"
                return None
            self.started = bool(rows)
        if data:
            return rows
        self.failed = self._ended()
        return None

    def _ended(self) -> str:
        try:
            code: Any = self.process.wait(1.0)  # its socket closes a moment before it is gone
        except subprocess.TimeoutExpired:
            code = "unknown"
        return f"exit code {code}" if self.started else f"a sandbox worker did not start: exit code {code}"

    @property
    def has_room(self) -> bool:
        """Whether it may be given another job."""
        if not self.started or self.slow or len(self.held) >= DEPTH:
            return False
        return sum(len(task.line) for task in self.held.values()) < HELD_BYTES

    def give(self, number: int, task: Task) -> None:
        """Queue a job for it."""
        if not self.held:
            self.heard = time.monotonic(), clocks.cpu_s(self.process.pid)
        self.held[number] = task
        self.unsent += b'{"n": %d, "job": %b}\n' % (number, task.line)

    def stuck(self, limits: Limits) -> bool:
        """Whether it has been silent for longer than its job can take.

        limits: of jobs that have none of their own. Its own CPU time tells that at once, which other work on the
        machine does not stretch; wall time only later.
        """
        wall_s = time.monotonic() - self.heard[0]
        if not self.started:
            return wall_s > START_S
        if not self.held:
            return False
        job = next(iter(self.held.values())).job
        limits = job.limits or limits
        allowed_s = limits.wall_factor * (limits.program_s + len(job.tests) * limits.test_s) + SLACK_S
        return wall_s > WALL_SLACK * allowed_s or clocks.cpu_s(self.process.pid) - self.heard[1] > allowed_s

    def kill(self) -> None:
        """End it at once, since it is stuck."""
        self.failed = "it was stuck" if self.started else f"a sandbox worker did not start in {START_S:.0f} s"
        self.process.kill()

    def stop(self) -> None:
        """End the process and everything under it: it kills its zygote when the socket closes."""
        self.socket.close()
        try:
            self.process.wait(5.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self._life)


def cores(workers: int) -> list[int | None]:
    """A core for each worker, where there are enough: its processes wait for one another, and find their memory in the
    caches where the other one left it (a third faster on two cores).
    """
    cores: list[int | None] = [*sorted(os.sched_getaffinity(0))]
    if workers > len(cores):
        return [None] * workers
    first = os.getpid() % len(cores)  # sandboxes of several trainers start on different ones
    return [*cores[first:], *cores[:first]][:workers]


def verdict(job: Job, row: dict[str, Any]) -> Verdict:
    """A verdict from its JSON values."""
    return Verdict(
        id=job.id,
        statuses=tuple(Status(status) for status in row["statuses"]),
        messages=tuple(row["messages"]),
        mode=row["mode"],
        time_s=row["time_s"],
        memory_bytes=row["memory_bytes"],
    )
