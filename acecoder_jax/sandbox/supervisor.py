"""A supervisor process: takes jobs from the trainer's process, grades them one after the other, sends verdicts back.

It is trusted and runs outside the jail; it holds the tests, so it makes itself unreadable to others. Lines of JSON:

    {"n": 7, "job": [...]} -> {"n": 7, "verdict": {...}} | {"n": 7, "back": true} | {"n": 7, "broken": "what broke"}

"back" returns a job that was not begun, because the one before it takes long: another worker may have it.
"""

import contextlib
import fcntl
import json
import os
import select
import socket
import sys
from collections import deque
from typing import Any

from .children import Zygote, ZygoteDied
from .grade import Grading
from .jail import kernel
from .job import Job, Limits


class HostGone(Exception):  # noqa: N818 - it reads as what happened
    """The trainer's process has closed the socket."""


class Supervisor:
    """The loop of one worker."""

    def __init__(self, host: socket.socket, config: dict[str, Any]):
        self.host = host
        self.limits = Limits(**config["limits"])
        self.options = config["options"]
        self.jails = {"grading": config["jail"], "library": config.get("library")}
        if config["core"] is not None:
            with contextlib.suppress(OSError):  # the machine took the core from us since: then any will do
                os.sched_setaffinity(0, {config["core"]})
        self.zygotes = {"grading": Zygote(self.jails["grading"])}
        self.jobs: deque[tuple[int, list[Any]]] = deque()
        self.buffer = bytearray()

    def serve(self) -> None:
        """Grade jobs until the host closes the socket."""
        self._send({"ready": True})
        try:
            while True:
                while not self.jobs:
                    self._receive()
                number, row = self.jobs.popleft()
                self._grade(number, Job.from_row(row))
        except HostGone:
            return
        finally:
            for zygote in self.zygotes.values():
                zygote.close()

    def _zygote(self, kind: str) -> Zygote:
        """The one that is running; that of the library profile starts with its first job, since it imports packages."""
        if kind not in self.zygotes:
            self.zygotes[kind] = Zygote(self.jails[kind])
        return self.zygotes[kind]

    def _grade(self, number: int, job: Job) -> None:
        broken = ""
        kind = "library" if job.profile == "library" else "grading"
        limits = job.limits or self.limits
        for _ in range(2):
            try:
                verdict = Grading(job, self._zygote(kind), limits, self.options, self._give_back).run()
            except HostGone:
                raise
            except Exception as error:  # whatever the job does to us, the jobs behind it are graded
                broken = str(error) if isinstance(error, ZygoteDied) else f"{type(error).__name__}: {error}"
                if kind in self.zygotes:
                    self.zygotes.pop(kind).close()
                self._zygote(kind)
            else:
                self._send({"n": number, "verdict": verdict})
                return
        self._send({"n": number, "broken": broken})

    def _receive(self) -> None:
        """Take in some jobs; wait for one."""
        data = self.host.recv(1 << 18)
        if not data:
            raise HostGone
        self.buffer += data
        if b"\n" not in data:
            return  # the middle of a long job: what is there is not searched again
        *lines, self.buffer = self.buffer.split(b"\n")
        for line in lines:
            row = json.loads(line)
            self.jobs.append((row["n"], row["job"]))

    def _give_back(self) -> None:
        """The present program takes long: return the jobs behind it."""
        if select.select([self.host], [], [], 0)[0]:
            self._receive()
        while self.jobs:
            self._send({"n": self.jobs.popleft()[0], "back": True})

    def _send(self, row: dict[str, Any]) -> None:
        try:
            self.host.sendall(json.dumps(row).encode() + b"\n")
        except OSError:
            raise HostGone from None


def die_with(life_fd: int) -> None:
    """Have the kernel end this process when the other end of this pipe closes, even within an endless loop in C."""
    fcntl.fcntl(life_fd, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(life_fd, fcntl.F_SETFL, os.O_ASYNC)  # SIGIO, which ends a process that does not handle it


def main() -> None:
    """Entry point of the process: argv is the socket's descriptor and the configuration as JSON."""
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)  # no other process of this user may read its memory, which holds the tests
    host = socket.socket(fileno=int(sys.argv[1]))
    try:
        config = json.loads(sys.argv[2])
        die_with(config["life"])
        supervisor = Supervisor(host, config)
    except ZygoteDied as death:
        host.sendall(json.dumps({"failed": str(death)}).encode() + b"\n")
        os._exit(1)
    supervisor.serve()


if __name__ == "__main__":
    main()
