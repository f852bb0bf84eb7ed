"""Parameters that the mesh axis fsdp stores in parts: how they come to a product, and their gradients back.

Left to itself XLA sends such a matrix around in parts and multiplies with each as it comes. The sums over the embedding
are larger than the matrix and are then read and written once a part: the log-probs of a 7B on 16 chips read and write
6.7 times as much memory so, its update 2.4 times (docs/results/plan.md).
"""

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import PartitionSpec

from acecoder_jax.models.sharding import activation_spec, parameter_spec, split_mesh

Product = Callable[[jax.Array, jax.Array], jax.Array]


def gathered(w: jax.Array, letters: str, dtype: Any) -> jax.Array:
    """A parameter as products take it: cast to dtype, then whole over fsdp. letters: its axes, as in "dnh".

    Where nothing is split it comes back as it is: a product casts its operands itself.
    """
    if (mesh := split_mesh()) is None:
        return w
    stored = parameter_spec(letters, w.shape, mesh)
    return jax.lax.with_sharding_constraint(
        w.astype(dtype), PartitionSpec(*(None if axis == "fsdp" else axis for axis in stored))
    )


def gradient(product: Product, equation: str, x: jax.Array, g: jax.Array) -> jax.Array:
    """product(x, g), an einsum by the equation of two activations to a parameter's gradient: "btd,btf->df".

    Every device multiplies its own tokens. The results are added up over fsdp so that a device gets the part which it
    stores, and only these over the other axes that split tokens.
    """
    if (mesh := split_mesh()) is None:
        return product(x, g)
    operands, letters = equation.split("->")
    of_x, of_g = operands.split(",")
    size = dict(zip(of_x + of_g, x.shape + g.shape, strict=True))
    shape = tuple(size[letter] for letter in letters)
    in_specs = activation_spec(of_x, x.shape, mesh), activation_spec(of_g, g.shape, mesh)
    stored, computed = parameter_spec(letters, shape, mesh), activation_spec(letters, shape, mesh)
    over = [
        axis
        for letter, entry in zip(of_x, in_specs[0], strict=True)
        if entry and letter not in letters
        for axis in (entry if isinstance(entry, tuple) else (entry,))
    ]
    scattered = {axis: place for place, axis in enumerate(stored) if axis in over}
    whole = tuple(axis for axis in over if axis not in scattered)

    def local(x: jax.Array, g: jax.Array) -> jax.Array:
        total = product(x, g)
        for axis, place in scattered.items():
            total = jax.lax.psum_scatter(total, axis, scatter_dimension=place, tiled=True)
        return jax.lax.psum(total, whole) if whole else total

    parts = PartitionSpec(*(a if a in scattered else b for a, b in zip(stored, computed, strict=True)))
    total = jax.shard_map(local, in_specs=in_specs, out_specs=parts, check_vma=False)(x, g)
    return jax.lax.with_sharding_constraint(total, stored)
