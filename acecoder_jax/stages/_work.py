"""What synthesize, filter and sample share: rows in, result rows out, each written as it is finished, resumable by id.

A result row is kept (it goes to `output`) or, where it has a "reason", rejected (it goes to `rejected`: {"id",
"reason", "detail", ...}). A row with "cost_usd" says what it cost. Only this process writes; who does the work is the
runner's affair (acecoder_jax/cluster/).
"""

import collections
import contextlib
import dataclasses
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from acecoder_jax import ledger, metrics, store
from acecoder_jax.cluster import MakeWork, Runner
from acecoder_jax.store import Row

Measure = Callable[[Row], Mapping[str, float]]
LOOK_S = 0.1  # between looks at the progress bar


@dataclasses.dataclass
class Counts:
    """What has become of the rows, whichever start of the run did them.

    sums: of the numbers that `measure` found in the kept rows. seconds, fresh: of this start, and the rows that it did.
    """

    kept: int = 0
    rejected: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    cost_usd: float = 0.0
    sums: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    seconds: float = 0.0
    fresh: int = 0

    @property
    def done(self) -> int:
        """Rows that are kept or rejected."""
        return self.kept + self.rejected.total()

    @property
    def means(self) -> dict[str, float]:
        """Of the numbers of the kept rows."""
        return {name: total / self.kept for name, total in self.sums.items()} if self.kept else {}

    def add(self, row: Row, measure: Measure) -> None:
        """Counts a result row."""
        self.cost_usd += row.get("cost_usd") or 0.0
        if "reason" in row:
            self.rejected[row["reason"]] += 1
            return
        self.kept += 1
        for name, value in measure(row).items():
            self.sums[name] += value  # type: ignore[assignment]  # a Counter of floats

    def to_json(self) -> dict[str, Any]:
        """For results.json: nothing of this start alone."""
        counts = {"done": self.done, "kept": self.kept, "rejected": dict(sorted(self.rejected.items()))}
        return counts | {"cost_usd": round(self.cost_usd, 6), "means": self.means}


def read_input(path: str, columns: Mapping[str, type], key: str) -> list[Row]:
    """The rows of `stream_input`, in the order of their ids."""
    return sorted(stream_input(path, columns, key), key=lambda row: row["id"])


def stream_input(path: str, columns: Mapping[str, type], key: str) -> Iterator[Row]:
    """The rows of the JSONL file that config.KEY names, each with an id and these columns.

    Raises ValueError or FileNotFoundError, naming file, line and column, for a file that is not there, a damaged line,
    a missing column or one of another type, a test that is no text, and an id that stands there twice.
    """
    if not path:
        raise ValueError(f"config.{key} is empty: name the JSONL file of the stage before")
    if not Path(path).is_file():
        raise FileNotFoundError(f"config.{key}: no file {path}")
    seen: set[str] = set()
    for line, row in store.scan_jsonl(path):
        where = f"config.{key}: {path}, line {line}"
        if isinstance(row, str):
            raise ValueError(f"{where}: {row}")
        for column, kind in {"id": str, **columns}.items():
            if column not in row:
                raise ValueError(f"{where} (id {row.get('id')!r}): no column {column!r}; it has {', '.join(row)}")
            if not isinstance(row[column], kind):
                raise ValueError(f"{where} (id {row['id']!r}): {column!r} is no {kind.__name__}: {row[column]!r:.80}")
        for number, test in enumerate(row.get("test_cases", ())):
            if not isinstance(test, str):
                raise ValueError(f"{where} (id {row['id']!r}): test_cases[{number}] is no str: {test!r:.80}")
        if row["id"] in seen:
            raise ValueError(f"{where}: the id {row['id']!r} has been used by a row before")
        seen.add(row["id"])
        yield row


def left(rows: Iterable[Row]) -> Callable[[Set[str]], list[Row]]:
    """For `work_off`, where a row of the input gives one result of the same id: the rows that have none yet."""
    return lambda done: [row for row in rows if row["id"] not in done]


def no_measures(row: Row) -> Mapping[str, float]:
    """Where there is nothing to tell of a kept row."""
    return {}


