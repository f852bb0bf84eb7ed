"""How each test will be judged: fixed from its source before any program runs.

constant  `assert f(<constants>) == <constant>` and its like: judged from the syntax tree, nothing of it runs
judge     any other test: runs in a judge against a stub of the entry point
inside    a test that names the program's own classes or helpers: can only run beside the program, untrusted
broken    a test that does not parse
"""

import ast
import builtins
import collections
import dataclasses
import functools
from collections.abc import Iterable

from .constant import Check, NotConstant, checks
from .jail.codec import MAX_BYTES, Refused
from .jail.judge import MODULES, PROVIDED

MAX_CALLS = MAX_BYTES // 2  # bytes of the calls of constant tests that a player is asked for at once
MAX_SOURCE = 1 << 20  # characters of one test: a longer one is broken
_BUILTINS = frozenset(dir(builtins)) | {"__name__", "__builtins__"}


@dataclasses.dataclass(frozen=True)
class TestPlan:
    """How one test is judged. checks: of a constant test. stubs, provided: names for a judge."""

    kind: str
    source: str
    checks: tuple[Check, ...] = ()
    stubs: tuple[str, ...] = ()
    provided: tuple[str, ...] = ()
    message: str = ""


@functools.lru_cache(maxsize=512)
def plan(tests: tuple[str, ...], entry_point: str | None, setup: str, preload: tuple[str, ...]) -> tuple[TestPlan, ...]:
    """A plan for each test. The samples of one problem share it."""
    try:
        setup_tree = _parse(setup)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return tuple(TestPlan("broken", test, message=f"setup does not parse: {error}") for test in tests)
    trees: list[ast.Module | str] = []
    for test in tests:
        try:
            trees.append(_parse(test))
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            trees.append(f"the test does not parse: {error}")
    known = _BUILTINS | _bound(setup_tree) | PROVIDED.keys() | set(MODULES) | set(preload)
    called = [_called(tree, known) if isinstance(tree, ast.Module) else set() for tree in trees]
    often = collections.Counter(name for names in called for name in sorted(names))
    plans = []
    for source, tree, names in zip(tests, trees, called, strict=True):
        if isinstance(tree, str):
            plans.append(TestPlan("broken", source, message=tree[:400]))
            continue
        entry = entry_point or max(sorted(names), key=lambda name: often[name], default=None)
        entry = entry or _shadowing(tree)
        plans.append(_plan_one(source, tree, entry, setup_tree, preload))
    return tuple(plans)


def _parse(source: str) -> ast.Module:
    if len(source) > MAX_SOURCE:
        raise ValueError(f"longer than {MAX_SOURCE} characters")
    return ast.parse(source)


def _plan_one(
    source: str, tree: ast.Module, entry: str | None, setup: ast.Module, preload: tuple[str, ...]
) -> TestPlan:
    if entry is not None and not _is_class(entry):
        try:
            found = tuple(checks(tree.body, entry))
            if sum(len(check.call) for check in found) <= MAX_CALLS:
                return TestPlan("constant", source, checks=found)
        except (NotConstant, Refused, RecursionError, ValueError, TypeError, ArithmeticError):
            pass
    used = _loaded(tree) | _loaded(setup)
    free = used - (_BUILTINS - {entry}) - _bound(tree) - _bound(setup)
    provided = {name for name in free if name in PROVIDED or name in MODULES or name in preload}
    if "numpy" in preload and "np" in free:
        provided |= {"numpy"}
        free -= {"np"}
    free -= provided
    if "datetime" in provided and _calls(tree, "datetime"):
        provided = provided - {"datetime"} | {"datetime.class"}
    if free - {entry} or (entry is not None and _is_class(entry) and entry in free):
        return TestPlan("inside", source)
    return TestPlan("judge", source, stubs=tuple(sorted(free)), provided=tuple(sorted(provided)))


# ---- names


def _loaded(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}


def _bound(tree: ast.AST) -> set[str]:
    """Every name that the code binds, in whatever scope."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            names.add(node.name)
        elif isinstance(node, ast.MatchMapping) and node.rest:
            names.add(node.rest)
    return names


def _called(tree: ast.Module, known: Iterable[str]) -> set[str]:
    """The names that a test calls, or else hands on as in check(f), and that must be the program's."""
    names = {n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
    others = set(known) | _bound(tree)
    return names - others or _loaded(tree) - others


def _shadowing(tree: ast.Module) -> str | None:
    """The built-in function that a test calls first, where it calls nothing else: the program's own of that name."""
    asserts = (node.test for node in ast.walk(tree) if isinstance(node, ast.Assert))
    calls = (node for test in asserts for node in ast.walk(test) if isinstance(node, ast.Call))
    return next((call.func.id for call in calls if isinstance(call.func, ast.Name)), None)


def _is_class(name: str) -> bool:
    """Whether a name is written as those of classes are: it must be known before any program runs."""
    return name[:1].isupper() and "_" not in name and not name.isupper()


def _calls(tree: ast.Module, name: str) -> bool:
    return any(isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id == name for n in ast.walk(tree))
