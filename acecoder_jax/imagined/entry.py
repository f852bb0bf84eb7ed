"""The function that tests call, and whether a test calls it as it should: once, on constants, compared with constants.

The sandbox judges most such tests from their syntax tree (sandbox/constant.py); those of a kind that only Python can
judge, such as math.isclose(f(1), 0.1) or sorted(f([2, 1])) == [1, 2], run in its judge.
"""

import ast
import builtins
import collections
from collections.abc import Iterable, Mapping, Sequence

from acecoder_jax.imagined.asserts import Assert
from acecoder_jax.sandbox import constant
from acecoder_jax.sandbox.jail.codec import Refused
from acecoder_jax.sandbox.jail.judge import MODULES, PROVIDED
from acecoder_jax.sandbox.jail.names import FUNCTIONS, TYPES

# Functions of Python whose result depends on their arguments alone: they may make constants and look at results.
PURE = frozenset({
    "abs", "all", "any", "ascii", "bin", "bool", "bytearray", "bytes", "chr", "complex", "dict", "divmod", "enumerate",
    "float", "format", "frozenset", "hex", "int", "isinstance", "issubclass", "len", "list", "max", "min", "oct", "ord",
    "pow", "range", "repr", "reversed", "round", "set", "slice", "sorted", "str", "sum", "tuple", "type", "zip",
})  # fmt: skip
PURE_MODULES = frozenset(MODULES) - {"random", "time"} | {"array", "numpy", "types"}
NEVER_TWICE = frozenset(
    {"random", "now", "today", "utcnow", "fromtimestamp"}
)  # parts of names: another value each time
_NUMPY = {"np": "numpy"}  # as everybody calls it, imported or not


def entry_point(asserts: Sequence[Assert]) -> str | None:
    """The function that most of the asserts call, the first of several; None where they call none.

    A built-in function counts only where no other is called: then it is the program's own of that name.
    """
    for others_too in (False, True):
        calls = [_called(one, others_too) for one in asserts]
        often = collections.Counter(name for names in calls for name in names)
        if often:
            return max(often, key=lambda name: often[name])  # the first of equals: a Counter keeps the order of arrival
    return None


def is_class(name: str) -> bool:
    """Whether a name is written as those of classes are."""
    return name[:1].isupper() and "_" not in name and not name.isupper()


def problem(one: Assert, name: str) -> str:
    """What is wrong with an assert: no_call, other_function, several_calls, always_true (a container) or not_constant.

    "" for nothing.
    """
    calls = [node for node in ast.walk(one.test) if _is_call(node, name)]
    if not calls:
        return "other_function" if _called(one, builtin=False) else "no_call"
    if len(calls) > 1:
        return "several_calls"
    if isinstance(one.test, ast.Tuple | ast.List | ast.Set | ast.Dict):
        return "always_true"
    if _judged_from_its_tree(one.test, name):
        return ""
    arguments = _arguments(calls[0])
    fits = _of_constants(arguments, one.names) and _looks_at(one.test, calls[0], one.names)
    return "" if fits else "not_constant"


def _called(one: Assert, builtin: bool) -> list[str]:
    """The functions that an assert calls by their bare names, in order, each once; of those of Python, or of others."""
    known = PROVIDED.keys() | one.names.keys()
    found: dict[str, None] = {}
    for node in ast.walk(one.test):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            name = node.func.id
            if name not in known and (name in vars(builtins)) == builtin:
                found[name] = None
    return list(found)


