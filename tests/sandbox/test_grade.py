"""Whose fault it is: the program's, the test's, or the sandbox's."""

import pytest

from acecoder_jax.sandbox import Job
from acecoder_jax.types import Status

P, F, E, T, C = Status.PASS, Status.FAIL, Status.ERROR, Status.TIMEOUT, Status.CRASH
SLOW = "import time\nstart = time.process_time()\nwhile time.process_time() - start < 0.05: pass\n"
ADD = "def f(a, b=1):\n    return a + b"


def grade(sandbox, program, *tests, **more):
    return sandbox.submit(Job("job", program, tests, **more)).result(30)


@pytest.mark.parametrize("program", [ADD, SLOW + ADD, "import unittest.mock, asyncio\n" + ADD])
def test_a_judge_that_is_quicker_than_the_program_changes_nothing(sandbox, program):
    verdict = grade(sandbox, program, "assert callable(f)", "assert f(1) == 2", "assert f(1) + 0 == 2")
    assert verdict.statuses == (P, P, P)
    verdict = grade(sandbox, program, "import nothere", "assert f(1) + 0 == 2")
    assert verdict.statuses == (E, P)
    verdict = grade(sandbox, program, "assert f(1) + 0 == 2", "assert f(2) + 0 == 3", setup="1 / 0")
    assert verdict.statuses == (E, E) and "ZeroDivision" in verdict.messages[0]
    verdict = grade(sandbox, program, "import os\nos._exit(0)", "assert f(1) == 2", "assert f(2) + 0 == 3")
    assert verdict.statuses == (C, P, P) and "the test itself" in verdict.messages[0]


@pytest.mark.parametrize(
    ("program", "status"), [("while True: pass", T), ("import os\nos._exit(0)", C), ("1 / 0", E), ("f = 1 +", E)]
)
def test_a_program_that_never_loads_passes_nothing(sandbox, program, status):
    assert grade(sandbox, program, "assert callable(f)", "assert True", "x = 1").statuses == (status,) * 3


def test_a_judge_that_ends_while_the_program_works_ends_the_wait(sandbox):
    program = "def f(x):\n    while x == 1: pass\n    return x"
    impatient = (
        "import signal\nclass Late(Exception): pass\ndef stop(*_): raise Late\nsignal.signal(signal.SIGALRM, stop)\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.05)\ntry:\n    f(1)\nexcept Late:\n    pass"
    )
    verdict = grade(sandbox, program, impatient, "assert f(2) + 0 == 2", "assert f(2) == 2")
    assert verdict.statuses == (P, P, P), verdict.messages


def test_hung_tests_leave_the_others_their_time(sandbox):
    hung = ("while True: pass", "import time\ntime.sleep(100)") * 4
    verdict = grade(sandbox, ADD, *hung, "assert f(1) == 2", "assert f(2) + 0 == 3", entry_point="f")
    assert verdict.statuses == (T,) * 8 + (P, P)


def test_a_hung_program_spends_its_own_time(sandbox):
    program = "def f(x):\n    while True: pass"
    verdict = grade(sandbox, program, *(f"assert f({n}) + 0 == 1" for n in range(20)))
    assert verdict.statuses == (T,) * 20 and verdict.messages[-1] == "the program's time is up"


def test_a_costly_reply_uses_the_programs_own_time(sandbox):
    program = (
        "from fractions import Fraction\nx = {Fraction(n, 2 * n + 1) for n in range(4000)}\n"
        "from jail import codec, wire\nimport os\ny = wire.frame(wire.VALUE, codec.encode(x))\n"
        "def f(n):\n    for _ in range(400): wire.write(3, y)\n    while True: pass"
    )
    verdict = grade(sandbox, program, *(f"assert f({n}) != 1" for n in range(400)))
    assert verdict.statuses[-1] == T, verdict.messages[-1]  # though all replies lay there in the first second


def test_what_only_a_judge_may_compare(sandbox):
    tests = ("assert 2.5 in f()", "assert 'x' not in f()", "assert 5 in f()")
    assert grade(sandbox, "def f(): return range(10**18)", *tests).statuses == (T, T, P)
    program = "def f(n): return [*range(n)]"
    assert grade(sandbox, program, "assert 29_999 in f(30_000)", "assert 30_000 in f(30_000)").statuses == (P, F)


@pytest.mark.parametrize(
    "program",
    ["#" + "\U0001f600" * 1048575, "#" + "x" * (1 << 21), "x = '\ud800'", "x = 1\0"],
    ids=["wide", "long", "surrogate", "null"],
)
def test_a_text_that_no_process_takes_is_an_error(sandbox, program):
    verdict = grade(sandbox, program, "assert f(1) == 2", "assert f(1) + 0 == 2")
    assert verdict.statuses == (E, E), verdict.messages
    assert grade(sandbox, ADD, "assert f(1) == 2", program).statuses[0] == P


def test_setup_and_test_past_every_cap_are_an_error(sandbox):
    verdict = grade(sandbox, ADD, "assert f(1) + 0 == 2", setup="x = '" + "\U0001f600" * (1 << 20) + "'")
    assert verdict.statuses == (E,)
