import pytest

from acecoder_jax.sandbox import plan as module
from acecoder_jax.sandbox.plan import MAX_SOURCE, MAX_SOURCES, plan


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


def test_constants_past_the_budget_of_their_test_or_job_go_to_a_judge():
    small, large = "assert f(1) == [0] * 100", "assert f(1) == [0] * 100_000"
    assert kind(large) == "constant" and kind(f"{large}\n{large}") == "judge"
    plans = plan((*[large] * 10, small), "f", "", ())
    assert {one.kind for one in plans[:2]} == {"constant"} and {one.kind for one in plans[8:]} == {"judge"}


def test_a_text_that_is_too_long_is_broken():
    plans = plan(("assert f(1) == 1", "#" * (MAX_SOURCE + 1)), "f", "", ())
    assert [one.kind for one in plans] == ["constant", "broken"]
    plans = plan(("assert f(1) == 1",), "f", "#" * (MAX_SOURCE + 1), ())
    assert plans[0].kind == "broken" and "setup" in plans[0].message


def test_texts_too_long_in_all_cost_the_longest():
    long = "#" * (MAX_SOURCE - 1)
    plans = plan((*[long] * (MAX_SOURCES // MAX_SOURCE + 1), "assert f(1) == 1"), "f", "", ())
    assert plans[-1].kind == "constant" and plans[0].kind == "judge" and plans[-2].kind == "broken"


def test_plans_are_shared_and_their_memory_is_bounded():
    tests = ("assert f(1) == [0] * 100_000",)
    assert plan(tests, "f", "", ()) is plan(tests, "f", "", ())
    for n in range(40):
        plan((f"assert f({n}) == [0] * 100_000",), "f", "", ())
    held = sum(cost for _, cost in module._cache.values())
    assert held == module._held <= module.MAX_CACHED < 40 * 200_000 * module.ITEM_BYTES
