"""Where problems and pairs come from: one module a source, looked up by its name.

A source of problems has `load(**kw) -> list[Problem]`, a source of preference pairs `load_pairs(**kw) -> list[Pair]`, a
source of questions with rated programs `load_ranked(**kw) -> list[Ranked]`.
`seeds` is beside them: programs that problems are made from.
"""

import importlib
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from acecoder_jax import plugins
from acecoder_jax.types import Pair, Problem, Ranked

NOT_SOURCES = {"seeds", "tfds_read"}  # the public modules here that are none


def load(name: str, path: str = "", **kw: Any) -> list[Problem]:
    """The problems of the source `name` (a module of this package), which gets the keyword arguments.

    path: the file or folder that the source reads; "" leaves it to the source (the hub, as a rule).
    ValueError for an unknown source or argument; it lists those that exist.
    """
    return _call(name, "load", path, kw)


def load_pairs(name: str, path: str = "", **kw: Any) -> list[Pair]:
    """`load` for a source of pairs."""
    return _call(name, "load_pairs", path, kw)


def load_ranked(name: str, path: str = "", **kw: Any) -> list[Ranked]:
    """`load` for a source of questions with rated programs; which are compared is decided by curate.make_groups."""
    return _call(name, "load_ranked", path, kw)


KINDS = {"load": "problems", "load_pairs": "pairs", "load_ranked": "rated programs"}


def _call(name: str, function: str, path: str, kw: dict[str, Any]) -> Any:
    module = _module(name)
    if not hasattr(module, function):
        has = " and ".join(kind for other, kind in KINDS.items() if hasattr(module, other))
        raise ValueError(f"the data source {name!r} has {has}, not {KINDS[function]}")
    given = kw | ({"path": path} if path else {})
    return plugins.call(f"the data source {name!r}", getattr(module, function), given)


def _module(name: str) -> ModuleType:
    names = [module for module in plugins.names(__path__) if module not in NOT_SOURCES]
    if name not in names:
        raise ValueError(f"there is no data source {name!r}: acecoder_jax/data has {', '.join(names)}")
    return importlib.import_module(f"{__name__}.{name}")


def demonstrations(name: str, problems: Sequence[Problem], seed: int) -> list[tuple[Problem, str]]:
    """Each problem with a reply to learn from: the source's own `demonstrations`, else the solution in a fence.

    ValueError for a problem without a solution, where the source has no demonstrations of its own.
    """
    module = _module(name)
    if hasattr(module, "demonstrations"):
        return module.demonstrations(problems, seed=seed)
    if bare := [problem.id for problem in problems if problem.solution is None]:
        raise ValueError(f"{len(bare)} problems of {name!r} have no solution to learn from, {bare[0]!r} for one")
    return [(problem, f"```python\n{problem.solution}\n```") for problem in problems]
