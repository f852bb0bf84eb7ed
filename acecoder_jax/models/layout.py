"""Where each parameter stands in a Hugging Face checkpoint: one table for reading and for writing.

A Hugging Face linear layer stores [out, in] for each layer apart; here a leaf stacks its layers and has one axis for
each letter of its name (`q_dnh` is [L, D, N, H]). Letters: v vocab, d embed, f hidden, n heads, k KV heads, h head dim.
"""

import functools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from acecoder_jax.models.config import ModelConfig

Path = tuple[str, ...]
Params = dict[str, Any]

# Leaf -> tensor name ({} is the layer), and the tensor's axes: a word each, made of the leaf's letters.
TENSORS: dict[Path, tuple[str, str]] = {
    ("embed_vd",): ("model.embed_tokens.weight", "v d"),
    ("layers", "attn_norm_d"): ("model.layers.{}.input_layernorm.weight", "d"),
    ("layers", "q_dnh"): ("model.layers.{}.self_attn.q_proj.weight", "nh d"),
    ("layers", "q_bias_nh"): ("model.layers.{}.self_attn.q_proj.bias", "nh"),
    ("layers", "k_dkh"): ("model.layers.{}.self_attn.k_proj.weight", "kh d"),
    ("layers", "k_bias_kh"): ("model.layers.{}.self_attn.k_proj.bias", "kh"),
    ("layers", "v_dkh"): ("model.layers.{}.self_attn.v_proj.weight", "kh d"),
    ("layers", "v_bias_kh"): ("model.layers.{}.self_attn.v_proj.bias", "kh"),
    ("layers", "o_nhd"): ("model.layers.{}.self_attn.o_proj.weight", "d nh"),
    ("layers", "mlp_norm_d"): ("model.layers.{}.post_attention_layernorm.weight", "d"),
    ("layers", "gate_df"): ("model.layers.{}.mlp.gate_proj.weight", "f d"),
    ("layers", "up_df"): ("model.layers.{}.mlp.up_proj.weight", "f d"),
    ("layers", "down_fd"): ("model.layers.{}.mlp.down_proj.weight", "d f"),
    ("final_norm_d",): ("model.norm.weight", "d"),
    ("head_dv",): ("lm_head.weight", "v d"),
}
HEAD: Path = ("head_dv",)  # only where the embedding is not the head too


class Tensor(NamedTuple):
    """A tensor of a checkpoint: its name and shape there, the leaf it belongs to, its layer (None: not stacked)."""

    name: str
    shape: tuple[int, ...]
    path: Path
    layer: int | None


def paths(config: ModelConfig) -> list[Path]:
    """The leaves of a config's parameter tree."""
    return [path for path in TENSORS if path != HEAD or not config.tie_word_embeddings]


def letters(path: Path) -> str:
    """A leaf's axes without that of the layers: ("layers", "q_dnh") -> "dnh"."""
    return path[-1].rsplit("_", 1)[-1]


def tensor_letters(path: Path) -> str:
    """The same letters in the order in which the tensor's bytes run: ("layers", "q_dnh") -> "nhd"."""
    return TENSORS[path][1].replace(" ", "")


def sizes(config: ModelConfig) -> dict[str, int]:
    """The size of the axis of each letter."""
    widths = {"v": config.vocab_size, "d": config.hidden_size, "f": config.intermediate_size}
    return {**widths, "n": config.num_heads, "k": config.num_kv_heads, "h": config.head_dim}


def leaf_shape(path: Path, config: ModelConfig) -> tuple[int, ...]:
    """A leaf's shape, the layers in front where it is stacked."""
    size = sizes(config)
    layers = (config.num_layers,) if path[0] == "layers" else ()
    return layers + tuple(size[letter] for letter in letters(path))


def tensors(config: ModelConfig) -> list[Tensor]:
    """Every tensor of a config's checkpoint."""
    size, rows = sizes(config), []
    for path in paths(config):
        name, axes = TENSORS[path]
        shape = tuple(math.prod(size[letter] for letter in word) for word in axes.split())
        layers = range(config.num_layers) if path[0] == "layers" else (None,)
        rows += [Tensor(name.format(layer), shape, path, layer) for layer in layers]
    return rows


def abstract_params(config: ModelConfig, dtype: Any = jnp.float32) -> Params:
    """The parameter tree of a config with a ShapeDtypeStruct for every leaf."""
    return nested({path: jax.ShapeDtypeStruct(leaf_shape(path, config), dtype) for path in paths(config)})


def nested(leaves: Mapping[Path, Any]) -> Params:
    """The nested dict of leaves given by path."""
    tree: Params = {}
    for path, leaf in leaves.items():
        functools.reduce(lambda node, key: node.setdefault(key, {}), path[:-1], tree)[path[-1]] = leaf
    return tree


def flat(tree: Any) -> dict[Path, Any]:
    """The leaves of a nested dict by path."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {tuple(key.key for key in path): leaf for path, leaf in leaves}
