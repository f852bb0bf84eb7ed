"""Judge programs against tests: a JSONL file in, verdicts out, resumable.

python -m acecoder_jax.main --config=configs/score.py --config.input=IN.jsonl --config.output=OUT.jsonl
"""

import collections
import time
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from acecoder_jax import metrics, store
from acecoder_jax.sandbox import PROFILES, Job, Limits, Sandbox
from acecoder_jax.stages import _reward_model, _score_files, _score_rm
from acecoder_jax.types import Verdict

MAY_CHANGE = (
    "input", "output", "skip_malformed", "sandbox.workers", "sandbox.min_isolation", *_reward_model.MAY_CHANGE,
)  # fmt: skip
COLUMNS = {"pass_rate": "pass rate", "programs_per_s": "programs/s"}


class Tally:
    """Counts of verdicts, one an id. Infra is apart: it says nothing about the program."""

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self.verdicts: collections.Counter[str] = collections.Counter()
        self.statuses: collections.Counter[str] = collections.Counter()
        self.infra = 0
        self._pass_rates = 0.0  # their sum

    def add(self, verdict: Verdict) -> None:
        """Count a verdict."""
        self.ids.add(verdict.id)
        if verdict.infra:
            self.infra += 1
            return
        self.verdicts[summary_class(verdict)] += 1
        self.statuses.update(status.value for status in verdict.statuses)
        self._pass_rates += verdict.pass_rate

    @property
    def pass_rate(self) -> float | None:
        """Mean over the programs that were judged; None where there are none."""
        judged = self.verdicts.total()
        return self._pass_rates / judged if judged else None

    def to_json(self) -> dict[str, Any]:
        """The content of results.json."""
        counts = {"verdicts": dict(self.verdicts), "statuses": dict(self.statuses)}
        return {"programs": self.verdicts.total(), "infra": self.infra, "pass_rate": self.pass_rate} | counts


def run(config: ConfigDict, workdir: Path) -> None:
    """Scores every row of the input that the output does not have yet."""
    _score_files.check_paths(config.input, config.output)
    if "reward_model" in config:
        _score_rm.run(config, workdir)
        return
    good, malformed = _score_files.check(config.input, problem_of, config.skip_malformed)
    tally = take_up(config.output, good)
    print(f"{len(good)} rows to judge, {len(tally.ids)} done before, {malformed} malformed")
    if left := good - tally.ids:
        judge(config, left, tally)
    print_table("programs", tally.verdicts + collections.Counter(infra=tally.infra))
    print_table("tests", tally.statuses)
    store.write_json(workdir / "results.json", tally.to_json())


def judge(config: ConfigDict, wanted: Set[str], tally: Tally) -> None:
    """Scores the rows with these ids, each written as it finishes."""
    start, began = len(tally.ids), time.monotonic()
    with (
        Sandbox(limits=Limits(**config.limits), **config.sandbox) as sandbox,
        metrics.Progress(start + len(wanted), "score", COLUMNS, start=start) as progress,
    ):
        for count, verdict in enumerate(sandbox.score(jobs(config.input, wanted)), start=1):
            store.append_jsonl(config.output, [to_row(verdict)])
            tally.add(verdict)
            row = {"programs_per_s": count / (time.monotonic() - began)}
            if tally.pass_rate is not None:
                row["pass_rate"] = tally.pass_rate
            progress.update(start + count, row)


# ---- the input


def problem_of(row: store.Row) -> str:
    """What is wrong with a row of the input; "" for nothing."""
    if problem := _score_files.texts_missing(row, ("id", "program")):
        return problem
    if "tests" not in row:
        return "no 'tests'"
    if not isinstance(row["tests"], list) or not all(isinstance(test, str) for test in row["tests"]):
        return "'tests' is not a list of strings"
    for key in ("entry_point", "setup", "profile"):
        if not isinstance(row.get(key), str | None):
            return f"{key!r} is not a string"
    if (profile := row.get("profile")) not in (None, *PROFILES):
        return f"'profile' is not one of {', '.join(PROFILES)}"
    if profile == "library":
        return "the profile library is there for evaluations alone"
    if profile == "calls" and not (row.get("entry_point") or "").isidentifier():
        return "the profile calls wants an 'entry_point'"
    return ""


def jobs(path: str, wanted: Set[str]) -> Iterator[Job]:
    """The rows with these ids, each once."""
    for row in _score_files.wanted_rows(path, set(wanted), problem_of):
        more = {key: row[key] for key in ("entry_point", "setup", "profile") if row.get(key) is not None}
        yield Job(row["id"], row["program"], tuple(row["tests"]), **more)


# ---- the output


def take_up(path: str, good: Set[str]) -> Tally:
    """What the output holds of the good rows. Rows of infra are cut out of it: their programs are tried again."""
    tally, infra = Tally(), False
    for row in _score_files.take_up(path, _is_verdict, "verdict"):
        verdict = to_verdict(row)
        infra = infra or verdict.infra
        if not verdict.infra and verdict.id in good and verdict.id not in tally.ids:
            tally.add(verdict)
    if infra:
        store.truncate_jsonl(path, lambda row: not to_verdict(row).infra)
    return tally


def to_row(verdict: Verdict) -> dict[str, Any]:
    """A row of the output."""
    return verdict.to_json() | {"pass_rate": verdict.pass_rate}


def to_verdict(row: store.Row) -> Verdict:
    """The verdict of a row of the output. Raises ValueError for any other row."""
    return Verdict.from_json({key: value for key, value in row.items() if key != "pass_rate"})


def _is_verdict(row: store.Row) -> bool:
    if not isinstance(row.get("id"), str) or not isinstance(row.get("statuses"), list):
        return False
    try:
        to_verdict(row)
    except ValueError:
        return False
    return True


def summary_class(verdict: Verdict) -> str:
    """Where a judged program is counted in the summary."""
    name = "all tests passed" if verdict.passed else "some passed" if verdict.pass_rate else "none passed"
    return f"{name} (inside)" if verdict.mode == "inside" else name


def print_table(title: str, counts: collections.Counter[str]) -> None:
    """Counts and their shares."""
    total = max(1, counts.total())
    rows = [(name, count, f"{count / total:.1%}") for name, count in counts.most_common()]
    metrics.table(title, ("what", "count", "share"), rows)
