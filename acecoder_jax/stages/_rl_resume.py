"""Where a run of train_rl goes on: what is on the disk, whether it is of this config, and what a checkpoint lacks."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from acecoder_jax import store
from acecoder_jax.models.decoder import Params
from acecoder_jax.sampling import rollout as rollouts
from acecoder_jax.sampling.collector import Collector
from acecoder_jax.sampling.noise import stable_hash
from acecoder_jax.stages._rl_rows import means
from acecoder_jax.training import logp_file
from acecoder_jax.training.checkpoint import Position
from acecoder_jax.training.trainer import Start

# Keys whose change, once accepted, leaves the rollouts on the disk as good as they were.
SAME_ROLLOUTS = (
    "sandbox.workers", "sandbox.min_isolation", "checkpoint", "table_rows", "mesh", "decode_mesh", "eval", "alarm",
    "reward_model.devices", "reward_model.rows", "reward_model.row_tokens", "reward_model.attention",
)  # fmt: skip


def lacks(config: ConfigDict, workdir: Path, total: int, position: Position, about: Mapping[str, Any]) -> str:
    """What a checkpoint would need to go on from and is not there; "" where all is. about: what was said at its save.

    A rollout that was drawn ahead cannot be drawn again: that took weights which the checkpoint does not have. Of
    another config it would not be used.
    """
    rollout, mine = position.rollout, digest(config)
    file, logp = rollout_path(workdir, rollout), logp_path(workdir, rollout)
    following = rollout_path(workdir, rollout + 1)
    if position.minibatch and not file.exists():
        return f"its rollout, {file}, is missing"
    if position.minibatch and logp_file.load(logp, file) is None:
        return f"the log-probs of its rollout, {logp}, are missing or damaged"
    if about["ahead"] == mine and not rollouts.drawn_under(file, mine):
        return f"its rollout, {file}, was drawn ahead and is missing"
    weights_gone = config.off_policy_steps and position.minibatch and not about["behavior"] and rollout + 1 < total
    if weights_gone and rollouts.drawn_under(file, mine) and not rollouts.drawn_under(following, mine):
        return f"the next rollout, {following}, was drawn ahead and is missing"
    return ""


def begins_again(started: Start, workdir: Path) -> bool:
    """Whether there are rollouts, but no checkpoint was left to restore."""
    return not started.about and any((workdir / "rollouts").glob("*.jsonl"))


def go_on(
    started: Start, collector: Collector
) -> tuple[Position, list[dict[str, Any]], Params | None, dict[str, float] | None]:
    """Where to go on, the metrics of the updates of that rollout which are done, the weights of the next one if they
    were saved, and, where a rollout is left in its middle, a row of what was done of it."""
    position, done = started.position, list(started.about.get("updates", []))
    if position.minibatch and not collector.has(position.rollout):
        print(f"the config changed in the middle of rollout {position.rollout}: its other updates are left out")
        return Position(position.rollout + 1), [], None, means(done) | {"cut_after": len(done)}
    return position, done, started.behavior, None


def rollout_path(workdir: Path, rollout: int) -> Path:
    """Completions and verdicts."""
    return rollouts.path_of(workdir / "rollouts", rollout)


def logp_path(workdir: Path, rollout: int) -> Path:
    """What the updates on them compare with."""
    return workdir / "logps" / f"{rollout:06d}.npz"


def digest(config: ConfigDict, names: Collection[str] = ()) -> str:
    """Of all that decides what a rollout is; or of the keys and branches with these names alone."""
    flat = store.flatten(json.loads(json.dumps(config.to_dict())))
    decides = {
        key: value
        for key, value in flat.items()
        if (store.named(key, names) if names else not store.named(key, SAME_ROLLOUTS))
    }
    return stable_hash(json.dumps(decides, sort_keys=True)).hex()
