import json

import pytest

from acecoder_jax.sandbox import Job
from acecoder_jax.types import Status

P, F, E, T, C = Status.PASS, Status.FAIL, Status.ERROR, Status.TIMEOUT, Status.CRASH
SUM = "import sys\nprint(sum(map(int, sys.stdin.read().split())))"


def run(sandbox, program, *pairs):
    tests = tuple(json.dumps({"input": given, "output": expected}) for given, expected in pairs)
    return sandbox.submit(Job("script", program, tests, profile="stdin")).result(60)


def test_what_is_printed_is_compared(sandbox):
    verdict = run(sandbox, SUM, ("1 2\n", "3\n"), ("1 2\n", "4\n"), ("", "0"), ("1\n2\n", "  3  \n\n"))
    assert verdict.statuses == (P, F, P, P) and verdict.mode == "values"
    assert "3" in verdict.messages[1] and "4" in verdict.messages[1]


@pytest.mark.parametrize(
    ("program", "expected", "status"),
    [
        ("print(0.50)", "0.5", P),
        ("print('a b ')\nprint('c')", "a b\nc\n", P),
        ("print('a  b')", "a b", F),
        ("print('b')\nprint('a')", "a\nb", F),
        ("print(1)", "1\n1", F),
        ("print('1_0')", "10", P),
        ("print('1_0 a')", "10 a", F),
        ("print('1_0')", "1_0", P),
        ("print('1e1 0x10')", "10 16", F),
        ("print(input())", "x y", P),
        ("if __name__ == '__main__': print(input())", "x y", P),
        ("import sys\nprint('x y')\nsys.exit(0)\n1 / 0", "x y", P),
        ("print('x y')\nraise SystemExit(3)", "x y", C),
        ("import os\nos.write(1, b'x y')\nos._exit(0)", "x y", P),
        ("import os\nprint('x y', flush=True)\nos._exit(2)", "x y", C),
        ("print('x y')\n1 / 0", "x y", E),
        ("print('x y'", "x y", E),
        ("while True: pass", "x y", T),
        ("import sys\nsys.stderr.write('x y')", "x y", F),
        ("while True: print('x' * 1000)", "x y", F),
    ],
)
def test_how_a_script_ends(sandbox, program, expected, status):
    verdict = run(sandbox, program, ("x y\n", expected))
    assert verdict.statuses == (status,), verdict.messages


def test_each_input_has_a_process_of_its_own(sandbox):
    program = "import builtins\nbuiltins.seen = getattr(builtins, 'seen', 0) + 1\nprint(builtins.seen)"
    assert run(sandbox, program, ("", "1"), ("", "1")).statuses == (P, P)
    program = "x = input()\nif x == 'hang':\n    while True: pass\nprint(x)"
    assert run(sandbox, program, ("a", "a"), ("hang", ""), ("b", "b")).statuses == (P, T, P)


def test_a_malformed_test_is_told(sandbox):
    tests = (
        "nonsense",
        '{"input": 1, "output": "2"}',
        '{"input": "\\ud800", "output": ""}',
        "[" * 200_000,
        '{"input": "1", "output": "1"}',
    )
    verdict = sandbox.submit(Job("a", SUM, tests, profile="stdin")).result(60)
    assert verdict.statuses == (E, E, E, E, P)
    assert all(word in told for word, told in zip(("JSON", "strings", "surrogate"), verdict.messages, strict=False))


def test_the_expected_output_is_not_to_be_found(sandbox):
    program = """
import gc, os, sys
found = [o for o in gc.get_objects() if isinstance(o, (str, bytes)) and '73194' in str(o)]
for fd in range(3, 64):
    try:
        found.append(os.pread(fd, 1 << 16, 0))
    except OSError:
        pass
print(max((str(f) for f in found if '73194' in str(f)), default='nothing'))
"""
    assert run(sandbox, program, ("1", "73194")).statuses == (F,)
