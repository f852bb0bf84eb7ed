"""The Qwen2.5 decoder (Qwen2.5 Technical Report, arXiv 2412.15115): GQA with QKV bias, RoPE, RMSNorm, SwiGLU.

The NNX modules define the parameters and the forward. Everything jitted takes the parameters as a plain nested dict
of arrays, stacked by layer, and a static graph definition:

    model = Model(config)                      # the graph and the abstract parameters; allocates nothing
    params = model.init(key)                   # or models.huggingface.load_params(...)
    hidden_btd = model.hidden(params, tokens_bt, segment_bt, position_bt)

Letters: b batch, t time, d embed, n heads, k KV heads, h head dim, f hidden, v vocab.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from acecoder_jax.models import adding_scan, linear, lora, rope
from acecoder_jax.models.attention import attend
from acecoder_jax.models.attention.places import NO_WINDOW, Places
from acecoder_jax.models.config import ModelConfig
from acecoder_jax.models.lookup import lookup
from acecoder_jax.models.lora import Lora
from acecoder_jax.models.sharding import constrain

Params = dict[str, Any]
Adapter = Mapping[str, jax.Array]

# What the backward pass keeps of a layer beside its input, by the names that `Layer` gives; the rest it computes again.
PRODUCTS = ("qkv", "attention", "out", "gate_up")
REMAT: dict[str, Callable | None] = {
    "none": None,  # everything is kept
    "full": jax.checkpoint_policies.nothing_saveable,
    "attention": jax.checkpoint_policies.save_only_these_names("attention"),
    "dots": jax.checkpoint_policies.save_only_these_names(*PRODUCTS),  # no product of matrices is done again
    "offload": jax.checkpoint_policies.save_and_offload_only_these_names(  # the same, kept in the host's memory
        names_which_can_be_saved=[], names_which_can_be_offloaded=[*PRODUCTS], offload_src="device",
        offload_dst="pinned_host",
    ),
}  # fmt: skip

# Up to this many layers the scan is unrolled, where nothing is computed again: it still compiles fast, and saves a
# small model the copies of a scan.
UNROLLED = 8


def is_unrolled(config: ModelConfig, remat: str) -> bool:
    """Whether the layers are no loop. Only a loop keeps what is computed again apart from its first computation:
    unrolled, XLA makes them one again."""
    return REMAT[remat] is None and config.num_layers <= UNROLLED


def rms_norm(x: jax.Array, scale_d: jax.Array, eps: float) -> jax.Array:
    """Root-mean-square norm over the last axis, computed in float32 (Zhang and Sennrich 2019, arXiv 1910.07467)."""
    x32 = x.astype(jnp.float32)
    x32 = x32 * jax.lax.rsqrt(jnp.mean(x32 * x32, axis=-1, keepdims=True) + eps)
    return (x32 * scale_d).astype(x.dtype)


class Layer(nnx.Module):
    """One block: attention and SwiGLU, each with its norm in front and the residual around it."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        self.config = config
        d, n, k, h = config.hidden_size, config.num_heads, config.num_kv_heads, config.head_dim
        f = config.intermediate_size
        normal = nnx.initializers.normal(config.initializer_range)

        def weight(*shape: int) -> nnx.Param:
            return nnx.Param(normal(rngs.params(), shape, jnp.float32))

        self.attn_norm_d = nnx.Param(jnp.ones((d,)))
        self.q_dnh, self.q_bias_nh = weight(d, n, h), nnx.Param(jnp.zeros((n, h)))
        self.k_dkh, self.k_bias_kh = weight(d, k, h), nnx.Param(jnp.zeros((k, h)))
        self.v_dkh, self.v_bias_kh = weight(d, k, h), nnx.Param(jnp.zeros((k, h)))
        self.o_nhd = weight(n, h, d)
        self.mlp_norm_d = nnx.Param(jnp.ones((d,)))
        self.gate_df, self.up_df, self.down_fd = weight(d, f), weight(d, f), weight(f, d)

    def __call__(
        self, x_btd: jax.Array, cos_bth: jax.Array, sin_bth: jax.Array, places: Places, window: Any, backend: str,
        adapter: Adapter | None = None,
    ) -> jax.Array:  # fmt: skip
        """The block's output, [b, t, d] in x's type. adapter: as `lora.product` takes it."""
        dtype = x_btd.dtype
        out_btd = self._attention(x_btd, cos_bth, sin_bth, places, window, backend, adapter)
        x_btd = x_btd + checkpoint_name(out_btd.astype(dtype), "out")
        y_btd = rms_norm(x_btd, self.mlp_norm_d[...], self.config.rms_norm_eps)
        gate_btf = self._kept("btd,df->btf", y_btd, "gate", adapter)
        up_btf = self._kept("btd,df->btf", y_btd, "up", adapter)
        y_btf = (jax.nn.silu(gate_btf.astype(jnp.float32)) * up_btf).astype(dtype)
        x_btd = x_btd + self._product("btf,fd->btd", y_btf, "down", adapter).astype(dtype)
        return constrain(x_btd, "btd")

    def _product(self, equation: str, x: jax.Array, target: str, adapter: Adapter | None) -> jax.Array:
        """x times a matrix of the layer, a name of lora.TARGETS, with what LoRA adds to it: float32."""
        return lora.product(equation, x, getattr(self, lora.names(target)[0])[...], target, adapter)

    def _kept(self, equation: str, x: jax.Array, target: str, adapter: Adapter | None) -> jax.Array:
        """The same in x's type, under a name for the remat policies."""
        y = self._product(equation, x, target, adapter).astype(x.dtype)
        return checkpoint_name(constrain(y, equation.split("->")[1]), "gate_up")

    def _attention(
        self, x_btd: jax.Array, cos_bth: jax.Array, sin_bth: jax.Array, places: Places, window: Any, backend: str,
        adapter: Adapter | None,
    ) -> jax.Array:  # fmt: skip
        dtype = x_btd.dtype
        y_btd = rms_norm(x_btd, self.attn_norm_d[...], self.config.rms_norm_eps)
        q_btnh = self._product("btd,dnh->btnh", y_btd, "q", adapter) + self.q_bias_nh[...]
        k_btkh = self._product("btd,dkh->btkh", y_btd, "k", adapter) + self.k_bias_kh[...]
        v_btkh = self._product("btd,dkh->btkh", y_btd, "v", adapter) + self.v_bias_kh[...]
        q_btnh = constrain(rope.rotate(q_btnh, cos_bth, sin_bth).astype(dtype), "btnh")
        k_btkh = constrain(rope.rotate(k_btkh, cos_bth, sin_bth).astype(dtype), "btkh")
        q_btnh, k_btkh, v_btkh = (checkpoint_name(x, "qkv") for x in (q_btnh, k_btkh, v_btkh.astype(dtype)))
        scale = self.config.head_dim**-0.5
        out_btnh = attend(q_btnh, k_btkh, v_btkh, places, window, backend=backend, scale=scale)
        return self._product("btnh,nhd->btd", out_btnh.astype(dtype), "o", adapter)


