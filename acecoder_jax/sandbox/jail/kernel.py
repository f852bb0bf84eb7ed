"""The kernel's own means of confinement, by ctypes: seccomp filters as raw BPF, Landlock rules, capabilities, prctl.

Syscall numbers: the kernel's arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h (aarch64).
"""

import ctypes
import errno
import os
import struct
from collections.abc import Iterable
from typing import Any

libc = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
SIGKILL, SIGCHLD = 9, 17

# name: (x86_64, aarch64); None where the architecture has no such call.
_ALLOWED: dict[str, tuple[int | None, int | None]] = {
    "read": (0, 63), "write": (1, 64), "readv": (19, 65), "writev": (20, 66), "pread64": (17, 67), "pwrite64": (18, 68),
    "close": (3, 57), "fstat": (5, 80), "newfstatat": (262, 79), "stat": (4, None), "lstat": (6, None),
    "statx": (332, 291), "lseek": (8, 62), "access": (21, None), "faccessat": (269, 48), "faccessat2": (439, 439),
    "getdents64": (217, 61), "readlink": (89, None), "readlinkat": (267, 78), "getcwd": (79, 17),
    "dup": (32, 23), "dup2": (33, None), "dup3": (292, 24),
    "mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215), "mremap": (25, 216), "madvise": (28, 233),
    "brk": (12, 214), "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132), "rt_sigsuspend": (130, 133), "rt_sigpending": (127, 136), "rt_sigtimedwait": (128, 137),
    "setitimer": (38, 103), "getitimer": (36, 102), "alarm": (37, None), "pause": (34, None),
    "getrandom": (318, 278), "clock_gettime": (228, 113), "clock_getres": (229, 114), "clock_nanosleep": (230, 115),
    "nanosleep": (35, 101), "gettimeofday": (96, 169), "time": (201, None), "restart_syscall": (219, 128),
    "getpid": (39, 172), "getppid": (110, 173), "gettid": (186, 178), "getuid": (102, 174), "geteuid": (107, 175),
    "getgid": (104, 176), "getegid": (108, 177), "getpgrp": (111, None), "getpgid": (121, 155), "getsid": (124, 156),
    "getgroups": (115, 158), "getresuid": (118, 148), "getresgid": (120, 150), "uname": (63, 160),
    "sysinfo": (99, 179), "getrusage": (98, 165), "times": (100, 153), "getrlimit": (97, 163),
    "futex": (202, 98), "sched_yield": (24, 124), "sched_getaffinity": (204, 123), "set_robust_list": (273, 99),
    "rseq": (334, 293), "poll": (7, None), "ppoll": (271, 73), "select": (23, None), "pselect6": (270, 72),
    "exit": (60, 93), "exit_group": (231, 94), "wait4": (61, 260), "recvmsg": (47, 212),
}  # fmt: skip
_SPECIAL = {
    "open": (2, None), "openat": (257, 56), "ioctl": (16, 29), "fcntl": (72, 25), "prlimit64": (302, 261),
    "prctl": (157, 167), "clone": (56, 220), "clone3": (435, 435), "socket": (41, 198), "socketpair": (53, 199),
    "setsockopt": (54, 208),
}  # fmt: skip
# What the library profile has beside these: files are held by its mounts, which are read-only but for the scratch
# directory; pipes and pairs of sockets lead nowhere but into the program itself. No sendmsg: it could send descriptors.
_LIBRARY: dict[str, tuple[int | None, int | None]] = {
    "creat": (85, None), "mkdir": (83, None), "mkdirat": (258, 34), "rmdir": (84, None), "unlink": (87, None),
    "unlinkat": (263, 35), "rename": (82, None), "renameat": (264, 38), "renameat2": (316, 276), "link": (86, None),
    "linkat": (265, 37), "symlink": (88, None), "symlinkat": (266, 36), "chmod": (90, None), "fchmod": (91, 52),
    "fchmodat": (268, 53), "fchmodat2": (452, 452), "utime": (132, None), "utimes": (235, None),
    "futimesat": (261, None), "utimensat": (280, 88), "truncate": (76, 45), "ftruncate": (77, 46), "fsync": (74, 82),
    "fdatasync": (75, 83), "fallocate": (285, 47), "copy_file_range": (326, 285), "sendfile": (40, 71),
    "msync": (26, 227), "fadvise64": (221, 223), "chdir": (80, 49), "fchdir": (81, 50), "umask": (95, 166),
    "statfs": (137, 43), "fstatfs": (138, 44), "getxattr": (191, 8), "lgetxattr": (192, 9), "fgetxattr": (193, 10),
    "listxattr": (194, 11), "llistxattr": (195, 12), "flistxattr": (196, 13), "pipe": (22, None), "pipe2": (293, 59),
    "eventfd2": (290, 19), "epoll_create": (213, None), "epoll_create1": (291, 20), "epoll_ctl": (233, 21),
    "epoll_wait": (232, None), "epoll_pwait": (281, 22), "sendto": (44, 206), "recvfrom": (45, 207),
    "shutdown": (48, 210), "getsockopt": (55, 209), "getsockname": (51, 204), "getpeername": (52, 205),
}  # fmt: skip
_LOOPBACK: dict[str, tuple[int | None, int | None]] = {
    "bind": (49, 200), "listen": (50, 201), "connect": (42, 203), "accept": (43, 202), "accept4": (288, 242),
}  # fmt: skip
_SYSCALL = {"seccomp": (317, 277), "capset": (126, 91), "pivot_root": (155, 41)}
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446  # the same on both
_ARCHES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}

