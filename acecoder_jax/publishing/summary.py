"""What is in a dataset: counts, sources, licences, models, pass rates, lengths, and what is odd without being wrong."""

import ast
import collections
import hashlib
import statistics
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from acecoder_jax.data._columns import ACECODE, Row, Table

BINS = 10  # of the pass-rate histogram
FEWEST_TESTS = 5  # AceCoder drops questions with fewer
LEVELS = {"least": 0.0, "median": 0.5, "p90": 0.9, "p99": 0.99, "most": 1.0}

CountTokens = Callable[[Sequence[str]], list[int]]


class Summary:
    """Grows a row at a time; the rows are good ones, in the form of `_columns.plain`.

    count_tokens: tokens of each of some texts, where they are to be counted.
    """

    def __init__(self, table: Table, count_tokens: CountTokens | None = None):
        self.table, self._count_tokens = table, count_tokens
        self.rows = 0
        self.sources: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        self.licences: collections.Counter[str] = collections.Counter()
        self.models: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        self.histogram = [0] * BINS  # completions by pass rate: 0 to below 0.1, ..., 0.9 to 1
        self.columns: collections.Counter[str] = collections.Counter()
        self.odd: collections.Counter[str] = collections.Counter()
        self.writers: collections.Counter[str] = collections.Counter()  # the models that wrote questions and tests
        self._lengths: dict[str, list[int]] = collections.defaultdict(list)
        self._questions: set[bytes] = set()

    def add(self, row: Row) -> None:
        """Counts a row."""
        self.rows += 1
        self.columns.update(list(row))
        source = self.sources[str(row.get("source") or "not stated")]
        source["rows"] += 1
        self.licences[str(row.get("licence") or "not stated")] += 1
        if isinstance(row.get("model"), str):
            self.writers[row["model"]] += 1
        (self._add_question if self.table is ACECODE else self._add_pair)(row, source)

    def _add_question(self, row: Row, source: collections.Counter[str]) -> None:
        tests, inferences = row["test_cases"], row.get("inferences", ())
        source["tests"] += len(tests)
        source["tests imagined"] += row.get("n_tests_all") or 0
        source["programs"] += len(inferences)
        self._see(row["question"])
        self._measure("question", [row["question"]])
        self._measure("program", [one.get("completion") or "" for one in inferences])
        self._lengths["tests a question"].append(len(tests))
        self.odd["fewer than 5 tests"] += len(tests) < FEWEST_TESTS
        self.odd["a test that is no assert"] += not all(map(is_assert, tests))
        self.odd["the same test twice"] += len(set(tests)) < len(tests)
        for one in inferences:
            model, rate = self.models[str(one.get("model_name") or "not stated")], one.get("pass_rate")
            model["programs"] += 1
            self.odd["an empty program"] += not (one.get("completion") or "").strip()
            if rate is None or not 0 <= rate <= 1:
                self.odd["a program without a pass rate from 0 to 1"] += 1
                continue
            model["rated"] += 1
            model["rates"] += rate
            self.histogram[min(int(rate * BINS + 1e-9), BINS - 1)] += 1

    def _add_pair(self, row: Row, source: collections.Counter[str]) -> None:
        self._see(row["instruction"], twice=False)
        for name in ("instruction", "chosen", "rejected"):
            self._measure(name, [row[name]])
        self.odd["chosen and rejected are the same"] += row["chosen"] == row["rejected"]
        self.odd["an empty program"] += not row["chosen"].strip() or not row["rejected"].strip()
        if isinstance(row.get("model_name"), str):
            self.models[row["model_name"]]["pairs"] += 1

    def _see(self, question: str, twice: bool = True) -> None:
        """Questions are counted by their digest: the texts themselves would not fit in memory."""
        digest = hashlib.sha256(question.encode()).digest()[:12]
        self.odd["a question that another row has too"] += twice and digest in self._questions
        self.odd["a question that is not ASCII"] += not question.isascii()
        self._questions.add(digest)

    def _measure(self, name: str, texts: list[str]) -> None:
        self._lengths[f"{name}, characters"] += map(len, texts)
        if self._count_tokens and texts:
            self._lengths[f"{name}, tokens"] += self._count_tokens(texts)

    @property
    def questions(self) -> int:
        """Different questions."""
        return len(self._questions)

    @property
    def mean_rates(self) -> dict[str, float | None]:
        """Mean pass rate by model; None where none of its programs has one."""
        return {name: one["rates"] / one["rated"] if one["rated"] else None for name, one in self.models.items()}

    @property
    def lengths(self) -> dict[str, dict[str, float]]:
        """Mean and quantiles of each length."""
        return {name: _levels(values) for name, values in self._lengths.items() if values}

    @property
    def oddities(self) -> dict[str, int]:
        """What is odd in how many rows (or programs); only what there is."""
        return {name: count for name, count in self.odd.items() if count}

    def to_json(self) -> dict[str, Any]:
        """All of it, for results.json."""
        models = {
            name: {key: one[key] for key in ("programs", "pairs") if one[key]}
            | {"mean_pass_rate": self.mean_rates[name]}
            for name, one in sorted(self.models.items())
        }
        return {
            "dataset": self.table.name,
            "rows": self.rows,
            "questions": self.questions,
            "columns": dict(self.columns),
            "sources": {name: dict(one) for name, one in sorted(self.sources.items())},
            "licences": dict(self.licences.most_common()),
            "written_by": dict(self.writers.most_common()),
            "models": models,
            "pass_rate_histogram": self.histogram,
            "lengths": self.lengths,
            "odd": self.oddities,
        }


