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
from collections.abc import Set

from . import constant
from .constant import MAX_SIZE, Budget, Check, NotConstant
from .jail.codec import MAX_BYTES, Refused
from .jail.judge import MODULES, PROVIDED

MAX_CALLS = MAX_BYTES // 2  # bytes of the calls of constant tests that a player is asked for at once
MAX_SOURCE = 1 << 18  # characters of one test, or of the setup: a longer one is broken
MAX_SOURCES = 1 << 20  # of all tests of a job: the longest of them are broken where they come to more
MAX_CONSTANTS = 1 << 20  # items and bytes of all constants of a job: past that its constant tests go to a judge
MAX_CACHED = 8 << 20  # bytes of the plans that are kept, roughly: the samples of a problem come close together
ITEM_BYTES, CHARACTER_BYTES, CHECK_BYTES = 16, 4, 1000
_BUILTINS = frozenset(dir(builtins)) | {"__name__", "__builtins__", "exit", "quit"}


@dataclasses.dataclass(frozen=True)
class TestPlan:
    """How one test is judged. checks: of a constant test. stubs, provided: names for a judge."""

    kind: str
    source: str
    checks: tuple[Check, ...] = ()
    stubs: tuple[str, ...] = ()
    provided: tuple[str, ...] = ()
    message: str = ""


Plans = tuple[TestPlan, ...]
_cache: collections.OrderedDict[tuple, tuple[Plans, int]] = collections.OrderedDict()
_held = 0  # bytes of the plans in the cache


def plan(tests: tuple[str, ...], entry_point: str | None, setup: str, preload: tuple[str, ...]) -> Plans:
    """A plan for each test. The samples of one problem share it."""
    global _held
    key = tests, entry_point, setup, preload
    if key in _cache:
        _cache.move_to_end(key)
        return _cache[key][0]
    budget = Budget(MAX_CONSTANTS)
    plans = _plan(tests, entry_point, setup, preload, budget)
    cost = CHARACTER_BYTES * sum(map(len, (setup, *tests))) + ITEM_BYTES * (MAX_CONSTANTS - budget.left)
    cost += CHECK_BYTES * sum(1 + len(one.checks) for one in plans)
    _cache[key] = plans, cost
    _held += cost
    while _held > MAX_CACHED:
        _held -= _cache.popitem(last=False)[1][1]
    return plans


def inside(test: str) -> TestPlan:
    """The plan of a test that runs beside the program, whatever it names."""
    tree = _parse(test)
    return (
        TestPlan("broken", test, message=f"the test {tree}"[:400])
        if isinstance(tree, str)
        else TestPlan("inside", test)
    )


def _plan(
    tests: tuple[str, ...], entry_point: str | None, setup: str, preload: tuple[str, ...], budget: Budget
) -> Plans:
    setup_tree = _parse(setup)
    if isinstance(setup_tree, str):
        return tuple(TestPlan("broken", test, message=f"setup {setup_tree}") for test in tests)
    of_setup = _Names(setup_tree)
    known = _BUILTINS | of_setup.bound | PROVIDED.keys() | set(MODULES) | set(preload)
    texts = _within_reason(tests)
    names = [_Names(tree) if isinstance(tree, ast.Module) else None for tree in texts]
    called = [one.of_program(known) if one else set() for one in names]
    often = collections.Counter(name for found in called for name in sorted(found))
    plans = []
    for source, tree, own, found in zip(tests, texts, names, called, strict=True):
        if isinstance(tree, str) or own is None:
            plans.append(TestPlan("broken", source, message=f"the test {tree}"[:400]))
            continue
        entry = entry_point or max(sorted(found), key=lambda name: often[name], default=None)
        entry = entry or _shadowing(tree)
        checks = _checks(tree, entry, budget)
        if checks:
            plans.append(TestPlan("constant", source, checks=checks))
        else:
            plans.append(_not_constant(source, own, entry, of_setup, preload))
    return tuple(plans)