_WRITING = 0o3 | 0o100 | 0o1000 | 0o20000000  # O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, O_TMPFILE
_IOCTLS = (0x5401, 0x5413, 0x541B, 0x5450, 0x5451)  # TCGETS, TIOCGWINSZ, FIONREAD, FIONCLEX, FIOCLEX
_FCNTLS = (0, 1, 2, 3, 1030)  # F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC: no F_SETFL, F_SETOWN, F_SETSIG
_LOCKS = (5, 6, 7)  # F_GETLK, F_SETLK, F_SETLKW
_FIONBIO = 0x5421
# pthread_create: CLONE_VM, FS, FILES, SYSVSEM, SIGHAND, THREAD, SETTLS, PARENT_SETTID, CHILD_CLEARTID.
_THREAD_FLAGS = 0x003D0F00
_AF_UNIX, _AF_INET, _STREAM, _DATAGRAM = 1, 2, 1, 2
# SO_REUSEADDR, SO_BROADCAST, SO_SNDBUF, SO_RCVBUF, SO_KEEPALIVE, SO_LINGER, SO_REUSEPORT, SO_RCVTIMEO, SO_SNDTIMEO
_SOCKET_OPTIONS = (2, 6, 7, 8, 9, 13, 15, 20, 21)
_SOL_SOCKET, _IPPROTO_TCP, _IPPROTO_UDP, _TCP_NODELAY = 1, 6, 17, 1
_FORK_FLAGS = 0x01200000  # CLONE_CHILD_SETTID, CLONE_CHILD_CLEARTID: what fork() may add to SIGCHLD

_Filter = list[tuple[int, int, int, int]]
_KILL, _ALLOW = 0x80000000, 0x7FFF0000


