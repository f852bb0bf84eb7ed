import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import pytest

from acecoder_jax.sandbox import Sandbox, SandboxError
from acecoder_jax.sandbox.settings import GUARANTEES, TIERS, describe, jail_settings

ROOT = pathlib.Path(__file__).resolve().parents[2]
AS_USER = """
import os, sys
sys.path.insert(0, sys.argv[1])
from acecoder_jax.sandbox import Job, Sandbox
os.setgroups([])
os.setgid(1000)
os.setuid(1000)
with Sandbox(workers=1) as sandbox:
    verdict = sandbox.submit(Job("a", "def f(x): return x", ("assert f(1) == 1", "assert f(1) + 0 == 1"))).result(60)
print(sandbox.report["tier"], verdict.passed)
"""


def test_the_best_tier_is_chosen_and_told(capfd):
    with Sandbox(workers=1) as sandbox:
        tier = sandbox.report["tier"]
    assert f"isolation tier {tier} of 4" in capfd.readouterr().err


def test_what_a_tier_does_not_promise_is_told():
    report = {"landlock": False, "uid_dropped": False}
    told = {tier: describe(report | {"tier": tier}) for tier in TIERS}
    assert "not hide" not in told[1] and "not hide" not in told[2]
    assert told[3].endswith("; does not hide the names of Python's packages, the host's processes and network")
    assert "does not hide files that this user may read, the memory of this user's other processes, " in told[4]


def test_the_page_shows_the_same_table():
    rows = [line.strip("|").split("|") for line in (ROOT / "docs/sandbox.md").read_text().splitlines() if "|" in line]
    shown = {cells[0].strip(): [cell.strip(" *") for cell in cells[1:]] for cells in rows}
    for promise, weakest, _ in GUARANTEES:
        kept = [cell.startswith("yes") for cell in shown[promise]]
        assert kept == [tier <= weakest for tier in TIERS], promise
        assert all(cell.startswith(("yes", "no")) for cell in shown[promise]), promise


def test_a_tier_that_cannot_be_had_is_refused_with_what_is_missing(monkeypatch):
    from acecoder_jax.sandbox import settings

    answer = {"report": {"tier": 3}, "refused": {1: "needs root", 2: "unshare: Operation not permitted"}}
    monkeypatch.setattr(settings, "_probe", lambda isolation, preload: answer)
    with pytest.raises(SandboxError, match=r"tier 3 is the best.*min_isolation is 2.*needs root.*not permitted"):
        jail_settings(None, 2, ())


def test_unknown_tiers_and_packages():
    with pytest.raises(SandboxError, match="from 1 to 4"):
        jail_settings(None, 5, ())
    with pytest.raises(SandboxError, match="not installed"):
        jail_settings(None, 4, ("no_such_package",))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_as_an_ordinary_user():
    python = next(filter(_reachable, (sys.executable, "/usr/bin/python3.12", "/usr/bin/python3.11")), None)
    if python is None:
        pytest.skip("no Python of this machine lies where other users can reach it")
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # the checkout may be private too
        os.chmod(folder, 0o755)
        shutil.copytree(ROOT / "acecoder_jax", f"{folder}/acecoder_jax", ignore=shutil.ignore_patterns("__pycache__"))
        done = subprocess.run([python, "-c", AS_USER, folder], capture_output=True, text=True, timeout=120, cwd="/")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[1] == "True" and done.stdout.split()[0] in "234", done.stderr


def _reachable(path):
    real = pathlib.Path(path).resolve()
    return real.exists() and all(os.stat(parent).st_mode & 0o1 for parent in [*real.parents, pathlib.Path(path).parent])
