"""How good a reward model's scores are on comparisons held back from training: plain numbers, computed on the host."""

from collections.abc import Sequence

import numpy as np

BINS = 10


def comparison_metrics(better_n: np.ndarray, worse_n: np.ndarray) -> dict[str, float]:
    """accuracy (a tie is wrong), margin (mean difference), loss (Bradley-Terry), ece and brier of comparisons.

    The model says that the better text wins with probability p = sigmoid(difference). Each comparison counts both ways,
    p for what is true and 1 - p for what is not, so that ece and brier do not know beforehand which side is right.
    Scores 2 and 1: p = 0.731, loss 0.313, brier 0.072, ece 0.269.
    """
    margin_n = np.asarray(better_n, np.float64) - np.asarray(worse_n, np.float64)
    p_n = 1 / (1 + np.exp(-margin_n))
    return {
        "accuracy": float(np.mean(margin_n > 0)),
        "margin": float(np.mean(margin_n)),
        "loss": float(np.mean(np.logaddexp(0, -margin_n))),
        "ece": calibration_error(np.concatenate([p_n, 1 - p_n]), np.repeat([1, 0], len(p_n))),
        "brier": float(np.mean((1 - p_n) ** 2)),
    }


def calibration_error(p_n: np.ndarray, true_n: np.ndarray, bins: int = BINS) -> float:
    """The expected calibration error (Naeini et al. 2015): in bins of equal width of p, the distance of the mean of p
    from the share that is true, weighted by how many are in the bin."""
    bin_n = np.minimum((p_n * bins).astype(int), bins - 1)
    gap_c = np.bincount(bin_n, weights=p_n - true_n, minlength=bins)
    return float(np.sum(np.abs(gap_c)) / len(p_n))


def correlations(score_n: np.ndarray | Sequence[float], length_n: np.ndarray | Sequence[float]) -> dict[str, float]:
    """How scores go with lengths: Pearson's and Spearman's correlation; NaN where either does not vary."""
    score, length = np.asarray(score_n, np.float64), np.asarray(length_n, np.float64)
    return {"pearson": _pearson(score, length), "spearman": _pearson(_ranks(score), _ranks(length))}


def _pearson(x_n: np.ndarray, y_n: np.ndarray) -> float:
    x_n, y_n = x_n - x_n.mean(), y_n - y_n.mean()
    spread = np.sqrt(np.sum(x_n**2) * np.sum(y_n**2))
    return float(np.sum(x_n * y_n) / spread) if spread > 0 else float("nan")


def _ranks(x_n: np.ndarray) -> np.ndarray:
    """Ranks from 1; equal numbers have the mean of theirs."""
    _, which_n, count_u = np.unique(x_n, return_inverse=True, return_counts=True)
    return (np.cumsum(count_u) - (count_u - 1) / 2)[which_n]
