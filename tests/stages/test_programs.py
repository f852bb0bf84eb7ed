import collections
import dataclasses
import threading
import time
from concurrent.futures import Future

import pytest

from acecoder_jax import prompts
from acecoder_jax.stages import _judging, _programs
from acecoder_jax.stages._programs import Asking
from acecoder_jax.types import Status, Verdict
from acecoder_jax.writers import WriterError
from tests.stages.fake_writer import FakeWriter, question

OWN = """import math

def f(x):
    assert x > 0
    return "assert"

assert f(1) == 1
assert (
    f(2) == 2
), "long"
y = 1
if __name__ == "__main__":
    print(f(1))
    assert f(3)
"""
WITHOUT = """import math

def f(x):
    assert x > 0
    return "assert"





y = 1"""
PROGRAMS = {
    "tests of its own": (OWN, WITHOUT),
    "none": ("def f(x):\n    return x", "def f(x):\n    return x"),
    "two on a line": ("assert f(1); y = 2\nassert y", "assert f(1); y = 2"),
    "no program": ("def f(:\nassert f(1)", "def f(:\nassert f(1)"),
    "assertion by name": ("assertion = 1", "assertion = 1"),
    "in a long string": ('s = """\nassert f(1)\n"""\nassert f(2)', 's = """\nassert f(1)\n"""'),
    "another if": ("if name == 1:\n    x = 1\nassert x", "if name == 1:\n    x = 1"),
}


@pytest.mark.parametrize("case", PROGRAMS)
def test_a_program_comes_without_its_own_tests(case):
    program, left = PROGRAMS[case]
    assert _programs.program_of(f"{prompts.PROGRAM_START}{program}\n```\nDone.") == left
    assert _programs.program_of(f"Here:\n```python\n{program}\n```") == left


def test_requests_show_some_tests_and_have_noise_of_their_own():
    asking = Asking(temperature=0.7, top_p=0.9, max_tokens=64, shown_tests=2, seed=1)
    row = question(3)
    one, other = asking.ask(row, [0, 5], {5: 0.25})
    assert (one.row, one.sample, one.spent_usd) == (row, 0, 0.0) and (other.sample, other.spent_usd) == (5, 0.25)
    first, second = one.request, other.request
    assert (first.key, second.key) == ("q003|0", "q003|5") and first.seed != second.seed
    assert 0 <= first.seed < 2**31 and [one] == list(asking.ask(row, [0], {}))
    assert (first.temperature, first.top_p, first.max_tokens) == (0.7, 0.9, 64)
    assert first.messages[0]["content"] == prompts.program_request(row["question"], row["test_cases"][:2])
    assert first.prefix == prompts.PROGRAM_START
    greedy = Asking(temperature=0.0, top_p=1.0, max_tokens=64, shown_tests=2, seed=1)
    assert next(greedy.ask(row, [0], {})).request.seed is None


class FakeSandbox:
    """Resolves the jobs as told; until then they are under way."""

    workers = 1

    def __init__(self, events, at_once=True, infra=()):
        self.events, self.at_once, self.infra, self.futures = events, at_once, infra, []

    def submit(self, job):
        self.events.append(f"submit {job.id}")
        future = Future()
        status = Status.INFRA if job.id in self.infra else Status.PASS
        verdict = Verdict(job.id, (status,) * len(job.tests), ("the worker died",) * len(job.tests))
        if self.at_once:
            future.set_result(verdict)
        else:
            self.futures.append((future, verdict))
        return future


class Noting(FakeWriter):
    """Notes when it is asked for the next reply."""

    def __init__(self, events, **knobs):
        super().__init__("m", **knobs)
        self.events = events

    def write(self, requests):
        for reply in super().write(requests):
            self.events.append(f"reply {reply.key}")
            yield reply


ASKING = Asking(temperature=0.0, top_p=1.0, max_tokens=64, shown_tests=2, seed=1)


def asked(count):
    rows = [question(number) for number in range(count)]
    return [one for row in rows for one in ASKING.ask(row, [0], {})]


def test_a_program_is_judged_and_told_before_the_next_one_is_written():
    events = []
    for one in _programs.judge(Noting(events), FakeSandbox(events), iter(asked(2))):
        events.append(f"told {one.row['id']}")
    assert events == [
        "reply q000|0", "submit q000|0", "told q000", "reply q001|0", "submit q001|0", "told q001",
    ]  # fmt: skip


@pytest.mark.parametrize("bound", ["jobs", "bytes of tests"])
def test_the_writer_goes_on_while_programs_are_judged_but_not_without_end(monkeypatch, bound):
    if bound == "jobs":
        monkeypatch.setattr(_judging, "WINDOW", 3)
    else:
        size = sum(len(test) for number in range(3) for test in question(number)["test_cases"])
        monkeypatch.setattr(_judging, "OPEN_BYTES", size)
    events: list[str] = []
    sandbox = FakeSandbox(events, at_once=False)

    def resolve():  # when three programs are under way, and nobody writes any more
        while len(sandbox.futures) < 3:
            time.sleep(0.001)
        time.sleep(0.05)
        events.append("resolve")
        sandbox.at_once = True
        for future, verdict in sandbox.futures:
            future.set_result(verdict)

    thread = threading.Thread(target=resolve)
    thread.start()
    results = list(_programs.judge(Noting(events), sandbox, iter(asked(5))))
    thread.join()
    first = [f"{what} q00{n}|0" for n in range(3) for what in ("reply", "submit")]
    assert events[:7] == [*first, "resolve"] and len(results) == 5


def test_what_has_no_verdict_has_a_reason():
    events = []
    writer = FakeWriter("m", fails=("q001|0",))
    found = {one.row["id"]: one for one in _programs.judge(writer, FakeSandbox(events, infra=("q002|0",)), asked(4))}
    assert {name: (one.reason, one.detail) for name, one in found.items()} == {
        "q000": ("", "the worker died"), "q001": ("timeout", "too slow"), "q002": ("infra", "the worker died"),
        "q003": ("", "the worker died"),
    }  # fmt: skip
    assert set(_judging.AGAIN) >= {"timeout", "infra"}


def test_half_a_program_is_a_failed_request_and_no_wrong_program():
    class Lost(FakeWriter):
        def write(self, requests):
            for reply in super().write(requests):
                yield dataclasses.replace(reply, finish="cut") if reply.key == "q001|0" else reply

    found = {one.row["id"]: one for one in _programs.judge(Lost("m"), FakeSandbox([]), asked(3))}
    assert {name: one.reason for name, one in found.items()} == {"q000": "", "q001": "broken", "q002": ""}
    assert found["q001"].verdict is None and found["q001"].cost_usd == 0.25


def test_a_writer_that_has_to_stop_loses_no_program():
    told = collections.Counter()
    with pytest.raises(WriterError, match="the budget is spent"):
        for one in _programs.judge(FakeWriter("m", stops_after=3), FakeSandbox([]), iter(asked(5))):
            told[one.row["id"]] += 1
    assert told == {"q000": 1, "q001": 1, "q002": 1}
