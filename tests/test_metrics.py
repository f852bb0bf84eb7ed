import io
import json
import math
import threading
import types

import jax.numpy as jnp
import numpy as np
import pytest
import rich.console
import rich.text
from tensorboardX.proto.event_pb2 import Event

from acecoder_jax import metrics, store
from acecoder_jax.types import Status


def rows(workdir):
    return store.read_jsonl(workdir / "metrics.jsonl")


def events(workdir):
    """(step, name, value) of every scalar, and the steps from which TensorBoard purges, file by file."""
    scalars, purges = [], []
    for path in sorted((workdir / "tensorboard").iterdir()):
        data, at = path.read_bytes(), 0
        while at < len(data):
            size = int.from_bytes(data[at : at + 8], "little")  # length, its checksum, record, its checksum
            event = Event.FromString(data[at + 12 : at + 12 + size])
            at += 16 + size
            scalars += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
            purges += [event.step] if event.HasField("session_log") else []
    return scalars, purges


def test_rows_begin_with_the_step_and_hold_plain_numbers(tmp_path):
    with metrics.MetricsWriter(tmp_path) as writer:
        writer.write(0, {"kl": jnp.float32(0.5), "tokens": np.int64(3), "reward/mean": 1})
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 0, "kl": 0.5, "tokens": 3, "reward/mean": 1}\n'
    scalars, _ = events(tmp_path)
    assert scalars == [(0, "kl", 0.5), (0, "tokens", 3.0), (0, "reward/mean", 1.0)]


def test_numbers_that_json_lacks_come_back_through_float(tmp_path):
    with metrics.MetricsWriter(tmp_path) as writer:
        writer.write(0, {"a": math.nan, "b": np.float32(math.inf), "c": -math.inf})

    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    row = json.loads(line, parse_constant=refuse)
    assert math.isnan(float(row["a"])) and float(row["b"]) == math.inf and float(row["c"]) == -math.inf


def test_resume_drops_what_will_be_written_again(tmp_path):
    with metrics.MetricsWriter(tmp_path) as writer:
        for step in range(5):
            writer.write(step, {"loss": step})
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 5, "lo')  # killed here
    with metrics.MetricsWriter(tmp_path, resume_step=3) as writer:
        assert [row["step"] for row in rows(tmp_path)] == [0, 1, 2]
        writer.write(3, {"loss": 30})
    assert [(row["step"], row["loss"]) for row in rows(tmp_path)] == [(0, 0), (1, 1), (2, 2), (3, 30)]
    scalars, purges = events(tmp_path)
    assert purges == [0, 3]
    assert scalars[-1] == (3, "loss", 30.0)


def test_timeline_adds_up_and_starts_anew():
    timeline = metrics.Timeline()
    with timeline.phase("decode"):
        pass
    with pytest.raises(RuntimeError), timeline.phase("score"):
        raise RuntimeError
    first = timeline.take()
    assert first.keys() == {"decode", "score"} and all(seconds >= 0 for seconds in first.values())
    assert timeline.take() == {}


def test_timeline_loses_nothing_between_threads(monkeypatch):
    clock = threading.local()

    def tick():  # every phase takes one second of its thread's clock
        clock.now = getattr(clock, "now", 0) + 1
        return clock.now

    def work():
        for _ in range(2000):
            with timeline.phase("score"):
                pass

    monkeypatch.setattr(metrics, "time", types.SimpleNamespace(perf_counter=tick))
    timeline = metrics.Timeline()
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert timeline.take() == {"score": 8000}


def console(terminal):
    return rich.console.Console(file=io.StringIO(), width=160, force_terminal=terminal, _environ={"TERM": "xterm"})


def test_progress_without_a_terminal_is_plain_lines(monkeypatch):
    now = iter([0.0, 0.0, 2.0, 6.0, 9.0, 100.0])
    monkeypatch.setattr(metrics, "time", types.SimpleNamespace(monotonic=lambda: next(now)))
    out = console(terminal=False)
    with metrics.Progress(
        10, "rl", {"reward_mean": "reward", "kl": "KL", "speed": "tok/s"}, start=4, console=out
    ) as bar:
        bar.update(5, {"reward_mean": 0.25, "kl": 1e-4})  # second 0: the first line
        bar.update(6, {"reward_mean": 0.30})  # second 2: too early
        bar.update(7, {"reward_mean": 0.35, "speed": 12345.6, "other": 1})  # second 6
        bar.update(8, {"reward_mean": 0.35})  # second 9: too early
        bar.update(10, {"reward_mean": math.nan})  # the last step
    assert out.file.getvalue().splitlines() == [
        "rl 5/10  0:00:00 elapsed, 0:00:00 left  reward 0.25  KL 0.0001",
        "rl 7/10  0:00:06 elapsed, 0:00:06 left  reward 0.35  tok/s 12,346",
        "rl 10/10  0:01:40 elapsed, 0:00:00 left  reward nan",
    ]


def test_rows_of_an_unknown_number_are_watched(monkeypatch, capsys):
    now = iter([0.0, 0.0, 1.0, 1.0, 6.0, 6.0])  # of the watch, of the bar; and of each look, which both take
    monkeypatch.setattr(metrics, "time", types.SimpleNamespace(monotonic=lambda: next(now)))
    assert list(metrics.watched("ab", "letters")) == ["a", "b"]
    assert capsys.readouterr().out == "letters 2  0:00:06 elapsed  rows/s 0.333\n"  # second 1: too early


def test_progress_on_a_terminal_shows_a_bar():
    out = console(terminal=True)
    with metrics.Progress(4, "rl", {"kl": "KL"}, console=out) as bar:
        bar.update(3, {"kl": 0.125})
        bar.print("[bold]a line above")
    text = rich.text.Text.from_ansi(out.file.getvalue()).plain
    assert "3/4" in text and "KL 0.125" in text and "[bold]a line above" in text


def test_table_shows_programs_as_they_are():
    out = console(terminal=False)
    program = "def f(x):\n    return x[0] + [red]"
    metrics.table("samples", ["program", "verdict"], [[program, Status.PASS], ["pass", Status.INFRA]], console=out)
    text = out.file.getvalue()
    for piece in ("samples", "program", "def f(x):", "    return x[0] + [red]", "pass", "infra"):
        assert piece in text
    with pytest.raises(ValueError, match="'samples': a row of 1 cells under 2 columns"):
        metrics.table("samples", ["program", "verdict"], [["x"]], console=out)


def test_a_log_file_is_wide_enough_for_programs(capsys):
    line = "x = " + "1" * 100
    metrics.table("samples", ["program"], [[line]])
    assert line in capsys.readouterr().out
