"""Limits of a job's own, beside those of the sandbox."""

import json

import pytest

from acecoder_jax.sandbox import Job, Limits, Sandbox
from acecoder_jax.types import Status
from tests.sandbox.processes import below

OWN = Limits(test_s=0.3, program_s=1.5)
ADD = "def f(a, b=1):\n    return a + b"
BUSY = (
    "from time import process_time\ndef f(s):\n    start = process_time()\n    while process_time() - start < s: pass\n"
    "    return s"
)
TOLD = (
    "import resource\ndef f():\n    kinds = resource.RLIMIT_CPU, resource.RLIMIT_FSIZE, resource.RLIMIT_AS\n"
    "    return [resource.getrlimit(kind) for kind in kinds]"
)
LARGE = "def f(n): return len(bytes(n))"


def grade(sandbox, program, *tests, **more):
    return sandbox.submit(Job("job", program, tests, **more)).result(60)


@pytest.mark.parametrize("form", ["assert f(0.6) == 0.6", "assert f(0.6) + 0 == 0.6"])
def test_more_and_less_time_than_the_sandbox_gives(sandbox, form):
    long, short = Limits(test_s=3.0, program_s=5.0), Limits(test_s=0.05, program_s=0.1)
    assert grade(sandbox, BUSY, form).statuses == (Status.TIMEOUT,)
    assert grade(sandbox, BUSY, form, limits=long).passed
    assert grade(sandbox, BUSY, form.replace("0.6", "0.2"), limits=short).statuses == (Status.TIMEOUT,)
    assert grade(sandbox, BUSY, form.replace("0.6", "0.2")).passed
    assert grade(sandbox, BUSY, form).statuses == (Status.TIMEOUT,)


def test_more_and_less_memory(sandbox):
    test = f"assert f({1 << 29}) == {1 << 29}"
    assert grade(sandbox, LARGE, test).passed
    small = grade(sandbox, LARGE, test, limits=Limits(memory_bytes=1 << 28))
    assert small.statuses == (Status.CRASH,) and "MemoryError" in small.messages[0]
    test = f"assert f({1 << 31}) == {1 << 31}"
    assert "MemoryError" in grade(sandbox, LARGE, test).messages[0]
    assert "MemoryError" in grade(sandbox, LARGE, test, limits=OWN).messages[0]


def test_the_kernel_is_told_of_them_and_they_are_hard(sandbox):
    checks = "found = f()\nassert found[:2] == {}\nassert all(soft == hard > 0 for soft, hard in found), found"
    own = Limits(test_s=0.5, program_s=7.9, memory_bytes=1 << 31, file_bytes=1 << 21)
    for _ in range(3):
        told = grade(sandbox, TOLD, checks.format("[(9, 9), (2097152, 2097152)]"), limits=own)
        assert told.passed, told.messages
        told = grade(sandbox, TOLD, checks.format("[(3, 3), (1048577, 1048577)]"))
        assert told.passed, told.messages
    raised = TOLD + "\nresource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))"
    assert grade(sandbox, raised, "assert f()", limits=own).statuses == (Status.ERROR,)


def test_output_of_scripts(sandbox):
    test = json.dumps({"input": "", "output": "x" * 100})
    printing = {"program": "print('x' * 100)", "profile": "stdin"}
    assert sandbox.submit(Job("a", tests=(test,), **printing)).result(60).passed
    short = sandbox.submit(Job("a", tests=(test,), limits=Limits(output_bytes=50), **printing)).result(60)
    assert short.statuses == (Status.FAIL,) and "more than 50 bytes" in short.messages[0]


def test_jobs_of_many_limits_in_turn_leave_no_process():
    with Sandbox(workers=1, limits=OWN, quiet=True) as sandbox:
        supervisor = sandbox._pool[0].process.pid
        assert grade(sandbox, ADD, "assert f(1) == 2").passed
        limits = [None, Limits(program_s=3.0), Limits(program_s=5.0), Limits(program_s=5.0, test_s=2.0)]
        jobs = [Job(str(n), ADD, ("assert f(1) == 2", "assert f(1) + 0 == 2"), limits=limits[n % 4]) for n in range(80)]
        assert all(verdict.passed for verdict in sandbox.score(jobs))
        assert len(below(supervisor)) <= 3  # the zygote, in pid namespaces its parent, and a player that waits


def test_a_row_and_back():
    for limits in (None, Limits(test_s=0.5, memory_bytes=1 << 28)):
        job = Job("a", "x", ("assert f(1)",), "f", "import math", "grading", limits)
        assert Job.from_row(json.loads(json.dumps(job.to_row()))) == job


def test_limits_that_no_kernel_takes():
    for bad in ({"memory_bytes": 1e9}, {"program_s": float("inf")}, {"test_s": float("nan")}, {"file_bytes": 1 << 62}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            Limits(**bad)
