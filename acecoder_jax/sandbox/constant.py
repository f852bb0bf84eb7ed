"""Constant asserts: read from the syntax tree, judged on plain values. Nothing of the test is ever executed."""

import ast
import dataclasses
import operator
import reprlib
from collections.abc import Callable
from typing import Any

from .jail import wire
from .jail.codec import Hooks, Refused, encode
from .jail.decode import NeedsNumpy, decode, hashable

MAX_BITS = 1 << 14  # of an int that arithmetic on constants makes
MAX_SIZE = 1 << 18  # items and bytes of all constants of one test, repeated ones counted as often as they are repeated
MAX_READ = 1 << 16  # bytes of a reply that is read here, in the one process that nothing limits
MAX_RATIO = 64  # a reply so many times longer than an equal one's is not equal: np.True_ takes 20 times what True does
MAX_MESSAGE = 200  # characters of a value in a message

_COMPARE: dict[type, str] = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
    ast.Is: "is", ast.IsNot: "is not", ast.In: "in", ast.NotIn: "not in",
}  # fmt: skip
_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "in": "has", "not in": "has not"}
_HOLDS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    "is": operator.is_, "is not": operator.is_not,
    "in": lambda value, expected: value in expected, "not in": lambda value, expected: value not in expected,
    "has": lambda value, expected: expected in value, "has not": lambda value, expected: expected not in value,
    "true": lambda value, _: bool(value), "false": lambda value, _: not value,
}  # fmt: skip


class NotConstant(Exception):  # noqa: N818 - it reads as what happened
    """The syntax is not that of a constant assert."""


class NeedsJudge(Exception):  # noqa: N818 - it reads as what happened
    """Only a judge may compare this reply: it holds numpy's values, or looking into it could take long."""


@dataclasses.dataclass
class Budget:
    """What the constants of a test may still take."""

    left: int = MAX_SIZE

    def spend(self, size: int) -> None:
        """Raises NotConstant where there is not so much left."""
        self.left -= size
        if self.left < 0:
            raise NotConstant


@dataclasses.dataclass(frozen=True)
class Check:
    """One constant assert: `name(*args, **kwargs) op expected`. op "true" and "false" have no expected value."""

    name: str
    call: bytes  # (name, whether to drain an iterator, since the assert looks into it, args, kwargs), encoded
    op: str
    expected: Any
    expected_bytes: bytes  # the encoding of expected, where equal bytes mean equal values; else b""


def checks(body: list[ast.stmt], entry: str, budget: Budget) -> list[Check]:
    """The checks of a test that is nothing but constant asserts, plain or wrapped in `def check(candidate): ...`.

    Raises NotConstant for any other test, and for one whose constants take more than the budget.
    """
    found: list[Check] = []
    alias = entry
    if len(body) >= 2 and isinstance(body[-2], ast.FunctionDef):
        alias = _parameter(body[-2], body[-1], entry)
        if any(isinstance(statement, ast.Assert) for statement in body[:-2]):
            raise NotConstant
        body = [*body[:-2], *body[-2].body]
    for statement in body:
        if isinstance(statement, ast.Assert):
            found.append(_check(statement.test, alias, entry, budget))
        elif isinstance(statement, ast.Assign):
            _ignored(statement, {alias, entry}, budget)
        elif not (isinstance(statement, ast.Pass) or _is_text(statement)):
            raise NotConstant
    if not found:
        raise NotConstant
    return found


def _parameter(wrapper: ast.FunctionDef, call: ast.stmt, entry: str) -> str:
    """The parameter of `def check(candidate)`, when all that follows is `check(entry)`."""
    a = wrapper.args
    plain = len(a.args) == 1 and not (
        a.posonlyargs or a.kwonlyargs or a.vararg or a.kwarg or a.defaults or wrapper.decorator_list
    )
    if plain and ast.unparse(call) == f"{wrapper.name}({entry})" and wrapper.name != entry:
        return a.args[0].arg
    raise NotConstant


