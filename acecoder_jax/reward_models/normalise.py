"""What a reward model's scores become before they are a reward: clipped, and put on a scale of their own.

| how | a score s, clipped to +-clip, becomes |
| --- | --- |
| none | s |
| whiten | (s - mean) / (std + eps), over the scores of this rollout |
| running | the same over all scores so far, those of this rollout among them |

Standard deviations are the biased ones. Moments of two sets are joined as Chan, Golub and LeVeque (1983) have it.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

HOW = ("none", "whiten", "running")
EPS = 1e-8


@dataclasses.dataclass(frozen=True)
class Moments:
    """Of the numbers seen so far: how many, their mean, and the sum of their squared distances from it."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    @property
    def std(self) -> float:
        """The biased standard deviation; 0.0 where nothing was seen."""
        return math.sqrt(self.squares / self.count) if self.count else 0.0

    def joined(self, numbers: Sequence[float]) -> "Moments":
        """These and more numbers: {1, 3} and [5] -> count 3, mean 3, squares 8."""
        if not numbers:
            return self
        values_n = np.asarray(numbers, np.float64)
        mean, squares = float(values_n.mean()), float(np.square(values_n - values_n.mean()).sum())
        count, apart = self.count + len(numbers), mean - self.mean
        return Moments(
            count,
            self.mean + apart * len(numbers) / count,
            self.squares + squares + apart**2 * self.count * len(numbers) / count,
        )


@dataclasses.dataclass(frozen=True)
class Scale:
    """How scores become rewards. clip: above 0. ValueError for other settings."""

    clip: float = 10.0
    how: str = "none"

    def __post_init__(self) -> None:
        if self.how not in HOW:
            raise ValueError(f"normalise is {self.how!r}: it is one of {', '.join(HOW)}")
        if not self.clip > 0:
            raise ValueError(f"clip is {self.clip}: scores are clipped to +-clip, which is above 0")

    def __call__(self, scores: Sequence[float | None], before: Moments) -> tuple[list[float | None], Moments]:
        """The scores of a rollout on this scale, None where there is none; and what was seen by now.

        before: the clipped scores of the rollouts before this one.
        """
        clipped = [None if one is None else min(max(one, -self.clip), self.clip) for one in scores]
        known = [one for one in clipped if one is not None]
        now = before.joined(known)
        if self.how == "none":
            return clipped, now
        over = now if self.how == "running" else Moments().joined(known)
        return [None if one is None else (one - over.mean) / (over.std + EPS) for one in clipped], now