def work_off(
    wanted: Collection[str],
    todo: Callable[[Set[str]], Sequence[Row]],
    make_work: MakeWork,
    *,
    runner: Runner,
    title: str,
    output: Path,
    rejected: Path,
    retry: Collection[str] = (),
    measure: Measure = no_measures,
    columns: Sequence[str] = (),
) -> Counts:
    """Does what an earlier start has not done. Afterwards both files are in the order of their ids.

    wanted: the ids of the results. todo: from the ids of those that are there, the rows to work on.
    retry: reasons that say nothing about the row (an outage): such rows are done again by the next start.
    measure: numbers of a kept row; of those named in `columns` the means are shown while the work goes on.
    Rows of other ids, of an earlier input, stay in the files and are not counted.
    Raises ValueError for a result that nobody wanted, and where the work ends without a result for a wanted id.
    """
    wanted = set(wanted)
    store.remove_half_written(output.parent)
    again = take_out(wanted, rejected, retry)
    counts, done = take_up(wanted, output, rejected, measure)
    before = counts.done
    print(f"{title}: {len(wanted)} wanted, {before} done before")
    rows = todo(done) if before < len(wanted) else []
    shown = {name: name for name in ("rows/s", "yield", "USD", *columns)}
    began, last_look = time.monotonic(), 0.0
    with contextlib.ExitStack() as stack:
        # Those that are not done again after all, for the work may end before: they have failed, and perhaps cost.
        stack.callback(lambda: put_back(rejected, (row for row in again if row["id"] not in done)))
        keep, reject = stack.enter_context(ledger.appending(output)), stack.enter_context(ledger.appending(rejected))
        progress = stack.enter_context(metrics.Progress(len(wanted), title, shown, start=before))
        results = runner(make_work, rows) if rows else iter(())
        if hasattr(results, "close"):  # an error here shall end the work now, not when the iterator is collected
            stack.callback(results.close)
        for row in results:
            if row["id"] in done:
                continue  # worked on twice
            if row["id"] not in wanted:
                raise ValueError(f"{title}: a result of the id {row['id']!r}, which nobody asked for")
            (reject if "reason" in row else keep)(row)
            done.add(row["id"])
            counts.add(row, measure)
            counts.fresh += 1
            now = time.monotonic()
            if now - last_look > LOOK_S or len(done) == len(wanted):
                last_look, counts.seconds = now, now - began
                progress.update(counts.done, _shown(counts))
    if missing := wanted - done:
        raise ValueError(f"{title}: the work ended without a result for {len(missing)} ids, {min(missing)!r} for one")
    ledger.sort(output)
    ledger.sort(rejected)
    return counts


def summary(title: str, counts: Counts) -> None:
    """Prints what became of the rows: shares, reasons, means, cost and rate."""
    total = max(1, counts.done)
    rows: list[tuple[object, ...]] = [("kept", counts.kept, f"{counts.kept / total:.1%}")]
    rows += [(f"rejected: {name}", n, f"{n / total:.1%}") for name, n in counts.rejected.most_common()]
    rows += [(f"mean {name}", f"{value:.4g}", "") for name, value in counts.means.items()]
    if counts.cost_usd:
        rows.append(("cost", f"{counts.cost_usd:.4f} USD", ""))
    if counts.fresh:
        rate = counts.fresh / max(counts.seconds, 1e-9)
        rows.append(("this start", f"{counts.fresh} in {counts.seconds:.1f} s", f"{rate:.3g}/s"))
    metrics.table(title, ("what", "count", "share"), rows)


def take_out(wanted: Set[str], rejected: Path, retry: Collection[str]) -> list[Row]:
    """The rows of wanted ids with one of these reasons, which are in the file no more.

    Those of other ids stay: another model's, in a run of several, are none of this one's affair.
    """
    taken: list[Row] = []

    def stays(row: Row) -> bool:
        if row.get("reason") not in retry or row.get("id") not in wanted:
            return True
        taken.append(row)
        return False

    store.truncate_jsonl(rejected, stays)
    return taken


def put_back(rejected: Path, rows: Iterable[Row]) -> None:
    """Appends rows that `take_out` has taken."""
    with ledger.appending(rejected) as append:
        for row in rows:
            append(row)


def take_up(wanted: Set[str], output: Path, rejected: Path, measure: Measure) -> tuple[Counts, set[str]]:
    """What earlier starts have left, and the ids of it. The files are left ready to grow."""
    counts, done = Counts(), set[str]()
    for path in (output, rejected):
        store.repair_jsonl(path)
        for line, row in store.scan_jsonl(path) if path.exists() else ():
            if isinstance(row, str) or not isinstance(row.get("id"), str):
                raise ValueError(f"{path}, line {line}: {row if isinstance(row, str) else 'a row without an id'}")
            if row["id"] in done:
                raise ValueError(f"{path}, line {line}: the id {row['id']!r} stands in the run's files twice")
            if row["id"] in wanted:
                done.add(row["id"])
                counts.add(row, measure)
    return counts, done


def _shown(counts: Counts) -> dict[str, float]:
    row = {"rows/s": counts.fresh / max(counts.seconds, 1e-9), "yield": counts.kept / max(1, counts.done)}
    if counts.cost_usd:
        row["USD"] = counts.cost_usd
    return row | counts.means
