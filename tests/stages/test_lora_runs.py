"""Runs that train an adapter: they learn, they resume, and they load no second model."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from safetensors.numpy import load_file

from acecoder_jax import store
from acecoder_jax.algorithms import reinforce_pp
from acecoder_jax.stages import _rl_parts
from tests.stages.runs import SFT, assert_same_run, kill_when, rl_args, start

LORA = ("--config.lora.rank=4", "--config.lora.alpha=8.0")
CHANGED = ("q_proj.weight", "down_proj.weight")


def weights(model: Path) -> dict:
    return load_file(model / "model.safetensors")


def test_a_supervised_run_learns_and_a_killed_one_goes_on(small_policy: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    change = ",steps=40,evaluate_every=20,checkpoint.every=10,data_args={'split': 'train', 'count': 24},seed=5"
    args = [SFT + change, f"--config.model={small_policy}", *LORA, "--config.lora.targets=('q', 'down')"]
    start(*args, f"--workdir={whole}")
    rows = store.read_jsonl(whole / "metrics.jsonl")
    assert rows[-1]["loss"] < rows[0]["loss"] - 0.01

    metrics = killed / "metrics.jsonl"
    kill_when(lambda: metrics.exists() and len(metrics.read_bytes().splitlines()) >= 25, *args, f"--workdir={killed}")
    start(*args, f"--workdir={killed}")
    again = store.read_jsonl(metrics)
    assert [(row["step"], row["loss"]) for row in again] == [(row["step"], row["loss"]) for row in rows]
    before, after, other = (weights(model) for model in (small_policy, whole / "model", killed / "model"))
    for name, tensor in before.items():
        assert (tensor == after[name]).all() == (not name.endswith(CHANGED)), name
        assert (after[name] == other[name]).all(), name


def test_reinforcement_learning_of_an_adapter_one_step_off_policy(small_policy: Path, tmp_path: Path) -> None:
    """The next rollout is drawn with the adapter of before the updates, merged, and after a kill too."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    ahead = {"rollouts": 3, "off_policy_steps": 1, "algorithm_args.importance_cap": 2.0, "checkpoint.minibatches": 1}
    args = [*rl_args(small_policy, whole, **ahead, heldout_args={})[:-1], *LORA]
    start(*args, f"--workdir={whole}")
    rows = store.read_jsonl(whole / "metrics.jsonl")
    assert [row["staleness"] for row in rows] == [0, 1, 1]
    assert rows[0]["logp_gap"] < 1e-4 < min(row["logp_gap"] for row in rows[1:])
    kill_when(lambda: any((killed / "checkpoints").glob("1.*")), *args, f"--workdir={killed}")
    start(*args, f"--workdir={killed}")
    assert_same_run(killed, whole)


def test_reinforcement_learning_of_an_adapter(small_policy: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    args = [*rl_args(small_policy, whole, rollouts=3)[:-1], *LORA, "--config.trainer.offload=('optimizer',)"]
    start(*args, f"--workdir={whole}")
    rows = store.read_jsonl(whole / "metrics.jsonl")
    assert rows[0]["kl"] == 0.0 < abs(rows[-1]["kl"])
    assert max(row["logp_gap"] for row in rows) < 1e-4  # the engine decodes with the adapter merged
    assert any((weights(whole / "model")[name] != tensor).any() for name, tensor in weights(small_policy).items())
    kill_when((killed / "rollouts" / "000002.jsonl").exists, *args, f"--workdir={killed}")
    start(*args, f"--workdir={killed}")
    assert_same_run(killed, whole)


def test_no_reference_is_loaded_where_none_is_needed() -> None:
    def load() -> dict:
        pytest.fail("nothing asks for a reference")

    trainer = SimpleNamespace(parked=lambda params: ("parked", params))
    free, anchored = reinforce_pp.make(kl_coef=0.0), reinforce_pp.make(kl_coef=0.01)
    base = {"layers": {}}
    assert _rl_parts.reference(trainer, free, None, load) is None
    assert _rl_parts.reference(trainer, free, base, load) is None
    assert _rl_parts.reference(trainer, anchored, base, load) is base
    assert _rl_parts.reference(trainer, anchored, None, lambda: base) == ("parked", base)


def test_knobs_that_cannot_work_speak_to_the_user(small_policy: Path, tmp_path: Path) -> None:
    args = [*rl_args(small_policy, tmp_path), "--config.lora.rank=2", "--config.lora.targets=('q', 'w')"]
    done = start(*args, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "lora.targets ['w'] are unknown; there are q, k, v, o, gate, up, down" in done.stderr
