"""Memory that stays with a process: whether pages are made anew, and what is said where it cannot be."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from acecoder_jax import memory

PROGRAM = """
import resource, sys
from pathlib import Path
from acecoder_jax import memory

print(memory.keep())
counts = []
for turn in range(6):
    block = b"x" * (96 << 20)
    del block
    counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print(counts[-1] - counts[0])
maps, heap = Path("/proc/self/smaps").read_text().splitlines(), False
flags = []
for line in maps:
    if "-" in line.split()[0]:
        heap = line.endswith("[heap]")
    elif heap and line.startswith("VmFlags:"):
        flags += line.split()[1:]
print("hg" in flags)
status = Path("/proc/self/status").read_text()
print(next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) >> 10)
"""


def said(**environment: str) -> list[str]:
    """What the program printed: whether it was done, faults, whether huge pages are asked for, MiB at most."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("GLIBC_TUNABLES", "MALLOC_"))}
    asked = [sys.executable, "-c", PROGRAM]
    return subprocess.run(asked, env=plain | environment, check=True, capture_output=True, text=True).stdout.split()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc")
def test_freed_memory_is_used_again_in_huge_pages():
    done, faults, huge, most = said()
    assert (done, huge) == ("True", str(Path("/sys/kernel/mm/transparent_hugepage").exists()))
    assert int(faults) < 1000  # a block has 24,576 pages
    assert int(most) < 400  # one block at a time


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc")
def test_the_environments_own_settings_are_left_alone():
    done, _, huge, _ = said(MALLOC_TRIM_THRESHOLD_="131072")
    assert (done, huge) == ("False", "False")


@pytest.mark.parametrize(
    ("asked", "devices", "wanted"),
    [
        ("cpu", ["nvidiactl"], True),
        ("cuda", [], False),
        ("", [], True),
        ("", ["vfio/vfio"], True),
        ("", ["vfio/0"], False),
        ("", ["nvidiactl"], False),
    ],
)
def test_it_is_for_a_cpu(asked: str, devices: list[str], wanted: bool, tmp_path, monkeypatch):
    for name in devices:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.setattr(memory, "DEVICES", tmp_path)
    monkeypatch.setattr(memory, "keep", lambda: True)
    monkeypatch.setenv("JAX_PLATFORMS", asked)
    assert memory.keep_on_cpu() is wanted