def is_assert(test: str) -> bool:
    """Whether a test is one assert statement of Python."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes in the test's own strings
        try:
            body = ast.parse(test).body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return False
    return len(body) == 1 and isinstance(body[0], ast.Assert)


def _levels(values: list[int]) -> dict[str, float]:
    ordered = sorted(values)
    return {"mean": round(statistics.fmean(ordered), 1)} | {
        name: ordered[round(level * (len(ordered) - 1))] for name, level in LEVELS.items()
    }


Shown = tuple[str, Sequence[str], Sequence[Sequence[object]]]


def tables(summary: Summary) -> list[Shown]:
    """(title, column heads, rows) of what there is to show, for the terminal and for the card."""
    shown: list[Shown] = []
    keys = [
        key for key in ("rows", "tests", "tests imagined", "programs") if any(s[key] for s in summary.sources.values())
    ]
    by_size = sorted(summary.sources.items(), key=lambda item: (-item[1]["rows"], item[0]))
    shown.append(("sources", ("source", *keys), [(name, *(one[key] for key in keys)) for name, one in by_size]))
    shown.append(("licences of the seeds", ("licence", "rows"), list(summary.licences.most_common())))
    if summary.writers:
        shown.append(("questions and tests written by", ("model", "rows"), list(summary.writers.most_common())))
    if summary.models:
        what = "programs" if summary.table is ACECODE else "pairs"
        rates = summary.mean_rates
        rows = [(name, one[what], _rate(rates[name])) for name, one in sorted(summary.models.items())]
        shown.append((f"{what} sampled from", ("model", what, "mean pass rate"), rows))
    if total := sum(summary.histogram):
        edges = [f"{i / BINS:.1f} to {(i + 1) / BINS:.1f}" for i in range(BINS)]
        bars = [(edge, n, f"{n / total:.1%}") for edge, n in zip(edges, summary.histogram, strict=True)]
        shown.append(("programs by pass rate", ("pass rate", "programs", "share"), bars))
    lengths = [(name, *(f"{value:g}" for value in one.values())) for name, one in summary.lengths.items()]
    shown.append(("lengths", ("of", "mean", *LEVELS), lengths))
    if summary.oddities:
        shown.append(("odd", ("what", "rows"), sorted(summary.oddities.items())))
    return shown


def _rate(rate: float | None) -> str:
    return "" if rate is None else f"{rate:.3f}"
