"""Questions with tests, imagined by a language model from seed programs.

    python -m acecoder_jax.main --config=configs/synthesize.py:gpt-4o-mini --workdir=runs/synthesize

WORKDIR/seeds.jsonl has the seeds, seeds_rejected.jsonl what was left out of the sources; questions.jsonl has the
questions whose reply and tests hold up, rejected.jsonl the seeds without one: why, and in what way they failed. A
request that met an outage is made again by the next start.
"""

import collections
import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from acecoder_jax import cluster, imagined, metrics, plugins, store, writers
from acecoder_jax.cluster import Work
from acecoder_jax.data import seeds
from acecoder_jax.data.seeds import heldout
from acecoder_jax.decontaminate import NGRAM, Benchmarks
from acecoder_jax.imagined import prompt
from acecoder_jax.stages import _writing
from acecoder_jax.store import Row
from acecoder_jax.types import Seed
from acecoder_jax.writers import BudgetSpent, Reply, Request, Writer

MAY_CHANGE = (*_writing.MAY_CHANGE, "writer", "cluster", "cluster_args")
COST = ("prompt_tokens", "completion_tokens", "attempts", "cached")  # of every row, beside cost_usd


@dataclasses.dataclass(frozen=True)
class Asking:
    """How the model is asked. tests: to ask for; min_tests: valid ones that make a question.

    decontaminate: benchmarks of which no question may hold `ngram` words in a row.
    """

    temperature: float
    top_p: float
    max_tokens: int
    tests: int
    min_tests: int
    seed: int
    decontaminate: tuple[str, ...] = ()
    ngram: int = NGRAM

    def request(self, seed: Seed) -> Request:
        """The request of a seed: its id is the key."""
        return Request(
            key=seed.id,
            messages=({"role": "user", "content": prompt.text(seed, self.tests)},),
            temperature=self.temperature,
            top_p=self.top_p,
            max_tokens=self.max_tokens,
            seed=_writing.request_seed(self.seed, "synthesize", seed.id),
            schema=prompt.schema(self.tests),
        )


def run(config: ConfigDict, workdir: Path) -> None:
    """Reads the seeds at the first start; then asks for the questions that are missing."""
    asking = Asking(
        config.temperature, config.top_p, config.max_tokens, config.tests_asked, config.min_tests, config.seed,
        tuple(config.seeds.decontaminate), config.seeds.get("ngram", NGRAM),
    )  # fmt: skip
    output, rejected = workdir / "questions.jsonl", workdir / "rejected.jsonl"
    found = take_seeds(config, workdir)
    rows = [seed.to_json() for seed in found]
    earlier = _writing.spent_on_failures(rejected)
    arguments = _writing.writer_args(config, workdir, [output, rejected])
    stopped, _ = _writing.until_stopped(
        [row["id"] for row in rows],
        lambda done: [row | {"spent_usd": earlier.get(row["id"], 0.0)} for row in rows if row["id"] not in done],
        functools.partial(work, config.writer, arguments, asking),
        runner=cluster.make(config.cluster, **config.cluster_args),
        title="synthesize", output=output, rejected=rejected, retry=writers.FAILURES,
        measure=measure, columns=["tests"],
    )  # fmt: skip
    results = report(found, output, rejected)
    store.write_json(workdir / "results.json", results)
    if isinstance(stopped, BudgetSpent):
        raise BudgetSpent(
            f"{stopped}: {results['cost_usd']:.4f} USD for {results['requests']:,} requests. All that was under way is "
            f"written; {results['left']:,} seeds are left. To go on, start the same command with a larger "
            "--config.budget_usd"
        )
    if stopped is not None:
        raise stopped
    if results["failed"]:
        print(f"{sum(results['failed'].values())} requests failed and will be sent again by the same command")


# ---- the seeds


