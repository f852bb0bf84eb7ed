"""The reference that every other attention is tested against: all scores of a row at once.

Letters: b batch, t query time, s key time, n heads, k KV heads, g heads per KV head, h head dim.
"""

import jax
import jax.numpy as jnp

from acecoder_jax.models import linear
from acecoder_jax.models.attention.places import MASKED


def attention(
    q_btnh: jax.Array,
    k_bskh: jax.Array,
    v_bskh: jax.Array,
    mask_bts: jax.Array,
    *,
    scale: float,
    dtype: jnp.dtype,
) -> jax.Array:
    """Grouped-query attention (Ainslie et al. 2023, arXiv 2305.13245): [b, t, n, h] of float32.

    Scores and softmax are float32 whatever dtype the products run in.
    """
    b, t, n, h = q_btnh.shape
    k = k_bskh.shape[2]
    q_btkgh = q_btnh.reshape(b, t, k, n // k, h)
    scores_bkgts = linear.einsum("btkgh,bskh->bkgts", q_btkgh, k_bskh, dtype) * scale
    weights_bkgts = jax.nn.softmax(jnp.where(mask_bts[:, None, None], scores_bkgts, MASKED), axis=-1)
    return linear.einsum("bkgts,bskh->btkgh", weights_bkgts, v_bskh, dtype).reshape(b, t, n, h)
