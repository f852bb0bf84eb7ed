"""The main job end to end: what it leaves, and that a killed run goes on as if nothing had happened."""

import math
from pathlib import Path

import pytest

from acecoder_jax import chips, parallel, store
from acecoder_jax.stages import _rl_rows, train_rl
from configs.rl_rule import get_config
from tests.stages.runs import ROOT, assert_same_run, decided, kill_when, rl_args, start

PROMISED = [
    "step", "reward_mean", "pass_rate", "response_tokens_mean", "kl", "entropy", "clip_fraction", "grad_norm",
    "logp_gap", "decode_tokens_per_s", "train_tokens_per_s", "step_s", "decode_s", "score_s", "logp_s", "update_s",
    "wait_s", "judge_s", "truncated_share", "infra_share", "padding_share", "skipped_updates", "staleness",
    "learning_rate",
]  # fmt: skip


def test_a_run_and_a_killed_and_resumed_run_agree(small_policy: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    out = start(*rl_args(small_policy, whole)).stdout
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
    # checkpoint 0 may end in either of the first two steps, checkpoint 2 in the third or fourth
    assert sum("save_s" in row for row in rows[:2]) >= 1 and sum("save_s" in row for row in rows[2:]) >= 1
    explained = (ROOT / "docs" / "rl_rule.md").read_text()
    assert not [name for row in rows for name in row if name != "step" and f"`{name}`" not in explained]
    assert list((whole / "tensorboard").iterdir())

    # Killed inside rollout 3, after its samples were written: the last checkpoint is the one before rollout 2.
    kill_when((killed / "rollouts" / "000003.jsonl").exists, *rl_args(small_policy, killed))
    assert not (killed / "model").exists()
    start(*rl_args(small_policy, killed))
    assert_same_run(killed, whole)
    assert len(store.read_jsonl(killed / "starts.jsonl")) == 2

    # A finished run has nothing left to do; a changed config is refused and named.
    start(*rl_args(small_policy, whole))
    assert decided(whole) == decided(killed)
    refused = start(*rl_args(small_policy, whole, **{"optimizer.learning_rate": 2e-3}), check=False)
    assert refused.returncode == 1
    assert "optimizer.learning_rate: 0.001 -> 0.002" in refused.stderr and "Traceback" not in refused.stderr


def test_means_leave_skipped_updates_out_and_count_them():
    rows = [
        {"loss": 1.0, "grad_norm": 2.0, "skipped": 0.0, "in_a_row": 0.0},
        {"loss": "nan", "grad_norm": "inf", "skipped": 1.0, "in_a_row": 1.0},
        {"loss": 3.0, "grad_norm": 3.0, "skipped": 0.0, "in_a_row": 0.0},
    ]
    assert _rl_rows.means(rows) == {"loss": 2.0, "grad_norm": 2.5, "skipped_updates": 1}
    none = _rl_rows.means(rows[1:2])
    assert none.pop("skipped_updates") == 1 and all(math.isnan(value) for value in none.values())


def test_utilisation_is_of_all_devices_of_the_mesh_where_their_peak_is_known(monkeypatch):
    mesh = parallel.make_mesh()
    assert _rl_rows.utilisation(1e12, 2.0, mesh) == {}
    monkeypatch.setattr(_rl_rows.chips, "of", lambda kind: chips.CHIPS["v5e"])
    assert _rl_rows.utilisation(1e12, 2.0, mesh) == {"mfu": pytest.approx(0.5e12 / (197e12 * mesh.size))}


def test_settings_that_do_not_go_together_are_refused():
    for wrong, message in (
        ("off_policy_steps=2", "it is 0 or 1"),
        ("off_policy_steps=1", "algorithm_args.importance_cap"),
        ("shuffle=rows", "'prompts' or 'samples'"),
    ):
        with pytest.raises(ValueError, match=message):
            train_rl.check(get_config(f"tiny,{wrong}"))
