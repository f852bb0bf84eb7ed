"""What crosses between a program and a test that a judge runs: exceptions, changed arguments, what cannot be sent."""

import decimal
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acecoder_jax.sandbox import Job, Sandbox
from acecoder_jax.sandbox.jail.codec import Refused, encode
from acecoder_jax.sandbox.jail.errors import describe, revive
from acecoder_jax.types import Status

P, F, E, C = Status.PASS, Status.FAIL, Status.ERROR, Status.CRASH


def judge(sandbox, program, *tests, setup=""):
    return sandbox.submit(Job("a", program, tests, "f", setup=setup)).result(60)


# ---- exceptions that end loops


@pytest.mark.parametrize(
    "raises",
    ["StopIteration", "StopIteration(1)", "StopAsyncIteration", "type('Own', (StopIteration,), {})", "GeneratorExit"],
)
def test_an_exception_of_the_program_ends_no_loop_of_the_test(sandbox, raises):
    verdict = judge(
        sandbox,
        f"def f(x): raise {raises}",
        "assert all(map(lambda x: f(x) == x + 1, [1, 2, 3]))",
        "for got, want in zip(map(f, [1, 2]), [3, 4]):\n    assert got == want",
        "failures = list(filter(lambda c: f(c[0]) != c[1], [(1, 2), (2, 3)]))\nassert not failures",
        "assert list(iter(lambda: f(1), None)) == []",
        "import asyncio\n\nclass A:\n    def __aiter__(self):\n        return self\n    async def __anext__(self):\n"
        "        return f(1)\n\nasync def main():\n    async for x in A():\n        assert False\n\n"
        "asyncio.run(main())",
        "try:\n    f(1)\nexcept RuntimeError:\n    pass",
        "try:\n    f(1)\nexcept (StopIteration, StopAsyncIteration):\n    pass",
    )
    assert verdict.statuses == (E,) * 7
    assert raises.split("(")[0] in verdict.messages[0] or "Own" in verdict.messages[0]


def test_iterators_still_end(sandbox):
    program = "def f(n):\n    yield from range(n)"
    tests = (
        "i = f(1)\nassert next(i) == 0\ntry:\n    next(i)\n    assert False\nexcept StopIteration:\n    pass",
        "assert [x for x in f(3)] == [0, 1, 2]",
        "assert dict(zip('ab', f(5))) == {'a': 0, 'b': 1}",
    )
    assert judge(sandbox, program, *tests).statuses == (P, P, P)


def test_a_function_of_the_test_may_end_the_programs_loop(sandbox):
    program = (
        "def f(get):\n    out = []\n    try:\n        while True:\n            out.append(get())\n"
        "    except StopIteration:\n        return out"
    )
    assert judge(sandbox, program, "i = iter([1, 2])\nassert f(lambda: next(i)) == [1, 2]").passed


# ---- exceptions of the standard library

RAISING = {
    "json.JSONDecodeError": "import json\ndef f(x): return json.loads('{')",
    "decimal.InvalidOperation": "from decimal import Decimal\ndef f(x): return Decimal('x')",
    "decimal.DivisionByZero": "from decimal import Decimal\ndef f(x): return Decimal(1) / 0",
    "re.error": "import re\ndef f(x): return re.compile('(')",
    "statistics.StatisticsError": "import statistics\ndef f(x): return statistics.mean([])",
    "csv.Error": "import csv\ndef f(x): return list(csv.reader(['\"'], strict=True))",
    "struct.error": "import struct\ndef f(x): return struct.unpack('i', b'')",
    "queue.Empty": "import queue\ndef f(x): return queue.Queue().get_nowait()",
    "graphlib.CycleError": "import graphlib\n"
    "def f(x): return list(graphlib.TopologicalSorter({1: {2}, 2: {1}}).static_order())",
    "dataclasses.FrozenInstanceError": "import dataclasses\n@dataclasses.dataclass(frozen=True)\nclass A:\n"
    "    x: int = 0\ndef f(x): A().x = 1",
    "calendar.IllegalMonthError": "import calendar\ndef f(x): return calendar.monthrange(2020, 13)",
    "ZeroDivisionError": "def f(x): return 1 / 0",
}


