"""Rewards: a number for each completion, one file a kind, looked up by name.

A reward's file has make(**knobs) -> score(completion, verdict) -> float or None (None: leave this sample out).
"""

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

from acecoder_jax.types import Completion, Verdict

Score = Callable[[Completion, Verdict], float | None]


def make(name: str, **knobs: Any) -> Score:
    """The reward of a name. An unknown name is a ValueError that lists those that exist."""
    names = [module.name for module in pkgutil.iter_modules(__path__)]
    if name not in names:
        raise ValueError(f"unknown reward {name!r}; there are {names}")
    return importlib.import_module(f"{__name__}.{name}").make(**knobs)
