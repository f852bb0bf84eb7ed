"""WORKDIR/results.json of a training run: held-out scores, and after how many rollouts of which config they were taken.

    {"heldout": {"before": {"pass@1": 0.1}, "after": {...}},
     "rollouts": {"before": 0, "after": 20, "model": 20},
     "config": {"before": DIGEST, "after": DIGEST, "model": DIGEST}}

"model" stands there once WORKDIR/model is whole, so that a kill in its middle, or another config, has it written anew.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from acecoder_jax import hosts, store


class Results:
    """All processes of a run ask together; the first one reads and writes."""

    def __init__(self, workdir: Path):
        self.model, self.path = workdir / "model", workdir / "results.json"

    def has(self, what: str, rollout: int, config: str) -> bool:
        """Whether `what` is there, of this config after so many rollouts."""

        def first() -> bool:
            found = self._read()
            there = found["rollouts"].get(what) == rollout and found["config"].get(what) == config
            return there and (what != "model" or self.model.is_dir())

        return hosts.from_first("results", first)

    def add(self, what: str, rollout: int, config: str, heldout: Mapping[str, float] | None = None) -> None:
        """Notes that `what` is there now, with the held-out scores where there are any."""
        if not hosts.is_first():
            return
        found = self._read()
        found["heldout"].pop(what, None)
        if heldout is not None:
            found["heldout"][what] = dict(heldout)
        found["rollouts"][what], found["config"][what] = rollout, config
        store.write_json(self.path, found)

    def _read(self) -> dict[str, Any]:
        found = store.read_json(self.path) if self.path.exists() else {}
        return {part: found.get(part, {}) for part in ("heldout", "rollouts", "config")}
