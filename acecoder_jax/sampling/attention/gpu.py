"""Attention on an NVIDIA GPU by cuDNN's fused kernel, through the public jax.nn.dot_product_attention.

The public function takes keys of one row after another, not pages, so a row's pages are gathered first, over the whole
width of the table: give a table no wider than the longest row needs. cuDNN skips the keys beyond a row's length.
Letters: s rows, t query tokens, n query heads, k KV heads, j = 2k heads of a page (K0, V0, K1, V1, ...), h head dim,
p pages, c cells of a page, i pages of a row, x = i c key tokens of a row.
"""

from typing import Literal

import jax
import jax.numpy as jnp

from acecoder_jax.models.attention.places import NO_WINDOW
from acecoder_jax.sampling.attention import xla

IMPLEMENTATION: Literal["cudnn", "xla"] = "cudnn"  # of jax.nn.dot_product_attention; a test on a CPU takes xla


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

    cuDNN's kernel works in bfloat16 and float16, with heads of a multiple of 8 up to 128 (256 on some cards only). For
    pages of another kind, those of a float32 engine above all, this is the plain attention of xla.py. cuDNN rounds its
    result to the pages' type.
    """
    h = q_stnh.shape[-1]
    fused = pages_pcjh.dtype in (jnp.bfloat16, jnp.float16) and h % 8 == 0 and h <= 128
    step = fused_attend if fused else xla.attend
    return step(q_stnh, pages_pcjh, table_si, position_s, scale=scale, window=window)


def fused_attend(q_stnh, pages_pcjh, table_si, position_s, *, scale: float, window: int | None) -> jax.Array:
    """The same by cuDNN alone.

    A single query sees every key of its row, so without a window its row's length says all. Else it takes a mask:
    cuDNN's own causal mask and window count positions from the first query, whatever keys stand before it.
    """
    s, t = q_stnh.shape[:2]
    kv_sxjh = pages_pcjh[table_si].reshape(s, -1, *pages_pcjh.shape[2:])
    written_sx = jnp.arange(kv_sxjh.shape[1]) < position_s[:, None] + t
    kv_sxjh = jnp.where(written_sx[..., None, None], kv_sxjh, 0)  # a NaN of an earlier holder counts for nothing
    mask_s1tx = None
    if t > 1 or window is not None:
        age_stx = (position_s[:, None] + jnp.arange(t))[:, :, None] - jnp.arange(kv_sxjh.shape[1])
        mask_s1tx = ((age_stx >= 0) & (age_stx < (NO_WINDOW if window is None else window)))[:, None]
    out_stnh = jax.nn.dot_product_attention(
        q_stnh.astype(pages_pcjh.dtype),
        kv_sxjh[:, :, 0::2],
        kv_sxjh[:, :, 1::2],
        mask=mask_s1tx,
        scale=scale,
        key_value_seq_lengths=jnp.minimum(position_s + t, kv_sxjh.shape[1]),  # a piece may reach past its table
        implementation=IMPLEMENTATION,
    )
    return out_stnh.astype(jnp.float32)
