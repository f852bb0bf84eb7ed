"""What train_rl says of a rollout: the numbers of its row in metrics.jsonl, and a table of some of its programs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from acecoder_jax import chips, metrics
from acecoder_jax.sampling import rollout as rollouts
from acecoder_jax.sampling.rollout import Scored


def means(updates: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The mean of each metric over the updates that were done, NaN where none was; and how many were skipped."""
    rows = [row for row in updates if not row["skipped"]]
    names = rows[0].keys() - {"skipped", "in_a_row"} if rows else ("loss", "entropy", "clip_fraction", "grad_norm")
    mean = {name: float(np.mean([float(row[name]) for row in rows])) if rows else float("nan") for name in names}
    return mean | {"skipped_updates": len(updates) - len(rows)}


def describe(
    scored: Sequence[Scored], earned: Sequence[float | None], old: list[np.ndarray], ref: list[np.ndarray] | None
) -> dict[str, float]:
    """What there is to say of a rollout: rewards, lengths, KL to the reference, the sampler's gap to the trainer."""
    broken = [one for one in scored if one.verdict.infra]
    tests = [one.verdict.pass_rate for one in scored if judged(one)]
    counted = [reward for reward in earned if reward is not None]
    old_n = np.concatenate(old)
    behavior_n = np.concatenate([one.completion.logps for one in scored])
    return {
        "reward_mean": float(np.mean(counted)) if counted else float("nan"),
        "pass_rate": passing(scored),
        "tests_passed": float(np.mean(tests)) if tests else float("nan"),
        "response_tokens_mean": float(np.mean([len(one.completion.tokens) for one in scored])),
        "truncated_share": float(np.mean([one.completion.truncated for one in scored])),
        "infra_share": len(broken) / len(scored),
        "kl": 0.0 if ref is None else float(np.mean(old_n - np.concatenate(ref))),
        "logp_gap": float(np.mean(np.abs(old_n - behavior_n))),
    }


def model_and_rule(scored: Sequence[Scored]) -> dict[str, float]:
    """Mean and deviation of the reward model's scores, the share of texts that it left out, and the correlation of its
    scores with the share of tests passed, where that is defined."""
    known = [one.score for one in scored if one.score is not None]
    both = [(one.score, one.verdict.pass_rate) for one in scored if one.score is not None and judged(one)]
    row = {
        "model_score_mean": float(np.mean(known)) if known else float("nan"),
        "model_score_std": float(np.std(known)) if known else float("nan"),
        "model_dropped_share": 1 - len(known) / len(scored),
    }
    found = correlation(both)
    return row if found is None else row | {"model_rule_correlation": found}


def correlation(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Pearson's; None where one of the two is the same everywhere. [(1, 0), (2, 1), (3, 1)] -> 0.866."""
    if not pairs:
        return None
    x_n, y_n = np.array(pairs, np.float64).T
    x_n, y_n = x_n - x_n.mean(), y_n - y_n.mean()
    scale = float(np.sqrt((x_n**2).sum() * (y_n**2).sum()))
    return float((x_n * y_n).sum()) / scale if scale > 0 else None


def judged(one: Scored) -> bool:
    """Whether tests have said something of a completion: there are some, and the sandbox did not break."""
    return bool(one.verdict.statuses) and not one.verdict.infra


def passing(scored: Sequence[Scored]) -> float:
    """The share of judged programs that pass every test; NaN where none was judged."""
    passed = [one.verdict.passed for one in scored if judged(one)]
    return float(np.mean(passed)) if passed else float("nan")


def speeds(scored: Sequence[Scored], seconds: Mapping[str, float]) -> dict[str, float]:
    """Seconds by phase, and tokens a second: of decoding, and of log-probs and updates together."""
    response = sum(len(one.completion.tokens) for one in scored)
    whole = response + sum(len(one.completion.prompt_tokens) for one in scored)
    return {
        "decode_tokens_per_s": response / seconds["decode"],
        "train_tokens_per_s": whole / (seconds["logp"] + seconds["update"]),
        **{f"{phase}_s": value for phase, value in seconds.items()},
    }


def utilisation(flops: float, update_s: float, mesh: jax.sharding.Mesh) -> dict[str, float]:
    """The updates' share of what the devices could do (MFU), where their peak is known."""
    chip = chips.of(mesh.devices.flat[0].device_kind)
    return {} if chip is None else {"mfu": flops / update_s / (chip.bf16_flops * mesh.size)}


def show_samples(file: Path, rollout: int, rows: int) -> None:
    """A table of programs of a saved rollout with their verdicts: one of each problem, the first few."""
    _, scored = rollouts.load(file)
    firsts = [one for one in scored if one.completion.sample == 0][:rows]
    metrics.table(
        f"samples of rollout {rollout + 1}",
        ["problem", "reply", "verdict", "tests"],
        [[one.completion.problem_id, one.completion.text, verdict_word(one), tests_word(one)] for one in firsts],
    )


def verdict_word(one: Scored) -> Any:
    """The status that sums up a verdict: the first that is not a pass."""
    return next((status for status in one.verdict.statuses if status != "pass"), "pass")


def tests_word(one: Scored) -> str:
    """How many tests passed: 3/5."""
    return f"{one.verdict.statuses.count('pass')}/{len(one.verdict.statuses)}"
