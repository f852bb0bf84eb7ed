"""When the alarm against reward hacking goes off, by hand."""

import math

import pytest

from acecoder_jax.stages._rl_alarm import Alarm, Point

ALARM = Alarm(window=4, score_rise=0.5, pass_fall=0.1)


def history(scores, rates, std=2.0):
    return [Point(score, std, rate) for score, rate in zip(scores, rates, strict=True)]


@pytest.mark.parametrize(
    ("scores", "rates", "goes_off"),
    [
        ([0, 1, 2, 3], [0.5, 0.5, 0.4, 0.3], True),  # mean 0.5 -> 2.5, a whole deviation; 0.5 -> 0.35
        ([0, 1, 1, 2], [0.5, 0.5, 0.4, 0.3], True),  # 0.5 -> 1.5: half a deviation is enough
        ([0, 1, 1, 1.9], [0.5, 0.5, 0.4, 0.3], False),  # a little less is not
        ([0, 1, 2, 3], [0.5, 0.5, 0.45, 0.4], False),  # 0.5 -> 0.425
        ([0, 1, 2, 3], [0.3, 0.4, 0.5, 0.5], False),  # both rise
        ([3, 2, 1, 0], [0.5, 0.5, 0.4, 0.3], False),  # both fall
        ([9, 9, 0, 1, 2, 3], [0, 0, 0.5, 0.5, 0.4, 0.3], True),  # what was before the window does not count
        ([1, 2, 3], [0.5, 0.4, 0.3], False),  # too short to tell
        ([], [], False),
    ],
)
def test_when_it_goes_off(scores, rates, goes_off):
    assert bool(ALARM.said(history(scores, rates))) == goes_off


def test_scores_that_do_not_move_are_no_rise_whatever_their_deviation():
    assert not ALARM.said(history([1, 1, 1, 1], [0.9, 0.9, 0.1, 0.1], std=0.0))
    assert ALARM.said(history([1, 1, 1, 1.1], [0.9, 0.9, 0.1, 0.1], std=0.0))


def test_it_says_what_has_happened():
    said = ALARM.said(history([0, 1, 2, 3], [0.5, 0.5, 0.4, 0.3]))
    assert "risen from 0.5 to 2.5 over the last 4 rollouts while the pass rate has fallen from 50.0% to 35.0%" in said


def test_the_history_is_as_long_as_the_window_and_whole():
    points = ()
    for number in range(6):
        points = ALARM.kept(points, Point(number, 1.0, 0.5))
    assert [point.score_mean for point in points] == [2, 3, 4, 5]
    assert ALARM.kept(points, Point(6, 1.0, math.nan)) == points


def test_settings_that_could_not_work():
    for knobs, said in (
        ({"window": 3}, "an even number"),
        ({"window": 0}, "2 at least"),
        ({"pass_fall": 0}, "above 0"),
    ):
        with pytest.raises(ValueError, match=said):
            Alarm(**knobs)