def take_seeds(config: ConfigDict, workdir: Path) -> list[Seed]:
    """The seeds of all sources: read at the first start, from the workdir later."""
    path = workdir / "seeds.jsonl"
    if path.exists():
        return [Seed.from_json(row) for row in store.stream_jsonl(path)]
    if not config.sources:
        raise ValueError("config.sources is empty: name at least one, as in ({'source': 'stdlib'},)")
    names, found = list[str](), list[seeds.Loaded]()
    used: set[str] = set()
    for source in config.sources:
        knobs = config.seeds.to_dict() | {"seed": config.seed, "show": True} | dict(source)
        found.append(plugins.call("config.sources: a source", seeds.load, knobs))
        name = " ".join(str(source[key]) for key in ("source", "path") if source.get(key))
        for seed in found[-1].seeds:
            if seed.id in used:
                raise ValueError(f"config.sources: {name}: the id {seed.id!r} has been used before: give it a label")
            used.add(seed.id)
        names.append(name)
    if len(found) > 1:
        found = seeds.apart(found, config.seeds.near_duplicates, show=True)
    metrics.table("seeds", ("source", "what", "count"), [
        (name, "\n".join(one.counts), "\n".join(f"{count:,}" for count in one.counts.values()))
        for name, one in zip(names, found, strict=True)
    ])  # fmt: skip
    kept = {seed.id: seed for one in found for seed in one.seeds}
    if not kept:
        raise ValueError("config.sources: no seed is left; the table above says why")
    store.write_jsonl(workdir / "seeds_rejected.jsonl", (row.to_json() for one in found for row in one.rejections))
    store.write_jsonl(path, (kept[name].to_json() for name in sorted(kept)))
    return [kept[name] for name in sorted(kept)]


# ---- the work


@contextlib.contextmanager
def work(writer: str, writer_args: Mapping[str, Any], asking: Asking) -> Iterator[Work]:
    """Seeds to rows of questions.jsonl and rejected.jsonl."""
    known = heldout.benchmarks(asking.decontaminate, asking.ngram) if asking.decontaminate else None
    with writers.make(writer, **writer_args) as hand:
        yield functools.partial(imagine, hand, asking, known)


def imagine(hand: Writer, asking: Asking, known: Benchmarks | None, rows: Sequence[Row]) -> Iterator[Row]:
    """A row for each seed whose reply has come, as it comes. WriterError."""
    spent_before = {row["id"]: row["spent_usd"] for row in rows}
    found = {row["id"]: Seed.from_json({key: row[key] for key in row if key != "spent_usd"}) for row in rows}
    for reply in hand.write(asking.request(seed) for seed in found.values()):
        row = result(found[reply.key], reply, hand.model, asking.min_tests, known)
        yield row | {"cost_usd": reply.cost_usd + spent_before[reply.key]} | reply.usage


def result(seed: Seed, reply: Reply, model: str, min_tests: int, known: Benchmarks | None = None) -> Row:
    """What a reply comes to, without what it cost."""
    about = {"id": seed.id, "source": seed.source}
    if reply.error is not None:
        return about | {"reason": reply.error, "detail": reply.detail}
    if reply.finish == "content_filter" and not reply.text.strip():
        return about | {"reason": "content_filter", "detail": "the endpoint or the model would not write a text"}
    try:
        question = imagined.read(reply.text, min_tests)
    except imagined.Rejected as rejected:
        counts = {"repaired": rejected.repaired, "refused": rejected.refused, "finish": reply.finish}
        return about | {"reason": rejected.reason, "detail": rejected.detail} | counts
    counts = {"repaired": dict(question.repaired), "refused": dict(question.refused), "finish": reply.finish}
    if shared := known.find(question.question) if known else None:
        return about | {"reason": "in a benchmark", "detail": f"{shared[0]}: {shared[1]}"} | counts
    licence = {"licence": seed.licence} if seed.licence else {}
    return about | {
        "question": question.question, "test_cases": list(question.tests), "entry_point": question.entry_point,
        "seed": seed.id, **licence, "model": model, "n_tests_all": len(question.tests),
    } | counts  # fmt: skip


