"""Puts the zygote in its jail: the tiers of docs/sandbox.md.

1  root: namespaces, a root directory with nothing but Python in it, uid dropped
2  the same inside a user namespace
3  no namespaces: Landlock
4  neither
"""

import _socket
import ctypes
import fcntl
import os
import resource
import signal
import stat
import struct
from collections.abc import Iterable
from typing import Any

from . import kernel
from .kernel import check, libc

NOBODY = 65534
_NEWNS, _NEWUTS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET = (
    0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000,
)  # fmt: skip
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _REMOUNT, _BIND, _REC, _PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
_DETACH = 2
_SIOCSIFFLAGS, _UP_AND_RUNNING = 0x8914, 0x41
_MOUNT_POINTS = ("/mnt", "/media", "/srv", "/opt", "/tmp", "/var", "/home", "/sys")


def separate(config: dict[str, Any]) -> None:
    """Tiers 1 and 2: leave the host's mounts, processes, network, IPC and host name. Raises OSError.

    The caller goes on in a child, the first process of the new pid namespace; the parent only waits for it.
    """
    if config["tier"] > 2:
        return
    uid, gid = os.geteuid(), os.getegid()
    user = config["tier"] == 2
    flags = _NEWNS | _NEWUTS | _NEWIPC | _NEWPID | _NEWNET
    check(libc.unshare(flags | (_NEWUSER if user else 0)), "unshare")
    if user:  # root inside, for the mounts to come: all its capabilities are given up in enter()
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    child = os.fork()
    if child:
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        os.closerange(3, 1 << 12)  # the sockets are the child's alone: their end must be seen when it dies
        _, status = os.waitpid(child, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)