def _ignored(statement: ast.Assign, taken: set[str], budget: Budget) -> None:
    """An assignment of a constant, such as METADATA = {...}. A test that uses the name is not constant anyway."""
    for target in statement.targets:
        if not isinstance(target, ast.Name) or target.id in taken:
            raise NotConstant
    constant(statement.value, budget)


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _check(test: ast.expr, alias: str, entry: str, budget: Budget) -> Check:
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        inner = _check(test.operand, alias, entry, budget)
        if inner.op == "true":
            return dataclasses.replace(inner, op="false")
        raise NotConstant
    if isinstance(test, ast.Call):
        return Check(entry, _call(test, alias, entry, budget), "true", None, b"")
    if not isinstance(test, ast.Compare) or len(test.ops) != 1:
        raise NotConstant
    left, op, right = test.left, _COMPARE[type(test.ops[0])], test.comparators[0]
    if not _is_call(left, alias):
        left, op, right = right, _FLIPPED.get(op, op), left
    call, expected = _call(left, alias, entry, budget, drain=op in ("has", "has not")), constant(right, budget)
    if op in ("is", "is not") and not (expected is None or isinstance(expected, bool)):
        raise NotConstant
    data = encode(expected)
    same = op == "==" and expected == decode(data)  # a nan differs from itself
    return Check(entry, call, op, expected, data if same else b"")