def check(result: int, what: str) -> int:
    """Raise OSError where a C call says -1."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def prctl(option: int, value: int) -> None:
    """prctl(2)."""
    check(libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0), f"prctl {option}")


def share_code_pages() -> None:
    """Make forks hand on the page tables of the interpreter's code, from the next use of each page on.

    By default fork leaves out mappings of files that were never written to, and each child faults the code in again.
    A mapping that was written to once, here with the byte it had, is copied. Each page known at the fork costs time
    too, so those that only the start needed are dropped.
    """
    read, write, execute, forget = 1, 2, 4, 4  # PROT_*, MADV_DONTNEED
    with open("/proc/self/maps") as file:
        lines = [line.split() for line in file]
    for fields in lines:
        name = os.path.basename(fields[5]) if len(fields) > 5 else ""
        if fields[1] != "r-xp" or not name.startswith(("python", "libpython")):
            continue
        low, high = (int(part, 16) for part in fields[0].split("-"))
        start, size = ctypes.c_void_p(low), ctypes.c_size_t(high - low)
        if libc.mprotect(start, size, read | write | execute) == 0:  # a hardened kernel may say no: it stays slower
            ctypes.memmove(low, ctypes.string_at(low, 1), 1)
            check(libc.mprotect(start, size, read | execute), "mprotect")
            check(libc.madvise(start, size, forget), "madvise")


def syscall(name: str, *arguments: object) -> int:
    """A system call that the C library may not have."""
    number = _SYSCALL[name][_arch()[0]]
    return check(libc.syscall(number, *arguments), name)


def _arch() -> tuple[int, int]:
    machine = os.uname().machine
    if machine not in _ARCHES:
        raise OSError(errno.ENOSYS, f"no seccomp filter for {machine}: x86_64 and aarch64 only")
    return _ARCHES[machine]


def drop_capabilities() -> None:
    """Give up every capability for good (no_new_privs and no exec keep it so)."""
    header = struct.pack("=Ii", 0x20080522, 0)
    syscall("capset", header, bytes(24))


# ---- seccomp


def _load(offset: int) -> tuple[int, int, int, int]:
    return 0x20, 0, 0, offset


def _argument(number: int) -> tuple[int, int, int, int]:
    return _load(16 + 8 * number)  # the low half, on little-endian machines


def _if_equal(value: int, skip: int) -> tuple[int, int, int, int]:
    return 0x15, 0, skip, value


def _return(value: int) -> tuple[int, int, int, int]:
    return 0x06, 0, 0, value


def _refuse(number: int) -> tuple[int, int, int, int]:
    return _return(0x00050000 | number)


def _one_of(argument: int, values: Iterable[int]) -> _Filter:
    body = [_argument(argument)]
    for value in values:
        body += [_if_equal(value, 1), _return(_ALLOW)]
    return [*body, _refuse(errno.EPERM)]


def _read_only(argument: int) -> _Filter:
    return [_argument(argument), (0x45, 0, 1, _WRITING), _refuse(errno.EACCES), _return(_ALLOW)]


def jail_filter(library: dict[str, Any] | None = None) -> _Filter:
    """What the zygote and its children may call: no sockets, exec, ptrace, signals, mounts, threads, opening to write.

    library: what the library profile opens of that; None in all others.
    fork() stays, for the zygote: its children are stopped by RLIMIT_NPROC, or by child_filter where that has no hold.
    """
    column, arch = _arch()
    bodies: dict[str, _Filter] = {
        "open": _read_only(1),
        "openat": _read_only(2),
        "ioctl": _one_of(1, _IOCTLS),
        "fcntl": _one_of(1, _FCNTLS),
        "prlimit64": _one_of(0, (0,)),
        "prctl": [
            _argument(0),
            *(_if_equal(PR_SET_SECCOMP, 1), _return(_ALLOW)),  # a further filter can only forbid more
            *(_if_equal(PR_SET_PDEATHSIG, 3), _argument(1), _if_equal(SIGKILL, 1), _return(_ALLOW)),
            _refuse(errno.EPERM),
        ],
        "clone": [
            *(_argument(0), (0x54, 0, 0, ~_FORK_FLAGS & 0xFFFFFFFF)),
            *(_if_equal(SIGCHLD, 1), _return(_ALLOW), _refuse(errno.EPERM)),
        ],
        "clone3": [_refuse(errno.ENOSYS)],  # fork() then uses clone, whose flags a filter can read
    }
    allowed = dict(_ALLOWED)
    if library is not None:
        allowed |= _LIBRARY | (_LOOPBACK if library["loopback"] else {})
        bodies |= _library_bodies(**{name: library[name] for name in ("threads", "loopback")})
    program: _Filter = [_load(4), (0x15, 1, 0, arch), _return(_KILL), _load(0)]
    if arch == _ARCHES["x86_64"][1]:
        program += [(0x35, 0, 1, 0x40000000), _return(_KILL)]  # the x32 calls, which have numbers of their own
    for numbers in allowed.values():
        if (number := numbers[column]) is not None:
            program += [_if_equal(number, 1), _return(_ALLOW)]
    for name, body in bodies.items():
        if (number := _SPECIAL[name][column]) is not None:
            program += [_if_equal(number, len(body)), *body]
    return [*program, _refuse(errno.EPERM)]


def _library_bodies(threads: bool, loopback: bool) -> dict[str, _Filter]:
    """What the library profile may ask of the calls whose arguments are looked at."""
    bodies: dict[str, _Filter] = {
        "open": [_return(_ALLOW)],
        "openat": [_return(_ALLOW)],
        "ioctl": _one_of(1, (*_IOCTLS, _FIONBIO)),
        "fcntl": _one_of(1, (*_FCNTLS, *_LOCKS)),
        "socketpair": _one_of(0, (_AF_UNIX,)),
    }
    if threads:
        bodies["clone"] = [
            *(_argument(0), _if_equal(_THREAD_FLAGS, 1), _return(_ALLOW)),
            *((0x54, 0, 0, ~_FORK_FLAGS & 0xFFFFFFFF), _if_equal(SIGCHLD, 1), _return(_ALLOW), _refuse(errno.EPERM)),
        ]
    if loopback:
        bodies["socket"] = [
            *(_argument(0), _if_equal(_AF_INET, 5), _argument(1), (0x54, 0, 0, 0xF)),
            *((0x15, 1, 0, _STREAM), _if_equal(_DATAGRAM, 1), (0x05, 0, 0, 1), _refuse(errno.EPERM)),
            *_one_of(2, (0, _IPPROTO_TCP, _IPPROTO_UDP)),
        ]
        of_socket = _one_of(2, _SOCKET_OPTIONS)
        bodies["setsockopt"] = [
            *(_argument(1), _if_equal(_SOL_SOCKET, len(of_socket)), *of_socket),
            *(_if_equal(_IPPROTO_TCP, 3), _argument(2), _if_equal(_TCP_NODELAY, 1), _return(_ALLOW)),
            _refuse(errno.EPERM),
        ]
    return bodies


def child_filter(threads: bool = False) -> _Filter:
    """Beside jail_filter, in a child: no fork. threads: whether it may start threads."""
    number = _SPECIAL["clone"][_arch()[0]]
    assert number is not None
    may = [_argument(0), _if_equal(_THREAD_FLAGS, 1), _return(_ALLOW)] if threads else []
    return [_load(0), _if_equal(number, 1 + len(may)), *may, _refuse(errno.EPERM), _return(_ALLOW)]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_char_p)]


def pack_filter(program: _Filter) -> _Program:
    """A filter as the kernel reads it."""
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    return _Program(len(program), code)


def install(program: _Program) -> None:
    """Put a filter on this process and all that it forks. Needs no_new_privs."""
    check(libc.prctl(PR_SET_SECCOMP, 2, ctypes.byref(program), 0, 0), "seccomp")


# ---- Landlock

_WRITE_FILE, _TRUNCATE = 1 << 1, 1 << 14
# WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE, MAKE_DIR, MAKE_REG, MAKE_SYM, REFER, TRUNCATE
_MAY_IN_SCRATCH = sum(1 << bit for bit in (1, 2, 3, 4, 5, 7, 8, 12, 13, 14))


def landlock_abi() -> int:
    """The version of Landlock that the kernel has; 0 for none."""
    return max(0, libc.syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(1)))


def landlock(readable: Iterable[str], listed: Iterable[str], library: dict[str, Any] | None) -> None:
    """Let this process read these files and directories, list those others, and nothing else; write nowhere, but where
    the library profile may.
    """
    abi = landlock_abi()
    if abi < 1:
        raise OSError(errno.ENOSYS, "the kernel has no Landlock")
    files = (1 << (13 if abi == 1 else 14 if abi == 2 else 15 if abi < 5 else 16)) - 1
    ports = 0 if library and library["loopback"] else 3  # rules for TCP know ports alone: its network has no more
    attributes = struct.pack("=QQQ", files, ports, 3)[: 8 if abi < 4 else 16 if abi < 6 else 24]
    ruleset = check(
        libc.syscall(_LANDLOCK_CREATE, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0)), "Landlock"
    )
    read_file, read_dir = 1 << 2, 1 << 3
    rules = [(path, read_file | (read_dir if os.path.isdir(path) else 0)) for path in readable]
    rules += [(path, read_dir) for path in listed]
    if library:
        rules.append((library["scratch"], _MAY_IN_SCRATCH & files))
        rules += [(path, (read_file | _WRITE_FILE | _TRUNCATE) & files) for path in library["devices"]]
        rules += [(path, read_file) for path in library["files"]]
        rules += [(path, read_dir) for path in library["folders"]]  # else no package that lies there would be found
    for path, access in rules:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        rule = struct.pack("=Qi", access, fd)
        check(libc.syscall(_LANDLOCK_ADD, ruleset, 1, rule, ctypes.c_uint32(0)), f"Landlock rule for {path}")
        os.close(fd)
    check(libc.syscall(_LANDLOCK_RESTRICT, ruleset, ctypes.c_uint32(0)), "Landlock")
    os.close(ruleset)