def prepare(library: dict[str, Any]) -> None:
    """Of the library profile, after separate(): the scratch directory, where it will be in the jail, and the loopback
    network. Packages that are imported from now on write into it, and not on this machine. Raises OSError.
    """
    _mount(None, "/", None, _REC | _PRIVATE)
    options = f"size={library['scratch_bytes']},nr_inodes={library['scratch_files']},mode=1777"
    _mount("scratch", library["scratch"], "tmpfs", _NOSUID | _NODEV | _NOEXEC, options)
    if library["loopback"]:
        one = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM, 0)
        fcntl.ioctl(one.fileno(), _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", _UP_AND_RUNNING))
        one.close()


def enter(config: dict[str, Any]) -> dict[str, Any]:
    """Confine this process for good, after separate(). What holds, as JSON values. Raises OSError."""
    tier, library = config["tier"], config.get("library")
    with open("/proc/self/statm") as file:
        mapped_bytes = int(file.read().split()[0]) * resource.getpagesize()
    if tier <= 2:
        _build_root(config["readable"], config["links"], config["hidden"], library)
    for kind, limit in config["rlimits"]:
        resource.setrlimit(kind, (limit, limit))
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    landlock = tier == 3 or (tier < 3 and kernel.landlock_abi() > 0)
    if landlock:
        kernel.landlock(*_landlock_paths(config["readable"], config["hidden"]), library)
    uid_dropped = _drop_user(tier, config["readable"])
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    kernel.install(kernel.pack_filter(kernel.jail_filter(library)))
    child_filter = library is not None or not _fork_is_stopped(config["child_rlimits"])
    held = {"tier": tier, "landlock": landlock, "uid_dropped": uid_dropped, "child_filter": child_filter}
    return held | {"mapped_bytes": mapped_bytes}


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    texts = [text if text is None else os.fsencode(text) for text in (source, target, kind)]
    extra = None if options is None else options.encode()
    check(libc.mount(*texts, ctypes.c_ulong(flags), extra), f"mount {target}")


def _build_root(
    readable: Iterable[str], links: dict[str, str], hidden: Iterable[str], library: dict[str, Any] | None
) -> None:
    """A read-only root directory that holds these files and directories, with their other names and without the hidden
    ones, and nothing else but what the library profile opens.
    """
    readable, hidden = sorted(readable), list(hidden)
    taken = [*readable, *([f"{library['scratch']}/"] if library else [])]
    root = next(p for p in _MOUNT_POINTS if os.path.isdir(p) and not any(r.startswith(p + "/") for r in taken))
    _mount(None, "/", None, _REC | _PRIVATE)
    _mount("jail", root, "tmpfs", _NOSUID | _NODEV, "size=256k,mode=755")
    for path in readable:
        inside = root + path
        if os.path.lexists(inside):
            continue  # within a directory that is there already
        if os.path.isdir(path):
            os.makedirs(inside, exist_ok=True)
        else:
            _file(inside)
        _mount(path, inside, None, _BIND)
        noexec = _NOEXEC if os.statvfs(path).f_flag & os.ST_NOEXEC else 0
        _mount(None, inside, None, _BIND | _REMOUNT | _RDONLY | _NOSUID | _NODEV | noexec)
        for name in hidden:
            if name.startswith(path + "/"):
                _mount("hidden", root + name, "tmpfs", _NOSUID | _NODEV, "size=64k,mode=755")
    if library:
        _open_library(root, library)
    for path, target in links.items():
        if not os.path.lexists(root + path):  # else within a directory that is there already
            os.symlink(os.path.relpath(target, os.path.dirname(path)), root + path)
    for path in hidden:
        _mount(None, root + path, None, _BIND | _REMOUNT | _RDONLY | _NOSUID | _NODEV)
    os.chdir(root)
    kernel.syscall("pivot_root", b".", b".")
    check(libc.umount2(b".", _DETACH), "umount")
    os.chdir("/")
    _mount(None, "/", None, _BIND | _REMOUNT | _RDONLY | _NOSUID | _NODEV)


def _open_library(root: str, library: dict[str, Any]) -> None:
    """What the library profile has in its root directory: its scratch directory, devices, a few files of its own."""
    os.makedirs(root + library["scratch"], exist_ok=True)
    _mount(library["scratch"], root + library["scratch"], None, _BIND)
    for path in library["devices"]:
        _file(root + path)
        _mount(path, root + path, None, _BIND)
        _mount(None, root + path, None, _BIND | _REMOUNT | _RDONLY | _NOSUID | _NOEXEC)
    for path, text in library["files"].items():
        _file(root + path, text)


def _file(path: str, text: str = "") -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    fd = os.open(path, os.O_CREAT | os.O_WRONLY, 0o444)
    os.write(fd, text.encode())
    os.close(fd)


def _landlock_paths(readable: Iterable[str], hidden: list[str]) -> tuple[list[str], list[str]]:
    """What may be read, and what may only be listed: a rule for a directory would include the hidden ones in it."""
    paths, listed = [], []
    for path in readable:
        if any(name.startswith(path + "/") for name in hidden):
            listed.append(path)
            paths += [entry.path for entry in os.scandir(path) if entry.path not in hidden]
        else:
            paths.append(path)
    return paths, listed


def _drop_user(tier: int, readable: Iterable[str]) -> bool:
    """Become nobody where this is root, unless nobody could not read Python's library; give up capabilities always."""
    dropped = False
    if tier != 2 and os.geteuid() == 0 and all(map(_open_to_all, readable)):
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        dropped = True
    kernel.drop_capabilities()
    return dropped


def _open_to_all(path: str) -> bool:
    while True:
        try:
            mode = os.stat(path).st_mode
        except OSError:
            return False
        if not mode & (stat.S_IXOTH if stat.S_ISDIR(mode) else stat.S_IROTH):
            return False
        if path in ("/", ""):
            return True
        path = os.path.dirname(path)


def _fork_is_stopped(limits: Iterable[tuple[int, int]]) -> bool:
    """Whether the limits of a child keep it from forking: they do not where its user is the host's root."""
    child = os.fork()
    if child == 0:
        for kind, limit in limits:
            resource.setrlimit(kind, (limit, limit))
        try:
            grandchild = os.fork()
        except OSError:
            os._exit(0)
        if grandchild == 0:
            os._exit(0)
        os.waitpid(grandchild, 0)
        os._exit(1)
    return os.waitpid(child, 0)[1] == 0
