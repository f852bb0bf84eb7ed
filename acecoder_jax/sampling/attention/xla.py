"""Attention over pages in plain XLA: runs anywhere, and is the reference that the kernels are tested against.

The keys go by in blocks, with the softmax kept up to date (Milakov & Gimelshein 2018, "Online normalizer calculation
for softmax", arXiv 1805.02867). The number of blocks is that of the longest row, not of the table; a block that a row
does not see changes nothing of it, to the last bit, so a row's result does not depend on the other rows.
On a CPU, float32 pages: XLA has no gather of bfloat16 there and converts the whole pool first, at every call.
Letters: s rows, t query tokens, n query heads, k KV heads, g query heads per KV head, m = g t, h head dim, p pages,
c cells of a page, j = 2k heads of a page (K0, V0, K1, V1, ...), i pages of a row, x key tokens of a block.
"""

import jax
import jax.numpy as jnp

from acecoder_jax.models import linear
from acecoder_jax.models.attention.places import MASKED, NO_WINDOW

BLOCK = 128  # key tokens of a block, where a page has fewer


def attend(
    q_stnh: jax.Array,
    pages_pcjh: jax.Array,
    table_si: jax.Array,
    position_s: jax.Array,
    *,
    scale: float,
    window: int | None,
) -> jax.Array:
    """Attention of t query tokens a row, the first at position_s, to the keys before them: [s, t, n, h] of float32.

    Page table_si[s, i] holds the positions i c .. i c + c - 1 of row s, those of its queries included. A query sees the
    keys of 0 <= age < window. Products take operands of the pages' type; scores, softmax and sums are float32.
    """
    s, t, n, h = q_stnh.shape
    c, k = pages_pcjh.shape[1], pages_pcjh.shape[2] // 2
    block_pages = max(1, BLOCK // c)
    x = block_pages * c
    table_si = jnp.pad(table_si, ((0, 0), (0, -table_si.shape[1] % block_pages)))
    # plain batches of matrices, the heads of a group stacked along time, as in models/attention.py
    q_skmh = q_stnh.reshape(s, t, k, -1, h).transpose(0, 2, 3, 1, 4).reshape(s, k, -1, h)
    position_sm = jnp.tile(position_s[:, None] + jnp.arange(t), n // k)

    def add_block(block: jax.Array, state: tuple[jax.Array, jax.Array, jax.Array]):
        best_skm, total_skm, sum_skmh = state
        page_si = jax.lax.dynamic_slice_in_dim(table_si, block * block_pages, block_pages, axis=1)
        kv_sxkuh = pages_pcjh[page_si].reshape(s, x, k, 2, h)  # u: key, value
        k_skhx, v_skxh = kv_sxkuh[:, :, :, 0].transpose(0, 2, 3, 1), kv_sxkuh[:, :, :, 1].swapaxes(1, 2)
        slot_x = block * x + jnp.arange(x)
        # what an earlier holder of a page left in it counts for nothing, a NaN of his too
        v_skxh = jnp.where((slot_x < position_s[:, None] + t)[:, None, :, None], v_skxh, 0)
        age_smx = position_sm[:, :, None] - slot_x
        seen_skmx = ((age_smx >= 0) & (age_smx < (NO_WINDOW if window is None else window)))[:, None]
        scores_skmx = linear.einsum("skmh,skhx->skmx", q_skmh, k_skhx, pages_pcjh.dtype) * scale
        new_best_skm = jnp.maximum(best_skm, jnp.where(seen_skmx, scores_skmx, MASKED).max(-1))
        weights_skmx = jnp.where(seen_skmx, jnp.exp(scores_skmx - new_best_skm[..., None]), 0.0)
        shrink_skm = jnp.exp(best_skm - new_best_skm)
        out_skmh = linear.einsum("skmx,skxh->skmh", weights_skmx, v_skxh, pages_pcjh.dtype)
        return (
            new_best_skm,
            total_skm * shrink_skm + weights_skmx.sum(-1),
            sum_skmh * shrink_skm[..., None] + out_skmh,
        )

    zero_skm = jnp.zeros(q_skmh.shape[:3], jnp.float32)
    start = (zero_skm + MASKED, zero_skm, jnp.zeros(q_skmh.shape, jnp.float32))
    blocks = (jnp.max(position_s) + t + x - 1) // x
    _, total_skm, sum_skmh = jax.lax.fori_loop(0, blocks, add_block, start)
    out_skgth = (sum_skmh / total_skm[..., None]).reshape(s, k, -1, t, h)
    return out_skgth.transpose(0, 3, 1, 2, 4).reshape(s, t, n, h)
