"""Finds out what this machine allows: run once, in a process of its own, before the first zygote.

It tries the tiers for real, each in a child, and asks for what must fail once in there.
"""

import _socket
import contextlib
import ctypes
import errno
import json
import os
import sys
from collections.abc import Callable, Iterable
from typing import Any

from . import confine, scratch

_SKIPPED = ("_test", "_tkinter", "_ctypes_test", "_xx", "xx")  # Python's tests of itself, and windows


def shared_libraries(directory: str, preload: list[str], more: Iterable[str] = ()) -> list[str]:
    """The shared libraries that Python's own extension modules, and the preloaded packages, load; and more, by name."""
    for name in more:
        with contextlib.suppress(OSError):  # this machine does without
            ctypes.CDLL(name)
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

    def trial() -> tuple[dict[str, Any] | None, str]:
        report = confine.enter(config)
        why = _still_possible(config) or _impossible(config)
        return (None, why) if why else (report, "")

    return _separated(config, trial)


def _separated(config: dict[str, Any], work: Callable[[], Any]) -> tuple[Any, str]:
    """What a function says in a child that has left the host's mounts and network; (None, why) where it cannot."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ours)
        try:
            confine.separate(config)
            if config.get("library"):
                confine.prepare(config["library"])
            answer: Any = work()
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
    told, why = json.loads(data)
    return told, why


def _still_possible(config: dict[str, Any]) -> str:
    """What the jail should have stopped and has not; "" when it holds."""
    library = config.get("library")
    places = [
        place for place in ("/etc/passwd", "/etc/hosts", sys.executable) if not library or place not in library["files"]
    ]
    outside = next((place for place in places if os.access(place, os.R_OK)), None)
    family = _socket.AF_NETLINK if library and library["loopback"] else _socket.AF_INET
    written = os.__file__ if library else "/dev/null"
    trials = {
        "a socket": lambda: _socket.socket(family, _socket.SOCK_STREAM, 0),
        "exec": lambda: os.execv(sys.executable, [sys.executable, "-c", "0"]),
        "a signal": lambda: os.kill(os.getppid() or 1, 0),
        "opening a file to write": lambda: os.open(written, os.O_WRONLY),
        "a new namespace": lambda: confine.check(confine.libc.unshare(0x10000000), "unshare"),
    }
    if outside and config["tier"] <= 3:
        trials[f"reading {outside}"] = lambda: os.open(outside, os.O_RDONLY)
    for what, trial in trials.items():
        try:
            trial()
        except OSError as error:
            if error.errno in (errno.EPERM, errno.EACCES, errno.ENOENT, errno.EROFS):
                continue
            return f"{what} fails in an unexpected way: {error}"
        return f"{what} is still possible"
    with open(os.__file__, "rb"):
        pass  # and Python's own library must stay readable
    return ""


def _impossible(config: dict[str, Any]) -> str:
    """What the library profile shall have and has not; "" where it has all. Raises OSError."""
    library = config.get("library")
    if not library:
        return ""
    scratch.enter(library["scratch"])
    with open("a", "w") as file:
        file.write("a")
    os.chdir("/")
    scratch.wipe(library["scratch"])
    if library["loopback"]:
        server = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM, 0)
        server.bind(("127.0.0.1", 0))
        server.listen(1)
        _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM, 0).connect(server.getsockname())
    return "" if not os.listdir(library["scratch"]) else "the scratch directory cannot be emptied"


def main(config: dict[str, Any]) -> None:
    """Print the libraries and, for each tier asked for until one works, why it does not: JSON."""
    sys.path[:] = config["path"]
    libraries, why = _libraries(config)
    if libraries is None:
        print(json.dumps({"readable": [], "links": {}, "report": None, "refused": dict.fromkeys(config["tiers"], why)}))
        return
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


def _libraries(config: dict[str, Any]) -> tuple[list[str] | None, str]:
    """The shared libraries. Packages of the library profile write files when they are imported: not on this machine."""

    def found() -> tuple[list[str], str]:
        return shared_libraries(config["extensions"], config["packages"], config.get("libraries", ())), ""

    if not config.get("library"):
        return found()
    return _separated(config | {"tier": config["tiers"][0]}, found)