def _is_call(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


def _arguments(call: ast.AST) -> list[ast.expr]:
    assert isinstance(call, ast.Call)
    return [*call.args, *(keyword.value for keyword in call.keywords)]


def _judged_from_its_tree(test: ast.expr, name: str) -> bool:
    try:
        return len(constant.checks([ast.Assert(test)], name, constant.Budget())) == 1
    except (constant.NotConstant, Refused, RecursionError, ValueError, TypeError, ArithmeticError):
        return False


# ---- constants


def _of_constants(nodes: Iterable[ast.AST], names: Mapping[str, str]) -> bool:
    return all(_is_constant(node, names) for node in nodes)


def _is_constant(node: ast.AST, names: Mapping[str, str]) -> bool:
    """Whether an expression has one value, whoever runs it: literals, pure functions of them, names such as math.pi."""
    if isinstance(node, ast.expr) and _is_literal(node):
        return True
    if isinstance(node, ast.Starred | ast.keyword):
        return _is_constant(node.value, names)
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return _of_constants(node.elts, names)
    if isinstance(node, ast.Dict):
        return None not in node.keys and _of_constants([*filter(None, node.keys), *node.values], names)
    if isinstance(node, ast.UnaryOp):
        return _is_constant(node.operand, names)
    if isinstance(node, ast.BinOp):
        large = isinstance(node.op, ast.Mult | ast.Pow | ast.LShift) and not _has_call_or_name(node)
        return not large and _of_constants([node.left, node.right], names)
    if isinstance(node, ast.Call):
        method = isinstance(node.func, ast.Attribute) and not _is_dotted(node.func)
        fits = _is_constant(node.func.value, names) if method else _is_pure(node.func, names)  # type: ignore[attr-defined]
        return fits and _of_constants(_arguments(node), names)
    return _is_pure(node, names)


def _is_literal(node: ast.expr) -> bool:
    """Whether the sandbox reads it as a constant, within its caps."""
    try:
        constant.constant(node, constant.Budget())
    except (constant.NotConstant, Refused, RecursionError, ValueError, TypeError, ArithmeticError):
        return False
    return True


def _has_call_or_name(node: ast.AST) -> bool:
    return any(isinstance(inner, ast.Call | ast.Name) for inner in ast.walk(node))


def _is_dotted(node: ast.AST) -> bool:
    """Whether an expression is a name, or a name of a module with what is in it."""
    return _is_dotted(node.value) if isinstance(node, ast.Attribute) else isinstance(node, ast.Name)


def _is_pure(node: ast.AST, names: Mapping[str, str]) -> bool:
    """Whether a name, dotted or not, stands for a pure function, a class or a number of Python or numpy."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.insert(0, node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return False
    full = ".".join([names.get(node.id, _NUMPY.get(node.id, node.id)), *parts])
    if NEVER_TWICE & set(full.split(".")):
        return False
    if "." in full:
        return full.partition(".")[0] in PURE_MODULES or full.partition(".")[0] in PROVIDED
    return full in PURE or full in PROVIDED or full in FUNCTIONS or full in TYPES


# ---- what is made of the result


def _looks_at(node: ast.AST, call: ast.AST, names: Mapping[str, str]) -> bool:
    """Whether an expression does nothing with the result of the call but compare it, or a pure function of it, with
    constants."""
    if node is call:
        return True
    if isinstance(node, ast.Call):
        if not (_is_pure(node.func, names) or isinstance(node.func, ast.Attribute)):
            return False
        of = [node.func.value] if isinstance(node.func, ast.Attribute) and not _is_pure(node.func, names) else []
        parts: list[ast.AST] = [*of, *_arguments(node)]
    elif isinstance(node, ast.Compare):
        parts = [node.left, *node.comparators]
    elif isinstance(node, ast.UnaryOp):
        parts = [node.operand]
    elif isinstance(node, ast.BinOp):
        parts = [node.left, node.right]
    elif isinstance(node, ast.Subscript):
        parts = [node.value, *_slice(node.slice)]
    elif isinstance(node, ast.Attribute | ast.Starred):
        parts = [node.value]
    elif isinstance(node, ast.List | ast.Tuple | ast.Set):
        parts = list(node.elts)
    else:
        return False
    return all(_looks_at(part, call, names) if _holds(part, call) else _is_constant(part, names) for part in parts)


def _holds(node: ast.AST, call: ast.AST) -> bool:
    return any(inner is call for inner in ast.walk(node))


def _slice(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.Slice):
        return [part for part in (node.lower, node.upper, node.step) if part is not None]
    return [node]