@pytest.mark.parametrize("name", RAISING)
def test_raising_what_the_standard_library_raises(sandbox, name):
    module = name.rpartition(".")[0]
    imports = f"import {module}\n" if module else ""
    caught = f"{imports}try:\n    f(1)\n    assert False\nexcept {name} as e:\n    assert type(e) is {name}, type(e)"
    other = f"{imports}import copy\ntry:\n    f(1)\nexcept (copy.Error, LookupError, BlockingIOError):\n    pass"
    assert judge(sandbox, RAISING[name], caught, other).statuses == (P, E)


def test_what_an_exception_says_arrives(sandbox):
    program = "import json\ndef f(x): return json.loads(x)"
    test = (
        "import json\ntry:\n    f('[12345')\nexcept json.JSONDecodeError as e:\n"
        "    assert (e.pos, e.lineno, e.doc) == (6, 1, '[12345') and str(e).startswith(e.msg + ': line 1')"
    )
    assert judge(sandbox, program, test, test.replace("(6, 1,", "(5, 1,")).statuses == (P, F)
    program = "class Own(Exception):\n    pass\ndef f(x): raise Own('bad', x)"
    test = "try:\n    f(3)\n    assert 0\nexcept Exception as e:\n    assert e.args == ('bad', 3)"
    assert judge(sandbox, program, test).passed


def test_numpys_own_exceptions():
    pytest.importorskip("numpy")
    program = "import numpy as np\ndef f(x): return np.linalg.inv(np.zeros((2, 2)))"
    tests = (
        "try:\n    f(1)\n    assert False\nexcept np.linalg.LinAlgError as e:\n    assert 'ingular' in str(e)",
        "try:\n    f(1)\n    assert False\nexcept KeyError:\n    pass",
        "a = np.array([3, 1, 2])\nf(a)\nassert a.tolist() == [1, 2, 3]",
        "a = np.array([[3, 1], [2, 0]])\ncol = a[:, 0]\nf(col)\nassert a.tolist() == [[2, 1], [3, 0]]",
        "a = np.array([1, 2])\nf(a)\nassert a.tolist() == [2, 1]",
    )
    with Sandbox(workers=1, preload=("numpy",), quiet=True) as sandbox:
        raised = judge(sandbox, program, *tests[:2])
        changed = judge(sandbox, "def f(a): a.sort()", *tests[2:])
    assert raised.statuses == (P, E), raised.messages
    assert changed.statuses == (P, P, F), changed.messages


def test_exceptions_are_made_from_the_allow_list_alone():
    def told(names, modules, arguments=(), state=None):
        return revive(encode((names, "m", encode((modules, arguments, state)))), ends_loops=False)

    assert type(told(("SkipTest", "Exception"), ("unittest.case", "builtins"))) is Exception
    assert type(told(("Popen", "Exception"), ("subprocess", "builtins"))) is Exception
    assert type(told(("InvalidOperation", "Exception"), ("decimal", "builtins"))) is decimal.InvalidOperation
    assert type(told(("InvalidOperation", "Exception"), ("evil", "builtins"))) is Exception
    assert type(told(("print", "int", "__import__"), ("builtins",) * 3)) is Exception
    error = told(("ValueError",), ("builtins",), (1,), {"from_program": ("AssertionError", ""), "__class__": 3})
    assert type(error) is ValueError and error.from_program == ("ValueError", "m")
    for kind in (json.JSONDecodeError("a", "b", 0), re.error("x"), KeyError(3), OSError(2, "no"), SystemExit(3)):
        there = revive(describe(kind), ends_loops=True)
        assert type(there) is type(kind) and there.args == kind.args and str(there) == str(kind)
    assert isinstance(revive(describe(StopIteration(4)), ends_loops=True), StopIteration)
    assert len(describe(ValueError("x" * (1 << 20)))) < 1 << 13
    assert len(describe(type("x" * (1 << 20), (ValueError,), {})())) < 1 << 13


