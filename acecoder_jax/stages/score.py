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
from acecoder_jax.types import Verdict

MAY_CHANGE = ("input", "output", "skip_malformed", "sandbox.workers", "sandbox.min_isolation")
COLUMNS = {"pass_rate": "pass rate", "programs_per_s": "programs/s"}
MAX_REPORTED = 20
_BEGINNING = b'{"id": '  # of every row that this stage writes


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
    check_paths(config.input, config.output)
    good, malformed = check(config.input)
    for line, identity, problem in malformed[:MAX_REPORTED]:
        named = "" if identity is None else f", id {identity!r:.100}"
        print(f"malformed row: {config.input}, line {line}{named}: {problem}")
    if malformed and not config.skip_malformed:
        raise ValueError(
            f"{len(malformed)} malformed rows in {config.input}; --config.skip_malformed=True leaves them out"
        )
    tally = take_up(config.output, good)
    print(f"{len(good)} rows to judge, {len(tally.ids)} done before, {len(malformed)} malformed")
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


def check_paths(source: str, output: str) -> None:
    """Raises ValueError or FileNotFoundError where the one cannot be read or the other not be written."""
    for key, path in (("input", source), ("output", output)):
        if not path:
            raise ValueError(f"config.{key} is empty: name a JSONL file")
    if not Path(source).exists():
        raise FileNotFoundError(f"config.input: no file {source}")
    for path in (source, output):
        if Path(path).exists() and not Path(path).is_file():
            raise ValueError(f"{path} is not a regular file")
    if Path(output).suffix == ".gz":
        raise ValueError(f"config.output: {output}: rows cannot be appended to a compressed file")
    if Path(output).exists() and Path(output).samefile(source):
        raise ValueError(f"config.input and config.output are the same file: {source}")


def check(path: str) -> tuple[set[str], list[tuple[int, Any, str]]]:
    """The ids of the good rows, and (line, id or None, what is wrong) of the others."""
    good: set[str] = set()
    malformed = []
    for line, row in store.scan_jsonl(path):
        problem = problem_of(row)
        identity = None if isinstance(row, str) else row.get("id")
        if not problem and identity in good:
            problem = "the id has been used by a row before"
        if problem:
            malformed.append((line, identity, problem))
        else:
            good.add(str(identity))
    return good, malformed


def problem_of(row: store.Row | str) -> str:
    """What is wrong with a line of the input, as `store.scan_jsonl` gives it; "" for nothing."""
    if isinstance(row, str):
        return row
    for key in ("id", "program", "tests"):
        if key not in row:
            return f"no {key!r}"
    for key in ("id", "program"):
        if not isinstance(row[key], str):
            return f"{key!r} is not a string"
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
    left = set(wanted)
    for _, row in store.scan_jsonl(path):
        if problem_of(row) or isinstance(row, str) or row["id"] not in left:
            continue
        left.remove(row["id"])
        more = {key: row[key] for key in ("entry_point", "setup", "profile") if row.get(key) is not None}
        yield Job(row["id"], row["program"], tuple(row["tests"]), **more)


# ---- the output


def take_up(path: str, good: Set[str]) -> Tally:
    """What the output holds of the good rows. The file is left ready to grow: its lines whole, and none of infra, which
    is tried again. Raises ValueError where it cannot be written, and where it holds anything but verdicts.
    """
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a+b") as file:
            file.seek(0)
            beginning = file.read(len(_BEGINNING))
    except OSError as error:
        raise ValueError(f"config.output: {path} cannot be written: {error.strerror}") from error
    _, first = next(store.scan_jsonl(path), (0, ""))
    ours = _is_verdict(first) if isinstance(first, dict) else _BEGINNING.startswith(beginning)
    if not ours:  # told before anything is cut off it
        raise ValueError(f"config.output: {path} is there and its first line is no verdict: name another file")
    store.repair_jsonl(path)
    tally, infra = Tally(), False
    for line, row in store.scan_jsonl(path):
        if not isinstance(row, dict) or not _is_verdict(row):
            raise ValueError(f"config.output: {path}, line {line}: {row if isinstance(row, str) else 'not a verdict'}")
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
