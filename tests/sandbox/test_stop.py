"""Early stop: at the first test that is not passed, or at the first that runs out of time."""

import json

import pytest

from acecoder_jax.sandbox import Job, Limits, Sandbox
from acecoder_jax.types import Status

P, F, E, T, C = Status.PASS, Status.FAIL, Status.ERROR, Status.TIMEOUT, Status.CRASH
LIMITS = Limits(test_s=0.2, program_s=4.0)
PROGRAM = (
    "import os\n"
    "def f(x):\n"
    "    while x == 2: pass\n"
    "    if x == 3: os._exit(0)\n"
    "    if x == 4: raise ValueError(x)\n"
    "    return x"
)
PASS, FAIL, HANG, EXIT, RAISE = 0, 1, 2, 3, 4  # what becomes of the call with this argument
STATUS = {PASS: P, FAIL: F, HANG: T, EXIT: C, RAISE: E}
FORMS = {"constant": "assert f({}) == {}", "judge": "y = f({})\nassert y == {}"}


@pytest.fixture(scope="module", params=["failure", "timeout"])
def stop(request):
    return request.param


@pytest.fixture(scope="module")
def stopping(stop):
    with Sandbox(workers=1, limits=LIMITS, stop=stop, quiet=True) as running:
        yield running


def grade(sandbox, tests, program=PROGRAM, **more):
    return sandbox.submit(Job("job", program, tuple(tests), **more)).result(60)


def make_tests(kinds, form):
    """A test for each, `form` "mixed": of both forms in turn."""
    forms = list(FORMS.values()) if form == "mixed" else [FORMS[form]]
    return [forms[n % len(forms)].format(kind, 7 if kind == FAIL else kind) for n, kind in enumerate(kinds)]


def expected_of(kinds, form, stop):
    """The statuses, the test that it stops at, the tests that are not run. Constant tests come before judged ones."""
    ends = {"failure": {FAIL, HANG, EXIT, RAISE}, "timeout": {HANG}}[stop]
    order = sorted(range(len(kinds)), key=lambda n: (form == "mixed" and n % 2, n))
    at = next((n for n in order if kinds[n] in ends), None)
    not_run = set() if at is None else set(order[order.index(at) + 1 :])
    return tuple(STATUS[kinds[at if n in not_run else n]] for n in range(len(kinds))), at, not_run


@pytest.mark.parametrize("form", ["constant", "judge", "mixed"])
@pytest.mark.parametrize(
    "kinds",
    [
        (PASS, PASS, PASS),
        (PASS, FAIL, PASS, FAIL),
        (PASS, RAISE, PASS, PASS),
        (EXIT, PASS, PASS),
        (PASS, FAIL, HANG, PASS, PASS),
        (PASS, HANG, PASS, FAIL, PASS),
        (PASS, PASS, HANG),
    ],
)
def test_it_ends_at_the_first(stopping, stop, kinds, form):
    verdict = grade(stopping, make_tests(kinds, form))
    statuses, at, not_run = expected_of(kinds, form, stop)
    assert verdict.statuses == statuses
    assert verdict.passed is (set(kinds) == {PASS})
    for n, message in enumerate(verdict.messages):
        assert (message == f"not run: stopped after test {at}") is (n in not_run), (n, message)


def test_the_same_tests_all_run_without_it(sandbox):
    kinds = (PASS, FAIL, RAISE, EXIT, HANG, PASS)
    verdict = grade(sandbox, make_tests(kinds, "mixed"))
    assert verdict.statuses == tuple(STATUS[kind] for kind in kinds)


@pytest.mark.parametrize("form", ["constant", "judge"])
def test_what_follows_costs_no_time(stopping, form):
    verdict = grade(stopping, make_tests([HANG] * 15, form))  # 3 s of CPU if all of them ran
    assert verdict.statuses == (T,) * 15 and verdict.messages[1] == "not run: stopped after test 0"
    assert verdict.time_s < 2.0


def test_a_program_that_does_not_load_gives_all_tests_its_status(stopping):
    verdict = grade(stopping, make_tests([PASS, PASS], "constant"), program="raise ValueError('no')")
    assert verdict.statuses == (E, E) and all("ValueError" in message for message in verdict.messages)


def test_a_test_that_does_not_parse_is_a_failure_before_all_others(stopping, stop):
    verdict = grade(stopping, ["assert f(0) == 0", "assert f(", "assert f(0) == 0"])
    if stop == "failure":
        assert verdict.statuses == (E, E, E)
        assert verdict.messages[0] == verdict.messages[2] == "not run: stopped after test 1"
    else:
        assert verdict.statuses == (P, E, P)


def test_inside_tests_come_last(stopping, stop):
    program = "class Box:\n    def __init__(self, x): self.x = x\ndef f(x): return x.x if isinstance(x, Box) else x"
    verdict = grade(
        stopping, ["assert f(Box(1)) == 1", "assert f(0) == 1", "assert f(1) == 1"], program, entry_point="f"
    )
    assert verdict.mode == "inside"
    if stop == "failure":
        assert verdict.statuses == (F, F, F)
        assert verdict.messages[0] == verdict.messages[2] == "not run: stopped after test 1"
    else:
        assert verdict.statuses == (F, F, P) and "allow_inside" in verdict.messages[0]


def test_scripts_stop_too(stopping, stop):
    program = "x = input()\nwhile x == '2': pass\nprint(x)"
    given = ["0", "1", "2", "0"]
    tests = [json.dumps({"input": x, "output": "7" if x == "1" else x}) for x in given]
    verdict = grade(stopping, tests, program, profile="stdin")
    assert verdict.statuses == ((P, F, F, F) if stop == "failure" else (P, F, T, T))
    assert verdict.messages[3] == f"not run: stopped after test {1 if stop == 'failure' else 2}"
