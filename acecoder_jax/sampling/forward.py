"""The decoder laid out for decoding: layers unrolled, products fused, keys and values cached.

A scan over stacked layers copies each layer's weights on every step; here each layer is an array of its own, in the
compute type, with q, k and v as one product and gate and up as another. Queries are grouped by their KV head
(x = heads per KV head, plus one key, plus one value), so that the fused product splits over a tensor axis cleanly.

Letters: s slots (or prompts), t time, c cache position, d embed, k KV heads, g heads per KV head, x g + 2, h head dim,
f hidden, w gate and up, v vocab.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from acecoder_jax.models import linear, rope
from acecoder_jax.models.attention import MASKED, NO_WINDOW, attention
from acecoder_jax.models.config import ModelConfig
from acecoder_jax.models.decoder import Params, head, rms_norm
from acecoder_jax.models.sharding import constrain

Weights = dict[str, Any]
Cache = list[dict[str, jax.Array]]  # a layer: {"k_skch", "v_skch"}, each [s, k, c, h]


def to_weights(params: Params, config: ModelConfig, dtype: Any) -> Weights:
    """The trainer's stacked float32 parameters in the decode layout, products in dtype, norms and biases in float32."""
    d, k, h = config.hidden_size, config.num_kv_heads, config.head_dim
    layers = []
    for i in range(config.num_layers):
        p = {name: leaf[i] for name, leaf in params["layers"].items()}
        qkv = [p["q_dnh"].reshape(d, k, -1, h), p["k_dkh"][:, :, None], p["v_dkh"][:, :, None]]
        bias = [p["q_bias_nh"].reshape(k, -1, h), p["k_bias_kh"][:, None], p["v_bias_kh"][:, None]]
        layers.append(
            {
                "attn_norm_d": p["attn_norm_d"],
                "qkv_dkxh": jnp.concatenate(qkv, axis=2).astype(dtype),
                "qkv_bias_kxh": jnp.concatenate(bias, axis=1),
                "o_kghd": p["o_nhd"].reshape(k, -1, h, d).astype(dtype),
                "mlp_norm_d": p["mlp_norm_d"],
                "gate_up_dwf": jnp.stack([p["gate_df"], p["up_df"]], axis=1).astype(dtype),
                "down_fd": p["down_fd"].astype(dtype),
            }
        )
    top: Weights = {name: params[name].astype(dtype) for name in ("embed_vd", "head_dv") if name in params}
    return {**top, "final_norm_d": params["final_norm_d"], "layers": layers}


def empty_cache(config: ModelConfig, slots: int, length: int, dtype: Any) -> Cache:
    """A zeroed cache: 2 x layers x slots x KV heads x length x head dim numbers of dtype."""
    shape = (slots, config.num_kv_heads, length, config.head_dim)
    return [{"k_skch": jnp.zeros(shape, dtype), "v_skch": jnp.zeros(shape, dtype)} for _ in range(config.num_layers)]


def _qkv(layer: Weights, x_std: jax.Array, cos_sth: jax.Array, sin_sth: jax.Array, config: ModelConfig):
    """Queries [s, t, k, g, h], keys and values [s, t, k, h], rotated, in x's type."""
    dtype, (s, t, _) = x_std.dtype, x_std.shape
    y_std = rms_norm(x_std, layer["attn_norm_d"], config.rms_norm_eps)
    qkv_stkxh = linear.einsum("std,dkxh->stkxh", y_std, layer["qkv_dkxh"], dtype) + layer["qkv_bias_kxh"]
    qk_stkxh, v_stkh = qkv_stkxh[..., :-1, :], qkv_stkxh[..., -1, :]
    flat = qk_stkxh.reshape(s, t, -1, config.head_dim)
    qk_stkxh = rope.rotate(flat, cos_sth, sin_sth).reshape(qk_stkxh.shape).astype(dtype)
    return qk_stkxh[..., :-1, :], qk_stkxh[..., -1, :], v_stkh.astype(dtype)


def _rest(layer: Weights, x_std: jax.Array, out_stkgh: jax.Array, config: ModelConfig) -> jax.Array:
    """The block after attention: output product, residual, SwiGLU, residual."""
    dtype = x_std.dtype
    x_std = x_std + linear.einsum("stkgh,kghd->std", out_stkgh.astype(dtype), layer["o_kghd"], dtype).astype(dtype)
    y_std = rms_norm(x_std, layer["mlp_norm_d"], config.rms_norm_eps)
    gate_up_stwf = linear.einsum("std,dwf->stwf", y_std, layer["gate_up_dwf"], dtype)
    y_stf = (jax.nn.silu(gate_up_stwf[:, :, 0]) * gate_up_stwf[:, :, 1]).astype(dtype)
    return x_std + linear.einsum("stf,fd->std", y_stf, layer["down_fd"], dtype).astype(dtype)


