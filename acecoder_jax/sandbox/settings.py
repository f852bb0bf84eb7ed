"""What a jail is made of on this machine."""

import os
import resource
import sys
import sysconfig
from typing import Any

from .job import Limits

WARM = (
    "abc bisect cmath collections collections.abc contextlib copy datetime decimal enum fractions functools heapq"
    " itertools json math numbers operator random re statistics string time typing"
).split()


def jail_settings(limits: Limits, isolation: int | None, min_isolation: int, preload: tuple[str, ...]) -> dict[str, Any]:
    """The zygote's configuration, as JSON values."""
    base = 64 << 20
    everywhere = [
        (resource.RLIMIT_AS, limits.memory_bytes + base),
        (resource.RLIMIT_FSIZE, limits.file_bytes),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 64),
    ]
    return {
        "preload": [*WARM, *preload],
        "path": [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib") + "/lib-dynload"],
        "rlimits": everywhere,
        "child_rlimits": [(resource.RLIMIT_NPROC, 0), (resource.RLIMIT_CPU, int(limits.program_s) + 2)],
        "python": sys.version,
        "uid": os.getuid(),
    }
