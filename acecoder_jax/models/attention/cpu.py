"""Attention over packed rows by the CPU's own kernel (models/native), in bfloat16: it passes over keys that none sees.

Its backward pass takes the scores again from the saved log-sum-exp.
Letters: b batch, t query time, s key time, n heads, k KV heads, h head dim.
"""

import functools

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from acecoder_jax.models import native
from acecoder_jax.models.attention.places import Places


@functools.partial(jax.custom_vjp, nondiff_argnums=(6,))
def attend(
    q_btnh: jax.Array, k_bskh: jax.Array, v_bskh: jax.Array, queries: Places, keys: Places, window: jax.Array | int,
    scale: float,
) -> jax.Array:  # fmt: skip
    """Attention of queries to keys by `places.mask`, all of bfloat16: [b, t, n, h]. Scores and sums are float32."""
    return _forward(q_btnh, k_bskh, v_bskh, queries, keys, window, scale)[0]


def _forward(q_btnh, k_bskh, v_bskh, queries, keys, window, scale):
    operands = (q_btnh, k_bskh, v_bskh, _stacked(queries), _stacked(keys), window)
    found = native.attend_rows(*operands, scale=scale)
    out_btnh, norm_btn = (checkpoint_name(x, "attention") for x in found)
    return out_btnh, (*operands, out_btnh, norm_btn)


def _backward(scale, saved, g_btnh):
    dq_btnh, dk_bskh, dv_bskh = native.attend_rows_backward((*saved, g_btnh), scale=scale)
    return dq_btnh, dk_bskh, dv_bskh, None, None, None


attend.defvjp(_forward, _backward)


def _stacked(places: Places) -> jax.Array:
    """[3, b, t]; without branches all is the first."""
    branch_bt = jnp.zeros_like(places.segment_bt) if places.branch_bt is None else places.branch_bt
    return jnp.stack([places.segment_bt, places.position_bt, branch_bt]).astype(jnp.int32)
