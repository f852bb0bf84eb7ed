"""The command line, as a user meets it: each test starts a process of its own and reads what it prints."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from acecoder_jax import main, store

CONFIG = """
from ml_collections import ConfigDict
from acecoder_jax import presets

PRESETS = {"tiny": {"learning_rate": 1e-3}, "7b": {}}

def get_config(argument=""):
    preset, overrides = presets.parse(argument, PRESETS, default="7b")
    config = ConfigDict({"stage": "probe", "seed": 0, "learning_rate": 5e-7, "mesh": {"fsdp": -1}})
    config.update(how="", jobs=1)
    presets.apply(config, PRESETS[preset])
    presets.apply(config, overrides)
    return config
"""
STAGE = """
import json
import jax
from acecoder_jax import store
from acecoder_jax.stops import Stopped

MAY_CHANGE = ("jobs",)

def run(config, workdir):
    print("ran:", config.learning_rate, config.seed, config.is_locked, jax.config.jax_compilation_cache_dir)
    if config.how == "refused":
        raise ValueError("nothing can be refused")
    (workdir / "done.txt").write_text("something")
    if config.how == "damaged":
        (workdir / "rows.jsonl").write_text("{")
        store.read_jsonl(workdir / "rows.jsonl")
    if config.how == "absent":
        open("not_there.txt")
    if config.how == "bug":
        json.loads("not JSON")
    if config.how == "ctrl-c":
        raise KeyboardInterrupt
    if config.how == "stopped":
        raise Stopped(15)
    if config.how == "full":
        (workdir / "link").symlink_to("/dev/full")
        (workdir / "link").write_bytes(b"1")
