"""The reward model's score as the reward, alone or mixed with what the tests say:

    R = weight_model * score + weight_rule * rule

score is the reward model's, clipped and normalised (reward_models/normalise.py); rule is the reward of rule.py. Where a
problem has no tests there is no rule, and R = weight_model * score.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from acecoder_jax import rewards
from acecoder_jax.rewards import Score
from acecoder_jax.sampling.rollout import Scored
from acecoder_jax.types import Problem

WHERE = ("all", "untested")


def make(
    *, weight_model: float = 1.0, weight_rule: float = 0.0, where: str = "all", rule: Mapping[str, Any] | None = None
) -> Score:  # fmt: skip
    """where: "all" answers have the model's part, or those to problems without tests only ("untested"), the rule
    alone judging the others. rule: knobs of the rule reward.

    None, so that the sample is left out: where the part that counts is missing. The model's is missing where it left a
    text out as too long; the rule's where the sandbox broke. With weight_rule 0 a broken sandbox changes nothing.
    """
    if where not in WHERE:
        raise ValueError(f"reward_args.where is {where!r}: it is one of {', '.join(WHERE)}")
    if weight_model <= 0 or weight_rule < 0:
        raise ValueError(
            f"weight_model is {weight_model} and weight_rule {weight_rule}: the first is above 0, the second 0 or above"
        )
    if where == "untested" and weight_rule == 0:
        raise ValueError("where is 'untested', so the rule judges what has tests: weight_rule has to be above 0")
    by_rule = rewards.make("rule", **(rule or {}))

    def score(problems: Sequence[Problem], scored: Sequence[Scored]) -> list[float | None]:
        tested = {problem.id: bool(problem.tests) for problem in problems}
        earned = []
        for one, passed in zip(scored, by_rule(problems, scored), strict=True):
            has_tests = tested[one.completion.problem_id]
            parts = []
            if where == "all" or not has_tests:
                parts.append((weight_model, one.score))
            if has_tests and weight_rule:
                parts.append((weight_rule, passed))
            earned.append(_sum(parts))
        return earned

    return score


def _sum(parts: Sequence[tuple[float, float | None]]) -> float | None:
    """The weighted sum; None where a part is missing."""
    total = 0.0
    for weight, value in parts:
        if value is None:
            return None
        total += weight * value
    return total
