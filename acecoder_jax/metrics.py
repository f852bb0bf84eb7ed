"""What a run shows of itself: metrics.jsonl and TensorBoard events, seconds a phase, a progress bar, tables."""

import collections
import contextlib
import math
import numbers
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self, SupportsFloat, TypeVar

import rich.box
import rich.console
import rich.progress
import rich.table
import rich.text
import tensorboardX

from acecoder_jax import hosts, store
from acecoder_jax.types import Status

T = TypeVar("T")
WATCH_S = 0.1  # between looks at the bar of rows that are watched
RL_COLUMNS = {
    "reward_mean": "reward",
    "pass_rate": "pass",
    "response_tokens_mean": "length",
    "kl": "KL",
    "decode_tokens_per_s": "decode tok/s",
    "train_tokens_per_s": "train tok/s",
}


class MetricsWriter:
    """Rows of numbers to WORKDIR/metrics.jsonl and to TensorBoard events in WORKDIR/tensorboard.

    resume_step: the first step that this process writes; what an earlier one wrote from there on is dropped.
    Of several processes only the first one writes.
    """

    def __init__(self, workdir: str | os.PathLike[str], resume_step: int = 0):
        self.path = Path(workdir) / "metrics.jsonl"
        self._events: tensorboardX.SummaryWriter | None = None
        if not hosts.is_first():
            return
        store.truncate_jsonl(self.path, lambda row: row["step"] < resume_step)
        # Files are named by the second: without a suffix a quick restart would write over the events of the first.
        self._events = tensorboardX.SummaryWriter(
            str(Path(workdir) / "tensorboard"), purge_step=resume_step, filename_suffix=f".{os.getpid()}.{resume_step}"
        )

    def write(self, step: int, row: Mapping[str, SupportsFloat]) -> None:
        """Appends one row, `step` first. JSON has no NaN: such numbers become "NaN", "Infinity" or "-Infinity".

        float() reads these strings back. Names may hold slashes, by which TensorBoard groups its charts.
        """
        if self._events is None:
            return
        plain = {name: _number(value) for name, value in row.items()}
        store.append_jsonl(self.path, [{"step": step} | {name: _json_number(value) for name, value in plain.items()}])
        for name, value in plain.items():
            self._events.add_scalar(name, value, step)
        self._events.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._events is not None:
            self._events.close()


def _number(value: SupportsFloat) -> int | float:
    return int(value) if isinstance(value, numbers.Integral) else float(value)


def _json_number(value: int | float) -> int | float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


class Timeline:
    """Seconds spent in the named phases of a step, from any thread. Phases may overlap: each counts its own time.

    with timeline.phase("decode"): ...
    timeline.take()  # {"decode": 1.5}, and starts anew
    """

    def __init__(self) -> None:
        self._seconds: collections.defaultdict[str, float] = collections.defaultdict(float)
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Adds the time spent inside to `name`, also when it ends in an exception."""
        start = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self._seconds[name] += time.perf_counter() - start

    def take(self) -> dict[str, float]:
        """Seconds by phase since the last take."""
        with self._lock:
            seconds, self._seconds = dict(self._seconds), collections.defaultdict(float)
        return seconds


class Progress:
    """A bar with step/total, elapsed and remaining time, and chosen metrics; plain lines where there is no terminal.

    columns: metric name -> the word to show for it, in order; metrics that a step lacks are left out.
    start: steps done before this process, so that a resumed run estimates from its own speed.
    every_s: without a terminal, seconds between lines; the last step always has one.
    total: None where nobody knows it: no line says what is left, and what is over within every_s has none.
    """

    def __init__(
        self,
        total: int | None,
        title: str,
        columns: Mapping[str, str] = RL_COLUMNS,
        start: int = 0,
        every_s: float = 5.0,
        console: rich.console.Console | None = None,
    ):
        self._total, self._title, self._columns, self._start, self._every_s = total, title, columns, start, every_s
        self._console = console or _console()
        self._began = time.monotonic()
        self._last_line = self._began if total is None else -math.inf  # many are over before a line is due
        self._bar = _TwoLines(
            rich.progress.TextColumn("{task.description}"),
            rich.progress.BarColumn(bar_width=None),
            rich.progress.MofNCompleteColumn(),
            rich.progress.TimeElapsedColumn(),
            rich.progress.TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
            expand=True,
        )
        self._task = self._bar.add_task(title, total=total, completed=start, shown="")

    def update(self, done: int, row: Mapping[str, SupportsFloat]) -> None:
        """Shows that `done` steps of the total are done, and the metrics of the last one."""
        shown = "  ".join(f"{word} {_short(row[name])}" for name, word in self._columns.items() if name in row)
        if not self._bar.disable:
            self._bar.update(self._task, completed=done, shown=shown)
            return
        now = time.monotonic()
        if now - self._last_line >= self._every_s or (self._total is not None and done >= self._total):
            self._last_line = now
            elapsed_s = now - self._began
            total, left = "", ""
            if self._total is not None:
                left_s = elapsed_s / max(done - self._start, 1) * (self._total - done)
                total, left = f"/{self._total}", f", {_clock(left_s)} left"
            self.print(f"{self._title} {done}{total}  {_clock(elapsed_s)} elapsed{left}  {shown}")

    def print(self, text: str) -> None:
        """Prints a line above the bar."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def __enter__(self) -> Self:
        if not self._bar.disable:
            self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if not self._bar.disable:
            self._bar.stop()


def watched(rows: Iterable[T], title: str, total: int | None = None) -> Iterator[T]:
    """The rows, with a progress bar and their rate while they are taken. total: None where nobody knows it."""
    began, last_look, number = time.monotonic(), 0.0, 0
    with Progress(total, title, {"rows/s": "rows/s"}) as progress:
        for number, row in enumerate(rows, start=1):
            yield row
            now = time.monotonic()
            if now - last_look > WATCH_S or number == total:
                last_look = now
                progress.update(number, {"rows/s": number / max(now - began, 1e-9)})


class _TwoLines(rich.progress.Progress):
    """The bar, and the metrics in a line of their own: side by side they would not fit a narrow terminal."""

    def get_renderables(self) -> Iterator[rich.console.RenderableType]:
        yield self.make_tasks_table(self.tasks)
        yield from (rich.text.Text("  " + task.fields["shown"], style="dim") for task in self.tasks)


def table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    console: rich.console.Console | None = None,
) -> None:
    """Prints a table. A cell may have many lines (a program); a cell that is a Status is coloured by it."""
    grid = rich.table.Table(*columns, title=title, box=rich.box.SIMPLE_HEAD, show_lines=True, title_justify="left")
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f"table {title!r}: a row of {len(row)} cells under {len(columns)} columns")
        grid.add_row(*(rich.text.Text(str(cell), style=_style(cell)) for cell in row))  # Text: no markup is read
    (console or _console()).print(grid)


def _style(cell: object) -> str:
    if not isinstance(cell, Status):
        return ""
    return {Status.PASS: "green", Status.INFRA: "magenta"}.get(cell, "red")


def _console() -> rich.console.Console:
    # In a file or a CI log rich would assume 80 columns, which breaks programs over lines.
    console = rich.console.Console()
    return console if console.is_terminal else rich.console.Console(width=120)


def _short(value: SupportsFloat) -> str:
    number = float(value)
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"


def _clock(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02}:{second:02}"
