"""Filter imagined tests: a strong coder answers each question, and the tests that its program fails are dropped.

Questions in, WORKDIR/filtered.jsonl out: the questions that are left, with the tests that are. WORKDIR/oracle.jsonl has
the programs and what became of each test, so that other thresholds need no other programs; rejected.jsonl has the rest.
"""

import collections
import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from acecoder_jax import cluster, curate, ledger, metrics, store, writers
from acecoder_jax.sandbox import Sandbox
from acecoder_jax.stages import _judging, _programs, _work, _writing
from acecoder_jax.stages._programs import Asking, Judged
from acecoder_jax.store import Row
from acecoder_jax.types import Status
from acecoder_jax.writers import Writer

MAY_CHANGE = (
    *_writing.MAY_CHANGE, "questions", "keep", "cluster", "cluster_args", "sandbox.workers", "sandbox.min_isolation",
)  # fmt: skip
DROPPED = ("few_passes", "few_tests")  # by the thresholds, which a later start may have others of


def run(config: ConfigDict, workdir: Path) -> None:
    """Asks for the programs that are missing, then filters all questions anew."""
    if config.oracle_samples < 1 or (config.oracle_samples > 1 and config.temperature <= 0):
        raise ValueError(
            f"oracle_samples={config.oracle_samples} at temperature={config.temperature}: one program at least, and "
            "several only above temperature 0, where they differ"
        )
    questions = _work.read_input(config.questions, _programs.COLUMNS, "questions")
    oracle, rejected = workdir / "oracle.jsonl", workdir / "rejected.jsonl"
    asking = Asking(config.temperature, config.top_p, config.max_tokens, config.shown_tests, config.seed)
    earlier = _writing.spent_on_failures(rejected, _judging.AGAIN)
    arguments = _writing.writer_args(config, workdir, [oracle, rejected])
    stopped, counts = _writing.until_stopped(
        [row["id"] for row in questions],
        lambda done: [row | {"spent_usd": earlier.get(row["id"], 0.0)} for row in questions if row["id"] not in done],
        functools.partial(
            _programs.work, config.writer, arguments, config.sandbox.to_dict(), config.limits.to_dict(),
            functools.partial(ask, asking, config.oracle_samples),
        ),
        runner=cluster.make(config.cluster, **config.cluster_args),
        title="filter", output=oracle, rejected=rejected, retry=(*_judging.AGAIN, *DROPPED),
        measure=passed, columns=["tests passed"],
    )  # fmt: skip
    _work.summary("programs of the oracle", counts)
    yields = filter_all(questions, oracle, workdir, config.keep.to_dict())
    report(yields)
    sources = {name: found.to_json() for name, found in yields.items()}
    store.write_json(workdir / "results.json", {"programs": counts.to_json(), "sources": sources})
    if stopped is not None:
        raise stopped


# ---- the programs


def ask(asking: Asking, samples: int, hand: Writer, sandbox: Sandbox, rows: Sequence[Row]) -> Iterator[Row]:
    """A row for each question, as soon as all of its programs are judged.

    Programs without a verdict are left out of it; a question with no other is rejected, and so is one whose programs
    were not all written because the run ended: the next start asks for the rest.
    """
    found: dict[str, list[Judged]] = collections.defaultdict(list)
    asked = (one for row in rows for one in asking.ask(row, range(samples), {0: row["spent_usd"]}))
    for one in _programs.judge(hand, sandbox, asked):
        programs = found[one.row["id"]]
        programs.append(one)
        if len(programs) == samples:
            yield _oracle_row(one.row, hand.model, found.pop(one.row["id"]))


def _oracle_row(question: Row, model: str, programs: list[Judged]) -> Row:
    programs.sort(key=lambda one: one.sample)
    cost = {"cost_usd": spent} if (spent := sum(one.cost_usd for one in programs)) else {}
    judged = [
        {"completion": one.program, "statuses": [status.value for status in one.verdict.statuses]}
        | {"finish": one.reply.finish}
        for one in programs
        if one.verdict is not None and not one.verdict.infra
    ]
    missing = next((one for one in programs if one.reason in writers.ENDS), None if judged else programs[0])
    if missing is not None:
        return {"id": question["id"], "reason": missing.reason, "detail": missing.detail} | cost
    return {"id": question["id"], "model": model, "programs": judged} | cost


