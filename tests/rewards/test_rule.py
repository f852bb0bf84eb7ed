"""What each kind of rule reward gives."""

import pytest

from acecoder_jax import rewards
from acecoder_jax.types import Completion, Status, Verdict

P, F, T, I = Status.PASS, Status.FAIL, Status.TIMEOUT, Status.INFRA  # noqa: E741


def completion(finish_reason: str = "stop") -> Completion:
    return Completion("p", 0, 0, (1,), (2,), (-1.0,), (-1.0,), (1,), "", finish_reason)


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
    assert rewards.make("rule", kind=kind)(completion(), Verdict("p/0", statuses)) == reward


def test_an_answer_that_was_cut_is_judged_like_any_other_or_earns_nothing():
    passed = Verdict("p/0", (P,))
    assert rewards.make("rule")(completion("length"), passed) == 1.0
    assert rewards.make("rule", score_truncated=False)(completion("length"), passed) == 0.0
    assert rewards.make("rule", score_truncated=False)(completion("stop"), passed) == 1.0


@pytest.mark.parametrize("kind", ["binary", "pass_rate", "pass_rate_bonus"])
def test_a_broken_sandbox_is_no_reward_at_all(kind):
    assert rewards.make("rule", kind=kind)(completion(), Verdict("p/0", (P, I))) is None
    assert rewards.make("rule", kind=kind, score_truncated=False)(completion("length"), Verdict("p/0", (I,))) is None


def test_the_bonus_is_a_knob():
    assert rewards.make("rule", kind="pass_rate_bonus", full_pass_bonus=0.2)(completion(), Verdict("p/0", (P,))) == 1.2


def test_unknown_names_list_those_that_exist():
    with pytest.raises(ValueError, match=r"unknown reward 'model'; there are \['rule'\]"):
        rewards.make("model")
    with pytest.raises(ValueError, match=r"unknown rule reward 'bin'; there are .*binary"):
        rewards.make("rule", kind="bin")
