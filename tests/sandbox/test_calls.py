"""The calls profile: tests that are JSON objects, of a function's arguments and its result."""

import json

import pytest

from acecoder_jax.sandbox import Job, Limits
from acecoder_jax.sandbox.calls import plan
from acecoder_jax.types import Status

P, F, E, T, C = Status.PASS, Status.FAIL, Status.ERROR, Status.TIMEOUT, Status.CRASH
SAME = "def f(*args): return args[0] if len(args) == 1 else list(args)"


def run(sandbox, program, *tests, **more):
    texts = tuple(json.dumps({"input": args, "output": value}) for args, value in tests)
    return sandbox.submit(Job("calls", program, texts, "f", profile="calls", **more)).result(60)


def test_results_are_compared(sandbox):
    verdict = run(sandbox, SAME, ([1], 1), ([1], 2), ([[1, "é", None]], [1, "é", None]), ([1, 2], [1, 2]), ([], []))
    assert verdict.statuses == (P, F, P, P, P) and verdict.mode == "values"
    assert "got 1, expected it == 2" in verdict.messages[1]


@pytest.mark.parametrize(
    ("program", "value", "status"),
    [
        ("def f(x): return float(x)", 3, P),
        ("def f(x): return (x,)", [3], F),
        ("class L(list): pass\ndef f(x): return L([x])", [3], P),
        ("def f(x): return {'a': x}", {"a": 3}, P),
        ("class A:\n    def __eq__(self, other): return True\ndef f(x): return A()", 3, F),
        ("def f(x): return 1 / 0", 3, E),
        ("def f(x): raise SystemExit(0)", 3, C),
        ("def f(x):\n    while True: pass", 3, T),
        ("def f(x): return float('nan')", float("nan"), F),
        ("def g(x): return x", 3, E),
        ("def f(x", 3, E),
    ],
)
def test_how_a_call_ends(sandbox, program, value, status):
    verdict = run(sandbox, program, ([3], value))
    assert verdict.statuses == (status,), verdict.messages


def test_a_program_keeps_its_state_between_calls(sandbox):
    program = "seen = []\ndef f(x):\n    seen.append(x)\n    return seen"
    assert run(sandbox, program, ([1], [1]), ([2], [1, 2])).passed


def test_megabytes_of_data(sandbox):
    large = [*range(10**6, 10**6 + 150_000)]
    double = "def f(a): return [2 * x for x in a]"
    limits = Limits(test_s=3.0, program_s=10.0)
    right, wrong = [2 * x for x in large], [2 * x for x in large[:-1]] + [0]
    assert len(json.dumps([large, right])) > 2 << 20
    assert run(sandbox, double, ([large], right), ([large], wrong), limits=limits).statuses == (P, F)


def test_a_malformed_test_is_told(sandbox):
    tests = ("nonsense", '{"input": 3, "output": 3}', '{"input": [3]}', "[" * 200_000, '{"input": [3], "output": 3}')
    verdict = sandbox.submit(Job("calls", SAME, tests, "f", profile="calls")).result(60)
    assert verdict.statuses == (E, E, E, E, P)
    assert all(word in told for word, told in zip(("JSON", "list", "output"), verdict.messages, strict=False))


def test_what_is_larger_than_a_message_is_told():
    for args in ([0.5] * 500_000, ["x" * (1 << 22)], [[[1]] * 700_000]):
        found = plan(json.dumps({"input": [args], "output": 0}), "f")
        assert found.kind == "broken" and "larger than" in found.message
    deep = "[" * 200 + "]" * 200
    assert "nested deeper" in plan(f'{{"input": [{deep}], "output": 0}}', "f").message


@pytest.mark.parametrize("entry_point", [None, "", "f()", "f.g"])
def test_an_entry_point_is_wanted(entry_point):
    with pytest.raises(ValueError, match="the profile calls wants an entry_point"):
        Job("calls", SAME, (), entry_point, profile="calls")
