"""The embedding's lookup, whose gradient is added to what the table's gradient has so far, in its memory.

JAX's own derivative of a lookup is a new array of the table's size, in the type of the rows: the rows of a frequent
token would be added up in bfloat16. Here they are added in float32, to the gradient of the tied head or to the sums
over earlier micro-batches.
"""

import functools

import jax
import jax.numpy as jnp

from acecoder_jax.models.sharding import constrain, lookup_table, split_mesh


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def lookup(
    table_vd: jax.Array, tokens_bt: jax.Array, sums_vd: jax.Array | None, dtype: jnp.dtype
) -> tuple[jax.Array, jax.Array]:
    """The tokens' rows, [b, t, d] of dtype, and the table again, for a head that is tied to it.

    The table's derivative is that of the second result plus that of the rows. sums_vd: where given, the derivative is
    sums_vd plus that of the rows, and the second result is not to be used.
    """
    return _rows(table_vd, tokens_bt, dtype), table_vd


def _rows(table_vd: jax.Array, tokens_bt: jax.Array, dtype: jnp.dtype) -> jax.Array:
    if split_mesh() is None:
        return table_vd[tokens_bt].astype(dtype)
    # rounded first, so that what devices send one another is short
    return constrain(lookup_table(table_vd.astype(dtype))[tokens_bt], "btd")


def _forward(table_vd, tokens_bt, sums_vd, dtype):
    return lookup(table_vd, tokens_bt, sums_vd, dtype), (table_vd, tokens_bt, sums_vd)


def _backward(dtype, saved, g):
    table_vd, tokens_bt, sums_vd = saved
    rows_btd, table_g_vd = g
    before_vd = table_g_vd if sums_vd is None else sums_vd
    rows_btd = rows_btd.astype(before_vd.dtype)
    if split_mesh() is None:
        return before_vd.at[tokens_bt].add(rows_btd), None, None
    _, pull = jax.vjp(lambda table_vd: _rows(table_vd, tokens_bt, before_vd.dtype), table_vd)
    return before_vd + pull(rows_btd)[0], None, None


lookup.defvjp(_forward, _backward)
