"""Judging while a writer writes: what is called while verdicts are waited for, and a reply that was cut."""

from concurrent.futures import Future

import pytest

from acecoder_jax.sandbox import Job
from acecoder_jax.stages import _judging
from acecoder_jax.writers import Reply, Request

REQUEST = Request("a", ({"role": "user", "content": "Add."},), temperature=0.0, top_p=1.0, max_tokens=8)


class Writes:
    def __init__(self, *replies):
        self.replies = replies

    def write(self, requests):
        assert [request.key for request in requests] == ["a"]
        yield from self.replies


class Busy:
    """A sandbox that never comes to an end."""

    workers = 1

    def submit(self, job):
        return Future()


def judge(writer, check=lambda: None):
    jobs = lambda _, program: {"tests": Job("a", program, ("assert True",))}  # noqa: E731
    return _judging.judge(writer, Busy(), [(REQUEST, "one")], lambda _, text: text, jobs, check)


def test_a_stop_is_noticed_while_verdicts_are_waited_for(monkeypatch):
    monkeypatch.setattr(_judging, "CHECK_S", 0.01)
    calls = []

    def check():
        calls.append(None)
        if len(calls) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        next(judge(Writes(Reply("a", "x = 1")), check))
    assert len(calls) == 3


def test_half_a_program_is_not_judged():
    (found,) = judge(Writes(Reply("a", "x = 1", "cut")))
    assert (found.reason, found.program, found.verdicts) == ("broken", "", {})