"""
START = """
from absl import app
import acecoder_jax.stages
acecoder_jax.stages.__path__ = [*acecoder_jax.stages.__path__, "stages"]
from acecoder_jax import main
app.run(main.main, flags_parser=main.parse_flags)
"""

NO_CONFIG = "no config named: --config=FILE[:preset[,key=value...]], as in configs/rl_rule.py:tiny"
MISSPELT = "unknown config key 'lerning_rate'; did you mean 'learning_rate'?"


@pytest.fixture
def start(tmp_path):
    """Runs main in a folder that holds toy.py (a config) and the stage `probe`."""
    (tmp_path / "toy.py").write_text(CONFIG)
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "probe.py").write_text(STAGE)
    env = {name: value for name, value in os.environ.items() if name not in ("JAX_COMPILATION_CACHE_DIR", "XLA_FLAGS")}
    env |= {"PYTHONPATH": str(Path(main.__file__).parents[1]), "XDG_CACHE_HOME": str(tmp_path / "cache")}

    def run(*args, **more):
        command = [sys.executable, "-c", START, *args]
        return subprocess.run(command, cwd=tmp_path, env=env | more, capture_output=True, text=True, timeout=120)

    return run


def test_a_stage_runs_with_the_resolved_config(start, tmp_path):
    done = start("--config=toy.py:tiny,mesh.fsdp=2", "--seed=3", "--config.jobs=4")
    assert done.returncode == 0, done.stderr
    for line in ("  learning_rate: 0.001\n", "  mesh:\n    fsdp: 2\n", "  jobs: 4\n", "devices: 1 x cpu"):
        assert line in done.stdout
    assert "workdir: runs/toy-tiny-seed3\n" in done.stdout
    assert f"ran: 0.001 3 True {tmp_path}/cache/acecoder_jax/xla\n" in done.stdout
    saved = store.read_json(tmp_path / "runs/toy-tiny-seed3/config.json")
    assert saved["seed"] == 3 and saved["mesh"] == {"fsdp": 2}
    (row,) = store.read_jsonl(tmp_path / "runs/toy-tiny-seed3/starts.jsonl")
    assert "--seed=3" in row["command"] and row["versions"]["jax"]


def test_the_compilation_cache_of_the_environment_is_honoured(start):
    done = start("--config=toy.py", JAX_COMPILATION_CACHE_DIR="/elsewhere")
    assert "True /elsewhere\n" in done.stdout


def test_a_changed_config_is_refused_unless_allowed(start):
    first, again = ["--config=toy.py", "--workdir=w"], ["--config=toy.py:tiny", "--workdir=w"]
    assert start(*first).returncode == 0
    assert "changed since the last start: jobs: 1 -> 2" in start(*first, "--config.jobs=2").stdout
    refused = start(*again)
    assert refused.returncode == 1 and "ran:" not in refused.stdout
    assert "  learning_rate: 5e-07 -> 0.001\n" in refused.stderr and "--allow_config_change" in refused.stderr
    allowed = start(*again, "--allow_config_change")
    assert "changed since the last start: learning_rate: 5e-07 -> 0.001" in allowed.stdout and "ran:" in allowed.stdout


def test_a_config_with_which_nothing_was_done_may_be_mended(start):
    refused = start("--config=toy.py", "--workdir=w", "--config.how=refused")
    assert refused.returncode == 1 and "nothing can be refused" in refused.stderr
    mended = start("--config=toy.py", "--workdir=w")
    assert mended.returncode == 0 and "ran:" in mended.stdout, mended.stderr
    assert "this run began with another config" in start("--config=toy.py:tiny", "--workdir=w").stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], NO_CONFIG),
        (["--config.seed=1"], NO_CONFIG),
        (["--config=tou.py:tiny"], "no config file 'tou.py'; there are: toy.py"),
        (["--config=toy.py:tinny"], "unknown preset 'tinny'; the presets are: tiny, 7b"),
        (["--config=toy.py:tiny,lerning_rate=1"], MISSPELT),
        (["--config=toy.py:tiny", "--config.lerning_rate=1"], MISSPELT),
        (["--config", "toy.py", "--config.lerning_rate", "1"], MISSPELT),
        (["--config=toy.py", "--config.seed=x"], "flag --config.seed=x: invalid literal for int() with base 10: 'x'"),
        (["--config=toy.py", "--sed=1"], "Unknown command line flag 'sed'. Did you mean: seed"),
        (["--config=toy.py", "tiny"], "unexpected argument 'tiny': flags are written --name=value"),
    ],
)
def test_a_wrong_command_ends_in_one_line(start, args, message):
    done = start(*args)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2 and line.startswith(f"error: {message}")
    assert done.stdout == ""


def test_an_unknown_stage_lists_those_that_exist(start):
    done = start("--config=toy.py", "--config.stage=prob")
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1 and "unknown stage 'prob'; the stages are: " in line and "probe" in line


@pytest.mark.parametrize(
    ("how", "code", "message"),
    [
        ("damaged", 1, "error: w/rows.jsonl, line 1: damaged JSON"),
        ("absent", 1, "error: [Errno 2] No such file or directory: 'not_there.txt'"),
        ("ctrl-c", 130, "interrupted; the same command"),
        ("stopped", 143, "stopped by SIGTERM: the same command"),
        ("full", 1, "error: nothing more can be written: [Errno 28] No space left on device. Make room; then the same"),
    ],
)
def test_what_a_user_can_mend_is_said_without_a_traceback(start, how, code, message):
    done = start("--config=toy.py", "--workdir=w", f"--config.how={how}")
    assert done.returncode == code
    assert done.stderr.startswith(message) and "Traceback" not in done.stderr


def test_an_error_inside_a_library_keeps_its_traceback(start):
    done = start("--config=toy.py", "--config.how=bug")
    assert done.returncode == 1 and "Traceback" in done.stderr and 'json.loads("not JSON")' in done.stderr


@pytest.mark.parametrize(
    ("argument", "workdir"),
    [
        ("configs/rl_rule.py:tiny", "runs/rl_rule-tiny-seed1"),
        ("configs/rl_rule.py:tiny,seed=1", "runs/rl_rule-tiny-seed1"),
        ("configs/rl_rule.py", "runs/rl_rule-seed1"),
        ("configs/rl_rule.py:seed=1", "runs/rl_rule-seed1"),
    ],
)
def test_default_workdir(argument, workdir):
    assert main.default_workdir(argument, 1) == workdir
