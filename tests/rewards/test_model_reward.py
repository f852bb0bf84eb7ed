"""What a reward model's score becomes as a reward, alone and mixed with the tests, by hand."""

import pytest

from acecoder_jax import rewards
from acecoder_jax.sampling.rollout import Scored
from acecoder_jax.types import Completion, Problem, Status, Verdict

P, F, I = Status.PASS, Status.FAIL, Status.INFRA  # noqa: E741
PROBLEMS = [Problem("tested", "q", ("assert f()", "assert g()")), Problem("bare", "q", ())]


def scored(problem: str, score: float | None, *statuses: Status, finish_reason: str = "stop") -> Scored:
    completion = Completion(problem, 0, 0, (1,), (2,), (-1.0,), (-1.0,), (1,), "", finish_reason)
    return Scored(completion, Verdict(completion.id, statuses), score)


ANSWERS = [
    scored("tested", 2.0, P, P), scored("tested", -1.5, P, F), scored("tested", 4.0, P, I),
    scored("tested", None, P, P), scored("bare", 3.0), scored("bare", None),
]  # fmt: skip


def earned(**knobs) -> list[float | None]:
    return rewards.make("model", **knobs)(PROBLEMS, ANSWERS)


def test_alone_it_is_the_score_and_a_broken_sandbox_changes_nothing():
    assert earned() == [2.0, -1.5, 4.0, None, 3.0, None]
    assert earned(weight_model=0.5) == [1.0, -0.75, 2.0, None, 1.5, None]


def test_mixed_it_adds_the_rule_and_leaves_out_what_the_sandbox_could_not_judge():
    assert earned(weight_model=0.5, weight_rule=3.0) == [4.0, -0.75, None, None, 1.5, None]
    knobs = {"weight_model": 1.0, "weight_rule": 2.0, "rule": {"kind": "pass_rate"}}
    assert earned(**knobs) == [4.0, -0.5, None, None, 3.0, None]


def test_only_where_there_are_no_tests():
    assert earned(where="untested", weight_rule=2.0, weight_model=0.1) == [
        2.0,
        0.0,
        None,
        2.0,
        pytest.approx(0.3),
        None,
    ]


def test_a_cut_answer_earns_nothing_from_the_rule_where_it_is_told_so():
    score = rewards.make("model", weight_rule=1.0, rule={"score_truncated": False})
    assert score(PROBLEMS, [scored("tested", 2.0, P, P, finish_reason="length")]) == [2.0]


def test_settings_that_could_not_work():
    for knobs, said in (
        ({"where": "some"}, "one of all, untested"),
        ({"where": "untested"}, "weight_rule has to be above 0"),
        ({"weight_model": 0.0}, "the first is above 0"),
        ({"weight_rule": -1.0}, "the second 0 or above"),
        ({"rule": {"kind": "bin"}}, "unknown rule reward 'bin'"),
    ):
        with pytest.raises(ValueError, match=said):
            rewards.make("model", **knobs)


def test_a_score_stays_with_its_completion_on_the_disk():
    for one in ANSWERS:
        assert Scored.from_json(one.to_json()) == one
    assert "score" not in ANSWERS[3].to_json()
