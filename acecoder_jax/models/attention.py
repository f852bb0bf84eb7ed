"""Attention over packed or padded rows: causal by position, within a segment, optionally inside a window.

Segment 0 is padding: it is attended to by nobody, and its own outputs mean nothing. Packing and left padding need no
case of their own: a token sees the tokens of its segment whose position is not after its own.
Letters: b batch, t query time, s key time, n heads, k KV heads, g heads per KV head, h head dim.
"""

import jax
import jax.numpy as jnp

from acecoder_jax.models import linear

NO_WINDOW = 2**30  # wider than any sequence
MASKED = -1e30  # finite, so that a row with no key at all gives numbers and not NaN


def mask(
    query_segment_bt: jax.Array,
    query_position_bt: jax.Array,
    key_segment_bs: jax.Array,
    key_position_bs: jax.Array,
    window: jax.Array | int,
) -> jax.Array:
    """Which keys a query may see: [b, t, s] of bool.

    segment [5, 5, 6] with position [0, 1, 0] -> rows [1, 0, 0], [1, 1, 0], [0, 0, 1].
    """
    same = query_segment_bt[:, :, None] == key_segment_bs[:, None, :]
    age = query_position_bt[:, :, None] - key_position_bs[:, None, :]
    return same & (age >= 0) & (age < window) & (key_segment_bs[:, None, :] != 0)


def attention(
    q_btnh: jax.Array,
    k_bskh: jax.Array,
    v_bskh: jax.Array,
    mask_bts: jax.Array,
    *,
    scale: float,
    dtype: jnp.dtype,
) -> jax.Array:
    """Grouped-query attention (Ainslie et al. 2023, arXiv 2305.13245) in plain XLA: [b, t, n, h] of float32.

    Scores and softmax are float32 whatever dtype the products run in. The operands are laid out as plain batches of
    matrices first, the heads of a group stacked along time (m = g t): a CPU takes a third less time that way.
    """
    b, t, n, h = q_btnh.shape
    k, s = k_bskh.shape[2], k_bskh.shape[1]
    q_bkmh = q_btnh.reshape(b, t, k, n // k, h).transpose(0, 2, 3, 1, 4).reshape(b, k, -1, h)
    scores_bkms = linear.einsum("bkmh,bkhs->bkms", q_bkmh, k_bskh.transpose(0, 2, 3, 1), dtype) * scale
    scores_bkgts = jnp.where(mask_bts[:, None, None], scores_bkms.reshape(b, k, -1, t, s), MASKED)
    weights_bkms = jax.nn.softmax(scores_bkgts, axis=-1).reshape(b, k, -1, s)
    out_bkmh = linear.einsum("bkms,bksh->bkmh", weights_bkms, v_bskh.transpose(0, 2, 1, 3), dtype)
    return out_bkmh.reshape(b, k, -1, t, h).transpose(0, 3, 1, 2, 4).reshape(b, t, n, h)
