"""Finds out what this machine allows: run once, in a process of its own, before the first zygote.

It tries the tiers for real, each in a child, and asks for what must fail once in there.
"""

import _socket
import errno
import json
import os
import sys
from typing import Any

from . import confine

_SKIPPED = ("_test", "_tkinter", "_ctypes_test", "_xx", "xx")  # Python's tests of itself, and windows


def shared_libraries(directory: str, preload: list[str]) -> list[str]:
    """The shared libraries that Python's own extension modules, and the preloaded packages, load."""
    for name in preload:
        __import__(name)
    for file in sorted(os.listdir(directory)) if os.path.isdir(directory) else []:
        name = file.split(".")[0]
        if file.endswith(".so") and not name.startswith(_SKIPPED):
            try:
                __import__(name)
            except ImportError:
                continue  # a module whose library this machine lacks
    with open("/proc/self/maps") as maps:
        paths = {line.split(maxsplit=5)[5].strip() for line in maps if line.count("/")}
    return sorted(path for path in paths if ".so" in os.path.basename(path) and os.path.isfile(path))


def links(libraries: list[str]) -> dict[str, str]:
    """The other names of shared libraries, each with the name that it leads to: programs ask for libz.so.1, where the
    file is libz.so.1.2.13.
    """
    wanted = set(libraries)
    folders = {os.path.dirname(path) for path in libraries}
    found = {}
    for entry in (entry for folder in folders for entry in os.scandir(folder)):
        if ".so" in entry.name and entry.is_symlink() and (target := os.path.realpath(entry.path)) in wanted:
            found[entry.path] = target
    return found


def attempt(config: dict[str, Any]) -> tuple[dict[str, Any] | None, str]:
    """Try one tier in a child: its report, or why not."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ours)
        try:
            confine.separate(config)
            report = confine.enter(config)
            answer: tuple[dict[str, Any] | None, str] = report, _still_possible(config)
        except OSError as error:
            answer = None, str(error.strerror or error)
        os.write(theirs, json.dumps(answer).encode())
        os._exit(0)
    os.close(theirs)
    with open(ours, "rb") as pipe:
        data = pipe.read()
    os.waitpid(child, 0)
    if not data:
        return None, "the trial process died"
    report, why = json.loads(data)
    return (report, "") if not why else (None, why)


def _still_possible(config: dict[str, Any]) -> str:
    """What the jail should have stopped and has not; "" when it holds."""
    outside = next((p for p in ("/etc/passwd", "/etc/hosts", sys.executable) if os.access(p, os.R_OK)), None)
    trials = {
        "a socket": lambda: _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM, 0),
        "exec": lambda: os.execv(sys.executable, [sys.executable, "-c", "0"]),
        "a signal": lambda: os.kill(os.getppid() or 1, 0),
        "opening a file to write": lambda: os.open("/dev/null", os.O_WRONLY),
        "a new namespace": lambda: confine.check(confine.libc.unshare(0x10000000), "unshare"),
    }
    if outside and config["tier"] <= 3:
        trials[f"reading {outside}"] = lambda: os.open(outside, os.O_RDONLY)
    for what, trial in trials.items():
        try:
            trial()
        except OSError as error:
            if error.errno in (errno.EPERM, errno.EACCES, errno.ENOENT):
                continue
            return f"{what} fails in an unexpected way: {error}"
        return f"{what} is still possible"
    with open(os.__file__, "rb"):
        pass  # and Python's own library must stay readable
    return ""


def main(config: dict[str, Any]) -> None:
    """Print the libraries and, for each tier asked for until one works, why it does not: JSON."""
    sys.path[:] = config["path"]
    libraries = shared_libraries(config["extensions"], config["packages"])
    config["readable"] = sorted({*config["readable"], *libraries})
    config["links"] = links(libraries)
    refused, report = {}, None
    for tier in config["tiers"]:
        if tier == 1 and os.geteuid():
            refused[tier] = "needs root"
            continue
        report, why = attempt(config | {"tier": tier})
        if report:
            break
        refused[tier] = why
    print(json.dumps({"readable": config["readable"], "links": config["links"], "report": report, "refused": refused}))
