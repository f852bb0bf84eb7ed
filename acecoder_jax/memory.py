"""Memory of a process that computes on a CPU: large blocks in huge pages.

XLA asks malloc for the buffers of a call and frees them after it. Those of more than 32 MiB glibc gets from the kernel
and gives back each time, so every call of a large program has its pages made anew, 4 KiB at a time: a sixth of the time
of a training step on two cores (docs/results/train.md). In huge pages there are 512 times fewer of them. Blocks that
stay with malloc would save the rest too, but then its heap falls to pieces: a run that needs 13 GB grew to 24.
"""

import os
import platform
import re
import sys
from pathlib import Path

NAME, SETTING = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"  # read when a process starts, and only then
HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
DEVICES = Path("/dev")
ACCELERATORS = ("nvidiactl", "kfd", "accel*", "vfio/[0-9]*")  # their devices: NVIDIA, AMD, TPU (two ways)


def use_huge_pages() -> None:
    """Starts this command once more, with malloc told to ask for huge pages, where that is of use; to be called first.

    It is where JAX is going to compute on a CPU, malloc is glibc's, of 2.35 or later, and Linux gives huge pages to
    those who ask. Settings of the user's own in GLIBC_TUNABLES or MALLOC_... are left alone: nothing is done then. What
    this process starts does not inherit the setting.
    """
    if os.environ.get(NAME) == SETTING:
        del os.environ[NAME]
    elif on_cpu() and can_ask():
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | {NAME: SETTING})


def on_cpu() -> bool:
    """Whether JAX is going to compute on a CPU: it was told to, or no accelerator is to be seen."""
    asked = os.environ.get("JAX_PLATFORMS", "")
    seen = any(any(DEVICES.glob(name)) for name in ACCELERATORS)
    return asked == "cpu" or not (asked or seen)


def can_ask() -> bool:
    """Whether huge pages can be asked for: by this malloc, of this kernel, with no word of the user's against it."""
    library, version = platform.libc_ver()
    numbers = tuple(map(int, re.findall(r"\d+", version)))
    told = any(name.startswith((NAME, "MALLOC_")) for name in os.environ)
    return library == "glibc" and numbers >= (2, 35) and not told and "[madvise]" in _enabled()


def _enabled() -> str:
    """ "always [madvise] never", as Linux has it; "" where it knows no such pages."""
    return HUGE_PAGES.read_text() if HUGE_PAGES.exists() else ""
