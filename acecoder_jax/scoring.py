"""Numbers of an evaluation: pass@k, best-of-n, standard errors over problems, and whether two runs differ.

A value a problem comes in (passed or not, or the chance to pass), by problem or in a fixed order.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

RESAMPLES = 2000  # of a bootstrap: its standard error is then known to a sixtieth of itself


def pass_at_k(samples: int, passed: int, k: int) -> float:
    """The chance that one of k samples passes, drawn from `samples` of which `passed` pass (Chen et al. 2021,
    arXiv 2107.03374, equation 1): 1 - C(samples - passed, k) / C(samples, k).

    ValueError where there are not k samples, or more passed than there are.
    """
    if not (1 <= k <= samples and 0 <= passed <= samples):
        raise ValueError(f"no pass@{k} of {passed} passed among {samples} samples")
    return 1.0 - math.comb(samples - passed, k) / math.comb(samples, k)


def best_of_n(scores: Sequence[float], passed: Sequence[bool], n: int) -> float:
    """The chance that the highest-scored of n samples passes, the n drawn without replacement from those given.

    Unbiased for best-of-n, as pass@k is for its k. With the samples sorted by score, r of them lower than a given score
    and t equal to it, the highest of the n has that score in C(r + t, n) - C(r, n) of the C(samples, n) draws; then it
    is each of the t equally often. So ties go to a tied sample at random. n = 1 is the mean, n = all the one on top.
    -inf is a sample that is taken only where the draw has no other.
    ValueError where there are not n samples, or not a score for each, or one is NaN.
    """
    if len(scores) != len(passed) or not 1 <= n <= len(scores) or any(math.isnan(score) for score in scores):
        raise ValueError(f"no best of {n} of {len(scores)} scores ({list(scores)!r:.100}) and {len(passed)} samples")
    tied: dict[float, list[bool]] = {}
    for score, won in sorted(zip(scores, passed, strict=True)):
        tied.setdefault(score, []).append(won)
    total, lower = 0.0, 0
    for group in tied.values():
        draws = math.comb(lower + len(group), n) - math.comb(lower, n)
        total += draws / math.comb(len(scores), n) * (sum(group) / len(group))
        lower += len(group)
    return total


def pair_accuracy(scores: Sequence[float], passed: Sequence[bool]) -> float | None:
    """Of the pairs of a sample that passes and one that does not, the share in which the first has the higher score.

    A tie is half a pair (the area under the ROC curve). None where all pass or none does. ValueError where there is not
    a score for each sample.
    """
    pairs = list(zip(scores, passed, strict=True))
    good, bad = ([score for score, won in pairs if won is wanted] for wanted in (True, False))
    if not good or not bad:
        return None
    right = sum((high > low) + (high == low) / 2 for high in good for low in bad)
    return right / (len(good) * len(bad))


def resampled_means(values: Sequence[float], seed: int, resamples: int = RESAMPLES) -> np.ndarray:
    """[resamples] means over problems drawn anew with replacement (Efron 1979); a function of the seed."""
    count = len(values)
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
    return draws @ np.asarray(values, np.float64) / count


def bootstrap_stderr(values: Sequence[float], seed: int, resamples: int = RESAMPLES) -> float:
    """The standard error of the mean over problems: the standard deviation of `resampled_means`."""
    return float(resampled_means(values, seed, resamples).std(ddof=1))


def mcnemar(won: int, lost: int) -> float:
    """The exact two-sided p-value of McNemar's test (McNemar 1947): of problems on which two runs differ, `won` went to
    the one and `lost` to the other, and under the null hypothesis each is a fair coin's throw. 1.0 where none differs.
    """
    differ = won + lost
    tail = sum(math.comb(differ, i) for i in range(min(won, lost) + 1)) / 2**differ
    return min(1.0, 2 * tail)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Two runs on the same problems. difference: second minus first; low, high: its 95% interval by paired bootstrap.

    won, lost: problems on which the second does better, or worse. p: McNemar's, where each problem has passed or not
    (None where values lie between).
    """

    n: int
    first: float
    second: float
    difference: float
    low: float
    high: float
    won: int
    lost: int
    p: float | None


def compare(first: Mapping[str, float], second: Mapping[str, float], seed: int = 0) -> Comparison:
    """Two runs by their values of the same problems. ValueError where the problems are not the same, or none."""
    if first.keys() != second.keys() or not first:
        apart = sorted(first.keys() ^ second.keys())
        raise ValueError(f"two runs are compared on the same problems; {len(apart)} are in one alone: {apart[:3]}")
    names = sorted(first)
    a, b = (np.array([run[name] for name in names], np.float64) for run in (first, second))
    low, high = np.quantile(resampled_means(list(b - a), seed), [0.025, 0.975])
    won, lost = int((b > a).sum()), int((b < a).sum())
    decided = bool(np.isin(np.concatenate([a, b]), (0.0, 1.0)).all())
    return Comparison(
        n=len(names), first=float(a.mean()), second=float(b.mean()), difference=float((b - a).mean()),
        low=float(low), high=float(high), won=won, lost=lost, p=mcnemar(won, lost) if decided else None,
    )  # fmt: skip
