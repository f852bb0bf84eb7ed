import itertools
import math

import numpy as np
import pytest
import scipy.stats

from acecoder_jax import scoring


def test_pass_at_k_counts_the_draws():
    for samples in range(1, 7):
        for passed in range(samples + 1):
            outcomes = [1] * passed + [0] * (samples - passed)
            for k in range(1, samples + 1):
                draws = list(itertools.combinations(outcomes, k))
                assert scoring.pass_at_k(samples, passed, k) == pytest.approx(sum(map(any, draws)) / len(draws))


def test_pass_at_k_by_hand():
    assert scoring.pass_at_k(5, 2, 1) == pytest.approx(0.4)
    assert scoring.pass_at_k(5, 2, 3) == pytest.approx(1 - 1 / 10)  # C(3, 3) / C(5, 3)
    assert scoring.pass_at_k(200, 3, 100) == pytest.approx(1 - math.comb(197, 100) / math.comb(200, 100))
    for samples, passed, k in ((3, 1, 4), (3, 4, 1), (3, 1, 0)):
        with pytest.raises(ValueError, match="no pass@"):
            scoring.pass_at_k(samples, passed, k)


def test_best_of_n_by_hand():
    # Of {1: fails, 2: passes, 3: fails}: of two the winner is 2 (of 1, 2), 3, 3.
    assert scoring.best_of_n([1, 2, 3], [False, True, False], 2) == pytest.approx(1 / 3)
    assert scoring.best_of_n([3, 1, 2], [False, False, True], 1) == pytest.approx(1 / 3)
    assert scoring.best_of_n([3, 1, 2], [False, False, True], 3) == 0.0
    assert scoring.best_of_n([0, 5, 5, 5], [False, True, True, False], 4) == pytest.approx(2 / 3)  # of the tied ones
    assert scoring.best_of_n([-math.inf, 0], [True, False], 2) == 0.0
    for scores, n in (([1.0, 2.0], 3), ([1.0, 2.0], 0), ([1.0], 1), ([1.0, math.nan], 1)):
        with pytest.raises(ValueError, match="no best of"):
            scoring.best_of_n(scores, [True, False], n)


def test_best_of_n_counts_the_draws():
    draw = np.random.default_rng(0)
    for _ in range(20):
        scores, passed = draw.integers(0, 4, 7).tolist(), draw.integers(0, 2, 7).astype(bool).tolist()
        for n in range(1, 8):
            chances = []
            for drawn in itertools.combinations(range(7), n):
                best = [passed[i] for i in drawn if scores[i] == max(scores[j] for j in drawn)]
                chances.append(sum(best) / len(best))
            assert scoring.best_of_n(scores, passed, n) == pytest.approx(np.mean(chances))


def test_best_of_n_by_the_verdict_is_the_oracle():
    for passed in range(6):
        outcomes = [True] * passed + [False] * (5 - passed)
        for n in range(1, 6):
            found = scoring.best_of_n([float(one) for one in outcomes], outcomes, n)
            assert found == pytest.approx(scoring.pass_at_k(5, passed, n))


def test_pair_accuracy_by_hand():
    # Passing: 3 and 1; failing: 2 and 1. Right: 3 over both; half: 1 and 1; wrong: 1 under 2.
    assert scoring.pair_accuracy([3, 2, 1, 1], [True, False, True, False]) == pytest.approx(2.5 / 4)
    assert scoring.pair_accuracy([1, 2], [True, True]) is None and scoring.pair_accuracy([], []) is None
    with pytest.raises(ValueError, match="shorter"):
        scoring.pair_accuracy([1, 2], [True])


def test_the_standard_error_is_that_of_theory_and_of_scipy():
    """Of a share p of n problems: sqrt(p (1 - p) / n)."""
    values = [1.0] * 60 + [0.0] * 104
    error = scoring.bootstrap_stderr(values, seed=0, resamples=20_000)
    p = 60 / 164
    assert error == pytest.approx(math.sqrt(p * (1 - p) / 164), rel=0.03)
    theirs = scipy.stats.bootstrap((values,), np.mean, n_resamples=20_000, rng=np.random.default_rng(1))
    assert error == pytest.approx(theirs.standard_error, rel=0.03)
    assert scoring.bootstrap_stderr(values, seed=0) == scoring.bootstrap_stderr(values, seed=0)
    assert scoring.bootstrap_stderr(values, seed=0) != scoring.bootstrap_stderr(values, seed=1)
    assert scoring.bootstrap_stderr([1.0] * 9, seed=0) == 0.0


@pytest.mark.parametrize(("won", "lost"), [(0, 0), (1, 0), (3, 3), (10, 2), (2, 10), (25, 14), (0, 40)])
def test_mcnemar_is_scipys_binomial_test(won, lost):
    expected = scipy.stats.binomtest(won, won + lost).pvalue if won + lost else 1.0
    assert scoring.mcnemar(won, lost) == pytest.approx(expected)


def test_mcnemar_by_hand():
    assert scoring.mcnemar(0, 5) == pytest.approx(2 / 32)
    assert scoring.mcnemar(1, 5) == pytest.approx(2 * 7 / 64)


def test_two_runs_by_hand():
    first = {"a": 1.0, "b": 0.0, "c": 1.0, "d": 0.0}
    second = {"d": 1.0, "c": 1.0, "b": 1.0, "a": 0.0}
    found = scoring.compare(first, second)
    assert (found.n, found.first, found.second, found.difference) == (4, 0.5, 0.75, 0.25)
    assert (found.won, found.lost) == (2, 1) and found.p == 1.0
    assert -1 <= found.low < 0.25 < found.high <= 1


def test_the_interval_is_scipys():
    draw = np.random.default_rng(0)
    a, b = draw.integers(0, 2, 300).astype(float), draw.integers(0, 2, 300).astype(float)
    found = scoring.compare(dict(enumerate(a)), dict(enumerate(b)))
    theirs = scipy.stats.bootstrap(
        (b - a,), np.mean, n_resamples=5000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert found.low == pytest.approx(theirs.low, abs=0.012) and found.high == pytest.approx(theirs.high, abs=0.012)


def test_values_between_have_no_mcnemar():
    found = scoring.compare({"a": 0.5, "b": 1.0}, {"a": 0.75, "b": 1.0})
    assert found.p is None and (found.won, found.lost) == (1, 0)


def test_other_problems_are_refused():
    with pytest.raises(ValueError, match=r"2 are in one alone: \['a', 'c'\]"):
        scoring.compare({"a": 1.0, "b": 1.0}, {"b": 1.0, "c": 1.0})
    with pytest.raises(ValueError, match="same problems"):
        scoring.compare({}, {})
