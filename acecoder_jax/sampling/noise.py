"""Random numbers by name: the noise of a token depends on what it is, never on where or when it is drawn.

A token is named by (seed, purpose, rollout, problem id, sample index, turn, position). The host hashes all but the
position into a key once a sample; the device folds in the position. So a sample is the same whatever its slot, its
neighbours and the order of arrival, and a resumed run needs no state of a generator.
"""

import hashlib
import json

import jax
import jax.numpy as jnp
import numpy as np


def stable_hash(*names: str | int, size: int = 8) -> bytes:
    """A hash of names that is the same on every machine and in every process (unlike Python's own)."""
    return hashlib.blake2b(json.dumps(names).encode(), digest_size=size).digest()


def sample_key(seed: int, purpose: str, rollout: int, problem_id: str, sample: int, turn: int) -> np.ndarray:
    """The raw threefry key of one sample: [2] of uint32."""
    return np.frombuffer(stable_hash(seed, purpose, rollout, problem_id, sample, turn), dtype="<u4").copy()


def uniforms(key_s2: jax.Array, position_s: jax.Array) -> jax.Array:
    """Two uniform numbers in [0, 1) for each row's next token: [s, 2] of float32. position: index in the response."""

    def one(key_2: jax.Array, position: jax.Array) -> jax.Array:
        key = jax.random.fold_in(jax.random.wrap_key_data(key_2, impl="threefry2x32"), position)
        return jax.random.uniform(key, (2,), jnp.float32)

    return jax.vmap(one)(key_s2, position_s)
