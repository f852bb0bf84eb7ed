"""Where problems come from: one module a source, each with `load(**kw) -> list[Problem]`, looked up by its name.

`seeds` is beside them: programs that problems are made from.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from acecoder_jax.types import Problem

NOT_SOURCES = {"seeds"}  # the public modules here that are none


def load(name: str, path: str = "", **kw: Any) -> list[Problem]:
    """The problems of the source `name` (a module of this package), which gets the keyword arguments.

    path: the file or folder that the source reads; "" leaves it to the source (the hub, as a rule).
    ValueError for an unknown source or argument; it lists those that exist.
    """
    module = _module(name)
    given = kw | ({"path": path} if path else {})
    known = list(inspect.signature(module.load).parameters)
    if unknown := sorted(given.keys() - set(known)):
        raise ValueError(f"the data source {name!r} takes {', '.join(known)}, not {', '.join(unknown)}")
    return module.load(**given)


def _module(name: str) -> ModuleType:
    modules = {module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")}
    names = sorted(modules - NOT_SOURCES)
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
