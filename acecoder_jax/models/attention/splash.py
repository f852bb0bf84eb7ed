"""Training attention on a TPU by splash attention, a Pallas kernel that ships with JAX.

It is causal by place in the row and knows segments; blocks of scores that no query sees are left out when it is
compiled. It has no branches: prompts are not shared where it runs.
Letters: b batch, t query time, s key time, n heads, k KV heads, h head dim.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu import splash_attention as splash

from acecoder_jax.models.attention.places import NO_WINDOW, Places

LANES = 128  # numbers side by side in a TPU's register: heads and blocks are multiples of it
BLOCK = 512  # queries and keys that the kernel works on at once, at most


def check(t: int, s: int, window: Any, shards: int = 1) -> None:
    """ValueError for windows that differ between layers and for rows that the kernel cannot tile."""
    if not isinstance(window, int):
        raise ValueError("splash attention takes one window for all layers: use trainer.attention='xla'")
    if t % (shards * LANES) or s % LANES:
        raise ValueError(
            f"splash attention takes rows of a multiple of {LANES * shards} tokens here, not of {t}: "
            "change trainer.row_tokens"
        )


def make_kernel(t: int, s: int, n: int, window: Any, shards: int = 1, interpret: bool = False) -> Any:
    """The kernel for t queries and s keys of a row, n heads; a pytree. shards: of the queries' time over devices.

    ValueError as of `check`.
    """
    check(t, s, window, shards)
    queries = next(size for size in (BLOCK, BLOCK // 2, LANES) if t // shards % size == 0)
    keys = next(size for size in (BLOCK, BLOCK // 2, LANES) if s % size == 0)
    mask: splash.Mask = splash.CausalMask((t, s))
    if window < NO_WINDOW:
        mask = splash.LocalMask((t, s), (window - 1, 0), 0)
    sizes = splash.BlockSizes(
        block_q=queries, block_kv=keys, block_q_dkv=queries, block_kv_dkv=keys, block_q_dq=queries, block_kv_dq=keys
    )
    return splash.make_splash_mha(
        splash.MultiHeadMask([mask] * n), block_sizes=sizes, head_shards=1, q_seq_shards=shards,
        residual_checkpoint_name="attention", interpret=interpret,
    )  # fmt: skip


def attend(
    q_btnh: jax.Array, k_bskh: jax.Array, v_bskh: jax.Array, queries: Places, keys: Places, window: Any, scale: float,
    kernel: Any = None,
) -> jax.Array:  # fmt: skip
    """Attention of queries to keys of their segment, causal by place: [b, t, n, h] of the queries' type.

    Padding sees padding, which costs nothing and means nothing. kernel: of `make_kernel`, where queries are a part of a
    row; by default both are whole rows.
    """
    if queries.branch_bt is not None:
        raise ValueError("splash attention knows no branches: pack without sharing prompts")
    t, n, h = q_btnh.shape[1:]
    kernel = make_kernel(t, k_bskh.shape[1], n, window) if kernel is None else kernel

    def heads_first(x_btnh: jax.Array) -> jax.Array:
        return jnp.pad(x_btnh, ((0, 0), (0, 0), (0, 0), (0, -h % LANES))).swapaxes(1, 2)

    q_bnth = heads_first((q_btnh.astype(jnp.float32) * scale).astype(q_btnh.dtype))
    segments = splash.SegmentIds(q=queries.segment_bt, kv=keys.segment_bt)
    out_bnth = jax.vmap(kernel)(q_bnth, heads_first(k_bskh), heads_first(v_bskh), segments)
    return out_bnth.swapaxes(1, 2)[..., :h].astype(q_btnh.dtype)
