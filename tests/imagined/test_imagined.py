import json

import pytest

from acecoder_jax import imagined
from acecoder_jax.imagined import asserts
from acecoder_jax.sandbox.plan import plan

GOOD = [f"assert f({number}) == {number}" for number in range(5)]


def question(*tests, min_tests=1):
    return imagined.read(json.dumps({"question": "What?", "tests": list(tests)}), min_tests)


def sources(text):
    mended = asserts.parse(text)
    return [one.source for one in mended.asserts], dict(mended.repaired)


@pytest.mark.parametrize(
    ("text", "source", "repaired"),
    [
        ("assert f(1) == 2", ["assert f(1) == 2"], {}),
        ("  assert f('a#b') == 2\n", ["assert f('a#b') == 2"], {}),
        ("assert f(\n  [1,\n   2]) == 2", ["assert f(\n  [1,\n   2]) == 2"], {}),
        ("```python\nassert f(1) == 2\n```", ["assert f(1) == 2"], {"fence": 1}),
        ("assert f(1) == 2  # the smallest", ["assert f(1) == 2"], {"comment": 1}),
        ("# the smallest\nassert f('#') == 2", ["assert f('#') == 2"], {"comment": 1}),
        ("'''The smallest.'''\nassert f(1) == 2", ["assert f(1) == 2"], {"comment": 1}),
        ("assert f(1) == 2\nassert f(2) == 3", ["assert f(1) == 2", "assert f(2) == 3"], {"several": 1}),
        ("assert f(1) == 2; assert f(2) == 3", ["assert f(1) == 2", "assert f(2) == 3"], {"several": 1}),
        ("assert f(1) == 2 and f(2) == 3", ["assert f(1) == 2", "assert f(2) == 3"], {"several": 1}),
        ("assert f(1) == 2, f'got {f(1)}'", ["assert f(1) == 2"], {"message": 1}),
        ("assert (f(1) == 2, 'wrong')", ["assert f(1) == 2"], {"message": 1}),
        ("def test_f():\n    '''One.'''\n    assert f(1) == 2", ["assert f(1) == 2"], {"wrapped": 1, "comment": 1}),
        ("f(1) == 2", ["assert f(1) == 2"], {"bare": 1}),
        ("import os\nassert f(1) == 2", ["assert f(1) == 2"], {"unused_import": 1}),
        ("import math\nassert math.isclose(f(1), 2)", ["import math\nassert math.isclose(f(1), 2)"], {}),
        ('assert f(\\"a\\") == 2', ['assert f("a") == 2'], {"escapes": 1}),
    ],
)  # fmt: skip
def test_what_is_mended(text, source, repaired):
    assert sources(text) == (source, repaired)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("assert f(1) ==", "syntax"),
        ("assert f(1) = 2", "syntax"),
        ("Input 1 gives 2", "syntax"),
        ("assert f(1) == " + "1" * 5000, "syntax"),
        ("assert f(" + "(" * 5000 + ")" * 5000 + ") == 1", "syntax"),
        ("assert f(1) == '" + "a" * 70_000 + "'", "too_long"),
        ("x = f(1)\nassert x == 2", "no_assert"),
        ("print(f(1))", "no_assert"),
        ("f(1)", "no_assert"),
        ("", "no_assert"),
        ("class T:\n    def test_f(self):\n        assert f(1) == 2", "no_assert"),
        ("with raises(ValueError):\n    f(1)", "no_assert"),
        ("from solution import f\nassert f(1) == 2", "foreign_import"),
        ("from . import f\nassert f(1) == 2", "foreign_import"),
        ("import pandas as pd\nassert f(1) == 2", "foreign_import"),
        ("import numpy as np, requests\nassert f(1) == 2", "foreign_import"),
    ],
)
def test_what_is_refused_as_a_whole(text, reason):
    with pytest.raises(asserts.Refused) as problem:
        asserts.parse(text)
    assert problem.value.reason == reason


CONSTANT = [
    "assert f(1, [2, (3, 'a')], key={'b': None}) == {1, 2}",
    "assert f(-1.5e3) is None",
    "assert f('a') is True",
    "assert not f([])",
    "assert f(2)",
    "assert 3 == f(2)",
    "assert f([0] * 10) != float('inf')",
    "assert f(2 ** 10) in (1, 2)",
    "assert f(set()) == frozenset({1})",
]
JUDGED = [
    "assert abs(f(1) - 0.5) < 1e-6",
    "assert math.isclose(f(1), 0.5, rel_tol=1e-9)",
    "import math\nassert math.isclose(f(1), math.pi)",
    "from math import isclose as near\nassert near(f(1), 0.5)",
    "assert isclose(f(1), 0.5)",
    "assert round(f(1), 2) == 0.33",
    "assert f(1) == 1 / 3",
    "assert sorted(f([2, 1])) == [1, 2]",
    "assert set(f('ab')) == {'a', 'b'}",
    "assert len(f(3)) == 3",
    "assert isinstance(f(3), list)",
    "assert 0 <= f(3) <= 10",
    "assert f(3)[0] == 1",
    "assert f(3)[1:] == [2]",
    "assert f(3).strip() == 'a'",
    "assert list(f(3)) == list(range(3))",
    "assert f(list(range(100))) == 5",
    "assert f(*[1, 2]) == 3",
    "assert f(Counter('aab')) == 2",
    "assert f(int) == 'int'",
    "import datetime\nassert f(datetime.date(2024, 1, 1)) == 1",
    "from decimal import Decimal\nassert f(Decimal('0.1')) == Decimal('0.2')",
    "import numpy as np\nassert np.allclose(f(np.array([1.0, 2.0])), [1, 2])",
    "assert (f(np.zeros(3)) == np.ones(3)).all()",
    "assert f(', '.join(['a', 'b'])) == 2",
]