class Decoder(nnx.Module):
    """Embedding, the stacked layers, the final norm, and the output head (the embedding itself when tied)."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        self.config = config
        v, d = config.vocab_size, config.hidden_size
        normal = nnx.initializers.normal(config.initializer_range)
        self.embed_vd = nnx.Param(normal(rngs.params(), (v, d), jnp.float32))
        if not config.tie_word_embeddings:
            self.head_dv = nnx.Param(normal(rngs.params(), (d, v), jnp.float32))
        self.final_norm_d = nnx.Param(jnp.ones((d,)))

        @nnx.split_rngs(splits=config.num_layers)
        @nnx.vmap(in_axes=0, out_axes=0)
        def stack(rngs: nnx.Rngs) -> Layer:
            return Layer(config, rngs)

        self.layers = stack(rngs)

    def hidden(
        self, tokens_bt: jax.Array, places: Places, dtype: jnp.dtype, remat: str, backend: str,
        adapter: Adapter | None = None, sums: Params | None = None, tied: bool = False,
    ) -> tuple[jax.Array, jax.Array]:  # fmt: skip
        """Tokens to the hidden state after the final norm, [b, t, d] of dtype, and the embedding out of the lookup.

        Segment 0 is padding. adapter: of all layers, stacked; None where the decoder itself is trained. sums: as in
        `Model.hidden`. tied: a head will use the second result.
        """
        config = self.config
        cos_bth, sin_bth = rope.tables(config, places.position_bt)
        table_sums_vd = None if sums is None or tied else sums["embed_vd"]
        x_btd, table_vd = lookup(self.embed_vd[...], tokens_bt, table_sums_vd, dtype)
        windows = [window or NO_WINDOW for window in config.windows]
        layer_graph, layer_state = nnx.split(self.layers)

        def block(x_btd, layer, shared):
            state, (window, adapter) = layer
            cos_bth, sin_bth, places = shared
            one = windows[0] if len(set(windows)) == 1 else window  # a fused kernel has to know it when it is compiled
            block_of = nnx.merge(layer_graph, state)
            return block_of(x_btd, cos_bth, sin_bth, places, one, backend, adapter)

        if (policy := REMAT[remat]) is not None:
            block = jax.checkpoint(block, policy=policy, prevent_cse=False)
        stack, shared = (layer_state, (jnp.array(windows), adapter)), (cos_bth, sin_bth, places)
        if sums is not None:
            layer_sums = nnx.State(sums["layers"])
            x_btd = adding_scan.scan(block, x_btd, stack, shared, layer_sums)
        else:
            unroll = is_unrolled(config, remat)
            x_btd, _ = jax.lax.scan(lambda x, layer: (block(x, layer, shared), None), x_btd, stack, unroll=unroll)
        return rms_norm(x_btd, self.final_norm_d[...], config.rms_norm_eps), table_vd


def head(params: Params) -> tuple[jax.Array, str]:
    """The output head and its letters: the embedding ("vd") when tied, else the head of its own ("dv")."""
    return (params["head_dv"], "dv") if "head_dv" in params else (params["embed_vd"], "vd")


def logits(params: Params, hidden: jax.Array) -> jax.Array:
    """Hidden states [..., d] to logits [..., v] of float32, in products of the hidden's type."""
    weight, letters = head(params)
    flat_td = hidden.reshape(-1, hidden.shape[-1])
    return linear.einsum(f"td,{letters}->tv", flat_td, weight, hidden.dtype).reshape(*hidden.shape[:-1], -1)


