"""Programs with one thing wrong, and other inputs: what verdicts are compared on."""

import ast
import copy
import random
from collections.abc import Callable, Iterator
from typing import Any

_FLIPPED: dict[type, type] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.FloorDiv, ast.FloorDiv: ast.Div,
    ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitXor, ast.BitXor: ast.BitAnd,
}  # fmt: skip

_OTHERWISE = """

_uncorrupted = {entry_point}


def {entry_point}(*given):
    value = _uncorrupted(*given)
{change}
    return value
"""
_OFF = """
    def off(one):
        if type(one) is float:
            return one * (1 + {by}) + {by}
        return type(one)(map(off, one)) if type(one) in (list, tuple) else one

    value = off(value)"""
# What becomes of a result: by name, the body of a function.
RESULTS = {
    "a float out of tolerance": _OFF.format(by="1e-5"),
    "a float within tolerance": _OFF.format(by="1e-9"),
    "another type": """
    other = {bool: int, int: float, float: str, str: list, list: tuple, tuple: list, dict: list, set: list}
    value = other.get(type(value), str)(value)""",
    "an equal type": """
    value = {bool: int, int: float}.get(type(value), lambda one: one)(value)""",
    "none": "    value = None",
    "one item less": "    value = value[:-1] if type(value) in (str, list, tuple) else value",
    "off by one": "    value = value + 1 if type(value) is int else value",
    "in another order": "    value = value[::-1] if type(value) in (list, tuple) else value",
    "an iterator": "    value = iter(value) if type(value) in (list, tuple, set) else value",
    "numpy's": """
    import numpy
    as_numpy = {list: numpy.array, tuple: numpy.array, float: numpy.float64, int: numpy.int64, bool: numpy.bool_}
    value = as_numpy.get(type(value), lambda one: one)(value)""",
    "an exception": "    raise ValueError(given)",
    "an exit": "    raise SystemExit(0)",
    "late": """
    import time
    began = time.process_time()
    while time.process_time() - began < 2.5: pass""",
    "arguments changed": """
    for one in given:
        if type(one) is list: one.clear()""",
}


def corrupted(program: str, entry_point: str, count: int, seed: str) -> Iterator[tuple[str, str]]:
    """(what is wrong, the program): of `count` places in its syntax, and of each of RESULTS; texts that do not load."""
    tree = ast.parse(program)
    places = [(at, kind) for at, node in enumerate(ast.walk(tree)) for kind in _kinds(node)]
    for at, kind in random.Random(seed).sample(places, min(count, len(places))):
        changed = copy.deepcopy(tree)
        _change(list(ast.walk(changed))[at], kind)
        yield kind, ast.unparse(changed)
    for kind, change in RESULTS.items():
        lines = change.strip("\n")
        yield kind, program + _OTHERWISE.format(entry_point=entry_point, change=lines)
    yield "no program", "def"
    yield "another name", program.replace(entry_point, f"{entry_point}_")


def _kinds(node: ast.AST) -> Iterator[str]:
    operators = [node.op] if isinstance(node, ast.BinOp | ast.AugAssign | ast.BoolOp) else getattr(node, "ops", ())
    if any(type(operator) in _FLIPPED for operator in operators):
        yield "an operator flipped"
    if isinstance(node, ast.Constant) and type(node.value) is int:
        yield "a constant off by one"
    if isinstance(node, ast.Return) and node.value is not None:
        yield "a return of nothing"


def _change(node: Any, kind: str) -> None:
    if kind == "a constant off by one":
        node.value += 1
    elif kind == "a return of nothing":
        node.value = None
    elif isinstance(node, ast.Compare):
        node.ops = [_FLIPPED.get(type(operator), type(operator))() for operator in node.ops]
    else:
        node.op = _FLIPPED[type(node.op)]()


def other_inputs(inputs: list[list], count: int, seed: str) -> list[list]:
    """Inputs like those given, each with one thing in it changed."""
    rng = random.Random(seed)
    found = []
    for _ in range(count if inputs else 0):
        given = copy.deepcopy(rng.choice(inputs))
        if given:
            at = rng.randrange(len(given))
            given[at] = _other(given[at], rng)
        found.append(given)
    return found


def _other(value: Any, rng: random.Random) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return rng.choice([value + 1, value - 1, 2 * value, -value, 0])
    if isinstance(value, float):
        return rng.choice([value + 1.5, value / 2, -value, 0.0])
    if isinstance(value, str):
        return rng.choice([value[::-1], value[1:], 2 * value, value.swapcase()])
    if isinstance(value, list) and value:
        at = rng.randrange(len(value))
        changes: list[Callable[[], Any]] = [
            lambda: value[:at] + value[at + 1 :],
            lambda: [*value, value[at]],
            lambda: [*value[:at], _other(value[at], rng), *value[at + 1 :]],
        ]
        return rng.choice(changes)()
    return value
