"""Attention over pages on a TPU, by two Pallas kernels that ship with JAX.

One query token a row (decode): ragged paged attention, which reads the pages in place and stops at a row's length.
Several (prefill): splash attention over the row's keys, gathered so that the last query meets the last key slot. The
causal mask is then the same for every row, so the kernel knows when it is compiled which blocks it may leave out.
Letters: s rows, t query tokens, n query heads, k KV heads, j = 2k heads of a page (K0, V0, K1, V1, ...), h head dim,
p pages, c cells of a page, i pages of a row, x key slots of a row (its pages, right-aligned).
"""

import math

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu import splash_attention as splash
from jax.experimental.pallas.ops.tpu.ragged_paged_attention import ragged_paged_attention

LANES = 128  # numbers side by side in a TPU's register
HEAD_DIM = LANES  # how wide the heads of the pages have to be; narrower ones take the same memory on a TPU anyway
KEYS = 512  # key tokens that either kernel works on at once
QUERIES = 512  # query tokens that splash attention works on at once
ROWS = 8  # rows that ragged paged attention works on at once; each is multiplied with the keys of all the others


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

    The pages' heads are HEAD_DIM wide; where the queries' are narrower (64 in the 0.5B model), whatever finite numbers
    stand beyond them count for nothing. Where t > 1, position_s and t are multiples of the page size. Products take
    operands of the pages' type and give float32; the result is rounded to the pages' type. Splash attention takes
    queries that are multiplied by the scale already, so there they are rounded once more.
    """
    _, c, j, width = pages_pcjh.shape
    h = q_stnh.shape[-1]
    _check(c, j // 2, h, width)
    q_stnh = jnp.pad(q_stnh, ((0, 0), (0, 0), (0, 0), (0, width - h)))
    step = _decode if q_stnh.shape[1] == 1 else _prefill
    out_stnh = step(q_stnh, pages_pcjh, table_si, position_s, scale=scale, window=window)
    return out_stnh[..., :h].astype(jnp.float32)


def _check(c: int, k: int, h: int, width: int) -> None:
    """Refuse what the kernels do not compile, in words that say what to do."""
    if h > HEAD_DIM:
        raise ValueError(f"TPU attention takes heads of up to {HEAD_DIM}, not of {h}: use the xla attention")
    if width != HEAD_DIM:
        raise ValueError(f"TPU attention takes pages with heads of {HEAD_DIM}, not of {width}: make them that wide")
    if k not in (1, 2, 4) and k % 8:
        raise ValueError(
            f"TPU attention cannot tile {k} KV heads on a device: split them over more or fewer devices, so that each "
            "has 1, 2, 4 or a multiple of 8, or use the xla attention"
        )
    if c < 16 or KEYS % c:
        raise ValueError(f"TPU attention takes pages of 16, 32, 64, 128, 256 or 512 tokens, not of {c}")


def _decode(q_stnh, pages_pcjh, table_si, position_s, *, scale: float, window: int | None) -> jax.Array:
    """Ragged paged attention; every row is a sequence with one query, its last token."""
    s, i = table_si.shape
    out_snh = ragged_paged_attention(
        q_stnh[:, 0].astype(pages_pcjh.dtype),
        pages_pcjh,
        kv_lens=position_s + 1,
        page_indices=table_si,
        cu_q_lens=jnp.arange(s + 1, dtype=jnp.int32),
        num_seqs=jnp.array([s], jnp.int32),
        sm_scale=scale,
        sliding_window=window,
        num_kv_pages_per_block=min(i, KEYS // pages_pcjh.shape[1]),
        num_queries_per_block=min(s, ROWS),
    )
    return out_snh[:, None]


def _prefill(q_stnh, pages_pcjh, table_si, position_s, *, scale: float, window: int | None) -> jax.Array:
    """Splash attention, a row at a time; slot x stands for position position_s + t - X + x, masked where negative.

    A row's last piece may reach past its table: it begins with the last page at the latest.

    t = 4 queries from position 8 in 16 slots: slots 4 .. 15 are positions 0 .. 11, and query 0 (position 8) sees up to
    slot 12 = 16 - 4 + 0. From position 0: slots 12 .. 15 are positions 0 .. 3, and query 0 sees up to slot 12 again.
    """
    t, n = q_stnh.shape[1:3]
    i, c = table_si.shape[1], pages_pcjh.shape[1]
    longest = (i - 1) * c + t
    block = min(KEYS, -(-longest // LANES) * LANES)
    slots = -(-longest // block) * block
    page_si = (position_s[:, None] + t - slots) // c + jnp.arange(slots // c)
    page_si = jnp.take_along_axis(table_si, jnp.clip(page_si, 0, i - 1), axis=1)
    kv_sjxh = pages_pcjh[page_si].reshape(-1, slots, *pages_pcjh.shape[2:]).swapaxes(1, 2)
    position_sx = position_s[:, None] + t - slots + jnp.arange(slots)
    segments = splash.SegmentIds(q=jnp.ones(q_stnh.shape[:2], jnp.int32), kv=(position_sx >= 0).astype(jnp.int32))
    mask: splash.Mask = splash.CausalMask((t, slots), slots - t)
    if window is not None:
        mask = splash.LocalMask((t, slots), (window - 1, 0), slots - t)
    kernel = splash.make_splash_mha_single_device(
        splash.MultiHeadMask([mask] * n), block_sizes=splash.BlockSizes(block_q=math.gcd(t, QUERIES), block_kv=block)
    )
    q_snth = (q_stnh.astype(jnp.float32) * scale).astype(pages_pcjh.dtype).swapaxes(1, 2)
    return jax.vmap(kernel)(q_snth, kv_sjxh[:, 0::2], kv_sjxh[:, 1::2], segments).swapaxes(1, 2)
