"""A clean, small, warmed Python that forks one child per program. Started by exec, in a process of its own.

It reads orders from one socket: packets of pairs (order, slot), with the child's descriptors beside them.
    F slot  fork a player in this slot: 1 descriptor, its channel
    J slot  fork a judge: 2 descriptors, its channel and its link to the player
    L 0     with LIMITS behind it: what the children may use that are forked from now on
    S slot  fork a player of the stdin profile: 3 descriptors, its channel, stdin and stdout
    R slot  reap the slot's child, which is dead or dying, and report (slot, wait status, user s, system s, peak bytes)
In the library profile R also empties the scratch directory: no other child has run in it when the next one is forked.
Which children run, for how long, and who is killed, is the supervisor's business.
"""

import _sitebuiltins
import _socket
import builtins
import gc
import json
import os
import resource
import signal
import struct
import sys
from typing import Any

from . import confine, judge, kernel, player, scratch, script
from .rehearsal import rehearse

REPORT = struct.Struct("<BiddQ")
LIMITS = struct.Struct("<QQQ")  # CPU seconds, bytes of memory beyond those that the zygote has, bytes of a file
_DESCRIPTORS = {ord("F"): 1, ord("J"): 2, ord("S"): 3}
_MAX_DESCRIPTORS = 8


def main(control_fd: int, config: dict[str, Any]) -> None:
    """Warm up, go to jail, then fork on demand until the supervisor closes the socket."""
    if config["tier"] <= 2 and not config.get("separated"):
        confine.separate(config)
        # Then a fresh image, since memory that a process has inherited by fork makes its own forks dearer.
        os.set_inheritable(control_fd, True)
        os.execv(sys.executable, [*sys.orig_argv[:-1], json.dumps(config | {"separated": True})])
    null = os.open("/dev/null", os.O_RDWR)
    sys.path[:] = config["path"]
    sys.argv[:] = sys.orig_argv[:] = ["program"]  # else programs would find this configuration there
    library = config.get("library")
    if library:
        confine.prepare(library)
    _warm(config["preload"])
    kernel.share_code_pages()
    rehearse()
    if library:
        scratch.wipe(library["scratch"])  # of what the packages have written there
    report = confine.enter(config)
    gc.set_threshold(10_000, 10, 10)  # a collection in a child touches what it would else share
    gc.collect()
    gc.freeze()
    os.write(control_fd, json.dumps(report).encode())
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)
    _serve(control_fd, Forker(config, report))
    os._exit(0)


def _warm(names: list[str]) -> None:
    """Import the modules that programs use. `random` must not seed itself anew in each child: the same program shall
    give the same result in every run, and it costs page faults.
    """
    register = os.register_at_fork
    os.register_at_fork = lambda **hooks: None  # type: ignore[assignment]
    try:
        for name in names:
            __import__(name)
    finally:
        os.register_at_fork = register
    for name in ("exit", "quit"):  # scripts use them; else `site` provides them, which has not been imported
        setattr(builtins, name, _sitebuiltins.Quitter(name, "Ctrl-D (i.e. EOF)"))


class Forker:
    """What a child does first."""

    def __init__(self, config: dict[str, Any], report: dict[str, Any]):
        self.limits = config["child_rlimits"]
        self.mapped_bytes = report["mapped_bytes"]
        self.of_job: list[tuple[int, int]] | None = None
        library = config.get("library")
        self.scratch: str | None = library["scratch"] if library else None
        threads = bool(library and library["threads"])
        self.filter = kernel.pack_filter(kernel.child_filter(threads)) if report["child_filter"] else None
        self.orphan_dies = report["tier"] >= 3  # in a pid namespace all die with the first process, this one

    def limit(self, packed: bytes) -> None:
        """Take the limits of the children to come."""
        cpu_s, memory_bytes, file_bytes = LIMITS.unpack(packed)
        kinds = resource.RLIMIT_CPU, resource.RLIMIT_AS, resource.RLIMIT_FSIZE
        limits = cpu_s, self.mapped_bytes + memory_bytes, file_bytes
        self.of_job = [*zip(kinds, limits, strict=True)]

    def become(self, order: int, fds: list[int]) -> None:
        """Be a player or a judge. Never returns."""
        try:
            if self.orphan_dies:
                kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
            assert self.of_job is not None  # no child without limits
            for kind, limit in (*self.limits, *self.of_job):
                hard = resource.getrlimit(kind)[1]  # the host's own may be below
                limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
                resource.setrlimit(kind, (limit, limit))
            if self.filter is not None:
                kernel.install(self.filter)
            if self.scratch is not None:
                scratch.enter(self.scratch)
            roles: dict[int, Any] = {ord("F"): player.main, ord("J"): judge.main, ord("S"): script.main}
            roles[order](*fds)
        finally:
            os._exit(70)


def _serve(control_fd: int, forker: Forker) -> None:
    control = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, fileno=control_fd)
    children: dict[int, int] = {}
    space = _socket.CMSG_SPACE(4 * _MAX_DESCRIPTORS)
    while True:
        packet, ancillary, _, _ = control.recvmsg(256, space)
        if not packet:
            return
        fds = [
            fd for _, _, content in ancillary for (fd,) in struct.iter_unpack("=i", content[: len(content) // 4 * 4])
        ]
        if packet[0] == ord("L"):
            forker.limit(packet[2:])
            continue
        for at in range(0, len(packet), 2):
            order, slot = packet[at], packet[at + 1]
            if order == ord("R"):
                _, status, usage = os.wait4(children.pop(slot), 0)
                if forker.scratch is not None:
                    scratch.wipe(forker.scratch)
                peak = usage.ru_maxrss * 1024
                os.write(control_fd, REPORT.pack(slot, status, usage.ru_utime, usage.ru_stime, peak))
                os.sched_yield()  # the supervisor waits for this on the same core: it goes before the next fork
                continue
            count = _DESCRIPTORS[order]
            mine, fds = fds[:count], fds[count:]
            child = os.fork()
            if child == 0:
                for fd in (control_fd, *fds):
                    os.close(fd)
                forker.become(order, mine)
            children[slot] = child
            for fd in mine:
                os.close(fd)
