"""Rollouts drawn, judged behind the trainer's back, written once, and taken from the disk again."""

import contextlib
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acecoder_jax.sampling import rollout as rollouts
from acecoder_jax.sampling.collector import Collector
from acecoder_jax.sampling.draw import SamplingParams
from acecoder_jax.stops import Stop, Stopped
from acecoder_jax.training import logp_file
from tests.sampling.test_rollout import PROBLEMS, FakeEngine, FakeSandbox


@pytest.fixture
def make(words: Any, tmp_path: Path):
    def make(expected: int = 6, config: str = "a", **others: Any) -> Collector:
        engine = FakeEngine(words)
        made = Collector(
            tmp_path, engine, FakeSandbox(engine.log, expected), config=config, samples=2, sampling=SamplingParams(),
            **others,
        )  # fmt: skip
        made.log = engine.log  # type: ignore[attr-defined]
        return made

    return make


def test_completions_come_before_verdicts_and_the_file_with_them(make, tmp_path):
    with make(expected=7) as collector:  # one more than there are: the sandbox does not answer yet
        rollout = collector.collect(3, PROBLEMS, lambda: "weights 3")
        assert [one.id for one in rollout.completions] == [f"toy/{i}/{s}" for i in range(3) for s in range(2)]
        assert collector.log[0] == "took weights 3"
        assert not rollout.verdicts.done() and not collector.has(3) and not list(tmp_path.iterdir())
        for job, future in collector._sandbox.jobs:
            future.set_result(collector_verdict(job))
        assert [one.verdict.id for one in rollout.scored()] == [one.id for one in rollout.completions]
        assert collector.has(3) and [path.name for path in tmp_path.iterdir()] == ["000003.jsonl"]


def collector_verdict(job: Any) -> Any:
    from acecoder_jax.types import Status, Verdict

    return Verdict(job.id, (Status.PASS,))


def test_drawing_ahead_and_judging_go_on_beside_the_caller(make, monkeypatch):
    """Both are held up here until the caller has gone on; the time of judging is told."""
    go, judged = threading.Event(), []
    draw = rollouts.draw
    monkeypatch.setattr(rollouts, "draw", lambda *a, **kw: (go.wait(60) or pytest.fail("blocked"), draw(*a, **kw))[1])

    @contextlib.contextmanager
    def judging():
        yield
        judged.append(threading.current_thread().name)

    with make(judging=judging) as collector:
        coming = collector.ahead(4, PROBLEMS, lambda: "weights", staleness=1)
        assert not coming.done() and not judged
        go.set()
        coming.result().scored()
    assert len(judged) == 1 and judged[0].startswith("collector")


def test_what_is_on_the_disk_is_not_drawn_again(make):
    with make() as collector:
        drawn = collector.ahead(3, PROBLEMS, lambda: "older weights", staleness=1).result()
        scored = drawn.scored()
        assert collector.log[0] == "took older weights"
    with make() as collector:
        again = collector.collect(3, PROBLEMS, lambda: "weights")
        assert again.scored() == scored and again.completions == drawn.completions and again.about == drawn.about
        assert again.about["staleness"] == 1
        assert collector.ahead(3, PROBLEMS, lambda: "weights", staleness=1).result().scored() == scored
        assert collector.log == []  # the engine was left alone


def test_another_config_draws_anew_and_what_followed_goes(make, tmp_path):
    with make() as collector:
        for number in (2, 3, 4):
            collector.collect(number, PROBLEMS, lambda: "weights").scored()
            collector._sandbox.jobs.clear()
    with make(config="b") as collector:
        assert not collector.has(3)
        assert collector.collect(3, PROBLEMS, lambda: "weights").scored()
        assert collector.log[0] == "took weights"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000002.jsonl", "000003.jsonl"]


def test_nothing_is_taken_for_a_rollout_that_is_drawn_anew(make, tmp_path):
    """Between its drawing and its verdicts the old file would still be there, and the log-probs that belong to it."""
    with make() as collector:
        collector.collect(3, PROBLEMS, lambda: "weights").scored()
        logp_file.save(tmp_path / "logps.npz", collector.path(3), [np.zeros(2, np.float32)], None)
        assert logp_file.load_together(tmp_path / "logps.npz", collector.path(3)) is not None
    with make(expected=7, config="b") as collector:
        waiting = collector.collect(3, PROBLEMS, lambda: "weights")
        assert logp_file.load_together(tmp_path / "logps.npz", collector.path(3)) is None
        assert not collector.path(3).exists()
    with pytest.raises(Stopped):
        waiting.scored()


def test_the_rollout_drawn_ahead_may_be_judged_first(make, tmp_path):
    with make(expected=99) as collector:
        first = collector.collect(3, PROBLEMS, lambda: "weights")
        ahead = collector.ahead(4, PROBLEMS, lambda: "weights", staleness=1).result()
        jobs = collector._sandbox.jobs
        for job, future in jobs[6:] + jobs[:6]:
            if future is jobs[0][1]:
                ahead.scored()
            future.set_result(collector_verdict(job))
        first.scored()
        assert collector.has(3) and collector.has(4)


def test_a_run_that_is_to_stop_draws_and_waits_no_more(make, tmp_path):
    stop = Stop()
    with make(expected=7, check=stop.check) as collector:
        waiting = collector.collect(0, PROBLEMS, lambda: "weights")
        stop.signal = 15
        with pytest.raises(Stopped):
            waiting.scored()
        with pytest.raises(Stopped):
            collector.collect(1, PROBLEMS, lambda: "weights")
        with pytest.raises(Stopped):
            collector.ahead(1, PROBLEMS, lambda: "weights", staleness=1).result()
    assert not list(tmp_path.iterdir())


def test_leaving_ends_what_is_going_on(make, tmp_path):
    with make(expected=7) as collector:
        waiting = collector.collect(0, PROBLEMS, lambda: "weights")
    with pytest.raises(Stopped):
        waiting.scored()


def test_what_a_kill_left_of_a_write_goes(make, tmp_path):
    (tmp_path / ".000003.jsonl.17.4").write_text("half")
    with make() as collector:
        assert not collector.has(3)
    assert not list(tmp_path.iterdir())
