"""The log-probs that a rollout's updates compare with, in a file: after the first they cannot be computed again.

They belong to one rollout: the file holds a digest of the rollout's, and is read only beside the same.
"""

import hashlib
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from acecoder_jax import hosts, store

Logps = list[np.ndarray]  # [n] of float32 for each completion


def save(path: Path, rollout: Path, old: Logps, ref: Logps | None) -> None:
    """Writes the log-probs under the policy before the first update, and under the reference; whole or not at all."""
    arrays = {"rollout": _digest(rollout), "lengths": np.array([len(one) for one in old]), "old": _flat(old)}
    if ref is not None:
        arrays["ref"] = _flat(ref)
    data = io.BytesIO()
    np.savez(data, allow_pickle=False, **arrays)
    store.write_bytes(path, data.getvalue())


def load(path: Path, rollout: Path) -> tuple[Logps, Logps | None] | None:
    """What `save` wrote for this rollout; None where there is no such file, or it is damaged or of another rollout."""
    try:
        with np.load(path) as file:
            if not np.array_equal(file["rollout"], _digest(rollout)):
                return None
            ends = np.cumsum(file["lengths"])[:-1]
            return np.split(file["old"], ends), np.split(file["ref"], ends) if "ref" in file else None
    except (FileNotFoundError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def load_together(path: Path, rollout: Path) -> tuple[Logps, Logps | None] | None:
    """What `load` finds in the first process of a run, in all of them."""

    def first() -> Any:
        found = load(path, rollout)
        return found and [part and [one.tolist() for one in part] for part in found]

    told = hosts.from_first("kept log-probs", first)
    if told is None:
        return None
    old, ref = ([np.array(one, np.float32) for one in part] if part else None for part in told)
    return old or [], ref


def _flat(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(arrays).astype(np.float32)


def _digest(path: Path) -> np.ndarray:
    return np.frombuffer(hashlib.blake2b(path.read_bytes(), digest_size=16).digest(), np.uint8)
