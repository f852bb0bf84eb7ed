"""A clean, small, warmed Python that forks one child per program. Started by exec, in a process of its own.

It reads orders from one socket: packets of pairs (order, slot), with the child's descriptors beside them.
    F slot  fork a player in this slot: 1 descriptor, its channel
    J slot  fork a judge: 2 descriptors, its channel and its link to the player
    R slot  reap the slot's child, which is dead or dying, and report (slot, wait status, user s, system s, peak bytes)
Which children run, for how long, and who is killed, is the supervisor's business.
"""

import _socket
import gc
import json
import os
import resource
import struct
import sys
from typing import Any

from . import confine, judge, player

REPORT = struct.Struct("<BiddQ")
_FDS = struct.Struct("<8i")


def main(control_fd: int, config: dict[str, Any]) -> None:
    """Warm up, go to jail, then fork on demand until the supervisor closes the socket."""
    control = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, fileno=control_fd)
    for name in config["preload"]:
        __import__(name)
    report = confine.enter(config)
    del sys.path[:]
    sys.path += config["path"]
    null = os.open("/dev/null", os.O_RDWR) if not config.get("null") else config["null"]
    gc.collect()
    gc.freeze()
    control.send(json.dumps(report).encode())
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)
    _serve(control, control_fd, config)
    os._exit(0)


def _serve(control: _socket.socket, control_fd: int, config: dict[str, Any]) -> None:
    children: dict[int, int] = {}
    space = _socket.CMSG_SPACE(_FDS.size)
    while True:
        packet, ancillary, _, _ = control.recvmsg(256, space)
        if not packet:
            return
        fds: list[int] = []
        for _, _, content in ancillary:
            fds += struct.unpack(f"<{len(content) // 4}i", content[: len(content) // 4 * 4])
        for at in range(0, len(packet), 2):
            order, slot = packet[at], packet[at + 1]
            if order == ord("R"):
                _, status, usage = os.wait4(children.pop(slot), 0)
                peak = usage.ru_maxrss * 1024
                control.send(REPORT.pack(slot, status, usage.ru_utime, usage.ru_stime, peak))
                continue
            mine = [fds.pop(0) for _ in range(2 if order == ord("J") else 1)]
            child = os.fork()
            if child == 0:
                os.close(control_fd)
                for fd in fds:
                    os.close(fd)
                _become(order, mine, config)
            children[slot] = child
            for fd in mine:
                os.close(fd)


def _become(order: int, fds: list[int], config: dict[str, Any]) -> None:
    try:
        for kind, limit in config["child_rlimits"]:
            resource.setrlimit(kind, (limit, limit))
        if order == ord("J"):
            judge.main(fds[0], fds[1])
        else:
            player.main(fds[0])
    finally:
        os._exit(70)
