"""Attention in plain XLA, a chunk of queries at a time: on a CPU, and wherever a fused kernel does not apply.

The scores of a whole row never exist at once, and the backward pass takes them again from the saved log-sum-exp
(FlashAttention's recomputation, Dao et al. 2022, arXiv 2205.14135, without its tiling over keys). Rows as they are
packed hold no key after its query, so a chunk of queries leaves out the keys behind it.
Letters: b batch, t query time, s key time, n heads, k KV heads, g heads per KV head, h head dim, m = g t of a chunk.
"""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from acecoder_jax.models import linear
from acecoder_jax.models.attention.places import MASKED, Places, mask

CHUNK = 256  # query tokens whose scores exist at once


@functools.partial(jax.custom_vjp, nondiff_argnums=(6,))
def attend(
    q_btnh: jax.Array, k_bskh: jax.Array, v_bskh: jax.Array, queries: Places, keys: Places, window: jax.Array | int,
    scale: float,
) -> jax.Array:  # fmt: skip
    """Attention of queries to keys by `places.mask`: [b, t, n, h] of the queries' type.

    Where there are as many queries as keys they are the same tokens, and no key may stand behind its query in the row.
    Products take operands of the queries' type; scores, softmax and sums are float32.
    """
    return _forward(q_btnh, k_bskh, v_bskh, queries, keys, window, scale)[0]


def _forward(q_btnh, k_bskh, v_bskh, queries, keys, window, scale):
    k, dtype = k_bskh.shape[2], q_btnh.dtype
    outs, norms = [], []
    for rows, seen in _chunks(q_btnh.shape[1], k_bskh.shape[1]):
        q_bkmh, k_bksh, v_bksh = _by_head(q_btnh[:, rows], k), _heads(k_bskh[:, seen]), _heads(v_bskh[:, seen])
        scores_bkms = _scores(q_bkmh, k_bksh, _cut(queries, rows), _cut(keys, seen), window, scale)
        top_bkm = scores_bkms.max(-1)
        weights_bkms = jnp.exp(scores_bkms - top_bkm[..., None])
        total_bkm = weights_bkms.sum(-1)
        out_bkmh = linear.product("bkms,bksh->bkmh", weights_bkms, v_bksh, dtype) / total_bkm[..., None]
        outs.append(_by_time(out_bkmh.astype(dtype), q_btnh.shape[2]))
        norms.append(top_bkm + jnp.log(total_bkm))
    out_btnh = checkpoint_name(jnp.concatenate(outs, axis=1), "attention")
    norms = [checkpoint_name(norm_bkm, "attention") for norm_bkm in norms]
    return out_btnh, (q_btnh, k_bskh, v_bskh, queries, keys, window, out_btnh, norms)


def _backward(scale, saved, g_btnh):
    q_btnh, k_bskh, v_bskh, queries, keys, window, out_btnh, norms = saved
    k, n, dtype = k_bskh.shape[2], q_btnh.shape[2], q_btnh.dtype
    dq, dk_bksh, dv_bksh = (
        [],
        jnp.zeros(_heads(k_bskh).shape, jnp.float32),
        jnp.zeros(_heads(v_bskh).shape, jnp.float32),
    )
    for (rows, seen), norm_bkm in zip(_chunks(q_btnh.shape[1], k_bskh.shape[1]), norms, strict=True):
        q_bkmh, key_bksh, value_bksh = _by_head(q_btnh[:, rows], k), _heads(k_bskh[:, seen]), _heads(v_bskh[:, seen])
        g_bkmh = _by_head(g_btnh[:, rows], k)
        scores_bkms = _scores(q_bkmh, key_bksh, _cut(queries, rows), _cut(keys, seen), window, scale)
        weights_bkms = jnp.exp(scores_bkms - norm_bkm[..., None])
        dweights_bkms = linear.product("bkmh,bksh->bkms", g_bkmh, value_bksh, dtype)
        delta_bkm = jnp.sum(g_bkmh.astype(jnp.float32) * _by_head(out_btnh[:, rows], k).astype(jnp.float32), axis=-1)
        dscores_bkms = weights_bkms * (dweights_bkms - delta_bkm[..., None]) * scale
        dq.append(_by_time(linear.product("bkms,bksh->bkmh", dscores_bkms, key_bksh, dtype), n))
        dk_bksh = dk_bksh.at[:, :, seen].add(linear.product("bkms,bkmh->bksh", dscores_bkms, q_bkmh, dtype))
        dv_bksh = dv_bksh.at[:, :, seen].add(linear.product("bkms,bkmh->bksh", weights_bkms, g_bkmh, dtype))
    dq_btnh = jnp.concatenate(dq, axis=1).astype(dtype)
    return dq_btnh, _heads(dk_bksh).astype(k_bskh.dtype), _heads(dv_bksh).astype(v_bskh.dtype), None, None, None


attend.defvjp(_forward, _backward)


def _chunks(t: int, s: int) -> Iterator[tuple[slice, slice]]:
    """The queries of each chunk and the keys that they may see."""
    for start in range(0, t, CHUNK):
        stop = min(start + CHUNK, t)
        yield slice(start, stop), slice(0, stop if t == s else s)


def _scores(q_bkmh, k_bksh, queries: Places, keys: Places, window, scale: float) -> jax.Array:
    (b, k, _, _), s = q_bkmh.shape, k_bksh.shape[2]
    mask_bts = mask(queries, keys, window)
    scores_bkms = linear.product("bkmh,bksh->bkms", q_bkmh, k_bksh, q_bkmh.dtype) * scale
    scores_bkgts = scores_bkms.reshape(b, k, -1, mask_bts.shape[1], s)
    return jnp.where(mask_bts[:, None, None], scores_bkgts, MASKED).reshape(scores_bkms.shape)


def _cut(places: Places, part: slice) -> Places:
    branch_bt = None if places.branch_bt is None else places.branch_bt[:, part]
    return Places(places.segment_bt[:, part], places.position_bt[:, part], branch_bt)


def _heads(x_bskh: jax.Array) -> jax.Array:
    """[b, s, k, h] <-> [b, k, s, h]."""
    return x_bskh.swapaxes(1, 2)


def _by_head(x_btnh: jax.Array, k: int) -> jax.Array:
    """[b, t, n, h] -> [b, k, g t, h]: plain batches of matrices; a CPU takes a third less time that way."""
    b, t, n, h = x_btnh.shape
    return x_btnh.reshape(b, t, k, n // k, h).transpose(0, 2, 3, 1, 4).reshape(b, k, -1, h)


def _by_time(x_bkmh: jax.Array, n: int) -> jax.Array:
    """[b, k, g t, h] -> [b, t, n, h]."""
    b, k, _, h = x_bkmh.shape
    return x_bkmh.reshape(b, k, n // k, -1, h).transpose(0, 3, 1, 2, 4).reshape(b, -1, n, h)
