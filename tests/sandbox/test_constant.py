import ast

import pytest

from acecoder_jax.sandbox.constant import NotConstant, checks, constant, outcome
from acecoder_jax.sandbox.jail import wire
from acecoder_jax.sandbox.jail.codec import encode
from acecoder_jax.sandbox.jail.decode import decode


def value(text):
    return constant(ast.parse(text, mode="eval").body)


@pytest.mark.parametrize(
    "text",
    ["1", "-1.5", "[1, (2,), {3}]", "{'a': None}", "1 + 2j", "2**31 - 1", "[0] * 3", "'ab' * 2", "set()", "not True"],
)
def test_constant(text):
    assert value(text) == eval(text) and type(value(text)) is type(eval(text))


@pytest.mark.parametrize("text", ["x", "f(1)", "10**10**9", "[0] * 10**9", "[1][0]", "-'a'", "set('ab')", "float([1])"])
def test_not_constant(text):
    with pytest.raises(NotConstant):
        value(text)


def judge(test, result):
    (check,) = checks(ast.parse(test).body, "f")
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
    ],
)
def test_outcome(test, result, status):
    assert judge(test, result)[0] == status


def test_arguments_are_sent_as_written():
    (check,) = checks(ast.parse("assert f(1, [2, {'k': -3}], key=(None,)) == 0").body, "f")
    assert decode(check.call) == ("f", False, (1, [2, {"k": -3}]), {"key": (None,)})


def test_malformed_replies_never_pass():
    (check,) = checks(ast.parse("assert f(1) == 3").body, "f")
    for kind in range(256):
        for payload in (b"", b"x", encode(("pass", ""))):
            assert outcome(check, kind, payload)[0] != "pass"
