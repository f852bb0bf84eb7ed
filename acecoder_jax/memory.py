"""Memory of a process that computes on a CPU: what glibc's malloc does with what was freed.

    memory.keep()    # once, before JAX has started its threads: they stay with what malloc gave them first

XLA asks malloc for the buffers of a call and frees them after it. Those of more than 32 MiB glibc gets from the kernel
and gives back each time, so every call of a large program has its pages made and cleared anew, 4 KiB at a time: a fifth
of the time of a training step on two cores (docs/results/train.md).
"""

import ctypes
import mmap
import os
import platform
from pathlib import Path

TRIM_THRESHOLD, MMAP_MAX, ARENA_MAX = -1, -4, -8  # mallopt's names for them, from <malloc.h>
SHARE = 0.75  # of the memory that is free, whose addresses are asked for at once
HUGE = 2 << 20
DEVICES = Path("/dev")
ACCELERATORS = ("nvidiactl", "kfd", "accel*", "vfio/[0-9]*")  # their devices: NVIDIA, AMD, TPU (two ways)


def keep_on_cpu() -> bool:
    """`keep` where JAX is going to compute on a CPU: it was told to, or no accelerator is to be seen."""
    asked = os.environ.get("JAX_PLATFORMS", "")
    seen = any(any(DEVICES.glob(name)) for name in ACCELERATORS)
    return (asked == "cpu" or not (asked or seen)) and keep()


def keep() -> bool:
    """From now on what is freed stays with this process for its next call, in huge pages where the kernel grants them.

    Memory is not given back before the process ends. False, and nothing changes, where malloc is not glibc's or where
    the environment has settings for it (GLIBC_TUNABLES, MALLOC_*): those are the user's word.
    """
    if platform.libc_ver()[0] != "glibc" or any(name.startswith(("GLIBC_TUNABLES", "MALLOC_")) for name in os.environ):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    for parameter, value in ((ARENA_MAX, 1), (MMAP_MAX, 0), (TRIM_THRESHOLD, -1)):
        if libc.mallopt(parameter, value) != 1:
            raise OSError(f"mallopt({parameter}, {value}) failed")
    if Path("/proc/sys/vm/overcommit_memory").read_text().strip() != "2":  # there addresses alone count as memory
        _advise(libc)
    return True


def _advise(libc: ctypes.CDLL) -> None:
    """Makes the heap as large as it may become, asks for huge pages there, and leaves it free: no page exists yet."""
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    size = int(SHARE * available()) // HUGE * HUGE
    if (start := libc.malloc(size)) is None:
        return  # a limit on addresses (ulimit -v): it works with small pages too
    first = -(-start // HUGE) * HUGE
    libc.madvise(first, (start + size - first) // HUGE * HUGE, mmap.MADV_HUGEPAGE)  # refused: small pages, as before
    libc.free(start)


def available() -> int:
    """Bytes that can be had without swapping, as the kernel sees it."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
