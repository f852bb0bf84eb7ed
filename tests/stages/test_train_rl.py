"""The main job end to end: what it leaves, and that a killed run goes on as if nothing had happened."""

import json
import math
from pathlib import Path

from acecoder_jax import store
from tests.stages.runs import PROBLEMS, kill_when, start

PROMISED = [
    "step", "reward_mean", "pass_rate", "response_tokens_mean", "kl", "entropy", "clip_fraction", "grad_norm",
    "logp_gap", "decode_tokens_per_s", "train_tokens_per_s", "step_s",
]  # fmt: skip
MEASURED = {"step_s", "decode_s", "logp_s", "update_s", "decode_tokens_per_s", "train_tokens_per_s"}


def args(model: Path, workdir: Path, **override: object) -> list[str]:
    small = {
        "rollouts": 4, "prompts_per_rollout": 4, "samples_per_prompt": 4, "minibatch": 8, "max_new_tokens": 32,
        "data_args": {"split": "train", "count": PROBLEMS}, "heldout_args": {"split": "heldout", "count": 4},
        "heldout_samples": 2,
        "optimizer.learning_rate": 1e-3, "checkpoint.every": 2, "trainer.rows": 4, "engine.slots": 8,
        "reward_args.kind": "pass_rate", "max_prompt_tokens": 80,
    }  # fmt: skip
    pairs = ",".join(f"{key}={value}" for key, value in (small | override).items())
    return [f"--config=configs/rl_rule.py:tiny,{pairs}", f"--config.model={model}", f"--workdir={workdir}"]


def decided(workdir: Path) -> list[dict]:
    """The rows of a run without what a clock measured."""
    rows = store.read_jsonl(workdir / "metrics.jsonl")
    return [{name: value for name, value in row.items() if name not in MEASURED} for row in rows]


def samples(workdir: Path) -> list[tuple]:
    """Every completion and verdict of a run, without times."""
    rows = [row for file in sorted((workdir / "rollouts").iterdir()) for row in store.read_jsonl(file)[1:]]
    return [(json.dumps(row["completion"]), row["verdict"]["statuses"]) for row in rows]


def test_a_run_and_a_killed_and_resumed_run_agree(small_policy: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    out = start(*args(small_policy, whole)).stdout
    assert "held-out problems (4), before: pass@1" in out and "held-out problems (4), after: pass@1" in out
    assert "samples of rollout 4" in out
    results = store.read_json(whole / "results.json")["heldout"]
    assert set(results["before"]) == set(results["after"]) == {"pass@1", "pass@2"}
    rows = store.read_jsonl(whole / "metrics.jsonl")
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert all(math.isfinite(float(row[name])) for row in rows for name in PROMISED)
    assert max(row["logp_gap"] for row in rows) < 1e-4
    assert 0 < rows[0]["reward_mean"] < 1  # there is something to learn from
    assert rows[0]["kl"] == 0.0 < abs(rows[-1]["kl"])
    assert list((whole / "tensorboard").iterdir())

    # Killed inside rollout 3, after its samples were written: the last checkpoint is the one before rollout 2.
    kill_when((killed / "rollouts" / "000003.jsonl").exists, *args(small_policy, killed))
    assert not (killed / "model").exists()
    start(*args(small_policy, killed))
    assert decided(killed) == decided(whole)
    assert samples(killed) == samples(whole)
    weights = "model/model.safetensors"
    assert (killed / weights).read_bytes() == (whole / weights).read_bytes()
    assert len(store.read_jsonl(killed / "starts.jsonl")) == 2

    # A finished run has nothing left to do; a changed config is refused and named.
    start(*args(small_policy, whole))
    assert decided(whole) == decided(killed)
    refused = start(*args(small_policy, whole, **{"optimizer.learning_rate": 2e-3}), check=False)
    assert refused.returncode == 1
    assert "optimizer.learning_rate: 0.001 -> 0.002" in refused.stderr and "Traceback" not in refused.stderr
