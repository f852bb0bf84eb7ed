"""What each kind of rule reward gives."""

import pytest

from acecoder_jax import rewards
from acecoder_jax.sampling.rollout import Scored
from acecoder_jax.types import Completion, Status, Verdict

P, F, T, I = Status.PASS, Status.FAIL, Status.TIMEOUT, Status.INFRA  # noqa: E741


def earned(*statuses: Status, finish_reason: str = "stop", **knobs: object) -> float | None:
    completion = Completion("p", 0, 0, (1,), (2,), (-1.0,), (-1.0,), (1,), "", finish_reason)
    (reward,) = rewards.make("rule", **knobs)([], [Scored(completion, Verdict("p/0", statuses))])
    return reward


@pytest.mark.parametrize(
    ("kind", "statuses", "reward"),
    [
        ("binary", (P, P), 1.0),
        ("binary", (P, F), 0.0),
        ("binary", (), 0.0),
        ("pass_rate", (P, P), 1.0),
        ("pass_rate", (P, F, T, P), 0.5),
        ("pass_rate_bonus", (P, P), 1.5),
        ("pass_rate_bonus", (P, F), 0.5),
    ],
)
def test_kinds(kind, statuses, reward):
    assert earned(*statuses, kind=kind) == reward


def test_an_answer_that_was_cut_is_judged_like_any_other_or_earns_nothing():
    assert earned(P, finish_reason="length") == 1.0
    assert earned(P, finish_reason="length", score_truncated=False) == 0.0
    assert earned(P, score_truncated=False) == 1.0


@pytest.mark.parametrize("kind", ["binary", "pass_rate", "pass_rate_bonus"])
def test_a_broken_sandbox_is_no_reward_at_all(kind):
    assert earned(P, I, kind=kind) is None
    assert earned(I, finish_reason="length", kind=kind, score_truncated=False) is None


def test_the_bonus_is_a_knob():
    assert earned(P, kind="pass_rate_bonus", full_pass_bonus=0.2) == 1.2


def test_unknown_names_list_those_that_exist():
    with pytest.raises(ValueError, match=r"unknown reward 'models'; there are \['model', 'rule'\]"):
        rewards.make("models")
    with pytest.raises(ValueError, match=r"unknown rule reward 'bin'; there are .*binary"):
        rewards.make("rule", kind="bin")