def measure(row: Row) -> Mapping[str, float]:
    """What is told of a question."""
    return {"tests": len(row["test_cases"])}


# ---- what it has cost and come to


def report(found: Sequence[Seed], output: Path, rejected: Path) -> dict[str, Any]:
    """Prints what became of every seed and every test; returns the numbers for results.json."""
    sums: collections.Counter[str] = collections.Counter()
    reasons: collections.Counter[str] = collections.Counter()
    repaired: collections.Counter[str] = collections.Counter()
    refused: collections.Counter[str] = collections.Counter()
    by_source: dict[str, collections.Counter[str]] = {}
    wanted = {seed.id for seed in found}
    for seed in found:
        by_source.setdefault(seed.source, collections.Counter())["seeds"] += 1
    cost = 0.0
    for path in (output, rejected):
        store.repair_jsonl(path)
        for row in store.stream_jsonl(path) if path.exists() else ():
            if row["id"] not in wanted:
                continue
            here = by_source[row["source"]]
            sums.update({key: int(row.get(key) or 0) for key in COST})
            sums["requests"] += 1
            cost += row.get("cost_usd") or 0.0
            repaired.update(row.get("repaired", {}))
            refused.update(row.get("refused", {}))
            here["requests"] += 1
            if path == output:
                here.update(questions=1, tests=len(row["test_cases"]))
            else:
                reasons[row["reason"]] += 1
    questions = sum(one["questions"] for one in by_source.values())
    failed = {name: count for name, count in reasons.items() if name in writers.FAILURES}
    results = {
        "seeds": len(found), "requests": sums["requests"], "left": len(found) - sums["requests"],
        "questions": questions,
        "rejected": {name: count for name, count in sorted(reasons.items()) if name not in writers.FAILURES},
        "failed": dict(sorted(failed.items())), "tests": sum(one["tests"] for one in by_source.values()),
        "repaired": dict(sorted(repaired.items())), "refused": dict(sorted(refused.items())),
        "sources": {name: dict(one) for name, one in sorted(by_source.items())},
        "cost_usd": round(cost, 6), **{name: sums[name] for name in COST},
    }  # fmt: skip
    _print(results)
    return results


def _print(results: Mapping[str, Any]) -> None:
    share: Callable[[int], str] = lambda count: f"{count / max(1, results['requests']):.1%}"  # noqa: E731
    rows: list[tuple[str, object, str]] = [("questions", f"{results['questions']:,}", share(results["questions"]))]
    for kind in ("rejected", "failed"):
        rows += [(f"{kind}: {name}", f"{n:,}", share(n)) for name, n in results[kind].items()]
    rows.append(("all seeds that were asked about", f"{results['requests']:,}", ""))
    rows.append(("left", f"{results['left']:,}", ""))
    metrics.table("what became of the seeds", ("what", "count", "share"), rows)
    metrics.table("questions", ("source", "seeds", "questions", "yield", "tests per question"), [
        (
            name, f"{one['seeds']:,}", f"{one.get('questions', 0):,}",
            f"{one.get('questions', 0) / max(1, one.get('requests', 0)):.1%}",
            f"{one.get('tests', 0) / max(1, one.get('questions', 0)):.2f}",
        )
        for name, one in results["sources"].items()
    ])  # fmt: skip
    changes = [(kind, name, f"{n:,}") for kind in ("repaired", "refused") for name, n in results[kind].items()]
    metrics.table("replies and tests", ("", "what", "count"), [*changes, ("kept", "tests", f"{results['tests']:,}")])
    tokens = f"{results['prompt_tokens']:,} read, {results['completion_tokens']:,} written"
    sent = f"{results['attempts']:,} ({results['cached']:,} replies came from the cache)"
    costs = [("requests sent", sent), ("tokens", tokens), ("cost", f"{results['cost_usd']:.4f} USD")]
    metrics.table("cost", ("what", ""), costs)
