"""Checkpoints of the train state: written in the background, whole or not at all, the last few kept."""

import os
from pathlib import Path
from typing import Any, Self

import jax
import orbax.checkpoint as ocp

from acecoder_jax.training.state import TrainState


class Checkpoints:
    """WORKDIR/checkpoints/<rollout>: the state as it was before that rollout.

    keep: how many to keep, the newest; every: rollouts between saves.
    """

    def __init__(self, workdir: str | os.PathLike[str], *, keep: int, every: int):
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, save_interval_steps=every, create=True)
        self._manager = ocp.CheckpointManager(Path(workdir).resolve() / "checkpoints", options=options)

    def latest(self) -> int | None:
        """The rollout of the newest whole checkpoint; None where there is none."""
        return self._manager.latest_step()

    def save(self, rollout: int, state: TrainState, *, force: bool = False) -> None:
        """Starts writing, if this rollout is due (or forced); returns once the state may be changed."""
        if rollout != self.latest():
            self._manager.save(rollout, args=ocp.args.StandardSave(state), force=force)

    def restore(self, rollout: int, abstract: TrainState, shardings: Any = None) -> TrainState:
        """The state saved before a rollout, each array directly in its shards."""
        target = abstract
        if shardings is not None:
            target = jax.tree.map(
                lambda leaf, where: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where), abstract, shardings
            )
        return self._manager.restore(rollout, args=ocp.args.StandardRestore(target))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._manager.wait_until_finished()
        self._manager.close()
