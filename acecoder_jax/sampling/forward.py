"""The decoder laid out for decoding: layers unrolled, products fused, keys and values in pages.

A scan over stacked layers copies each layer's weights on every step; here each layer is an array of its own, in the
compute type, with q, k and v as one product and gate and up as another. Queries are grouped by their KV head
(x = heads per KV head, plus one key, plus one value), so that the fused product splits over a tensor axis cleanly.
One function serves prompts and decoding: some new tokens of each row, many or one.

Letters: s slots (or pieces of prompts), t new tokens of each, d embed, n heads, k KV heads, g heads per KV head,
x g + 2, h head dim, f hidden, w gate and up, v vocab; pages as in sampling/attention.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from acecoder_jax.models import native, rope
from acecoder_jax.models.config import ModelConfig
from acecoder_jax.models.decoder import Params, head, rms_norm
from acecoder_jax.models.sharding import by_shard, constrain
from acecoder_jax.sampling.attention import attend, tpu
from acecoder_jax.sampling.products import Held, hold, product, quantise

Weights = dict[str, Any]
Pages = list[dict[str, jax.Array]]  # a layer: {"kv_pcjh"}

# The matrices of a layer, and the axes that they sum over.
INPUTS = {"q_dnh": "d", "k_dkh": "d", "v_dkh": "d", "o_nhd": "nh", "gate_df": "d", "up_df": "d", "down_fd": "f"}


@dataclasses.dataclass(frozen=True)
class Forward:
    """How a model is decoded. dtype: of the products; backend: of the attention; packed: use the CPU's products.

    int8: hold the matrices as 8-bit whole numbers.
    """

    config: ModelConfig
    dtype: Any
    backend: str
    packed: bool = False
    int8: bool = False

    def to_weights(self, params: Params) -> Weights:
        """The trainer's stacked float32 parameters in the decode layout; norms and biases stay float32."""
        stacked, scales = self._quantised(params["layers"])
        layers = []
        for i in range(self.config.num_layers):
            p = {name: self._narrow(name, leaf[i]) for name, leaf in stacked.items()}
            scale = {name: leaf[i] for name, leaf in scales.items()}
            bias = [self._by_group(p[name], 0) for name in ("q_bias_nh", "k_bias_kh", "v_bias_kh")]
            qkv, gate_up = ("q_dnh", "k_dkh", "v_dkh"), ("gate_df", "up_df")
            layers.append(
                {
                    "attn_norm_d": p["attn_norm_d"],
                    "qkv": self._hold(
                        jnp.concatenate([self._by_group(p[name], 1) for name in qkv], axis=2), "dkxh", "d",
                        scale and jnp.concatenate([self._by_group(scale[name], 0) for name in qkv], axis=1),
                    ),
                    "qkv_bias_kxh": jnp.concatenate(bias, axis=1),
                    "o": self._hold(self._by_group(p["o_nhd"], 0), "kghd", "kgh", scale and scale["o_nhd"]),
                    "mlp_norm_d": p["mlp_norm_d"],
                    "gate_up": self._hold(
                        jnp.stack([p[name] for name in gate_up], axis=1), "dwf", "d",
                        scale and jnp.stack([scale[name] for name in gate_up]),
                    ),
                    "down": self._hold(p["down_fd"], "fd", "f", scale and scale["down_fd"]),
                }
            )  # fmt: skip
        weight, letters = head(params)
        whole, whole_scale = quantise(weight, letters, "d") if self.int8 else (weight.astype(self.dtype), None)
        top: Weights = {"head": self._hold(whole, letters, "d", whole_scale), "final_norm_d": params["final_norm_d"]}
        if self._embedding_of_its_own:
            top["embed_vd"] = params["embed_vd"].astype(self.dtype)
        return {**top, "layers": layers}

    def _quantised(self, stacked: Params) -> tuple[Params, Params]:
        """The layers' parameters with the matrices as whole numbers, and their scales; without int8 as they are.

        All layers at once: XLA would keep a float32 copy of each layer's slice that is read twice.
        """
        if not self.int8:
            return stacked, {}
        pairs = {name: quantise(stacked[name], name.rsplit("_", 1)[1], inputs) for name, inputs in INPUTS.items()}
        whole = {name: pair[0] for name, pair in pairs.items()}
        return {**stacked, **whole}, {name: pair[1] for name, pair in pairs.items()}

    def _narrow(self, name: str, leaf: jax.Array) -> jax.Array:
        """A layer's parameter in the type that it is held in."""
        return leaf.astype(self.dtype) if name in INPUTS and not self.int8 else leaf

    def _by_group(self, x: jax.Array, axis: int) -> jax.Array:
        """Heads, at `axis`, as (KV head, heads of its group)."""
        return x.reshape(*x.shape[:axis], self.config.num_kv_heads, -1, *x.shape[axis + 1 :])

    @property
    def _embedding_of_its_own(self) -> bool:
        """Whether embeddings are held apart from the head: not where both are one matrix in one type."""
        return self.int8 or not self.config.tie_word_embeddings

    def _hold(self, w: jax.Array, letters: str, inputs: str, scale: Any) -> Held:
        return hold(w, letters, inputs, packed=self.packed, scale=scale if self.int8 else None)

    def _embed(self, weights: Weights, tokens_st: jax.Array) -> jax.Array:
        if self._embedding_of_its_own:
            x_std = weights["embed_vd"][tokens_st]
        elif self.packed:
            x_md = native.unpack_columns(weights["head"]["packed_yuoz"], tokens_st.reshape(-1), self.config.hidden_size)
            x_std = x_md.reshape(*tokens_st.shape, -1)
        else:
            x_std = weights["head"]["w_vd"][tokens_st]
        return constrain(x_std, "std")

    @property
    def _sizes(self) -> dict[str, int]:
        """The sizes of the axes that a product makes."""
        config = self.config
        groups = config.num_heads // config.num_kv_heads
        return {
            "d": config.hidden_size, "k": config.num_kv_heads, "x": groups + 2, "h": config.head_dim, "w": 2,
            "f": config.intermediate_size, "v": config.vocab_size,
        }  # fmt: skip

    def hidden(
        self, weights: Weights, pages: Pages, tokens_st: jax.Array, table_si: jax.Array, position_s: jax.Array,
        active_st: jax.Array,
    ) -> tuple[jax.Array, Pages]:  # fmt: skip
        """New tokens of each row, the first at position_s: their hidden states [s, t, d], and the pages with them."""
        config, (s, t) = self.config, tokens_st.shape
        cos_sth, sin_sth = rope.tables(config, position_s[:, None] + jnp.arange(t))
        x_std = self._embed(weights, tokens_st)
        written = []
        for layer, kv, window in zip(weights["layers"], pages, config.windows, strict=True):
            q_stnh, kv_stjh = self._qkv(layer, x_std, cos_sth, sin_sth, active_st)
            out_stnh, kv_pcjh = attend(
                self.backend, q_stnh, kv_stjh, kv["kv_pcjh"], table_si, position_s, active_st,
                scale=config.head_dim**-0.5, window=window,
            )  # fmt: skip
            written.append({"kv_pcjh": kv_pcjh})
            out_stkgh = out_stnh.reshape(s, t, config.num_kv_heads, -1, config.head_dim)
            x_std = self._rest(layer, x_std, out_stkgh, active_st)
        return x_std, written

    def logits(self, weights: Weights, x_sd: jax.Array, active_s: jax.Array) -> jax.Array:
        """Hidden states to logits, [s, v] of float32."""
        x_std = rms_norm(x_sd, weights["final_norm_d"], self.config.rms_norm_eps)[:, None]
        letters = "dv" if "w_dv" in weights["head"] else "vd"
        return product(weights["head"], f"std,{letters}->stv", x_std, active_s[:, None], self._sizes)[:, 0]

    def empty_pages(self, count: int, cells: int, dtype: Any) -> Pages:
        """Zeroed pages of every layer: 2 x layers x pages x cells x KV heads x head dim numbers of dtype.

        The TPU's kernels want heads of a whole vector: there a smaller head dim is padded.
        """
        shape = (count, cells, 2 * self.config.num_kv_heads, self.page_head_dim)
        return [{"kv_pcjh": jnp.zeros(shape, dtype)} for _ in range(self.config.num_layers)]

    @property
    def page_head_dim(self) -> int:
        """The head dim that a page has room for."""
        return max(self.config.head_dim, tpu.HEAD_DIM) if self.backend == "tpu" else self.config.head_dim

    def copy_pages(self, pages: Pages, from_s: jax.Array, to_s: jax.Array) -> Pages:
        """Copies a page a slot, counted within the slot's own part of the mesh; 0 to 0 changes nobody's."""

        def copy(kv_pcjh: jax.Array, from_s: jax.Array, to_s: jax.Array) -> tuple[jax.Array]:
            if self.backend == "cpu":
                return (native.copy_pages(kv_pcjh, from_s, to_s),)
            return (kv_pcjh.at[to_s].set(kv_pcjh[from_s]),)

        run = by_shard(copy, ("pcjh", "s", "s"), ("pcjh",))
        return jax.tree.map(lambda kv_pcjh: run(kv_pcjh, from_s, to_s)[0], pages)

    def _qkv(
        self, layer: Weights, x_std: jax.Array, cos_sth: jax.Array, sin_sth: jax.Array, active_st: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Rotated queries [s, t, n, h]; rotated keys, and values, as a page holds them [s, t, j, h]; in x's type."""
        config, dtype, (s, t, _) = self.config, x_std.dtype, x_std.shape
        y_std = rms_norm(x_std, layer["attn_norm_d"], config.rms_norm_eps)
        qkv_stkxh = product(layer["qkv"], "std,dkxh->stkxh", y_std, active_st, self._sizes) + layer["qkv_bias_kxh"]
        turned = rope.rotate(qkv_stkxh[..., :-1, :].reshape(s, t, -1, config.head_dim), cos_sth, sin_sth)
        turned_stkxh = turned.reshape(s, t, config.num_kv_heads, -1, config.head_dim).astype(dtype)
        q_stnh = turned_stkxh[..., :-1, :].reshape(s, t, -1, config.head_dim)
        value_stkxh = qkv_stkxh[..., -1:, :].astype(dtype)
        kv_stjh = jnp.concatenate([turned_stkxh[..., -1:, :], value_stkxh], axis=3).reshape(s, t, -1, config.head_dim)
        return constrain(q_stnh, "stnh"), kv_stjh

    def _rest(self, layer: Weights, x_std: jax.Array, out_stkgh: jax.Array, active_st: jax.Array) -> jax.Array:
        """The block after attention: output product, residual, SwiGLU, residual."""
        dtype, sizes = x_std.dtype, self._sizes
        x_std = x_std + product(layer["o"], "stkgh,kghd->std", out_stkgh.astype(dtype), active_st, sizes).astype(dtype)
        y_std = rms_norm(x_std, layer["mlp_norm_d"], self.config.rms_norm_eps)
        gate_up_stwf = product(layer["gate_up"], "std,dwf->stwf", y_std, active_st, sizes)
        y_stf = (jax.nn.silu(gate_up_stwf[:, :, 0]) * gate_up_stwf[:, :, 1]).astype(dtype)
        return x_std + product(layer["down"], "stf,fd->std", y_stf, active_st, sizes).astype(dtype)
