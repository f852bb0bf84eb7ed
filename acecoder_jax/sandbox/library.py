"""The library profile: programs that use installed packages, files and, if asked for, threads and a loopback network.

It opens more than a program that earns rewards may have, and its tests run beside the program, which can forge what
they say: it is for evaluation alone, where nobody trains against it. Only a sandbox that is made with a Library has
it, in a jail of its own; docs/sandbox.md has what each tier holds.
"""

import dataclasses
import functools
import importlib.metadata
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from .settings import CHILD_RLIMITS, PACKAGE, RLIMITS, TIERS, WARM, SandboxError, package, probe, python_paths

SCRATCH = ("/tmp", "/var/tmp", "/mnt", "/srv")  # where the scratch directory may be: nothing readable may lie there
SCRATCH_FILES = 1 << 14  # files and directories in it
DEVICES = ("/dev/null", "/dev/urandom")
ZONES = "/usr/share/zoneinfo"
FILES = {
    "/etc/hosts": "127.0.0.1 localhost\n",
    "/etc/passwd": "root:x:0:0::{scratch}:\nnobody:x:65534:65534::{scratch}:\n",
}
# Shared libraries that wheels take for granted (manylinux), beside those that Python itself has loaded.
LIBRARIES = (
    "libgcc_s.so.1", "libstdc++.so.6", "libm.so.6", "libdl.so.2", "librt.so.1", "libc.so.6", "libutil.so.1",
    "libpthread.so.0",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Library:
    """What programs of the library profile have beside those of the others.

    packages: distributions by the names that pip knows, which programs may import, each with all that it requires.
    preload: modules that are imported once, before the programs: what many of them import costs each its time.
    threads: whether threads may be started. loopback: TCP and UDP over IPv4, in a network with 127.0.0.1 alone.
    scratch_bytes: what the files of one program may come to. readable: further files and folders on this machine, of
    data that packages look for.
    """

    packages: tuple[str, ...] = ()
    preload: tuple[str, ...] = ()
    threads: bool = False
    loopback: bool = False
    scratch_bytes: int = 64 << 20
    readable: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.scratch_bytes < 1 << 16:
            raise ValueError(f"Library.scratch_bytes must be at least {1 << 16}, not {self.scratch_bytes!r}")

    def describe(self) -> str:
        """What it opens, in words."""
        opened = ["threads"] * self.threads + ["loopback network"] * self.loopback
        return ", ".join(["library profile: files", *opened, f"packages: {len(self.packages)} and what they require"])


@functools.cache
def library_settings(library: Library, tier: int) -> dict[str, Any]:
    """The configuration of the profile's zygote, as JSON values.

    tier: that of the sandbox. Raises SandboxError for one without mounts of its own, for what is not installed, and
    where the machine cannot give what the profile needs.
    """
    if tier > 2:
        raise SandboxError(
            f"the library profile needs isolation tier 1 or 2, and this sandbox has tier {tier} ({TIERS[tier]}): "
            "without mounts of its own, a program that may write could write wherever this user may"
        )
    for path in library.readable:
        if not os.path.isabs(path) or not os.path.exists(path):
            raise SandboxError(f"Library.readable names {path!r}: no absolute path of a file or folder")
    folders, entries = _found(library.packages)
    modules = [path for name in {one.partition(".")[0]: None for one in library.preload} for path in package(name)]
    paths = python_paths()
    readable = [*paths["readable"], *entries, *modules, *map(os.path.realpath, library.readable)]
    readable += [ZONES] if os.path.isdir(ZONES) else []
    scratch = _scratch([*readable, PACKAGE])
    config = paths | {
        "tier": tier,
        "tiers": [tier],
        "packages": list(library.preload),
        "libraries": LIBRARIES,
        "path": list(dict.fromkeys([*paths["path"], *folders, *(str(Path(path).parent) for path in modules)])),
        "readable": readable,
        "rlimits": RLIMITS,
        "child_rlimits": [] if library.threads else CHILD_RLIMITS,
        "preload": [*WARM, "tempfile", "unittest", "unittest.mock", *library.preload],
        "environment": {
            "HOME": scratch, "TMPDIR": scratch, "USER": "nobody", "LOGNAME": "nobody", "MPLBACKEND": "agg",
            "MPLCONFIGDIR": scratch, "MKL_NUM_THREADS": "1", "NUMEXPR_NUM_THREADS": "1",
        },
        "library": {
            "scratch": scratch, "scratch_bytes": library.scratch_bytes, "scratch_files": SCRATCH_FILES,
            "threads": library.threads, "loopback": library.loopback, "folders": folders,
            "devices": [path for path in DEVICES if os.path.exists(path)],
            "files": {path: text.format(scratch=scratch) for path, text in FILES.items()},
        },
    }  # fmt: skip
    told = probe(config)
    if not told["report"]:
        raise SandboxError(f"the library profile does not work on this machine: {told['refused'].get(str(tier))}")
    return config | {"readable": told["readable"], "links": told["links"]}


def _scratch(taken: Iterable[str]) -> str:
    """Where the scratch directory goes: over a folder in which nothing lies that the jail needs."""
    taken = [*taken]
    for place in SCRATCH:
        if os.path.isdir(place) and not any(path == place or path.startswith(f"{place}/") for path in taken):
            return place
    raise SandboxError(f"no place for the scratch directory: something is read from each of {', '.join(SCRATCH)}")


# ---- packages


def _found(packages: Sequence[str]) -> tuple[list[str], list[str]]:
    """The folders that distributions and all that they require are installed in, and their own entries there."""
    folders: dict[str, None] = {}
    entries: dict[str, None] = {}
    for one in _closure(packages) if packages else ():
        files = one.files
        if not files:
            raise SandboxError(f"Library.packages: {one.metadata['Name']} has no list of its files: install it by pip")
        folder = str(one.locate_file(""))
        folders[folder.rstrip("/")] = None
        for top in dict.fromkeys(file.parts[0] for file in files):
            path = os.path.join(folder, top)
            if top not in ("..", "__pycache__", "/") and not top.endswith(".pth") and os.path.exists(path):
                entries[path] = None
    return [*folders], [*entries]


def _closure(packages: Iterable[str]) -> Iterator[importlib.metadata.Distribution]:
    """The distributions of these names, and what they require; each once."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    queue, seen = [(name, "") for name in packages], set()
    while queue:
        name, because = queue.pop()
        if (known := canonicalize_name(name)) in seen:
            continue
        seen.add(known)
        try:
            one = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            if because:
                continue  # what a package requires and does not find: its own business
            raise SandboxError(f"Library.packages names {name!r}, which is not installed") from None
        for text in one.requires or ():
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                queue.append((needed.name, name))
        yield one
