"""The main job in two processes of four devices: what it comes to is what one process of eight comes to."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from acecoder_jax import store
from tests.processes import ends, pair
from tests.stages.runs import MEASURED, PROBLEMS, start


def args(model: Path, workdir: Path) -> list[str]:
    """Five prompts, so that the processes' shares differ; held-out problems that the policy has learned."""
    small = {
        "rollouts": 2, "prompts_per_rollout": 5, "samples_per_prompt": 4, "minibatch": 8, "max_new_tokens": 32,
        "data_args": {"split": "train", "count": PROBLEMS}, "heldout_args": {"split": "train", "count": 9},
        "heldout_samples": 2, "optimizer.learning_rate": 1e-3, "checkpoint.every": 1, "trainer.rows": 4,
        "engine.slots": 8, "reward_args.kind": "pass_rate", "max_prompt_tokens": 80, "mesh.data": 2, "mesh.fsdp": 2,
        "mesh.tensor": 2,
    }  # fmt: skip
    pairs = ",".join(f"{key}={value}" for key, value in small.items())
    return [f"--config=configs/rl_rule.py:tiny,{pairs}", f"--config.model={model}", f"--workdir={workdir}"]


def decided(workdir: Path) -> list[dict]:
    rows = store.read_jsonl(workdir / "metrics.jsonl")
    return [{name: float(value) for name, value in row.items() if name not in MEASURED} for row in rows]


def samples(workdir: Path) -> list[tuple]:
    rows = [row for file in sorted((workdir / "rollouts").iterdir()) for row in store.read_jsonl(file)[1:]]
    return [
        (
            row["completion"]["problem_id"],
            row["completion"]["sample"],
            row["completion"]["tokens"],
            row["verdict"]["statuses"],
        )
        for row in rows
    ]


@pytest.fixture(scope="module")
def together(small_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workdir of the run in two processes."""
    workdir = tmp_path_factory.mktemp("hosts") / "two"
    for code, out, err in ends(pair(args(small_policy, workdir), devices=4)):
        assert code == 0, out + err
    return workdir


def test_as_one_process(small_policy: Path, together: Path, tmp_path: Path) -> None:
    """The same tokens and verdicts; losses, gradients and log-probs to float32's rounding in another order of sums."""
    start(*args(small_policy, tmp_path / "one"), devices=8)
    assert samples(together) == samples(tmp_path / "one")
    rows, alone = decided(together), decided(tmp_path / "one")
    assert len(rows) == 2 and 0 < rows[0]["reward_mean"] < 1
    for row, other in zip(rows, alone, strict=True):
        assert row.keys() == other.keys()
        for name in row:
            np.testing.assert_allclose(row[name], other[name], rtol=1e-4, atol=1e-6, err_msg=name)
    results = store.read_json(together / "results.json")
    assert results == store.read_json(tmp_path / "one" / "results.json")
    assert results["heldout"]["after"]["pass@1"] > 0


# After a SIGKILL the other process waits for a heartbeat, 100 seconds.
KILLED = pytest.param(signal.SIGKILL, "000001", marks=pytest.mark.slow)


@pytest.mark.parametrize(("number", "seen"), [KILLED, (signal.SIGTERM, "000000")])
def test_one_process_is_ended(small_policy: Path, together: Path, tmp_path: Path, number: int, seen: str) -> None:
    """The other one ends too; the same command goes on, to the same parameters, bit for bit."""
    workdir = tmp_path / "killed"
    hosts = pair(args(small_policy, workdir), devices=4)
    file, deadline = workdir / "rollouts" / f"{seen}.jsonl", time.monotonic() + 240
    while not file.exists():
        assert hosts[1].poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(hosts[1].pid, number)
    first, second = ends(hosts)
    if number == signal.SIGTERM:
        assert first[0] == second[0] == 143 and "stopped at " in first[1], first[2] + second[2]
    assert first[0] not in (0, None), first[2]
    assert not (workdir / "model").exists()
    for code, out, err in ends(pair(args(small_policy, workdir), devices=4)):
        assert code == 0, out + err
    assert samples(workdir) == samples(together)
    assert decided(workdir) == decided(together)
    weights = "model/model.safetensors"
    assert (workdir / weights).read_bytes() == (together / weights).read_bytes()
    assert len(store.read_jsonl(workdir / "starts.jsonl")) == 2