@pytest.mark.parametrize(
    "payload",
    [
        encode(3), encode(()), encode("abc"), encode((("A",), "m", None)), encode(((), "m", b"")),
        encode((range(10**18), "m", b"")), encode((("A",) * 17, "m", b"")), encode(((3,), "m", b"")),
        encode((("A",), b"m", b"")), encode(("A", "m", b"")), b"", b"garbage",
    ],
)  # fmt: skip
def test_what_is_not_an_exception_is_refused(payload):
    with pytest.raises(Refused):
        revive(payload, ends_loops=False)


@pytest.mark.parametrize(
    "details",
    [
        b"", b"garbage", encode(3), encode((3, 3, 3)), encode((range(10**18), range(10**18), range(10**18))),
        encode((("builtins", "builtins"), (), None)), encode(((4,), (), {})), encode((("builtins",), 7, None)),
        encode((("builtins",), (1, 2), {3: 4})), encode((("builtins",), None, None)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["ValueError", "UnicodeDecodeError"])
def test_malformed_details_count_as_not_told(name, details):
    error = revive(encode(((name, "ValueError", "Exception"), "m", details)), ends_loops=False)
    assert isinstance(error, ValueError) and error.from_program == (name, "m")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_random_details_give_an_exception(details):
    assert isinstance(revive(encode((("KeyError",), "m", details)), ends_loops=False), KeyError)


# ---- arguments that the program changes

CHANGES = {
    "beside a function": (
        "def f(a, key): a.sort(key=key)",
        "a = [1, 3, 2]\nf(a, lambda x: -x)\nassert a == [3, 2, 1]",
        "a = [1, 3, 2]\nf(a, lambda x: -x)\nassert a == [1, 3, 2]",
    ),
    "a function within": (
        "def f(a): a[0] = a[1](a[0])",
        "a = [1, lambda x: x + 1, len]\nkey = a[1]\nf(a)\nassert a == [2, key, len]",
        "a = [1, lambda x: x + 1]\nf(a)\nassert a[0] == 1",
    ),
    "beside an iterator": (
        "def f(a, more): a.extend(more)",
        "a = []\nf(a, iter([1, 2]))\nassert a == [1, 2]",
        "a = []\nf(a, iter([1, 2]))\nassert a == []",
    ),
    "in a tuple": (
        "def f(t): t[0].append(1); t[1][0]['k'] = 2",
        "t = ([0], ({},))\nf(t)\nassert t == ([0, 1], ({'k': 2},))",
        "t = ([0], ({},))\nf(t)\nassert t == ([0], ({},))",
    ),
    "by keyword": (
        "def f(*, a): del a[0]",
        "a = [1, 2]\nf(a=a)\nassert a == [2]",
        "a = [1, 2]\nf(a=a)\nassert a == [1, 2]",
    ),
    "kinds": (
        "from collections import deque\n"
        "def f(d, s, q, b, c):\n    d.pop('x'); s.add(9); q.rotate(1); b += b'z'; c['n'] += 2",
        "from collections import Counter, deque\nd, s, q, b, c = {'x': 1, 'y': [2]}, {1}, deque([1, 2, 3], 3), "
        "bytearray(b'a'), Counter('n')\nf(d, s, q, b, c)\n"
        "assert (d, s, list(q), b, c) == ({'y': [2]}, {1, 9}, [3, 1, 2], b'az', Counter(n=3)) and q.maxlen == 3",
        "from collections import deque\ns = set()\nf({'x': 1}, s, deque(), bytearray(), {'n': 1})\nassert s == set()",
    ),
    "of the test's own kind": (
        "def f(a): a.append(2)",
        "class L(list):\n    pass\na = L([1])\nf(a)\nassert a == [1, 2] and type(a) is L",
        "class L(list):\n    pass\na = L([1])\nf(a)\nassert a == [1]",
    ),
    "as large as can be sent": (
        "def f(a):\n    a.append(b'')\n    return a[0]",
        "a = [bytes(3 << 20)]\nassert f(a) == a[0] and len(a) == 2",
        "a = [bytes(3 << 20)]\nassert f(a) == a[0] and len(a) == 1",
    ),
    "before it raises": (
        "def f(a):\n    a.append(1)\n    raise ValueError",
        "a = []\ntry:\n    f(a)\nexcept ValueError:\n    assert a == [1]",
        "a = []\ntry:\n    f(a)\nexcept ValueError:\n    assert a == []",
    ),
    "into a cycle": (
        "def f(a): a.append(a)",
        "try:\n    f(3)\nexcept AttributeError:\n    pass",
        "a = [1]\nf(a)\nassert a == [1]",
    ),
    "with what is not plain": (
        "class Yes:\n    def __eq__(self, other): return True\n\ndef f(a):\n    a[0] = Yes()\n    a[1] = Yes",
        "a = [1, 2, 3]\nf(a)\nassert a[2] == 3 and len(a) == 3",
        "a = [1, 2, 3]\nf(a)\nassert a[0] == 1 or a[1] == 2 or a[0] == 7 or a[0] == a[1]",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_changed_arguments_are_seen(sandbox, name):
    program, seen, unseen = CHANGES[name]
    verdict = judge(sandbox, program, seen, unseen)
    assert verdict.statuses == (P, F), verdict.messages


def test_a_change_never_reaches_what_was_not_given(sandbox):
    program = "def f(a):\n    a[:] = [[9]]\n    return [1]"
    verdict = judge(sandbox, program, "want = [1]\na = [0]\nassert f(a) == want and want == [1] and a == [[9]]")
    assert verdict.passed, verdict.messages


# ---- what cannot be sent


@pytest.mark.parametrize(
    "test",
    [
        "class O:\n    x = 3\nassert f(O()) == 3",
        "class O:\n    x = 3\ntry:\n    f(O())\nexcept Exception:\n    pass",
        "class O:\n    x = 3\nassert f([1, {'k': O()}]) == 3",
        "class O:\n    x = 3\nassert f(O) == 3",
        "a = []\na.append(a)\nassert f(a) == 3",
        "assert f('x' * (5 << 20)) == 3",
    ],
)
def test_an_argument_that_is_not_plain_is_the_tests_error(sandbox, test):
    verdict = judge(sandbox, "def f(o): return 3", test)
    assert verdict.statuses == (E,)
    assert "argument" in verdict.messages[0] and "test" in verdict.messages[0], verdict.messages


def test_a_result_that_is_not_plain_is_the_programs_failure(sandbox):
    tests = ("assert [f(1)] == [3]", "try:\n    f(1)\nexcept Exception:\n    pass", "assert f(1) == 3")
    verdict = judge(sandbox, "class O: pass\ndef f(o): return O()", *tests)
    assert verdict.statuses == (F, F, F) and "O" in verdict.messages[0]


def test_exception_classes_travel_by_name(sandbox):
    program = "def f(g, kind):\n    try:\n        g()\n    except kind:\n        return 'caught'\n    return kind"
    tests = (
        "def bad():\n    raise KeyError(3)\nassert f(bad, KeyError) == 'caught'",
        "def bad():\n    raise KeyError(3)\nassert f(bad, (ValueError, LookupError)) == 'caught'",
        "assert f(lambda: 1, OSError) is OSError",
        "assert f(lambda: 1, StopIteration) is ValueError",
    )
    verdict = judge(sandbox, program, *tests)
    assert verdict.statuses == (P, P, P, F), verdict.messages


def test_what_a_function_of_the_test_gives_is_not_called_the_programs(sandbox):
    program = "def f(g):\n    try:\n        g()\n    except Exception as e:\n        return str(e)"
    verdict = judge(sandbox, program, "class O: pass\nassert 'test' in f(lambda: O())")
    assert verdict.passed, verdict.messages