@pytest.mark.parametrize("test", CONSTANT + JUDGED)
def test_tests_that_are_kept(test):
    found = question(*GOOD, test)
    assert found.tests == (*GOOD, test) and found.entry_point == "f" and not found.refused and not found.repaired


def test_the_sandbox_can_judge_them():
    """Constant ones from the tree, the others beside a stub: none needs the program beside it."""
    kinds = [one.kind for one in plan(tuple(CONSTANT + JUDGED), "f", "", ("numpy",))]
    assert kinds == ["constant"] * len(CONSTANT) + ["judge"] * len(JUDGED)


@pytest.mark.parametrize(
    ("test", "reason"),
    [
        ("assert g(1) == 1", "other_function"),
        ("assert True", "no_call"),
        ("assert len([1]) == 1", "no_call"),
        ("assert math.sqrt(4) == 2", "no_call"),
        ("assert f(1) == f(1)", "several_calls"),
        ("assert f(f(1)) == 1", "several_calls"),
        ("assert f(1) == 1 or f(1) == 2", "several_calls"),
        ("assert f(1) == 1 or True", "not_constant"),
        ("assert [f(1)]", "always_true"),
        ("assert f(x) == 1", "not_constant"),
        ("assert f(1) == expected", "not_constant"),
        ("assert f(1) == g(1)", "not_constant"),
        ("assert f(g(1)) == 1", "not_constant"),
        ("assert f(lambda x: x) == 1", "not_constant"),
        ("assert f([x for x in range(3)]) == 1", "not_constant"),
        ("assert all(x > 0 for x in f(3))", "not_constant"),
        ("assert f(10 ** 10 ** 10) == 1", "not_constant"),
        ("assert f('a' * 10 ** 9) == 1", "not_constant"),
        ("import random\nassert f(random.randint(1, 2)) == 1", "not_constant"),
        ("import datetime\nassert f(datetime.datetime.now()) == 1", "not_constant"),
        ("import numpy as np\nassert f(np.random.rand(3)) == 1", "not_constant"),
        ("import os\nassert f(os.getcwd()) == 1", "not_constant"),
        ("assert f(open('a').read()) == 1", "not_constant"),
        ("assert f.cache == 1", "no_call"),
        ("assert GOOD", "no_call"),
        (GOOD[0], "repeated"),
    ],
)
def test_tests_that_are_refused(test, reason):
    found = question(*GOOD, test)
    assert found.tests == tuple(GOOD) and found.refused == {reason: 1}


def test_the_entry_point_is_what_most_tests_call():
    assert question("assert g(1) == 1", "assert f(1) == 1", "assert f(2) == 1").entry_point == "f"
    assert question("assert g(1) == 1", "assert f(1) == 1").entry_point == "g"  # the first of equals
    assert question("assert sorted(h([1])) == [1]").entry_point == "h"
    assert question("assert sorted([2, 1]) == [1, 2]").entry_point == "sorted"  # the program's own
    assert question(*["assert len(f(1)) == 1"] * 2, "assert f(1) == [1]").entry_point == "f"


@pytest.mark.parametrize(
    ("tests", "min_tests", "reason"),
    [
        (GOOD, 6, "too_few_tests"),
        ([*GOOD, *GOOD], 6, "too_few_tests"),
        (["assert Stack(1) == 1"] * 6, 1, "class"),
        (["assert True"] * 6, 1, "no_entry_point"),
        ([], 1, "no_entry_point"),
        (["not Python"], 1, "no_entry_point"),
    ],
)
def test_questions_that_are_rejected(tests, min_tests, reason):
    with pytest.raises(imagined.Rejected) as rejected:
        question(*tests, min_tests=min_tests)
    assert rejected.value.reason == reason and rejected.value.detail


def test_everything_is_counted():
    found = question(
        *GOOD, "assert f(7) == 7 # seven", "assert f(8) == 8\nassert f(9) == 9", "no sense", "x = 1", GOOD[0]
    )
    assert len(found.tests) == 8
    assert found.repaired == {"comment": 1, "several": 1}
    assert found.refused == {"syntax": 1, "no_assert": 1, "repeated": 1}
    with pytest.raises(imagined.Rejected) as rejected:
        imagined.read('```json\n{"question": "What?", "tests": ["assert f(1) == 1", "no sense"', 5)
    assert rejected.value.repaired == {"fence": 1, "truncated": 1} and rejected.value.refused == {"syntax": 1}
