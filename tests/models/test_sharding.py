"""The one table of axes, on meshes of eight virtual devices."""

import logging
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from acecoder_jax import parallel
from acecoder_jax.models import sharding
from acecoder_jax.models.config import ModelConfig
from acecoder_jax.models.decoder import Model

CONFIG = ModelConfig(
    vocab_size=96, hidden_size=16, intermediate_size=32, num_layers=3, num_heads=4, num_kv_heads=2, head_dim=6
)


@pytest.fixture(scope="module")
def cube():
    return parallel.make_mesh(data=2, fsdp=2, tensor=2)


@pytest.fixture(scope="module")
def specs(cube):
    return jax.tree.map(lambda one: one.spec, sharding.param_shardings(Model(CONFIG).abstract_params, cube))


def test_every_parameter_has_its_place(specs):
    assert specs == {
        "embed_vd": P("tensor", "fsdp"),
        "head_dv": P("fsdp", "tensor"),
        "final_norm_d": P("fsdp"),
        "layers": {
            "attn_norm_d": P(None, "fsdp"),
            "mlp_norm_d": P(None, "fsdp"),
            "q_dnh": P(None, "fsdp", "tensor", None),
            "k_dkh": P(None, "fsdp", "tensor", None),
            "v_dkh": P(None, "fsdp", "tensor", None),
            "q_bias_nh": P(None, "tensor", None),
            "k_bias_kh": P(None, "tensor", None),
            "v_bias_kh": P(None, "tensor", None),
            "o_nhd": P(None, "tensor", None, "fsdp"),
            "gate_df": P(None, "fsdp", "tensor"),
            "up_df": P(None, "fsdp", "tensor"),
            "down_fd": P(None, "tensor", "fsdp"),
        },
    }


def test_logical_names():
    assert sharding.logical_axes(("layers", "q_dnh")) == ("layers", "embed", "heads", "head_dim")
    assert sharding.logical_axes(("layers", "o_nhd")) == ("layers", "heads", "head_dim", "embed")
    assert sharding.logical_axes(("embed_vd",)) == ("vocab", "embed")


def test_an_axis_that_does_not_divide_is_replicated_and_said_so(caplog):
    mesh = parallel.make_mesh(data=1, fsdp=2, tensor=4)  # two KV heads, four devices
    with caplog.at_level(logging.INFO, logger="acecoder_jax"):
        placed = sharding.param_shardings(Model(CONFIG).abstract_params, mesh)
    assert placed["layers"]["k_dkh"].spec == P(None, "fsdp", None, None)
    assert placed["layers"]["q_dnh"].spec == P(None, "fsdp", "tensor", None)
    assert "kv_heads of size 2 is not divided" in caplog.text


def test_activations_split_the_batch_over_data_and_fsdp(cube):
    assert sharding.sharding((8, 5, 16), "btd", cube).spec == P(("data", "fsdp"), "context", None)
    assert sharding.sharding((8, 5, 4, 6), "btnh", cube).spec == P(("data", "fsdp"), "context", "tensor", None)
    assert sharding.sharding((2, 8, 5), "mbt", cube).spec == P(None, ("data", "fsdp"), "context")
    assert sharding.sharding((6, 5, 32), "btf", cube).spec == P(None, "context", "tensor")  # 6 rows on 4 devices
    with pytest.raises(ValueError, match=r"shorter|longer"):
        sharding.sharding((8, 5), "btd", cube)


def test_named_shardings_reads_the_names_of_leaves(cube):
    tree = {"layers": [{"qkv_dkxh": np.zeros((16, 2, 4, 6))}], "pages": [{"kv_pcjh": np.zeros((4, 7, 2, 6))}]}
    placed = sharding.named_shardings(tree, cube)
    assert placed["layers"][0]["qkv_dkxh"].spec == P(None, "tensor", None, None)  # decode weights: whole over fsdp
    assert placed["pages"][0]["kv_pcjh"].spec == P(("data", "fsdp"), None, "tensor", None)


