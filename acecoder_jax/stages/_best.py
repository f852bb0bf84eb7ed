"""What best-of-N comes to: greedy, average, the best by a reward model, and the oracle, over the same problems."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from acecoder_jax import metrics, scoring
from acecoder_jax.benchmarks import Benchmark
from acecoder_jax.store import Row

Results = dict[str, dict[str, Any]]  # by the name of the score


@dataclasses.dataclass
class Problem:
    """A problem's answers that were judged. wants_greedy: whether there should be a greedy one.

    scores: of the samples; -inf where the reward model has none, so that such a sample is picked last.
    """

    task: str
    wants_greedy: bool
    greedy: Row | None = None
    samples: list[Row] = dataclasses.field(default_factory=list)
    scores: list[float] = dataclasses.field(default_factory=list)
    greedy_score: float | None = None

    def add(self, row: Row, score: float | None) -> None:
        """Adds a sample."""
        self.samples.append(row)
        self.scores.append(-math.inf if score is None else score)

    @property
    def whole(self) -> bool:
        """Whether it can be counted: with a sample, and with a greedy answer where there should be one."""
        return bool(self.samples) and not (self.wants_greedy and self.greedy is None)

    @property
    def top(self) -> Row:
        """The sample with the highest score, the first one of several."""
        return self.samples[int(np.argmax(self.scores))]

    def passed(self, score: str) -> list[bool]:
        """Of each sample, whether it passes."""
        return [row["passed"][score] for row in self.samples]

    def of_n(self, n: int) -> int:
        """n, or the number of samples where there are fewer."""
        return min(n, len(self.samples))


def powers(samples: int) -> list[int]:
    """1, 2, 4, ..., and in the end the number itself: 12 -> [1, 2, 4, 8, 12]."""
    return sorted({*(1 << i for i in range(samples.bit_length())), samples})


def of(bench: Benchmark, problems: Sequence[Problem], wanted: int, samples: int, seed: int) -> Results:
    """The results of a benchmark, by its scores. wanted: answers there should be. samples: N at most.

    Every mean is over the same problems, those that are whole, of which there are "n": "average", "rm" and "oracle" (by
    n), "greedy" where there are greedy answers, each X with its "stderr_X"; "over_average" and "over_greedy": the best
    of N less the other, {"difference", "low", "high"} with its 95% interval; "pair_accuracy"; "mean_score". Counts:
    "ties", "mixed_ties", "short", "left_out", "unscored", "truncated", "missing". docs/best_of_n.md says what they are.
    """
    whole = [problem for problem in problems if problem.whole]
    most = min(samples, max((len(problem.samples) for problem in whole), default=0))
    rows = [row for problem in problems for row in problem.samples]
    counts = {
        "short": sum(len(problem.samples) < most for problem in whole),
        "left_out": len(problems) - len(whole),
        "unscored": sum(score == -math.inf for problem in whole for score in problem.scores),
        "truncated": sum(row["finish"] == "length" for row in rows),
        "missing": wanted - len(rows) - sum(problem.greedy is not None for problem in problems),
    }
    found: Results = {}
    for name in bench.scores:
        numbers = _numbers(name, whole, powers(most), seed) if whole else {}
        found[name] = {"n": len(whole)} | numbers | counts
    return found


def _numbers(name: str, problems: Sequence[Problem], ns: Sequence[int], seed: int) -> dict[str, Any]:
    passed = {problem.task: problem.passed(name) for problem in problems}

    def values(of_one: Callable[[Problem], float]) -> dict[str, float]:
        return {problem.task: of_one(problem) for problem in problems}

    def best(n: int) -> dict[str, float]:
        return values(lambda one: scoring.best_of_n(one.scores, passed[one.task], one.of_n(n)))

    def oracle(n: int) -> dict[str, float]:
        return values(lambda one: scoring.pass_at_k(len(one.samples), sum(passed[one.task]), one.of_n(n)))

    average = values(lambda one: float(np.mean(passed[one.task])))
    found: dict[str, Any] = {}
    if problems[0].wants_greedy:
        greedy = values(lambda one: float(one.greedy["passed"][name]))  # type: ignore[index]
        found |= _mean("greedy", greedy, seed) | {"over_greedy": _gain(greedy, best(ns[-1]), seed)}
    found |= _mean("average", average, seed) | {"over_average": _gain(average, best(ns[-1]), seed)}
    for what, of_n in (("rm", best), ("oracle", oracle)):
        by_n = {str(n): _mean(what, of_n(n), seed) for n in ns}
        found |= {key: {n: one[key] for n, one in by_n.items()} for key in (what, f"stderr_{what}")}
    accuracies = [scoring.pair_accuracy(problem.scores, passed[problem.task]) for problem in problems]
    judged = [accuracy for accuracy in accuracies if accuracy is not None]
    found["pair_accuracy"] = float(np.mean(judged)) if judged else None
    tied = [_tied(problem, passed[problem.task]) for problem in problems]
    found["mean_score"] = _mean_scores(problems, passed)
    found["ties"] = sum(len(one) > 1 for one in tied)
    found["mixed_ties"] = sum(len(set(one)) > 1 for one in tied)
    return found


def _mean(what: str, values: Mapping[str, float], seed: int) -> dict[str, float]:
    each = list(values.values())
    return {what: float(np.mean(each)), f"stderr_{what}": scoring.bootstrap_stderr(each, seed)}


def _gain(other: Mapping[str, float], best: Mapping[str, float], seed: int) -> dict[str, float]:
    found = scoring.compare(other, best, seed)
    return {"difference": found.difference, "low": found.low, "high": found.high}


def _mean_scores(problems: Sequence[Problem], passed: Mapping[str, Sequence[bool]]) -> dict[str, float | None]:
    """Of all samples that pass, of those that fail, and of the greedy answers; None where no such answer has one."""
    by_kind: dict[str, list[float]] = {"passed": [], "failed": [], "greedy": []}
    for problem in problems:
        for score, won in zip(problem.scores, passed[problem.task], strict=True):
            if score > -math.inf:
                by_kind["passed" if won else "failed"].append(score)
        if problem.greedy_score is not None:
            by_kind["greedy"].append(problem.greedy_score)
    return {kind: float(np.mean(scores)) if scores else None for kind, scores in by_kind.items()}


def _tied(problem: Problem, passed: Sequence[bool]) -> list[bool]:
    """Which of the samples with the highest score pass; none where no sample has a score."""
    best = max(problem.scores)
    return [won for score, won in zip(problem.scores, passed, strict=True) if score == best > -math.inf]


def report(results: Results) -> None:
    """Prints a table a score."""
    for name, found in results.items():
        if not found["n"]:
            print(f"{name}: no problem with answers")
            continue
        lines = [(str(what), _rate(found, what), "", "") for what in ("greedy", "average") if what in found]
        lines += [
            (f"best of {n}", "", _rate(found, "rm", n), _rate(found, "oracle", n)) for n in found["rm"]
        ]  # fmt: skip
        metrics.table(f"{name}: {found['n']} problems", ("answers", "pass rate", "reward model", "oracle"), lines)
        over = [(what, found[f"over_{what}"]) for what in ("greedy", "average") if f"over_{what}" in found]
        told = [
            f"{gain['difference']:+.3f} ({gain['low']:+.3f} .. {gain['high']:+.3f}) over {what}" for what, gain in over
        ]
        print(f"{name}: best of {list(found['rm'])[-1]} by the reward model: {', '.join(told)}")
        counts = ("ties", "mixed_ties", "short", "left_out", "unscored", "truncated", "missing")
        print(f"{name}: " + ", ".join(f"{key.replace('_', ' ')} {found[key]}" for key in counts))


def _rate(found: Mapping[str, Any], what: str, n: str | None = None) -> str:
    value, error = found[what], found[f"stderr_{what}"]
    return f"{value:.3f} ± {error:.3f}" if n is None else f"{value[n]:.3f} ± {error[n]:.3f}"
