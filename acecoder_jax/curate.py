"""AceCoder's rules of what to keep: tests, hard questions, preference pairs (arXiv 2502.01718 and its public code).

Pure functions with named thresholds. None depends on the order of its rows. Rows are as in AceCode-87K: {"id",
"question", "test_cases", "inferences": [{"model_name", "completion", "pass_rate", ...}]}.
"""

import collections
import dataclasses
import hashlib
import math
import statistics
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
# Pass rates are fractions of small numbers. Beyond these digits there is only what floating point has left of them:
# 0.85 - 0.45 is a gap of 0.4, and equal means are ties, in whatever order they were added up.
DIGITS = 9
PUBLISHED_MODELS = ("qwen_coder_2.5", "llama3_instruct")  # whose programs the published rows hold


@dataclasses.dataclass(frozen=True)
class Kept:
    """The places of the tests that are kept; or why the question is dropped: "few_passes" or "few_tests"."""

    places: tuple[int, ...]
    dropped: str = ""


def keep_tests(
    passes: Sequence[Sequence[bool]], *, min_tests: int = 5, min_passes: int = 4, majority: float = 0.5
) -> Kept:
    """Which tests of a question to keep, by what the programs of a strong coder made of them.

    passes: for each program, whether it passed each test. One program: it decides alone, as in the paper. Of several, a
    test is kept that more than this share (`majority`) of them pass.
    min_passes: with fewer passes the question is dropped at once, the public code's first rule ("few_passes").
    min_tests: with fewer kept tests it is dropped ("few_tests").
    ValueError without a program, and for programs that were not judged by the same number of tests.
    """
    if not passes or len({len(one) for one in passes}) > 1:
        raise ValueError(f"programs judged by the same tests are needed, not by {[len(one) for one in passes]}")
    votes = [sum(map(bool, votes)) for votes in zip(*passes, strict=True)]
    places = tuple(place for place, count in enumerate(votes) if count > majority * len(passes))
    if len(places) < min_passes:
        return Kept((), "few_passes")
    return Kept((), "few_tests") if len(places) < min_tests else Kept(places)


@dataclasses.dataclass(frozen=True)
class Hard:
    """ids: of the hard questions, in order. unrated: questions without a program of the models asked for.

    median_mean: of all rated questions. median_std: of those at or below it.
    """

    ids: tuple[str, ...]
    rated: int
    unrated: int
    median_mean: float
    median_std: float


def hard_subset(rows: Iterable[Row], *, models: Collection[str] = PUBLISHED_MODELS) -> Hard:
    """The hard quarter: mean pass rate at most the median, and among those a standard deviation of at least theirs.

    Over the programs of these models; () for all. Questions at a median are kept, so it is a quarter or more.
    """
    spreads: dict[str, tuple[float, float]] = {}
    unrated = 0
    for row in rows:
        rates = [one["pass_rate"] for one in row["inferences"] if not models or one["model_name"] in models]
        if rates:
            spreads[row["id"]] = _mean_and_std(rates)
        else:
            unrated += 1
    if not spreads:
        return Hard((), 0, unrated, math.nan, math.nan)
    median_mean = statistics.median(mean for mean, _ in spreads.values())
    low = {identity: std for identity, (mean, std) in spreads.items() if mean <= median_mean}
    median_std = statistics.median(low.values())
    ids = sorted(identity for identity, std in low.items() if std >= median_std)
    return Hard(tuple(ids), len(spreads), unrated, median_mean, median_std)


def _mean_and_std(rates: Sequence[float]) -> tuple[float, float]:
    """fsum rounds once, so that the order does not matter."""
    mean = math.fsum(rates) / len(rates)
    variance = math.fsum((rate - mean) ** 2 for rate in rates) / len(rates)
    return round(mean, DIGITS), round(math.sqrt(variance), DIGITS)


@dataclasses.dataclass(frozen=True)
class ProgramPair:
    """Two programs of one model for one question. id: a function of question, model and the two texts."""

    id: str
    question_id: str
    model_name: str
    chosen: str
    rejected: str
    chosen_score: float
    rejected_score: float


@dataclasses.dataclass(frozen=True)
class ProgramGroup:
    """Programs of one model for one question, each text once, that are compared: (better, worse), places in texts.

    scores: those of the two, in the order of wins. shares: of each comparison, of all ordered pairs of the programs as
    they were sampled: a text that was sampled twice is two of them.
    """

    question_id: str
    model_name: str
    texts: tuple[str, ...]
    wins: tuple[tuple[int, int], ...]
    scores: tuple[tuple[float, float], ...]
    shares: tuple[float, ...]