@dataclasses.dataclass(frozen=True)
class Model:
    """A model as pure functions over a parameter tree.

    dtype: of the products; the master parameters are float32. remat: what the backward pass keeps, a name of REMAT.
    attention: a back end of models/attention. lora: the parameters are frozen, and may have the leaves of an adapter
    beside them (models/lora.py); without these they are the plain model.
    """

    config: ModelConfig
    dtype: Any = jnp.bfloat16
    remat: str = "full"
    attention: str = "xla"
    lora: Lora | None = None

    def __post_init__(self):
        if self.remat not in REMAT:
            raise ValueError(f"unknown remat policy {self.remat!r}; there are {sorted(REMAT)}")

    @functools.cached_property
    def _abstract(self) -> tuple[Any, Params]:
        graph, state = nnx.split(nnx.eval_shape(lambda: Decoder(self.config, nnx.Rngs(0))))
        return graph, nnx.to_pure_dict(state)

    @property
    def abstract_params(self) -> Params:
        """The parameter tree with a ShapeDtypeStruct for every leaf."""
        return self._abstract[1]

    def init(self, key: jax.Array, shardings: Any = None) -> Params:
        """Random float32 parameters, made directly in their shards."""

        def make(key: jax.Array) -> Params:
            return nnx.to_pure_dict(nnx.state(Decoder(self.config, nnx.Rngs(params=key))))

        return jax.jit(make, out_shardings=shardings)(key)

    def hidden(
        self, params: Params, tokens_bt: jax.Array, segment_bt: jax.Array, position_bt: jax.Array,
        branch_bt: jax.Array | None = None, sums: Params | None = None,
    ) -> jax.Array:  # fmt: skip
        """The final hidden states, [b, t, d] of dtype. Padding has segment 0; positions start at 0 in each segment.

        branch_bt: where several responses go on from one prompt (models/attention/places.py); None where none does.
        sums: gradients so far, to which those of the layers and the embedding are added in place
        (models/adding_scan.py, lookup.py): the derivatives by these are then the new sums.
        """
        return self._hidden(params, Places(segment_bt, position_bt, branch_bt), tokens_bt, sums, tied=False)[0]

    def hidden_and_head(
        self, params: Params, tokens_bt: jax.Array, segment_bt: jax.Array, position_bt: jax.Array,
        branch_bt: jax.Array | None = None, sums: Params | None = None,
    ) -> tuple[jax.Array, Params]:  # fmt: skip
        """The same, and the output head's own parameters for `training.head`, which adds its gradient to the sums too.

        A tied head's gradient comes first, and the lookup's is added to it.
        """
        tied = "head_dv" not in params
        places = Places(segment_bt, position_bt, branch_bt)
        hidden_btd, table_vd = self._hidden(params, places, tokens_bt, sums, tied)
        return hidden_btd, {"embed_vd": table_vd} if tied else {"head_dv": params["head_dv"]}

    def _hidden(
        self, params: Params, places: Places, tokens_bt: jax.Array, sums: Params | None, tied: bool
    ) -> tuple[jax.Array, jax.Array]:
        base, leaves = lora.split(params)
        if leaves and self.lora is None:
            raise ValueError(f"the parameters have the LoRA leaves {sorted(leaves)}, but the model has no LoRA")
        adapter = None if self.lora is None else lora.scaled(leaves, self.lora)
        decoder = nnx.merge(self._abstract[0], base)
        return decoder.hidden(tokens_bt, places, self.dtype, self.remat, self.attention, adapter, sums, tied)

    def logits(self, params: Params, tokens_bt: jax.Array, segment_bt: jax.Array, position_bt: jax.Array) -> jax.Array:
        """The whole [b, t, v] of float32 logits: for tests and short rows; training chunks them (training/head.py)."""
        return logits(params, self.hidden(params, tokens_bt, segment_bt, position_bt))
