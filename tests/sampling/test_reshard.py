"""From the trainer's mesh to the engine's, on eight virtual devices; and what the weights of a real size take."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acecoder_jax import parallel
from acecoder_jax.models import native
from acecoder_jax.models.config import ModelConfig
from acecoder_jax.models.decoder import Model
from acecoder_jax.models.sharding import named_shardings, param_shardings
from acecoder_jax.sampling import reshard as reshard_module
from acecoder_jax.sampling.forward import Forward
from acecoder_jax.sampling.reshard import Resharder

CONFIG = ModelConfig(
    vocab_size=64, hidden_size=16, intermediate_size=32, num_layers=2, num_heads=8, num_kv_heads=4, head_dim=4
)
MESHES = {
    "data and tensor": lambda: parallel.make_mesh(data=2, fsdp=1, tensor=4),
    "the first device": lambda: parallel.make_mesh(devices=jax.devices()[:1]),
    "the last four": lambda: parallel.make_mesh(data=2, fsdp=1, tensor=2, devices=jax.devices()[4:]),
}


@pytest.fixture(scope="module")
def host_params():
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), Model(CONFIG).abstract_params)


@pytest.fixture(scope="module")
def trained(host_params):
    """The parameters where the trainer has them."""
    mesh = parallel.make_mesh(fsdp=8)
    return jax.device_put(host_params, param_shardings(host_params, mesh))


@pytest.fixture(scope="module")
def expected(host_params):
    return jax.jit(Forward(CONFIG, jnp.bfloat16, "xla").to_weights)(host_params)


def resharder(mesh, called=None):
    """To the decode weights on a mesh; `called` gets an entry each time they are traced."""
    model = Forward(CONFIG, jnp.bfloat16, "xla")

    def to_weights(params):
        if called is not None:
            called.append(1)
        return model.to_weights(params)

    abstract = jax.eval_shape(model.to_weights, Model(CONFIG).abstract_params)
    return Resharder(to_weights, named_shardings(abstract, mesh))


def is_there(weights, expected, shardings):
    """Every leaf has the right values, lies where the engine wants it, and nowhere else."""
    assert jax.tree.structure(weights) == jax.tree.structure(expected)

    def one(path, leaf, value, where):
        assert leaf.sharding.is_equivalent_to(where, leaf.ndim), path
        assert leaf.sharding.device_set == where.device_set, path
        np.testing.assert_array_equal(leaf, value, err_msg=str(path))
        for shard in leaf.addressable_shards:
            np.testing.assert_array_equal(shard.data, np.asarray(value)[shard.index], err_msg=str(path))

    jax.tree_util.tree_map_with_path(one, weights, expected, shardings)


@pytest.mark.parametrize("source", ["trained", "host_params"])
@pytest.mark.parametrize("name", MESHES)
def test_every_leaf_lands_in_its_place(request, expected, name, source):
    reshard = resharder(MESHES[name]())
    is_there(reshard(request.getfixturevalue(source)), expected, reshard.shardings)
    if name == "data and tensor":
        q = jax.tree.leaves(reshard.shardings["layers"][0]["qkv"])[0]
        assert "tensor" in q.spec  # the case is one of split weights


def test_the_trainers_own_mesh(trained, expected):
    reshard = resharder(parallel.make_mesh(fsdp=8))
    is_there(reshard(trained), expected, reshard.shardings)


def test_parameters_on_one_device(host_params, expected):
    device = jax.devices()[3]
    reshard = resharder(parallel.make_mesh(devices=[device]))
    is_there(reshard(jax.device_put(host_params, device)), expected, reshard.shardings)


@pytest.mark.parametrize("name", MESHES)
def test_an_update_is_traced_once(trained, expected, name):
    called = []
    reshard = resharder(MESHES[name](), called)
    reshard(trained)
    twice = jax.tree.map(lambda leaf: leaf * 2, trained)
    is_there(reshard(twice), jax.tree.map(lambda leaf: leaf * 2, expected), reshard.shardings)
    assert len(called) == 1


@pytest.mark.parametrize("ids", [[1, 0, 2, 3], [2, 3, 4, 5], [0, 2], [7, 6, 5, 4, 3, 2, 1, 0]])
def test_devices_in_another_order_or_across_blocks(trained, expected, ids):
    # jax.sharding.Mesh, for make_mesh might put them in an order of its own
    devices = np.array([jax.devices()[i] for i in ids]).reshape(1, 1, 1, -1)
    reshard = resharder(jax.sharding.Mesh(devices, parallel.AXES))
    is_there(reshard(trained), expected, reshard.shardings)


def test_devices_that_the_parameters_are_not_on(host_params, expected):
    there = jax.device_put(host_params, jax.devices()[0])
    reshard = resharder(parallel.make_mesh(devices=jax.devices()[1:3]))
    is_there(reshard(there), expected, reshard.shardings)


def test_across_processes_meshes_that_do_not_fit_are_refused(monkeypatch, trained):
    """The parameters' devices, half of them another process's, in an order in which no block is the engine's."""
    foreign = [SimpleNamespace(id=n, process_index=n % 2) for n in range(8)]
    monkeypatch.setattr(reshard_module, "_devices", lambda _: foreign)
    with pytest.raises(ValueError, match=r"on, \[0, 1, 2, 3, 4, 5, 6, 7\], do not fit together: over several"):
        resharder(parallel.make_mesh(devices=jax.devices()[:2]))(trained)


PACKED = pytest.param(True, marks=pytest.mark.skipif(not native.available(), reason="no C++ compiler"))


@pytest.mark.parametrize("packed", [False, PACKED])
@pytest.mark.parametrize("int8", [False, True])
def test_an_update_of_a_real_size_needs_no_second_copy_in_float32(int8, packed):
    """Half of Qwen2.5-Coder-0.5B, compiled only: beside the parameters and the weights a large matrix or two, not all.

    The head alone is 0.43 of the parameters' bytes.
    """
    config = ModelConfig(
        vocab_size=151936, hidden_size=896, intermediate_size=4864, num_layers=12, num_heads=14, num_kv_heads=2,
        head_dim=64, tie_word_embeddings=True,
    )  # fmt: skip
    abstract = Model(config).abstract_params
    model = Forward(config, jnp.bfloat16, "xla", packed, int8)
    memory = jax.jit(model.to_weights).lower(abstract).compile().memory_analysis()
    given = sum(4 * leaf.size for leaf in jax.tree.leaves(abstract))
    assert memory.argument_size_in_bytes >= given
    assert memory.output_size_in_bytes < 0.55 * given  # a table of pointers comes with the leaves
    assert memory.temp_size_in_bytes < 0.45 * given
