"""Reinforcement learning with a reward model end to end: what it leaves, and that a killed run goes on exactly."""

import math
from pathlib import Path

import pytest

from acecoder_jax import store
from acecoder_jax.stages import train_rl
from configs import rl_rm, rl_rule
from tests.processes import ends, pair
from tests.stages.runs import ROOT, assert_same_run, kill_when, rl_args, start

TOLD = [
    "model_score_mean", "model_score_std", "model_dropped_share", "model_truncated_share", "hacking_alarm", "reward_s",
]  # fmt: skip


def rm_args(policy: Path, reward: Path, workdir: Path, **override: object) -> list[str]:
    """The flags of a small run with a reward model."""
    wanted = {"reward_model.max_tokens": 512, "reward_model.row_tokens": 512}
    first, *rest = rl_args(policy, workdir, **wanted, **override)
    first = first.replace("rl_rule.py", "rl_rm.py").replace("reward_args.kind=pass_rate,", "")
    return [first, *rest, f"--config.reward_model.model={reward}"]


def test_a_run_and_a_killed_and_resumed_run_agree(small_policy: Path, reward_dir: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    knobs = {
        "reward_model.normalise": "running", "reward_args.weight_rule": 0.5, "alarm.window": 2,
        "checkpoint.minibatches": 1,
    }  # fmt: skip
    out = start(*rm_args(small_policy, reward_dir, whole, **knobs)).stdout
    assert "reward model: " in out
    rows = store.read_jsonl(whole / "metrics.jsonl")
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert all(name in row for row in rows for name in TOLD)
    assert all(math.isfinite(row[name]) for row in rows for name in ("model_score_mean", "reward_mean", "pass_rate"))
    assert all(row["model_score_std"] > 0 and row["model_dropped_share"] == 0 for row in rows)
    explained = (ROOT / "docs" / "rl_rm.md").read_text()
    assert not [name for name in [*TOLD, "model_rule_correlation"] if f"`{name}`" not in explained]
    assert any("model_rule_correlation" in row for row in rows)

    # the scores are those of the rollout's completions; running: the first rollout is whitened by its own
    kept = store.read_json(whole / "scores" / "000000.json")
    samples = store.read_jsonl(whole / "rollouts" / "000000.jsonl")[1:]
    ids = [f"{row['completion']['problem_id']}/{row['completion']['sample']}" for row in samples]
    assert sorted(kept["scores"]) == sorted(ids) and len(ids) == 16
    assert rows[0]["reward_mean"] == pytest.approx(0.5 * rows[0]["pass_rate"], abs=1e-6)
    assert rows[1]["reward_mean"] != pytest.approx(0.5 * rows[1]["pass_rate"], abs=1e-6)

    kill_when((killed / "logps" / "000002.npz").exists, *rm_args(small_policy, reward_dir, killed, **knobs))
    assert not (killed / "model").exists()
    scored = (killed / "scores" / "000002.json").stat().st_mtime_ns
    start(*rm_args(small_policy, reward_dir, killed, **knobs))
    assert_same_run(killed, whole)
    assert (killed / "scores" / "000002.json").stat().st_mtime_ns == scored  # it was not asked again
    for name in ("000000.json", "000003.json"):
        assert (killed / "scores" / name).read_bytes() == (whole / "scores" / name).read_bytes()


def test_tiny_makes_policy_and_reward_model_by_itself(tmp_path: Path) -> None:
    few = {
        "rollouts": 1, "prompts_per_rollout": 4, "samples_per_prompt": 2, "minibatch": 8, "heldout_args": {},
        "data_args": {"split": "train", "count": 8}, "max_new_tokens": 16, "max_prompt_tokens": 80,
        "sft.steps": 2, "sft.heldback": 0, "sft.data_args": {"split": "train", "count": 64}, "sft.batch": 8,
        "rm.steps": 2, "rm.batch": 8, "rm.data_args": {"split": "train", "count": 64}, "rm.held_out.at_least": 4,
        "sft.architecture.num_layers": 1, "rm.architecture.num_layers": 1,
    }  # fmt: skip
    pairs = ",".join(f"{key}={value}" for key, value in few.items())
    start(f"--config=configs/rl_rm.py:tiny,{pairs}", f"--workdir={tmp_path}", "--seed=3")
    (row,) = store.read_jsonl(tmp_path / "metrics.jsonl")
    assert math.isfinite(row["model_score_mean"]) and row["reward_mean"] == pytest.approx(row["model_score_mean"])
    assert (tmp_path / "rm" / "model").is_dir() and (tmp_path / "model").is_dir()


def test_two_processes_ask_it_together(small_policy: Path, reward_dir: Path, tmp_path: Path) -> None:
    """The scores that one process would have."""
    small = {"rollouts": 1, "heldout_args": {}, "trainer.rows": 8, "reward_model.normalise": "whiten"}
    for code, out, err in ends(pair(rm_args(small_policy, reward_dir, tmp_path / "two", **small), devices=4)):
        assert code == 0, out + err
    start(*rm_args(small_policy, reward_dir, tmp_path / "one", **small), devices=8)
    two, one = (store.read_json(tmp_path / name / "scores" / "000000.json") for name in ("two", "one"))
    assert two["of"] == one["of"] and two["scores"].keys() == one["scores"].keys()
    for name, score in one["scores"].items():
        assert two["scores"][name] == pytest.approx(score, abs=1e-4)


def test_what_a_plain_rule_run_says_nothing_of():
    assert "reward_model" not in rl_rule.get_config("tiny")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("0.5b", "config.reward_model.model is empty"),
        ("tiny,reward_model.text=code", "reward_model.text is 'code': it is one of reply, program"),
        ("tiny,reward_model.normalise=all", "normalise is 'all'"),
        ("tiny,alarm.window=3", "alarm.window is 3"),
        ("tiny,reward_model.devices=99", "there are 8"),
        ("tiny,reward_model.over=cut", "over is 'cut'"),
        ("tiny,reward_model.read=first", "read is 'first'"),
        ("tiny,reward_model.dtype=bf17", "reward_model.dtype is 'bf17'"),
        ("tiny,reward_model.attention=foo", "unknown attention 'foo'"),
        ("tiny,reward_model.max_tokens=99999", "reward_model.max_tokens is 99999"),
        ("tiny,reward_model.rows=6", "reward_model.rows is 6: not a multiple of the 8 shards"),
        ("tiny,reward_args.where=nowhere", "reward_args.where is 'nowhere'"),
        ("tiny,reward=rule", r"the reward 'rule' \(reward_args\) takes .*, not .*weight_model"),
        ("tiny,algorithm=reinforce_mm", "unknown algorithm 'reinforce_mm'"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        train_rl.check(rl_rm.get_config(wrong))


def test_a_policy_is_no_reward_model_and_a_rule_config_has_none(small_policy: Path):
    with pytest.raises(ValueError, match="is no reward model: it has no head"):
        train_rl.check(rl_rm.get_config(f"tiny,reward_model.model={small_policy}"))
    with pytest.raises(ValueError, match="config has no reward model"):
        train_rl.check(rl_rule.get_config("tiny,reward=model"))