def _is_call(node: ast.expr, alias: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == alias


def _call(call: ast.expr, alias: str, entry: str, budget: Budget, drain: bool = False) -> bytes:
    if not isinstance(call, ast.Call) or not _is_call(call, alias):
        raise NotConstant
    if any(keyword.arg is None for keyword in call.keywords):
        raise NotConstant
    args = tuple(constant(arg, budget) for arg in call.args)
    kwargs = {str(keyword.arg): constant(keyword.value, budget) for keyword in call.keywords}
    return encode((entry, drain, args, kwargs))


def constant(node: ast.expr, budget: Budget) -> Any:
    """The value of a constant expression. Raises NotConstant.

    Literals and containers of them, set(), frozenset(...) and float("inf"), and arithmetic on numbers, within caps.
    """
    if isinstance(node, ast.Constant):
        budget.spend(_size(node.value))
        return node.value
    budget.spend(1)
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        items = [constant(item, budget) for item in node.elts]
        if isinstance(node, ast.List):
            return items
        return tuple(items) if isinstance(node, ast.Tuple) else set(hashable(items))
    if isinstance(node, ast.Dict):
        if None in node.keys:
            raise NotConstant
        keys = [constant(key, budget) for key in node.keys if key is not None]
        values = [constant(value, budget) for value in node.values]
        return dict(zip(hashable(keys), values, strict=True))
    if isinstance(node, ast.UnaryOp):
        return _unary(node, budget)
    if isinstance(node, ast.BinOp):
        return _binary(node, budget)
    return _constructor(node, budget)


def _size(value: Any) -> int:
    if isinstance(value, str | bytes):
        return 1 + len(value)
    return 1 + value.bit_length() // 8 if isinstance(value, int) else 1


def _unary(node: ast.UnaryOp, budget: Budget) -> Any:
    value = constant(node.operand, budget)
    if isinstance(node.op, ast.Not):
        return not value
    if type(value) not in (int, float, complex):
        raise NotConstant
    if isinstance(node.op, ast.USub):
        return -value
    if isinstance(node.op, ast.UAdd):
        return value
    raise NotConstant


def _binary(node: ast.BinOp, budget: Budget) -> Any:
    before = budget.left
    left = constant(node.left, budget)
    size = before - budget.left
    right = constant(node.right, budget)
    if isinstance(node.op, ast.Mult) and type(left) in (list, str, tuple) and type(right) is int:
        # the whole tree counts: hashing and encoding visit shared items again and again
        budget.spend(size * max(right - 1, 0))
        return left * right
    value = _arithmetic(node.op, left, right)
    budget.spend(_size(value))
    return value


def _arithmetic(op: ast.operator, left: Any, right: Any) -> Any:
    if type(left) not in (int, float, complex) or type(right) not in (int, float, complex):
        raise NotConstant
    if isinstance(op, ast.Add):
        return left + right
    if isinstance(op, ast.Sub):
        return left - right
    if type(left) is not int or type(right) is not int:
        raise NotConstant
    if isinstance(op, ast.Mult) and left.bit_length() + right.bit_length() <= MAX_BITS:
        return left * right
    if isinstance(op, ast.Pow) and right >= 0 and left.bit_length() * right <= MAX_BITS:
        return left**right
    raise NotConstant


def _constructor(node: ast.expr, budget: Budget) -> Any:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.keywords or len(node.args) > 1:
        raise NotConstant
    kind = {"set": set, "frozenset": frozenset, "float": float}.get(node.func.id)
    if kind is None:
        raise NotConstant
    if not node.args:
        return kind()
    value = constant(node.args[0], budget)
    if type(value) is not (str if kind is float else list) and not (kind is not float and type(value) is set):
        raise NotConstant
    return float(str(value)) if kind is float else kind(hashable(list(value)))


# ---- judging


_REPR = reprlib.Repr()
_REPR.maxlevel, _REPR.maxstring, _REPR.maxother = 6, MAX_MESSAGE, MAX_MESSAGE
_REPR.maxlist = _REPR.maxtuple = _REPR.maxdict = _REPR.maxset = _REPR.maxfrozenset = _REPR.maxdeque = 40


class Iterator:
    """Stands for an iterator that the program returned: equal to nothing, true, and not to be looked into."""

    def __repr__(self) -> str:
        return "<an iterator>"


class _Marks(Hooks):
    def get(self, tag: int, number: int) -> Any:
        """An iterator's mark."""
        if tag != ord("G"):
            raise Refused("a reference to something that stays on the other side")
        return Iterator()


_MARKS = _Marks()


def outcome(check: Check, kind: int, payload: bytes) -> tuple[str, str]:
    """The status and message of one check, from a player's reply. Raises NeedsJudge.

    The program chose the bytes and nothing limits this process: what is not equal byte for byte is read only where
    that, and the comparison, cannot take long.
    """
    if kind == wire.VALUE:
        if check.expected_bytes and payload == check.expected_bytes:
            return "pass", ""
        if check.expected_bytes and len(payload) > MAX_RATIO * len(check.expected_bytes) + 1024:
            return "fail", f"got a value of {len(payload)} encoded bytes"  # too large to be equal: not worth reading
        return _compared(check, payload)
    if kind == wire.REFUSED:
        return "fail", f"the result is {payload[: 4 * MAX_MESSAGE].decode('utf-8', 'replace')[:MAX_MESSAGE]}"
    if kind == wire.RAISED:
        return raised(payload)
    return "crash", "a malformed reply"


def _compared(check: Check, payload: bytes) -> tuple[str, str]:
    if len(payload) > MAX_READ:
        raise NeedsJudge
    try:
        value = decode(payload, _MARKS)
    except NeedsNumpy:
        raise NeedsJudge from None
    except Refused as refusal:
        return "fail", f"the result cannot be read: {refusal}"
    if isinstance(value, range) and check.op in ("has", "has not") and type(check.expected) not in (int, bool):
        raise NeedsJudge  # Python goes through all of it
    try:
        holds = _HOLDS[check.op](value, check.expected)
    except Exception as error:
        return "error", f"{type(error).__name__}: {error}"[: 2 * MAX_MESSAGE]
    return ("pass", "") if holds else ("fail", _told(check, value))


def raised(payload: bytes) -> tuple[str, str]:
    """The status and message of an exception that the program raised."""
    if len(payload) > MAX_READ:
        return "error", f"an exception of {len(payload)} encoded bytes"
    try:
        told = decode(payload)
    except Refused:
        told = None
    if type(told) is not tuple or len(told) < 2 or type(told[0]) is not tuple or not told[0]:
        return "crash", "a malformed reply"
    names, message = told[:2]
    if any(type(name) is not str for name in (*names, message)):
        return "crash", "a malformed reply"
    status = "crash" if "SystemExit" in names or "MemoryError" in names else "error"
    return status, f"{names[0]}: {message}"[: 2 * MAX_MESSAGE]


def _told(check: Check, value: Any) -> str:
    if check.op in ("true", "false"):
        return f"got {short(value)}, which is not {check.op}"
    return f"got {short(value)}, expected it {check.op} {short(check.expected)}"


def short(value: Any) -> str:
    """A value for a message: cut in length, whatever its size."""
    try:
        text = _REPR.repr(value)
    except (ValueError, RecursionError):  # an int of more digits than Python will print
        text = f"<{type(value).__name__}>"
    return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 3] + "..."
