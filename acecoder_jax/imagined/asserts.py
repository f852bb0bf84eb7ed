"""A text that should be one assert: what asserts it holds, each on its own, and what had to be mended."""

import ast
import collections
import dataclasses
import io
import re
import sys
import textwrap
import tokenize
import warnings
from collections.abc import Mapping, Sequence

from acecoder_jax import prompts

MAX_CHARACTERS = 1 << 16  # of one test


@dataclasses.dataclass(frozen=True)
class Assert:
    """One assert. names: what its imports bind, as the full names of what they stand for ({"np": "numpy"})."""

    source: str
    test: ast.expr
    names: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Mended:
    """The asserts of a text, and what was done to it: fence, escapes, wrapped, bare, several, message, comment,
    unused_import."""

    asserts: tuple[Assert, ...]
    repaired: Mapping[str, int]


class Refused(Exception):  # noqa: N818 - it reads as what happened
    """reason: too_long, syntax, no_assert (a statement that is none) or foreign_import."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


def parse(text: str) -> Mended:
    """The asserts of a text. Refused, as a whole, where it holds anything else."""
    if len(text) > MAX_CHARACTERS:
        raise Refused("too_long")
    repaired: collections.Counter[str] = collections.Counter()
    tree, source = _tree(text, repaired)
    imports, tests = _statements(tree.body, repaired)
    if not tests:
        raise Refused("no_assert")
    parts = [part for test in tests for part in _conjuncts(_without_message(test, repaired))]
    repaired["several"] += len(parts) > 1
    repaired["comment"] += _has_comment(source)
    mended = any(repaired[what] for what in ("message", "comment", "wrapped", "bare"))
    untouched = len(tree.body) == len(parts) == 1 and not mended
    used = {node.id for part in parts for node in ast.walk(part) if isinstance(node, ast.Name)}
    repaired["unused_import"] += any(not names.keys() & used for _, names in imports)
    asserts = []
    for part in parts:
        used = {node.id for node in ast.walk(part) if isinstance(node, ast.Name)}
        needed = [(line, names) for line, names in imports if names.keys() & used]
        line = source if untouched else ast.unparse(ast.Assert(part))
        bound = {name: full for _, names in needed for name, full in names.items()}
        asserts.append(Assert("\n".join([*(line for line, _ in needed), line]), part, bound))
    return Mended(tuple(asserts), +repaired)


def _without_message(test: ast.Assert, repaired: collections.Counter[str]) -> ast.expr:
    """What is asserted; of `assert (a, "message")`, which always holds, what was meant."""
    match test.test:
        case ast.Tuple(elts=[meant, ast.Constant(value=str())]):
            repaired["message"] += 1
            return meant
    repaired["message"] += test.msg is not None
    return test.test


def _has_comment(source: str) -> bool:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline) if "#" in source else ()
    return any(token.type == tokenize.COMMENT for token in tokens)


def _tree(text: str, repaired: collections.Counter[str]) -> tuple[ast.Module, str]:
    """The syntax tree, and the text that it is of."""
    source = text
    if "```" in text:
        source = prompts.extract_code(text)
        repaired["fence"] += 1
    source = textwrap.dedent(source).strip()
    tree = _parsed(source)
    if tree is None:
        source = source.replace("\\n", "\n").replace('\\"', '"')  # escaped twice
        tree = _parsed(source)
        repaired["escapes"] += 1
    if tree is None:
        raise Refused("syntax")
    return tree, source


def _parsed(source: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the model's Python, not ours
            tree = ast.parse(source)
            ast.unparse(tree)  # fails for numbers of more digits than Python prints
            return tree
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _statements(
    body: Sequence[ast.stmt], repaired: collections.Counter[str]
) -> tuple[list[tuple[str, dict[str, str]]], list[ast.Assert]]:
    """The imports, each with the names that it binds, and the asserts."""
    imports: list[tuple[str, dict[str, str]]] = []
    tests: list[ast.Assert] = []
    for statement in body:
        if isinstance(statement, ast.Assert):
            tests.append(statement)
        elif isinstance(statement, ast.Import | ast.ImportFrom):
            imports.append((ast.unparse(statement), _bound(statement)))
        elif isinstance(statement, ast.FunctionDef) and re.match(r"test|check", statement.name):
            inner_imports, inner = _statements(statement.body, repaired)
            if statement.args.args or not inner:
                raise Refused("no_assert")
            repaired["wrapped"] += 1
            imports, tests = imports + inner_imports, tests + inner
        elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Compare):
            repaired["bare"] += 1
            tests.append(ast.Assert(statement.value))
        elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            repaired["comment"] += 1  # a text that nobody reads
        elif not isinstance(statement, ast.Pass):
            raise Refused("no_assert")
    return imports, tests


def _bound(statement: ast.Import | ast.ImportFrom) -> dict[str, str]:
    """The names that an import binds. Refused where it is of anything but the standard library and numpy."""
    base = f"{statement.module}." if isinstance(statement, ast.ImportFrom) else ""
    names = {}
    for alias in statement.names:
        full = base + alias.name
        top = full.partition(".")[0]
        relative = isinstance(statement, ast.ImportFrom) and statement.level > 0
        if relative or (top not in sys.stdlib_module_names and top != "numpy"):
            raise Refused("foreign_import")
        names[alias.asname or (alias.name if base else top)] = full if base or alias.asname else top
    return names


def _conjuncts(test: ast.expr) -> list[ast.expr]:
    """`a and b` as the two asserts that it is."""
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
        return [part for value in test.values for part in _conjuncts(value)]
    return [test]