def make_groups(
    rows: Iterable[Row],
    *,
    models: Collection[str] = (),
    over: str = "all",
    min_best: float = 0.8,
    min_gap: float = 0.4,
    above: float = 0.0,
    ascii_only: bool = True,
) -> Iterator[ProgramGroup]:
    """The same comparisons as the pairs of `make_pairs`, all those of a question and model together. Its arguments.

    Texts that are compared with none are left out; so are questions where nothing is compared.
    """
    for row in rows:
        for model, programs in programs_by_model(row, models, over, ascii_only).items():
            apart = list(_texts_apart(programs, min_best, min_gap, above))
            places = {text: i for i, text in enumerate(sorted({text for two in apart for text, _ in two}))}
            found = sorted(((places[a], places[b]), (s, t)) for (a, s), (b, t) in apart)
            if found:
                wins, scores = zip(*found, strict=True)
                times = collections.Counter(text for text, _ in programs)
                samples = [times[text] for text in places]
                ordered = len(programs) * (len(programs) - 1)
                shares = tuple(samples[i] * samples[j] / ordered for i, j in wins)
                yield ProgramGroup(row["id"], model, tuple(places), wins, scores, shares)


def programs_by_model(
    row: Row, models: Collection[str], over: str, ascii_only: bool
) -> dict[str, list[tuple[str, float]]]:
    """The programs of a row with their scores, by model; none for a question that is not ascii where that is asked."""
    if over not in ("all", "kept"):
        raise ValueError(f"pass rates are over all tests or over the kept ones, not {over!r}")
    by_model: dict[str, list[tuple[str, float]]] = collections.defaultdict(list)
    for one in row["inferences"] if row["question"].isascii() or not ascii_only else ():
        if not models or one["model_name"] in models:
            by_model[one["model_name"]].append((one["completion"], score(row, one["pass_rate"], over)))
    return by_model


def make_pairs(
    rows: Iterable[Row],
    *,
    models: Collection[str] = (),
    over: str = "all",
    min_best: float = 0.8,
    min_gap: float = 0.4,
    above: float = 0.0,
    ascii_only: bool = True,
    max_pairs: int = 0,
) -> Iterator[ProgramPair]:
    """All pairs that the published rules allow, question by question in the order of the rows, each one's by id.

    Within one question and one model (of `models`; () for all): chosen score at least min_best, at least min_gap above
    the rejected one's, and that one more than `above`. Two texts make one pair, however often they were sampled, and
    none with themselves; where their scores differ between the samples, those furthest apart count.
    over: "all" takes the pass rates as the rows have them, over all the tests imagined for the question; "kept" makes
    them pass rates over the row's own tests, for which it needs `n_tests_all`.
    ascii_only: no pairs of questions with other characters. max_pairs: of a question and model; 0: all. Which ones is
    drawn by their ids.
    """
    for row in rows:
        pairs: list[ProgramPair] = []
        for model, programs in programs_by_model(row, models, over, ascii_only).items():
            found = [
                _pair(row["id"], model, best, worst) for best, worst in _texts_apart(programs, min_best, min_gap, above)
            ]
            found.sort(key=lambda pair: pair.id)  # the ids hold digests, so the first ones are drawn, not chosen
            pairs += found[:max_pairs] if max_pairs else found
        yield from sorted(pairs, key=lambda pair: pair.id)


def score(row: Row, pass_rate: float, over: str) -> float:
    """A pass rate over all imagined tests as it is, or made one over the row's own tests."""
    if over == "all":
        return pass_rate
    if not isinstance(row.get("n_tests_all"), int):
        raise ValueError(f"row {row['id']!r} does not say of how many tests its pass rates are: no n_tests_all")
    return round(pass_rate * row["n_tests_all"]) / len(row["test_cases"]) if row["test_cases"] else 0.0


def _texts_apart(
    programs: Sequence[tuple[str, float]], min_best: float, min_gap: float, above: float
) -> Iterator[tuple[tuple[str, float], tuple[str, float]]]:
    """Chosen and rejected, each a text with its score."""
    best = [one for one in _extremes(programs, max).items() if round(one[1], DIGITS) >= min_best]
    worst = list(_extremes([p for p in programs if p[1] > above], min).items())
    for good in best:
        for bad in worst:
            if good[0] != bad[0] and round(good[1] - bad[1], DIGITS) >= min_gap:
                yield good, bad


def _extremes(programs: Iterable[tuple[str, float]], of: Any) -> dict[str, float]:
    """Each text with the highest or lowest score of its samples."""
    scores: dict[str, float] = {}
    for text, value in programs:
        scores[text] = of(scores.get(text, value), value)
    return scores


def _pair(question_id: str, model: str, best: tuple[str, float], worst: tuple[str, float]) -> ProgramPair:
    digest = hashlib.sha256(f"{best[0]}\0{worst[0]}".encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return ProgramPair(f"{question_id}|{model}|{digest}", question_id, model, best[0], worst[0], best[1], worst[1])