def prefill(weights: Weights, config: ModelConfig, cache: Cache, tokens_st: jax.Array, offset: jax.Array) -> Cache:
    """Reads the next t tokens of each prompt, from position `offset` on, and writes their keys and values.

    What stands before them in the cache was written by the calls before. Rows are padded on the right: what is written
    past a prompt's end is seen by none of its tokens, and overwritten by its answer.
    """
    s, t = tokens_st.shape
    length = cache[0]["k_skch"].shape[2]
    position_st = jnp.broadcast_to(offset + jnp.arange(t), (s, t))
    age_stc = position_st[:, :, None] - jnp.arange(length)
    cos_sth, sin_sth = rope.tables(config, position_st)
    x_std = constrain(weights["embed_vd"][tokens_st], "std")
    written = []
    for layer, kv, window in zip(weights["layers"], cache, config.windows, strict=True):
        q_stkgh, k_stkh, v_stkh = _qkv(layer, x_std, cos_sth, sin_sth, config)
        new = {"k_skch": k_stkh.swapaxes(1, 2), "v_skch": v_stkh.swapaxes(1, 2)}
        kv = {
            name: jax.lax.dynamic_update_slice(old, new[name].astype(old.dtype), (0, 0, offset, 0))
            for name, old in kv.items()
        }
        written.append(kv)
        mask_stc = (age_stc >= 0) & (age_stc < (window or NO_WINDOW))
        k_sckh, v_sckh = kv["k_skch"].swapaxes(1, 2), kv["v_skch"].swapaxes(1, 2)
        q_stnh = q_stkgh.reshape(s, t, -1, config.head_dim)
        out_stnh = attention(q_stnh, k_sckh, v_sckh, mask_stc, scale=config.head_dim**-0.5, dtype=x_std.dtype)
        x_std = _rest(layer, x_std, out_stnh.reshape(q_stkgh.shape), config)
    return written


def decode_step(
    weights: Weights, config: ModelConfig, cache: Cache, token_s: jax.Array, position_s: jax.Array
) -> tuple[jax.Array, Cache]:
    """One token a slot: writes its key and value at its position, returns logits [s, v] of float32 and the cache."""
    slots = jnp.arange(token_s.shape[0])
    length = cache[0]["k_skch"].shape[2]
    cos_sth, sin_sth = rope.tables(config, position_s[:, None])
    x_std = constrain(weights["embed_vd"][token_s][:, None], "std")
    age_sc = position_s[:, None] - jnp.arange(length)
    written = []
    for layer, kv, window in zip(weights["layers"], cache, config.windows, strict=True):
        q_stkgh, k_stkh, v_stkh = _qkv(layer, x_std, cos_sth, sin_sth, config)
        k_skch = kv["k_skch"].at[slots, :, position_s].set(k_stkh[:, 0].astype(kv["k_skch"].dtype))
        v_skch = kv["v_skch"].at[slots, :, position_s].set(v_stkh[:, 0].astype(kv["v_skch"].dtype))
        written.append({"k_skch": k_skch, "v_skch": v_skch})
        seen_sc = (age_sc >= 0) & (age_sc < (window or NO_WINDOW))
        out_skgh = _cached_attention(q_stkgh[:, 0], k_skch, v_skch, seen_sc, config.head_dim**-0.5)
        x_std = _rest(layer, x_std, out_skgh[:, None], config)
    x_sd = rms_norm(x_std[:, 0], weights["final_norm_d"], config.rms_norm_eps)
    weight, letters = head(weights)
    return linear.einsum(f"sd,{letters}->sv", x_sd, weight, x_sd.dtype), written


def _cached_attention(
    q_skgh: jax.Array, k_skch: jax.Array, v_skch: jax.Array, seen_sc: jax.Array, scale: float
) -> jax.Array:
    """Attention of one query a slot over its cache, in the cache's type with float32 scores: [s, k, g, h].

    Keys come first in the product and the softmax runs over the axis before the last: on a CPU the product of few
    queries with many transposed keys is several times slower.
    """
    dtype = k_skch.dtype
    scores_skcg = linear.einsum("skch,skgh->skcg", k_skch, q_skgh, dtype) * scale
    weights_skcg = jax.nn.softmax(jnp.where(seen_sc[:, None, :, None], scores_skcg, MASKED), axis=-2)
    return linear.einsum("skcg,skch->skgh", weights_skcg, v_skch, dtype)


def insert(cache: Cache, prompts: Cache, slot_n: np.ndarray | jax.Array, prompt_n: np.ndarray | jax.Array) -> Cache:
    """Copies prompts' keys and values to the front of slots; a slot index out of range copies nothing."""

    def copy(into_skch: jax.Array, from_skch: jax.Array) -> jax.Array:
        t = from_skch.shape[2]
        return into_skch.at[slot_n, :, :t].set(from_skch[prompt_n], mode="drop")

    return jax.tree.map(copy, cache, prompts)
