"""What this machine's CPU is, and how fast it multiplies bfloat16 (measured: docs/results/train.md and decode.md)."""

import functools
import platform
from pathlib import Path


@functools.cache
def about() -> str:
    """What code for this very CPU depends on: the instructions that it has."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    wanted = ("flags", "Features", "vendor_id", "model name")
    return platform.machine() + "".join(sorted({line for line in lines if line.startswith(wanted)}))


def has_fast_dot() -> bool:
    """Whether AVX512-BF16's own instruction pays: AMD runs it at twice float32's rate, Intel at half."""
    return "AuthenticAMD" in about() and "avx512_bf16" in about()


def is_slow_in_bfloat16() -> bool:
    """Whether XLA's products are slower in bfloat16 than in float32: without AMX or AMD's AVX512-BF16, on an x86."""
    return not ("amx_bf16" in about() or has_fast_dot() or platform.machine().lower().startswith(("arm", "aarch")))
