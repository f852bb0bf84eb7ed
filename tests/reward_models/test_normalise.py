"""Scores clipped and put on a scale, by hand."""

import json
import math

import pytest

from acecoder_jax.reward_models.normalise import Moments, Scale


def test_moments_are_those_of_all_numbers_however_they_came():
    one = Moments().joined([1.0, 3.0])
    assert one == Moments(2, 2.0, 2.0) and one.std == 1.0
    assert one.joined([5.0]) == Moments(3, 3.0, 8.0)
    assert one.joined([]) is one and Moments().std == 0.0
    numbers = [0.25 * (i % 7) - i**0.5 for i in range(50)]
    parts = Moments().joined(numbers[:11]).joined(numbers[11:12]).joined(numbers[12:])
    whole = Moments().joined(numbers)
    assert parts.count == whole.count == 50
    assert parts.mean == pytest.approx(whole.mean, rel=1e-12) and parts.std == pytest.approx(whole.std, rel=1e-12)


def test_clipped_only():
    scaled, seen = Scale(10.0)([-20.5, -1.8, None, 23.1], Moments())
    assert scaled == [-10.0, -1.8, None, 10.0]
    assert seen.count == 3 and seen.mean == pytest.approx(-0.6)


def test_whitened_over_the_rollout():
    # clipped to [-2, 0, 2, -2, 2]: mean 0, variance 16 / 5
    scaled, _ = Scale(2.0, "whiten")([-3.0, 0.0, None, 4.0, -2.0, 2.0], Moments(100, 50.0, 1.0))
    expected = [-2, 0, None, 2, -2, 2]
    assert scaled[2] is None
    for value, want in zip(scaled, expected, strict=True):
        assert value is None if want is None else value == pytest.approx(want / math.sqrt(3.2))


def test_running_counts_the_rollouts_before_and_this_one():
    scale = Scale(10.0, "running")
    first, seen = scale([1.0, 3.0], Moments())
    assert first == pytest.approx([-1.0, 1.0])
    # 1, 3 and 5, 7: mean 4, variance 5
    second, seen = scale([5.0, None, 7.0], seen)
    assert second[1] is None and [second[0], second[2]] == pytest.approx([1 / 5**0.5, 3 / 5**0.5])
    assert seen == Moments(4, 4.0, 20.0)


def test_what_has_been_seen_goes_to_json_and_back_bit_for_bit():
    scale = Scale(10.0, "running")
    _, seen = scale([0.1, 0.2, 1 / 3], Moments())
    back = Moments(**json.loads(json.dumps(vars(seen))))
    assert back == seen and scale([0.7, 0.1], back) == scale([0.7, 0.1], seen)


def test_equal_scores_and_none_at_all():
    assert Scale(10.0, "whiten")([2.0, 2.0], Moments())[0] == [0.0, 0.0]
    assert Scale(10.0, "whiten")([None], Moments()) == ([None], Moments())


def test_settings_that_could_not_work():
    with pytest.raises(ValueError, match="normalise is 'white': it is one of none, whiten, running"):
        Scale(10.0, "white")
    with pytest.raises(ValueError, match="clip is 0"):
        Scale(0.0)
