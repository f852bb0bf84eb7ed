"""Large blocks in huge pages: whether they are asked for, once, and what is left alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from acecoder_jax import memory

PROGRAM = """
import os, sys
from pathlib import Path
from acecoder_jax import memory

print("start")
sys.stdout.flush()
memory.use_huge_pages()
block = bytearray(96 << 20)
flags, size = [], 0
for line in Path("/proc/self/smaps").read_text().splitlines():
    if line.startswith("Size:"):
        size = int(line.split()[1]) >> 10
    elif line.startswith("VmFlags:") and size >= 96:
        flags += line.split()[1:]
print("hg" in flags, os.environ.get("GLIBC_TUNABLES"), *sys.argv[1:])
"""


def said(*arguments: str, **environment: str) -> list[str]:
    """What the program printed, line by line."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("GLIBC_TUNABLES", "MALLOC_"))}
    asked = [sys.executable, "-c", PROGRAM, *arguments]
    env = plain | {"JAX_PLATFORMS": "cpu"} | environment
    return subprocess.run(asked, env=env, check=True, capture_output=True, text=True).stdout.splitlines()


@pytest.mark.skipif(not memory.can_ask(), reason="no huge pages to ask for")
def test_large_blocks_are_in_huge_pages_after_one_more_start():
    assert said("--one", "a b") == ["start", "start", "True None --one a b"]


@pytest.mark.parametrize("own", ["glibc.malloc.check=0", "glibc.malloc.hugetlb=0"])
def test_settings_of_the_users_own_are_left_alone(own):
    assert said(GLIBC_TUNABLES=own) == ["start", f"False {own}"]


def test_an_accelerators_run_is_left_alone():
    assert said(JAX_PLATFORMS="cuda") == ["start", "False None"]


@pytest.mark.parametrize(
    ("library", "kernel", "variable", "wanted"),
    [
        (("glibc", "2.36"), "always [madvise] never", "", True),
        (("glibc", "2.31"), "always [madvise] never", "", False),
        (("", ""), "always [madvise] never", "", False),
        (("glibc", "2.36"), "[always] madvise never", "", False),
        (("glibc", "2.36"), None, "", False),
        (("glibc", "2.36"), "always [madvise] never", "MALLOC_ARENA_MAX", False),
    ],
)
def test_where_it_is_of_use(library, kernel, variable, wanted, tmp_path: Path, monkeypatch):
    for name in [name for name in os.environ if name.startswith(("GLIBC_TUNABLES", "MALLOC_"))]:
        monkeypatch.delenv(name)
    if variable:
        monkeypatch.setenv(variable, "1")
    if kernel is not None:
        (tmp_path / "enabled").write_text(kernel)
    monkeypatch.setattr(memory, "HUGE_PAGES", tmp_path / "enabled")
    monkeypatch.setattr(memory.platform, "libc_ver", lambda: library)
    assert memory.can_ask() is wanted


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
def test_it_is_for_a_cpu(asked: str, devices: list[str], wanted: bool, tmp_path: Path, monkeypatch):
    for name in devices:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.setattr(memory, "DEVICES", tmp_path)
    monkeypatch.setenv("JAX_PLATFORMS", asked)
    assert memory.on_cpu() is wanted