def _parse(source: str) -> ast.Module | str:
    """The syntax tree, or why there is none."""
    if len(source) > MAX_SOURCE:
        return f"is longer than {MAX_SOURCE} characters"
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return f"does not parse: {error}"


def _within_reason(tests: tuple[str, ...]) -> list[ast.Module | str]:
    """The syntax trees of the tests, or why there is none. The shortest come first into what all together may be."""
    trees: list[ast.Module | str] = [f"is one of the longest, and all come to over {MAX_SOURCES} characters"] * len(
        tests
    )
    total = 0
    for at in sorted(range(len(tests)), key=lambda at: len(tests[at])):
        total += min(len(tests[at]), MAX_SOURCE)
        if total > MAX_SOURCES:
            break
        trees[at] = _parse(tests[at])
    return trees


def _checks(tree: ast.Module, entry: str | None, of_job: Budget) -> tuple[Check, ...]:
    """The checks of a constant test; none of any other."""
    if entry is None or _is_class(entry):
        return ()
    budget = Budget(min(MAX_SIZE, of_job.left))
    before = budget.left
    try:
        found = tuple(constant.checks(tree.body, entry, budget))
    except (NotConstant, Refused, RecursionError, ValueError, TypeError, ArithmeticError):
        found = ()
    of_job.left -= min(before - budget.left, of_job.left)
    return found if sum(len(check.call) for check in found) <= MAX_CALLS else ()


def _not_constant(
    source: str, names: "_Names", entry: str | None, of_setup: "_Names", preload: tuple[str, ...]
) -> TestPlan:
    used = names.loaded | of_setup.loaded
    free = used - (_BUILTINS - {entry}) - names.bound - of_setup.bound
    provided = {name for name in free if name in PROVIDED or name in MODULES or name in preload}
    if "numpy" in preload and "np" in free:
        provided |= {"numpy"}
        free -= {"np"}
    free -= provided
    if "datetime" in provided and "datetime" in names.called:
        provided = provided - {"datetime"} | {"datetime.class"}
    if free - {entry} or (entry is not None and _is_class(entry) and entry in free):
        return TestPlan("inside", source)
    return TestPlan("judge", source, stubs=tuple(sorted(free)), provided=tuple(sorted(provided)))


# ---- names


class _Names:
    """The names in a piece of code, in whatever scope: those it reads, those it binds, those it calls."""

    def __init__(self, tree: ast.AST):
        self.loaded: set[str] = set()
        self.bound: set[str] = set()
        self.called: set[str] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Name):
                (self.loaded if isinstance(node.ctx, ast.Load) else self.bound).add(node.id)
            elif isinstance(node, ast.Call):
                if isinstance(node.func, ast.Name):
                    self.called.add(node.func.id)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                self.bound.add(node.name)
            elif isinstance(node, ast.arg):
                self.bound.add(node.arg)
            elif isinstance(node, ast.alias):
                self.bound.add((node.asname or node.name).split(".")[0])
            elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
                self.bound.add(node.name)
            elif isinstance(node, ast.MatchMapping) and node.rest:
                self.bound.add(node.rest)

    def of_program(self, known: Set[str]) -> set[str]:
        """The names that a test calls, or else hands on as in check(f), and that must be the program's."""
        return self.called - known - self.bound or self.loaded - known - self.bound


def _shadowing(tree: ast.Module) -> str | None:
    """The built-in function that a test calls first, where it calls nothing else: the program's own of that name."""
    asserts = (node.test for node in ast.walk(tree) if isinstance(node, ast.Assert))
    calls = (node for test in asserts for node in ast.walk(test) if isinstance(node, ast.Call))
    return next((call.func.id for call in calls if isinstance(call.func, ast.Name)), None)


def _is_class(name: str) -> bool:
    """Whether a name is written as those of classes are: it must be known before any program runs."""
    return name[:1].isupper() and "_" not in name and not name.isupper()
