"""Algorithms: from completions and rewards to advantages and a loss, one file each, looked up by name.

An algorithm's file has make(**knobs) -> Algorithm.
"""

import dataclasses
import importlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from acecoder_jax import plugins
from acecoder_jax.training.loss import Loss
from acecoder_jax.training.packing import TokenSequence
from acecoder_jax.types import Completion


@dataclasses.dataclass(frozen=True)
class Algorithm:
    """prepare(completions, rewards, old_logps, ref_logps) -> (sequences for the loss, metrics of the rollout).

    rewards: a number for each completion, None where the sandbox broke: such a completion is left out of statistics
    and of the result. old_logps, ref_logps: an array over the response tokens of each completion, under the trainer's
    policy before the first update and under the reference (None where needs_ref is false).
    """

    prepare: Callable[
        [Sequence[Completion], Sequence[float | None], Sequence[np.ndarray], Sequence[np.ndarray] | None],
        tuple[list[TokenSequence], dict[str, float]],
    ]
    loss: Loss
    needs_ref: bool


def make(name: str, **knobs: Any) -> Algorithm:
    """The algorithm of a name. ValueError for an unknown name or knob; it lists those that exist."""
    if name not in (names := plugins.names(__path__)):
        raise ValueError(f"unknown algorithm {name!r}; there are {names}")
    module = importlib.import_module(f"{__name__}.{name}")
    return plugins.call(f"the algorithm {name!r} (algorithm_args)", module.make, knobs)
