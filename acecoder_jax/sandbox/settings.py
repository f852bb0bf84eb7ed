"""What a jail is made of on this machine, and which tier of isolation it can have."""

import functools
import importlib.util
import json
import os
import resource
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

PYTHON = (sys.executable, "-s", "-S", "-P", "-B")
PACKAGE = str(Path(__file__).resolve().parent)
ENVIRONMENT = {
    "PYTHONHASHSEED": "0",  # the same order of sets in every run
    "LC_ALL": "C.UTF-8",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "LD_BIND_NOW": "1",  # symbols are looked up once, not in every child
}
WARM = (
    "abc", "bisect", "cmath", "collections", "collections.abc", "contextlib", "copy", "datetime", "decimal", "enum",
    "fractions", "functools", "heapq", "itertools", "json", "math", "numbers", "operator", "random", "re", "statistics",
    "string", "time", "typing",
)  # fmt: skip
RLIMITS = [  # of the zygote and its children
    (resource.RLIMIT_CORE, 0),
    (resource.RLIMIT_NOFILE, 64),
    (resource.RLIMIT_MEMLOCK, 0),
    (resource.RLIMIT_MSGQUEUE, 0),
]
CHILD_RLIMITS = [(resource.RLIMIT_NPROC, 0)]  # beside those that its job brings
TIERS = {
    1: "namespaces by root",
    2: "namespaces inside a user namespace",
    3: "Landlock, no namespaces",
    4: "rlimits and seccomp alone",
}
# What a jail promises, the weakest tier that keeps it, and what tiers below that one do not hide. docs/sandbox.md shows
# the same table.
GUARANTEES = (
    ("no sockets, exec, fork, threads, ptrace, signals, mounts, io_uring, memfd", 4, ""),
    ("no opening of files for writing", 4, ""),
    ("limits on CPU, memory, file size, descriptors; no core dumps; empty environment", 4, ""),
    ("no host files but Python's library (site-packages hidden)", 3, "files that this user may read"),
    ("memory of this user's other processes unreadable", 3, "the memory of this user's other processes"),
    ("names of Python's packages hidden", 2, "the names of Python's packages"),
    ("other processes invisible; own network, IPC, host name", 2, "the host's processes and network"),
)
_BOOT_PROBE = (
    "import sys, json; sys.path[:0] = [sys.argv[1]]; from jail import probe; probe.main(json.loads(sys.argv[2]))"
)


class SandboxError(RuntimeError):
    """The sandbox cannot start, or is not running."""


def jail_settings(
    isolation: int | None, min_isolation: int, preload: tuple[str, ...]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The zygote's configuration as JSON values, and what the machine said of its tier.

    Raises SandboxError where the machine cannot give `isolation`, or at least `min_isolation`.
    """
    if not sys.platform.startswith("linux"):
        raise SandboxError(f"the sandbox needs Linux, not {sys.platform}")
    if isolation not in (None, *TIERS) or min_isolation not in TIERS:
        raise SandboxError(f"isolation tiers go from 1 to 4, not {isolation}, {min_isolation}")
    found = _probe(isolation, preload)
    tier = found["report"]["tier"] if found["report"] else 5
    if tier > min_isolation:
        missing = "; ".join(f"tier {number} ({TIERS[int(number)]}): {why}" for number, why in found["refused"].items())
        best = f"tier {tier} is the best" if found["report"] else "no tier works"
        raise SandboxError(f"{best} on this machine and min_isolation is {min_isolation}. {missing}")
    config = {
        "tier": tier,
        "preload": [*WARM, *preload],
        "path": found["path"],
        "readable": found["readable"],
        "links": found["links"],
        "hidden": found["hidden"],
        "rlimits": RLIMITS,
        "child_rlimits": CHILD_RLIMITS,
    }
    return config, found["report"]


@functools.cache
def _probe(isolation: int | None, preload: tuple[str, ...]) -> dict[str, Any]:
    paths = python_paths()
    packages = [path for name in preload for path in package(name)]
    config = paths | {
        "tiers": [isolation] if isolation else list(TIERS),
        "packages": list(preload),
        "path": [*paths["path"], *dict.fromkeys(str(Path(path).parent) for path in packages)],
        "readable": [*paths["readable"], *packages],
        "rlimits": RLIMITS,
        "child_rlimits": CHILD_RLIMITS,
    }
    return config | probe(config)


def python_paths() -> dict[str, Any]:
    """Where Python's own library lies: "extensions", "path" (of imports), "readable", "hidden" (packages in there)."""
    library = os.path.dirname(os.__file__)
    candidates = (f"{library}/lib-dynload", str(sysconfig.get_config_var("DESTSHARED")))
    extensions = next((path for path in candidates if os.path.isdir(path)), library)
    return {
        "extensions": extensions,
        "path": [library, extensions],
        "readable": [library] + ([] if extensions.startswith(library) else [extensions]),
        "hidden": [path for name in ("site-packages", "dist-packages") if os.path.isdir(path := f"{library}/{name}")],
    }


def probe(config: dict[str, Any]) -> dict[str, Any]:
    """What jail/probe.py finds out: "report" of the best of config["tiers"], "refused", "readable", "links"."""
    done = subprocess.run(
        [*PYTHON, "-c", _BOOT_PROBE, PACKAGE, json.dumps(config)],
        env=ENVIRONMENT | config.get("environment", {}), stdin=subprocess.DEVNULL, capture_output=True, text=True,
        cwd="/", timeout=120, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SandboxError(f"the sandbox's probe failed: {done.stderr[-2000:]}")
    return json.loads(done.stdout)


def package(name: str) -> list[str]:
    """Where an installed package lies, with the folder of its own libraries."""
    spec = importlib.util.find_spec(name)
    if spec is None or not (spec.submodule_search_locations or spec.origin):
        raise SandboxError(f"preload names {name!r}, which is not installed")
    found = list(spec.submodule_search_locations or [str(spec.origin)])
    return found + [libs for path in found if os.path.isdir(libs := f"{path}.libs")]


def describe(report: dict[str, Any]) -> str:
    """One line on what holds, and what a tier below the best does not promise."""
    parts = [f"isolation tier {report['tier']} of 4 ({TIERS[report['tier']]})", "seccomp"]
    parts += ["Landlock"] if report["landlock"] else []
    parts += ["uid dropped"] if report["uid_dropped"] else []
    missing = [words for _, weakest, words in GUARANTEES if report["tier"] > weakest]
    return ", ".join(parts) + (f"; does not hide {', '.join(missing)}" if missing else "")
