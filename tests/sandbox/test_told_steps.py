"""Tests of many steps, each of which has a time limit; and scripts whose output is recorded."""

import json

import pytest

from acecoder_jax.sandbox import Job, Limits
from acecoder_jax.types import Status

BUSY = (
    "from time import process_time\ndef f(s):\n    start = process_time()\n    while process_time() - start < s: pass\n"
    "    return s"
)
STEPS = "for s in {}:\n    sandbox_step()\n    assert f(s) == s"


def grade(sandbox, test, **limits):
    return sandbox.submit(Job("steps", BUSY, (test,), "f", limits=Limits(**limits))).result(60)


@pytest.mark.parametrize(
    ("seconds", "status"),
    [
        ([0.15] * 4, Status.PASS),  # 0.6 s in all
        ([0.001] * 60 + [0.15], Status.PASS),
        ([0.001] * 60 + [9.0], Status.TIMEOUT),
        ([0.15, 0.5], Status.TIMEOUT),
        ([0.5, 0.0], Status.TIMEOUT),
    ],
)
def test_each_step_has_the_limit(sandbox, seconds, status):
    verdict = grade(sandbox, STEPS.format(seconds), test_s=2.0, program_s=2.0, step_s=0.3)
    assert verdict.statuses == (status,) and verdict.mode == "values", verdict.messages


def test_steps_give_a_test_no_more_than_its_own_limit(sandbox):
    endless = "while True:\n    sandbox_step()\n    assert f(0.1) == 0.1"
    assert grade(sandbox, endless, test_s=0.5, program_s=2.0, step_s=0.3).statuses == (Status.TIMEOUT,)
    assert grade(sandbox, endless, test_s=2.0, program_s=0.5, step_s=0.3).statuses == (Status.TIMEOUT,)


def test_loading_a_program_is_no_step(sandbox):
    slow = f"{BUSY}\nf(0.5)"
    limits = Limits(test_s=1.0, program_s=2.0, step_s=0.2)
    verdict = sandbox.submit(Job("a", slow, ("sandbox_step()\nassert f(0.1) == 0.1",), "f", limits=limits)).result(60)
    assert verdict.passed, verdict.messages


def test_without_a_limit_steps_are_told_in_vain(sandbox):
    assert grade(sandbox, STEPS.format([0.2, 0.4, 0.2]), test_s=2.0, program_s=2.0).passed
    with pytest.raises(ValueError, match=r"step_s must be above 0"):
        Limits(step_s=0)


def test_a_program_cannot_tell_steps(sandbox):
    program = "import sys\ndef f():\n    for name in list(sys.modules):\n        pass\n    sandbox_step()"
    verdict = sandbox.submit(Job("a", program, ("sandbox_step()\nf()",), "f")).result(60)
    assert verdict.statuses == (Status.ERROR,) and "sandbox_step" in verdict.messages[0]


def test_what_a_script_prints_is_recorded(sandbox):
    test = json.dumps({"input": "1000", "record": True})
    long = sandbox.submit(Job("a", "print('ab' * int(input()))", (test,), profile="stdin")).result(60)
    assert long.passed and long.messages == ("ab" * 1000 + "\n",)
    failed = sandbox.submit(Job("a", "print(1)\n1 / 0", (test,), profile="stdin")).result(60)
    assert failed.statuses == (Status.ERROR,) and "ZeroDivisionError" in failed.messages[0]
    other = json.dumps({"input": "1000", "record": False})
    assert sandbox.submit(Job("a", "print(1)", (other,), profile="stdin")).result(60).statuses == (Status.ERROR,)
