"""The rule reward: what the tests say.

binary: 1 when every test passes, else 0. pass_rate: passed tests over all. pass_rate_bonus: the pass rate, and
full_pass_bonus (0.5) more when every test passes, as AceCoder's training script has it.
"""

from collections.abc import Sequence

from acecoder_jax.rewards import Score
from acecoder_jax.sampling.rollout import Scored
from acecoder_jax.types import Problem

KINDS = ("binary", "pass_rate", "pass_rate_bonus")


def make(*, kind: str = "binary", full_pass_bonus: float = 0.5, score_truncated: bool = True) -> Score:
    """score_truncated: judge an answer cut at its length limit like any other; if false it earns 0.

    The score is None where the sandbox broke. Tests that had to run beside the program (mode "inside") do not pass
    unless the sandbox was told to allow them.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown rule reward {kind!r}; there are {list(KINDS)}")

    def one(scored: Scored) -> float | None:
        verdict = scored.verdict
        if verdict.infra:
            return None
        if scored.completion.truncated and not score_truncated:
            return 0.0
        if kind == "binary":
            return float(verdict.passed)
        return verdict.pass_rate + (full_pass_bonus if kind == "pass_rate_bonus" and verdict.passed else 0.0)

    def score(problems: Sequence[Problem], scored: Sequence[Scored]) -> list[float | None]:
        return [one(each) for each in scored]

    return score
