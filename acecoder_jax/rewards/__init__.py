"""Rewards: a number for each completion, one file a kind, looked up by name.

A reward's file has make(**knobs) -> score(problems, scored) -> a float or None for each (None: leave this sample out).
"""

import importlib
from collections.abc import Callable, Sequence
from typing import Any

from acecoder_jax import plugins
from acecoder_jax.sampling.rollout import Scored
from acecoder_jax.types import Problem

# problems: those of the rollout, by whose ids the completions are joined to them.
Score = Callable[[Sequence[Problem], Sequence[Scored]], list[float | None]]


def make(name: str, **knobs: Any) -> Score:
    """The reward of a name. ValueError for an unknown name or knob; it lists those that exist."""
    if name not in (names := plugins.names(__path__)):
        raise ValueError(f"unknown reward {name!r}; there are {names}")
    return plugins.call(f"the reward {name!r} (reward_args)", importlib.import_module(f"{__name__}.{name}").make, knobs)
