"""Puts the zygote in its jail."""

import ctypes
import resource
from typing import Any

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38


def enter(config: dict[str, Any]) -> dict[str, Any]:
    """Confine this process; what it did, as JSON values."""
    libc = ctypes.CDLL(None, use_errno=True)
    for kind, limit in config["rlimits"]:
        resource.setrlimit(kind, (limit, limit))
    for option, value in ((_PR_SET_DUMPABLE, 0), (_PR_SET_NO_NEW_PRIVS, 1)):
        if libc.prctl(option, value, 0, 0, 0):
            raise OSError(ctypes.get_errno(), f"prctl({option})")
    return {"tier": 4, "told": "tier 4"}
