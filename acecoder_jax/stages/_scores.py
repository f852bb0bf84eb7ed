"""What an evaluation says in the end: the scores, and a table of what became of each problem."""

import collections
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from acecoder_jax import metrics, store
from acecoder_jax.benchmarks import Benchmark
from acecoder_jax.scoring import bootstrap_stderr, pass_at_k
from acecoder_jax.store import Row
from acecoder_jax.types import Status

COLUMNS = ("score", "task", "answers", "passed", "status", "message")
Scores = dict[str, dict[str, Any]]


def of(bench: Benchmark, rows: Sequence[Row], wanted: int, ks: Sequence[int], seed: int) -> Scores:
    """The scores of a benchmark by name, from the rows of its answers; `wanted` answers there should be.

    {"pass@1": mean over the problems, "stderr": its standard error, "n": problems, "answers": of all of them,
    "truncated": answers that were cut at their length, "missing": answers that are not there}, and for each further k
    "pass@k" and "stderr@k", where every problem has so many answers. Problems without an answer are in no mean.
    """
    found: Scores = {}
    for name in bench.scores:
        by_task: dict[str, list[bool]] = {}
        for row in rows:
            by_task.setdefault(row["task"], []).append(row["passed"][name])
        score: dict[str, Any] = {}
        fewest = min(map(len, by_task.values()), default=0)
        for k in (k for k in sorted({1, *ks}) if k <= fewest):
            rates = [pass_at_k(len(passed), sum(passed), k) for passed in by_task.values()]
            score[f"pass@{k}"] = float(np.mean(rates))
            score["stderr" if k == 1 else f"stderr@{k}"] = bootstrap_stderr(rates, seed)
        score |= {"n": len(by_task), "answers": len(rows)}
        score |= {"truncated": sum(row["finish"] == "length" for row in rows), "missing": wanted - len(rows)}
        found[name] = score
    return found


def tell_left_out(name: str, rows: Sequence[Row], wanted: Iterable[tuple[str, int]], ks: Sequence[int]) -> None:
    """Prints which pass@k a benchmark of this name does not get, and why, where it wants several answers a problem.

    wanted: the task and the number of each answer that there should be.
    """
    asked = collections.Counter(task for task, _ in wanted)
    counts = collections.Counter(row["task"] for row in rows)
    if not counts or max(asked.values()) < 2:
        return
    fewest = min(counts, key=counts.__getitem__)
    if left_out := [f"pass@{k}" for k in sorted({*ks}) if k > counts[fewest]]:
        few = sum(count == counts[fewest] for count in counts.values())
        print(
            f"{name}: no {', '.join(left_out)}: {few} of {len(counts)} problems, {fewest} for one, have only "
            f"{counts[fewest]} answers ({asked[fewest]} wanted)"
        )


def report(scores: Mapping[str, Mapping[str, Any]]) -> None:
    """Prints the scores."""
    ks = sorted({int(key[5:]) for score in scores.values() for key in score if key.startswith("pass@")})
    rows = [
        (name, *(_rate(score, k) for k in ks), *(score[key] for key in ("n", "truncated", "missing")))
        for name, score in scores.items()
    ]
    metrics.table("scores", ("score", *(f"pass@{k}" for k in ks), "problems", "truncated", "missing"), rows)


def _rate(score: Mapping[str, Any], k: int) -> str:
    if f"pass@{k}" not in score:
        return ""
    return f"{score[f'pass@{k}']:.3f} ± {score['stderr' if k == 1 else f'stderr@{k}']:.3f}"


def write_problems(path: Path, benches: Sequence[Benchmark], rows: Mapping[str, Sequence[Row]]) -> None:
    """A table of tab-separated values: for each score and task its answers, how many passed, and of the first that did
    not the status and the message. rows: by the name of the benchmark, in the order of the tasks.
    """
    lines = ["\t".join(COLUMNS)]
    for bench in benches:
        for score, parts in bench.scores.items():
            by_task: dict[str, list[Row]] = {}
            for row in rows[bench.name]:
                by_task.setdefault(row["task"], []).append(row)
            for task, answers in by_task.items():
                failed = next((row for row in answers if not row["passed"][score]), None)
                told = (_status(failed, parts), " ".join(failed["message"].split())) if failed else ("pass", "")
                passed = sum(row["passed"][score] for row in answers)
                lines.append("\t".join((score, task, str(len(answers)), str(passed), *told)))
    store.write_text(path, "\n".join(lines) + "\n")


def _status(row: Row, parts: Sequence[str]) -> str:
    statuses = (status for part in parts for status in row["statuses"][part])
    return next((status for status in statuses if status != Status.PASS), "no tests")
