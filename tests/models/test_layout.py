"""The table of leaves and tensors."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from acecoder_jax.models import layout
from acecoder_jax.models.config import PUBLISHED, ModelConfig
from acecoder_jax.models.decoder import Model

CONFIG = ModelConfig(
    vocab_size=96, hidden_size=32, intermediate_size=48, num_layers=3, num_heads=4, num_kv_heads=2, head_dim=16
)


@pytest.mark.parametrize("tied", [True, False])
def test_the_tree_is_the_decoders(tied):
    config = dataclasses.replace(CONFIG, tie_word_embeddings=tied)
    ours, decoders = layout.abstract_params(config), Model(config).abstract_params
    assert jax.tree.structure(ours) == jax.tree.structure(decoders)
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), ours) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), decoders
    )


def test_nested_and_flat_are_inverse():
    leaves = {("a",): 1, ("layers", "b"): 2, ("layers", "c"): 3}
    assert layout.nested(leaves) == {"a": 1, "layers": {"b": 2, "c": 3}}
    assert layout.flat(layout.nested(leaves)) == leaves


def test_tensors_of_a_small_config():
    tensors = {tensor.name: tensor for tensor in layout.tensors(CONFIG)}
    assert len(tensors) == 3 + 3 * 12
    assert tensors["model.layers.2.self_attn.q_proj.weight"].shape == (64, 32)
    assert tensors["model.layers.2.self_attn.k_proj.bias"].shape == (32,)
    assert tensors["model.layers.0.self_attn.o_proj.weight"].shape == (32, 64)
    assert tensors["model.layers.0.mlp.down_proj.weight"] == layout.Tensor(
        "model.layers.0.mlp.down_proj.weight", (32, 48), ("layers", "down_fd"), 0
    )
    assert tensors["lm_head.weight"] == layout.Tensor("lm_head.weight", (96, 32), ("head_dv",), None)


def test_a_tied_config_has_no_head():
    names = [tensor.name for tensor in layout.tensors(PUBLISHED["Qwen2.5-0.5B-Instruct"])]
    assert "lm_head.weight" not in names
    assert len(names) == 2 + 24 * 12


def test_abstract_params_have_the_type_asked_for():
    leaves = jax.tree.leaves(layout.abstract_params(CONFIG, jnp.bfloat16))
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype(jnp.bfloat16)}
