"""A run that is stopped, killed or robbed of its checkpoints ends as one that was not: in every number, bit for bit."""

import contextlib
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from acecoder_jax import store
from tests.stages.runs import (
    ROOT,
    assert_same_run,
    checkpoints,
    command,
    decided,
    environment,
    rl_args,
    samples,
    start,
    stop_when,
)

# 12 problems are 3 rollouts an epoch, so 5 rollouts cross its end; two passes of two mini-batches each.
MANY = {
    "rollouts": 5, "data_args": {"split": "train", "count": 12}, "passes": 2, "checkpoint.every": 1,
    "checkpoint.minibatches": 1, "heldout_args": {},
}  # fmt: skip
AHEAD = {"off_policy_steps": 1, "algorithm_args.importance_cap": 2.0}


@pytest.fixture(scope="module")
def whole(small_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("whole")
    start(*rl_args(small_policy, workdir, **MANY))
    return workdir


@pytest.fixture(scope="module")
def whole_ahead(small_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("ahead")
    start(*rl_args(small_policy, workdir, **MANY, **AHEAD))
    return workdir


def test_stopped_in_the_middle_of_a_rollouts_updates(small_policy: Path, whole: Path, tmp_path: Path) -> None:
    args = rl_args(small_policy, tmp_path, **(MANY | {"checkpoint.every": 4, "checkpoint.minibatches": 0}))
    code, out = stop_when((tmp_path / "logps" / "000003.npz").exists, signal.SIGTERM, args)
    assert code == 143, out
    (at,) = checkpoints(tmp_path) - {"0"}
    assert at.partition(".")[0] == "3"  # before its first update where the signal was quick, else between two
    assert "SIGTERM: stopping as soon as" in out and f"stopped at {tmp_path / 'checkpoints' / at}" in out
    assert "stopped by SIGTERM: the same command with the same workdir goes on" in out and "Traceback" not in out

    full = ["bash", "-c", 'ulimit -S -f 100 && exec "$@"', "bash", *command(*args)]  # no file may have more than 100 KB
    done = subprocess.run(full, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=600)
    assert done.returncode == 1
    said = done.stderr.rpartition("error: checkpoint 4 could not be written: ")[2]
    assert f"the last good one is {tmp_path / 'checkpoints' / at}" in said and "Traceback" not in said
    assert checkpoints(tmp_path) == {"0", at}

    start(*args)
    assert_same_run(tmp_path, whole)


def test_stopped_while_it_draws_by_ctrl_c(small_policy: Path, whole: Path, tmp_path: Path) -> None:
    args = rl_args(small_policy, tmp_path, **MANY)
    code, out = stop_when(lambda: "1" in checkpoints(tmp_path), signal.SIGINT, args)
    assert code == 130, out
    assert f"stopped at {tmp_path / 'checkpoints'}" in out and "Traceback" not in out
    start(*args)
    assert_same_run(tmp_path, whole)


def test_damaged_and_lost_checkpoints(small_policy: Path, whole: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "run"
    shutil.copytree(whole, workdir)
    shutil.rmtree(workdir / "model")
    assert checkpoints(workdir) == {"4.3", "5"}
    args = rl_args(small_policy, workdir, **MANY)
    for name, kind in (("5", "_METADATA"), ("4.3", "manifest.json")):
        next((workdir / "checkpoints" / name).rglob(kind)).unlink()
    out = start(*args).stdout
    assert "checkpoint 5 cannot be used: state/_METADATA is missing" in out
    assert "checkpoint 4.3 cannot be used: manifest.json is damaged or missing" in out
    assert "with the rollouts that are on the disk" in out
    assert {path.name for path in (workdir / "checkpoints").glob("*.unusable")} == {"5.unusable", "4.3.unusable"}
    assert_same_run(workdir, whole)

    for lost in ("model", "checkpoints/5"):
        shutil.rmtree(workdir / lost)
    out = start(*args).stdout  # from 4.3, in the middle of a rollout's updates
    assert "cannot be used" not in out and "begins at the beginning" not in out
    assert_same_run(workdir, whole)

    shutil.rmtree(workdir / "model")
    shutil.rmtree(workdir / "checkpoints" / "5")
    (workdir / "logps" / "000004.npz").unlink()  # without it 4.3 is of no use
    out = start(*args).stdout
    assert "checkpoint 4.3 cannot be used: the log-probs of its rollout" in out
    assert_same_run(workdir, whole)


def test_one_step_off_policy(small_policy: Path, whole_ahead: Path, tmp_path: Path) -> None:
    rows = store.read_jsonl(whole_ahead / "metrics.jsonl")
    assert [row["staleness"] for row in rows] == [0, 1, 1, 1, 1]
    assert rows[0]["logp_gap"] < 1e-4 < min(row["logp_gap"] for row in rows[1:])
    assert rows[0]["importance_mean"] == pytest.approx(1, abs=1e-4)
    args = rl_args(small_policy, tmp_path, **MANY, **AHEAD)
    code, out = stop_when((tmp_path / "logps" / "000002.npz").exists, signal.SIGTERM, args)
    assert code == 143, out
    (at,) = (name for name in checkpoints(tmp_path) if name == out.rpartition("checkpoints/")[2].split(";")[0])
    # Once updates have been done, only the weights of before them can draw rollout 3, unless it is on the disk.
    about = store.read_json(tmp_path / "checkpoints" / at / "manifest.json")["about"]
    assert about["behavior"] or at == "2" or (tmp_path / "rollouts" / "000003.jsonl").exists()
    start(*args)
    assert_same_run(tmp_path, whole_ahead)


def test_a_changed_config_in_the_middle_of_a_rollout(small_policy: Path, whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "checkpoints" / "5")
    args = rl_args(small_policy, tmp_path, **(MANY | {"rollouts": 6, "optimizer.learning_rate": 2e-3}))
    out = start(*args, "--allow_config_change").stdout
    assert "the config changed in the middle of rollout 4: its other updates are left out" in out
    rows = decided(tmp_path)
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    # of rollout 4 the row says what was done of it, not what the old run had come to later
    assert rows[4]["cut_after"] == 3 and "reward_mean" not in rows[4] and "reward_mean" in rows[5]


def test_on_another_mesh(small_policy: Path, whole: Path, tmp_path: Path) -> None:
    """From its fourth update on on eight devices, over all axes: the rollout on the disk is used, and the update is the
    same up to the rounding of float32."""
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "checkpoints" / "5")
    mesh = {"mesh.data": 2, "mesh.fsdp": 2, "mesh.tensor": 2}
    args = rl_args(small_policy, tmp_path, **(MANY | mesh))
    refused = start(*args, devices=8, check=False)
    assert refused.returncode == 1 and "mesh.tensor: 1 -> 2" in refused.stderr
    start(*args, "--allow_config_change", devices=8)
    assert samples(tmp_path) == samples(whole)
    *before, row = decided(tmp_path)
    *expected, last = decided(whole)
    assert before == expected and row.keys() == last.keys() and row["step"] == 5
    for name, value in last.items():
        assert row[name] == pytest.approx(value, rel=1e-5, abs=1e-7), name


def written(workdir: Path) -> set[tuple[str, int]]:
    """What a run's loop has written: it changes as soon as the loop goes on."""
    found = set()
    for name in ("checkpoints", "rollouts", "logps"):
        for path in (workdir / name).glob("[0-9]*"):
            with contextlib.suppress(FileNotFoundError):  # it has just gone
                found.add((str(path), path.stat().st_mtime_ns))
    return found


def kill_at_random(draw: random.Random, workdir: Path, args: list[str]) -> tuple[str, int, str, str] | None:
    """SIGKILL or SIGTERM to a run within its loop, and what it left; None where it ended before that."""
    number = draw.choice((signal.SIGKILL, signal.SIGTERM))
    before = written(workdir)
    process = subprocess.Popen(
        command(*args), cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while process.poll() is None and written(workdir) == before:
        time.sleep(0.005)
    time.sleep(draw.choice((draw.uniform(0, 0.3), draw.uniform(0, 3))))
    process.send_signal(number)
    code = process.wait(timeout=120)
    if code == 0:
        return None
    left = [path.name for path in (workdir / "checkpoints").glob(".*")]
    return signal.Signals(number).name, code, " ".join(sorted(checkpoints(workdir))), " ".join(left)


def test_losses_that_are_not_finite_end_the_run(small_policy: Path, tmp_path: Path) -> None:
    wild = {"passes": 4, "optimizer.learning_rate": 1e30, "max_skipped": 3, "checkpoint.minibatches": 1}
    done = start(*rl_args(small_policy, tmp_path, **(MANY | wild)), check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    # the first update throws the policy out of all bounds; the third after it is one too many
    assert "not finite in 3 updates in a row (max_skipped)" in done.stderr
    assert f"the last good one is {tmp_path / 'checkpoints' / '0.3'}" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["on policy", "one step off"])
def test_random_kills(mode: str, small_policy: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """At least twenty kills within the loop, of runs that are started again and again until they are done."""
    extra = AHEAD if mode == "one step off" else {}
    whole = request.getfixturevalue("whole_ahead" if extra else "whole")
    draw = random.Random(0)
    kills: list[tuple[str, int, str, str]] = []
    runs = 0
    while len(kills) < 20:
        workdir = tmp_path / str(runs)
        args = rl_args(small_policy, workdir, **MANY, **extra)
        for _ in range(8):
            if (kill := kill_at_random(draw, workdir, args)) is not None:
                kills.append(kill)
                print(runs, *kill, sep=" | ")
        start(*args)
        assert_same_run(workdir, whole)
        runs += 1
    codes = [code for _, code, *_ in kills]
    assert set(codes) <= {-9, -15, 143}  # -15: after the loop, with everything saved
    assert codes.count(-9) >= 5 and codes.count(143) >= 5
    print(f"{mode}: {len(kills)} kills of {runs} runs, {codes.count(-9)} by SIGKILL")
