import ast

import numpy
import pytest

from acecoder_jax.sandbox.constant import MAX_READ, Budget, NeedsJudge, NotConstant, checks, constant, outcome, raised
from acecoder_jax.sandbox.jail import wire
from acecoder_jax.sandbox.jail.codec import encode
from acecoder_jax.sandbox.jail.decode import decode


def value(text):
    return constant(ast.parse(text, mode="eval").body, Budget())


@pytest.mark.parametrize(
    "text",
    ["1", "-1.5", "[1, (2,), {3}]", "{'a': None}", "1 + 2j", "2**31 - 1", "[0] * 3", "'ab' * 2", "set()", "not True"],
)
def test_constant(text):
    assert value(text) == eval(text) and type(value(text)) is type(eval(text))


@pytest.mark.parametrize(
    "text",
    [
        "x", "f(1)", "10**10**9", "[0] * 10**9", "[1][0]", "-'a'", "set('ab')", "float([1])",
        "{(((1,) * 65536,) * 65536,) * 65536}", "[[[0] * 1000] * 1000]", "('a' * 600) * 600", "[[]] * 300_000",
        "[" + "2**16000, " * 200 + "]", "[" + "[0] * 65536, " * 5 + "]",
    ],
)  # fmt: skip
def test_not_constant(text):
    with pytest.raises(NotConstant):
        value(text)


def judge(test, result):
    (check,) = checks(ast.parse(test).body, "f", Budget())
    return outcome(check, wire.VALUE, encode(result))


@pytest.mark.parametrize(
    ("test", "result", "status"),
    [
        ("assert f(1) == 3", 3, "pass"),
        ("assert f(1) == 3", 3.0, "pass"),
        ("assert f(1) == 3", "3", "fail"),
        ("assert f(1) == [1, 2]", (1, 2), "fail"),
        ("assert f(1) == {1, 2}", {2, 1}, "pass"),
        ("assert f(1) == {1: 2, 3: 4}", {3: 4, 1: 2}, "pass"),
        ("assert f(1) == float('nan')", float("nan"), "fail"),
        ("assert f(1) is True", 1, "fail"),
        ("assert f(1) is True", True, "pass"),
        ("assert f(1) is None", None, "pass"),
        ("assert not f(1)", [], "pass"),
        ("assert f(1)", [], "fail"),
        ("assert 2 in f(1)", [1, 2], "pass"),
        ("assert f(1) not in (1, 2)", 2, "fail"),
        ("assert 5 > f(1)", 4, "pass"),
        ("assert f(1) < 5", "a", "error"),
        ("assert f(1) != 5", 4, "pass"),
        ("assert 5 in f(1)", range(10**18), "pass"),
        ("assert f(1) == [True] * 400", [numpy.True_] * 400, "pass"),
    ],
)
def test_outcome(test, result, status):
    assert judge(test, result)[0] == status


@pytest.mark.parametrize(
    ("test", "result"),
    [
        ("assert 2.5 in f(1)", range(10**18)),
        ("assert 'x' not in f(1)", range(10**18)),
        ("assert f(1) is None", list(range(MAX_READ))),
        ("assert f(1) == [0] * 60_000", [0] * 60_001),
    ],
)
def test_what_could_take_long_is_left_to_a_judge(test, result):
    with pytest.raises(NeedsJudge):
        judge(test, result)


def test_a_reply_far_too_long_to_be_equal_is_not_read():
    assert judge("assert f(1) == 3", list(range(MAX_READ)))[0] == "fail"


@pytest.mark.parametrize("names", [range(10**18), (), [1], (1,), "ab", ("E", range(9)), {"SystemExit": 1}])
def test_an_exception_is_names_and_a_message_or_malformed(names):
    assert raised(encode((names, "message", None))) == ("crash", "a malformed reply")


def test_an_exception_is_told():
    assert raised(encode((("KeyError", "Exception"), "'a'", None))) == ("error", "KeyError: 'a'")
    assert raised(encode((("Mine", "SystemExit"), "", None)))[0] == "crash"
    assert raised(encode((("KeyError",), "'a'", "x" * MAX_READ)))[0] == "error"
    assert raised(encode((("KeyError",), range(10**18), None)))[0] == "crash"


def test_arguments_are_sent_as_written():
    (check,) = checks(ast.parse("assert f(1, [2, {'k': -3}], key=(None,)) == 0").body, "f", Budget())
    assert decode(check.call) == ("f", False, (1, [2, {"k": -3}]), {"key": (None,)})


def test_malformed_replies_never_pass():
    (check,) = checks(ast.parse("assert f(1) == 3").body, "f", Budget())
    for kind in range(256):
        for payload in (b"", b"x", encode(("pass", ""))):
            assert outcome(check, kind, payload)[0] != "pass"
