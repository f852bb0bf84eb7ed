"""Judge programs against tests: a JSONL file in, verdicts out, resumable.

python -m acecoder_jax.main --config=configs/score.py --config.input=IN.jsonl --config.output=OUT.jsonl
"""

import collections
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from acecoder_jax import metrics, store
from acecoder_jax.sandbox import Job, Limits, Sandbox
from acecoder_jax.types import Status, Verdict

MAY_CHANGE = ("input", "output", "skip_malformed", "sandbox.workers", "sandbox.min_isolation")
COLUMNS = {"pass_rate": "pass rate", "programs_per_s": "programs/s"}
MAX_REPORTED = 20


def run(config: ConfigDict, workdir: Path) -> None:
    """Scores every row of the input that the output does not have yet."""
    for key in ("input", "output"):
        if not config[key]:
            raise ValueError(f"config.{key} is empty: name a JSONL file")
    good, malformed = check(config.input)
    for line, identity, problem in malformed[:MAX_REPORTED]:
        print(f"malformed row: {config.input}, line {line}, id {identity!r}: {problem}")
    if malformed and not config.skip_malformed:
        raise ValueError(
            f"{len(malformed)} malformed rows in {config.input}; --config.skip_malformed=True leaves them out"
        )
    store.truncate_jsonl(config.output, lambda row: Status.INFRA not in row["statuses"])  # those are tried again
    done = store.done_ids(config.output) & good
    print(f"{len(good)} rows to judge, {len(done)} done before, {len(malformed)} malformed")
    verdicts: collections.Counter[str] = collections.Counter()
    statuses: collections.Counter[str] = collections.Counter()
    began, pass_rate = time.monotonic(), 0.0
    with (
        Sandbox(limits=Limits(**config.limits), **config.sandbox) as sandbox,
        metrics.Progress(len(good), "score", COLUMNS, start=len(done)) as progress,
    ):
        for count, verdict in enumerate(sandbox.score(jobs(config.input, good - done)), start=1):
            store.append_jsonl(config.output, [to_row(verdict)])
            statuses.update(status.value for status in verdict.statuses)
            verdicts[summary_class(verdict)] += 1
            pass_rate += (verdict.pass_rate - pass_rate) / count
            speed = count / (time.monotonic() - began)
            progress.update(len(done) + count, {"pass_rate": pass_rate, "programs_per_s": speed})
    total = sum(verdicts.values())
    print_table("programs", verdicts)
    print_table("tests", statuses)
    results = {"programs": total, "pass_rate": pass_rate, "verdicts": dict(verdicts), "statuses": dict(statuses)}
    store.write_json(workdir / "results.json", results)


def check(path: str) -> tuple[set[str], list[tuple[int, Any, str]]]:
    """The ids of the good rows, and (line, id, what is wrong) of the others."""
    good: set[str] = set()
    malformed = []
    for line, row in enumerate(store.stream_jsonl(path), start=1):
        problem = problem_of(row)
        if not problem and row["id"] in good:
            problem = "the id has been used by a row before"
        if problem:
            malformed.append((line, row.get("id"), problem))
        else:
            good.add(row["id"])
    return good, malformed


def problem_of(row: dict[str, Any]) -> str:
    """What is wrong with a row of the input; "" for nothing."""
    for key in ("id", "program", "tests"):
        if key not in row:
            return f"no {key!r}"
    for key, value in row.items():
        if key in ("id", "program", "setup", "profile") and not isinstance(value, str):
            return f"{key!r} is not a string"
    if not isinstance(row["tests"], list) or not all(isinstance(test, str) for test in row["tests"]):
        return "'tests' is not a list of strings"
    if not isinstance(row.get("entry_point"), str | None):
        return "'entry_point' is not a string"
    return "" if row.get("profile", "grading") in ("grading", "stdin") else "'profile' is not grading or stdin"


def jobs(path: str, wanted: set[str]) -> Iterator[Job]:
    """The rows with these ids, each once."""
    left = set(wanted)
    for row in store.stream_jsonl(path):
        if problem_of(row) or row["id"] not in left:
            continue
        left.remove(row["id"])
        more = {key: row[key] for key in ("entry_point", "setup", "profile") if key in row}
        yield Job(row["id"], row["program"], tuple(row["tests"]), **more)


def to_row(verdict: Verdict) -> dict[str, Any]:
    """A row of the output."""
    return verdict.to_json() | {"pass_rate": verdict.pass_rate}


def summary_class(verdict: Verdict) -> str:
    """Where a program is counted in the summary."""
    if verdict.infra:
        return "infra"
    name = "all tests passed" if verdict.passed else "some passed" if verdict.pass_rate else "none passed"
    return f"{name} (inside)" if verdict.mode == "inside" else name


def print_table(title: str, counts: collections.Counter[str]) -> None:
    """Counts and their shares."""
    total = max(1, sum(counts.values()))
    rows = [(name, count, f"{count / total:.1%}") for name, count in counts.most_common()]
    metrics.table(title, ("what", "count", "share"), rows)
