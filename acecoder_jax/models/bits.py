"""bfloat16 arrays as integers of 16 bits, for what a loop reads or writes piece by piece.

XLA for CPUs does not slice bfloat16: it would widen the whole array to float32 first, and keep that. Elsewhere this
costs nothing.
"""

from typing import Any

import jax
import jax.numpy as jnp

BITS = jnp.uint16


def as_bits(tree: Any) -> Any:
    """What lies in the host's memory stays as it is, since nothing can be computed there."""

    def one(leaf: jax.Array) -> jax.Array:
        here = jax.typeof(leaf).memory_space == jax.memory.Space.Device
        return jax.lax.bitcast_convert_type(leaf, BITS) if leaf.dtype == jnp.bfloat16 and here else leaf

    return jax.tree.map(one, tree)


def from_bits(tree: Any) -> Any:
    """The inverse of `as_bits`."""
    return jax.tree.map(
        lambda leaf: jax.lax.bitcast_convert_type(leaf, jnp.bfloat16) if leaf.dtype == BITS else leaf, tree
    )