def passed(row: Row) -> Mapping[str, float]:
    """The share of a question's tests that its programs pass."""
    statuses = [status for program in row["programs"] for status in program["statuses"]]
    return {"tests passed": statuses.count(Status.PASS) / len(statuses) if statuses else 0.0}


# ---- the thresholds


@dataclasses.dataclass
class Yield:
    """Questions of a source and their tests, before and after. asked: with a program; the others wait for one."""

    questions: int = 0
    asked: int = 0
    kept: int = 0
    tests: int = 0
    tests_kept: int = 0
    dropped: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)

    def to_json(self) -> dict[str, Any]:
        """For results.json."""
        return vars(self) | {"dropped": dict(sorted(self.dropped.items()))}


def filter_all(questions: Sequence[Row], oracle: Path, workdir: Path, keep: Mapping[str, Any]) -> dict[str, Yield]:
    """Writes filtered.jsonl, adds what is dropped to rejected.jsonl, and returns the yields by source."""
    programs = {row["id"]: row for row in store.stream_jsonl(oracle)}
    yields: dict[str, Yield] = collections.defaultdict(Yield)
    dropped: list[Row] = []

    def kept_rows() -> Iterator[Row]:
        for question in questions:
            count = yields[question.get("source") or "unknown"]
            count.questions += 1
            count.tests += len(question["test_cases"])
            if question["id"] not in programs:
                continue
            count.asked += 1
            kept = filter_one(question, programs[question["id"]], keep, oracle)
            if "reason" in kept:
                count.dropped[kept["reason"]] += 1
                dropped.append(kept)
            else:
                count.kept += 1
                count.tests_kept += len(kept["test_cases"])
                yield kept

    ledger.write_rows(workdir / "filtered.jsonl", kept_rows())
    with ledger.appending(workdir / "rejected.jsonl") as append:
        for row in dropped:
            append(row)
    ledger.sort(workdir / "rejected.jsonl")
    return dict(sorted(yields.items()))


def filter_one(question: Row, programs: Row, keep: Mapping[str, Any], oracle: Path) -> Row:
    """The question with the tests that are kept, or its rejection."""
    tests = question["test_cases"]
    passes = [[status == Status.PASS for status in program["statuses"]] for program in programs["programs"]]
    if any(len(one) != len(tests) for one in passes):
        raise ValueError(
            f"{oracle}: the programs of {question['id']!r} were judged by {len(passes[0])} tests, but the question has "
            f"{len(tests)}: the questions have changed since; use another --workdir"
        )
    kept = curate.keep_tests(passes, **keep)
    if kept.dropped:
        detail = f"{max(map(sum, passes))} of {len(tests)} tests passed"
        return {"id": question["id"], "reason": kept.dropped, "detail": detail}
    more = {"n_tests_all": question.get("n_tests_all", len(tests)), "oracle_model": programs["model"]}
    return question | {"test_cases": [tests[place] for place in kept.places]} | more


def report(yields: Mapping[str, Yield]) -> None:
    """Prints the yields as the paper has them: questions and tests by source, before and after."""
    columns = ("source", "questions", "tests each", "kept", "share", "tests each", "dropped for few passes, tests")
    named = dict(yields)
    if len(named) > 1:
        named["all"] = _sum(list(yields.values()))
    rows = [
        (
            name, f"{one.questions:,}", f"{one.tests / max(1, one.questions):.2f}", f"{one.kept:,}",
            f"{one.kept / max(1, one.questions):.1%}", f"{one.tests_kept / max(1, one.kept):.2f}",
            ", ".join(f"{one.dropped[reason]:,}" for reason in DROPPED),
        )
        for name, one in named.items()
    ]  # fmt: skip
    metrics.table("questions before and after the filter", columns, rows)
    if waiting := sum(one.questions - one.asked for one in yields.values()):
        print(f"{waiting} questions have no program yet: the same command asks again")


def _sum(yields: Sequence[Yield]) -> Yield:
    whole = Yield()
    for one in yields:
        for name, value in vars(one).items():
            setattr(whole, name, getattr(whole, name) + value)
    return whole