def test_constrain(cube):
    x_btd: Any = np.zeros((8, 2, 16), np.float32)
    assert sharding.constrain(x_btd, "btd") is x_btd  # no mesh is set
    with jax.set_mesh(cube):
        placed = jax.jit(lambda x: sharding.constrain(x, "btd"))(x_btd)
        assert placed.sharding.is_equivalent_to(sharding.sharding((8, 2, 16), "btd", cube), 3)
    with jax.set_mesh(parallel.make_mesh(1, 1, 1, devices=jax.devices()[:1])):
        assert sharding.constrain(x_btd, "btd") is x_btd


seen: list[Any] = []


def scores(q_stnh, k_sjh):
    """Of a head with its keys; what it is called with is written down in `seen`."""
    seen.append((q_stnh.shape, k_sjh.shape))
    group = q_stnh.shape[2] // (k_sjh.shape[1] // 2)
    return jnp.einsum("stnh,snh->stn", q_stnh, jnp.repeat(k_sjh[:, ::2], group, axis=1)), k_sjh + 1


@pytest.mark.parametrize(
    ("rows", "kv_heads", "sizes", "parts"),
    [
        (8, 2, {}, ((2, 3, 6, 5), (2, 2, 5))),
        (8, 2, {"n": 2, "j": 2}, ((2, 3, 6, 5), (2, 2, 5))),
        (6, 2, {}, ((6, 3, 6, 5), (6, 2, 5))),  # six rows on four devices stay whole
        (8, 3, {"n": 3, "j": 3}, ((2, 3, 12, 5), (2, 6, 5))),  # heads that would divide, but not with their keys
    ],
)
def test_by_shard_gives_each_device_its_part(cube, rows, kv_heads, sizes, parts):
    rng = np.random.default_rng(0)
    q_stnh, k_sjh = rng.normal(size=(rows, 3, 12, 5)), rng.normal(size=(rows, 2 * kv_heads, 5))
    expected = scores(q_stnh, k_sjh)
    seen.clear()
    with jax.set_mesh(cube):
        run = sharding.by_shard(scores, ("stnh", "sjh"), ("stn", "sjh"), **sizes)
        out = jax.jit(run)(q_stnh, k_sjh)
    assert set(seen) == {parts}
    for one, other in zip(out, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    assert out[1].addressable_shards[0].data.shape == parts[1]


def test_by_shard_is_the_function_itself_on_one_device():
    assert sharding.by_shard(scores, ("stnh", "sjh"), ("stn", "sjh")) is scores
    with jax.set_mesh(parallel.make_mesh(devices=jax.devices()[:1])):
        assert sharding.by_shard(scores, ("stnh", "sjh"), ("stn", "sjh")) is scores


def test_random_parameters_are_made_in_their_shards_and_the_same_on_every_mesh(cube):
    model = Model(CONFIG)
    one = model.init(jax.random.key(3))
    eight = model.init(jax.random.key(3), sharding.param_shardings(model.abstract_params, cube))
    for (path, whole), split in zip(jax.tree_util.tree_leaves_with_path(one), jax.tree.leaves(eight), strict=True):
        np.testing.assert_array_equal(whole, split, err_msg=str(path))
        letters = set(path[-1].key.rsplit("_", 1)[-1])
        parts = (2 if "d" in letters else 1) * (2 if letters & set("nkfv") else 1)
        assert split.size == parts * split.addressable_shards[0].data.size > 0, path


@pytest.mark.parametrize("whole", [False, True])
def test_a_lookup_leaves_the_vocabulary_split(cube, whole):
    """XLA's partitioner gathers it, on a mesh of several split axes, where the table is not whole over d."""
    table = jax.ShapeDtypeStruct((96, 16), jnp.float32, sharding=NamedSharding(cube, P("tensor", "fsdp")))
    tokens = jax.ShapeDtypeStruct((8, 32), jnp.int32, sharding=sharding.sharding((8, 32), "bt", cube))

    def look_up(table_vd: jax.Array, tokens_bt: jax.Array) -> jax.Array:
        return sharding.constrain((sharding.lookup_table(table_vd) if whole else table_vd)[tokens_bt], "btd")

    with jax.set_mesh(cube):
        text = jax.jit(look_up).lower(table, tokens).compile().as_text()
    assert ("f32[96," in text) != whole  # all words on every device
