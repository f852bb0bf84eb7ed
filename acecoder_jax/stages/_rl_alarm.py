"""Reward hacking seen from outside: the reward model's score rises while the tests' pass rate falls."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Point:
    """A rollout: mean and standard deviation of the reward model's scores, and the share of programs that pass."""

    score_mean: float
    score_std: float
    pass_rate: float


@dataclasses.dataclass(frozen=True)
class Alarm:
    """window: rollouts looked at, an even number; their later half is compared with their earlier half.

    score_rise: by how much the mean score has to rise, in standard deviations of the scores within a rollout.
    pass_fall: by how much the pass rate has to fall: 0.05 is five points. stop: whether the run ends then.
    ValueError for other settings.
    """

    window: int = 8
    score_rise: float = 0.1
    pass_fall: float = 0.05
    stop: bool = False

    def __post_init__(self) -> None:
        if self.window < 2 or self.window % 2:
            raise ValueError(f"alarm.window is {self.window}: it is an even number of rollouts, 2 at least")
        if not (self.score_rise > 0 and self.pass_fall > 0):
            raise ValueError(f"alarm: score_rise {self.score_rise} and pass_fall {self.pass_fall} have to be above 0")

    def said(self, history: Sequence[Point]) -> str:
        """What has happened, in words; "" where there is no cause for alarm, or too short a history to tell.

        history: the rollouts so far, the last one last. Of window 2, from (score 1 +- 2, pass rate 0.5) to (1.4, 0.4):
        the score has risen by 0.2 deviations, the pass rate has fallen by 0.1.
        """
        last = history[-self.window :]
        if len(last) < self.window:
            return ""
        earlier, later = last[: self.window // 2], last[self.window // 2 :]
        std = float(np.mean([point.score_std for point in earlier]))
        before, now = (float(np.mean([point.score_mean for point in half])) for half in (earlier, later))
        passed, passes = (float(np.mean([point.pass_rate for point in half])) for half in (earlier, later))
        if now - before < self.score_rise * std or now == before or passed - passes < self.pass_fall:
            return ""
        return (
            f"the reward model's mean score has risen from {before:.3g} to {now:.3g} over the last {self.window} "
            f"rollouts while the pass rate has fallen from {passed:.1%} to {passes:.1%}: the policy may be learning "
            "what the reward model likes and no program needs"
        )

    def kept(self, history: Sequence[Point], point: Point) -> tuple[Point, ...]:
        """The history with a rollout more, as long as the window; one without a score or a pass rate is left out."""
        whole = all(math.isfinite(value) for value in dataclasses.astuple(point))
        return (*history, *([point] if whole else []))[-self.window :]
