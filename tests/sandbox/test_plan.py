import pytest

from acecoder_jax.sandbox.plan import plan


def kind(test, entry_point="f", setup="", preload=()):
    return plan((test,), entry_point, setup, preload)[0].kind


@pytest.mark.parametrize(
    "test",
    [
        "assert f(1, [2]) == 3",
        "assert f(-1, x={'a': (1, None)}) == {1, 2}, 'message'",
        "assert not f()",
        "assert f('x')",
        "assert f(1) is True",
        "assert f(1) is not None",
        "assert 3 in f(1)",
        "assert f(1) in [1, 2]",
        "assert 10**9 + 7 > f(set(), frozenset([1]), float('inf'))",
        "assert f([0] * 5) == 'ab' * 3",
        "METADATA = {'author': 'x'}\ndef check(candidate):\n    '''doc'''\n    assert candidate(1) == 2\ncheck(f)",
        "assert f(1) == 1\nassert f(2) == 2",
    ],
)
def test_constant(test):
    assert kind(test) == "constant"


@pytest.mark.parametrize(
    "test",
    [
        "assert abs(f(1) - 0.5) < 1e-6",
        "assert sorted(f(1)) == [1]",
        "import math\nassert math.isclose(f(1), 1)",
        "assert math.isclose(f(1), 1)",
        "assert Counter(f(1)) == Counter([1])",
        "x = [1]\nf(x)\nassert x == []",
        "for i in range(3):\n    assert f(i) == i",
        "try:\n    f(1)\n    assert False\nexcept ValueError as error:\n    assert str(error)",
        "assert 1 < f(1) < 3",
        "assert f(f(1)) == 2",
        "assert f(1) is 'x'",
        "assert f(10**10**10) == 1",
        "assert (lambda y: f(y))(1) == 1",
        "def check(candidate):\n    for i in range(3):\n        assert candidate(i) == i\ncheck(f)",
        "assert datetime.date(2020, 1, 1) == f(datetime.date(2020, 1, 1))",
    ],
)
def test_judge(test):
    assert kind(test) == "judge"


@pytest.mark.parametrize("test", ["assert f(Node(1)) == 2", "assert helper(f(1)) == 1", "assert g(1) == 1"])
def test_inside(test):
    assert kind(test) == "inside"


def test_setup_names_are_not_the_programs():
    assert kind("assert f(make(1)) == 2", setup="def make(x):\n    return [x]") == "judge"


def test_a_class_is_inside():
    assert kind("assert Solution().run(1) == 2", entry_point="Solution") == "inside"


def test_broken():
    broken = plan(("assert f(", "assert f(1) == 1"), "f", "", ())
    assert [one.kind for one in broken] == ["broken", "constant"] and "not parse" in broken[0].message


def test_entry_point_is_found():
    plans = plan(("assert f(1) == 1", "assert f(2) == 2", "assert f(g(1)) == 1"), None, "", ())
    assert [one.kind for one in plans] == ["constant", "constant", "inside"]
    assert [check.name for check in plans[0].checks] == ["f"]


def test_numpy_is_provided_when_preloaded():
    assert kind("assert np.allclose(f(1), 1)") == "inside"
    assert kind("assert np.allclose(f(1), 1)", preload=("numpy",)) == "judge"
