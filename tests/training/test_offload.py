"""Moments and reference in the host's memory: the same numbers, and bytes that the devices no longer hold.

libtpu brings the compiler of a TPU. It wants a process of its own: this file is the test and, run as a script, that
process.
"""

import json
import types

import pytest

SIZES = {
    "vocab_size": 4096, "hidden_size": 512, "intermediate_size": 1024, "num_layers": 2, "num_heads": 4,
    "num_kv_heads": 2, "head_dim": 128,
}  # fmt: skip
MESHES = ({"fsdp": 4}, {"data": 4, "fsdp": 1})
SMALL = SIZES | {"vocab_size": 24, "hidden_size": 16, "intermediate_size": 24, "head_dim": 4}


def trainer_of(mesh, sizes, rows, row_tokens, offload, dtype):
    from acecoder_jax.models.config import ModelConfig
    from acecoder_jax.models.decoder import Model
    from acecoder_jax.training.loss import cross_entropy
    from acecoder_jax.training.trainer import make_trainer

    return make_trainer(
        Model(ModelConfig(**sizes), dtype, "full"), cross_entropy, mesh, updates=9,
        optimizer={"learning_rate": 0.02}, rows=rows, row_tokens=row_tokens, logit_chunk=64, offload=offload,
    )  # fmt: skip


def compile_update(devices, offload, **mesh_sizes) -> dict:
    """Bytes a device of the compiled update, and of its parameters."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from acecoder_jax import parallel
    from acecoder_jax.models.sharding import named_shardings
    from acecoder_jax.training.packing import TokenSequence

    mesh = parallel.make_mesh(**mesh_sizes, devices=devices)
    with jax.set_mesh(mesh):
        trainer = trainer_of(mesh, SIZES, 4, 512, offload, jnp.bfloat16)
        arrays = trainer.pack([TokenSequence(np.arange(9, dtype=np.int32), {"loss_weight": np.ones(8)})]).arrays
        arrays = {name: jax.ShapeDtypeStruct(array.shape, array.dtype) for name, array in arrays.items()}

        def placed(tree, shardings):
            return jax.tree.map(
                lambda leaf, where: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where), tree, shardings
            )

        traced = trainer.update.run.trace(
            placed(trainer.abstract, trainer.shardings), placed(arrays, named_shardings(arrays, mesh)), 1, None
        )
        memory = traced.lower(lowering_platforms=("tpu",)).compile().memory_analysis()
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(trainer.abstract.params))
    params = size // mesh.shape["fsdp"]
    return {
        "params": params,
        "device": memory.argument_size_in_bytes,
        "host": memory.host_argument_size_in_bytes,
        "host_output": memory.host_output_size_in_bytes,
    }


def compile_all() -> None:
    from jax.experimental import topologies

    devices = topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x2").devices
    both = ((), ("optimizer",))
    print(json.dumps([[compile_update(devices, offload, **sizes) for offload in both] for sizes in MESHES]))


def test_a_compiled_update_for_a_tpu_has_its_moments_on_the_host():
    from tests.for_tpu import answer_of

    for plain, offloaded in answer_of(__file__):
        assert plain["host"] == 0
        moments = 2 * plain["params"]
        assert offloaded["host"] == pytest.approx(moments, rel=0.02)
        assert offloaded["host_output"] == pytest.approx(moments, rel=0.02)
        assert plain["device"] - offloaded["device"] == pytest.approx(moments, rel=0.02)


@pytest.fixture(scope="module")
def run():
    """(offload) -> trainer, its states after 0 and 3 updates, losses, mini-batch."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from acecoder_jax import parallel
    from acecoder_jax.training import state as train_state
    from acecoder_jax.training.packing import TokenSequence

    rng = np.random.default_rng(0)
    sequences = [TokenSequence(rng.integers(0, 24, 10).astype(np.int32), {"loss_weight": np.ones(9)}) for _ in range(6)]

    def go(offload):
        mesh = parallel.make_mesh(data=2, fsdp=2, tensor=2)
        with jax.set_mesh(mesh):
            trainer = trainer_of(mesh, SMALL, 4, 24, offload, jnp.float32)
            params = trainer.model.init(jax.random.key(0), trainer.model_shardings)
            state, losses = train_state.create(params, trainer.optimizer, trainer.shardings), []
            assert_there(state, trainer.shardings)
            for _ in range(3):
                state, numbers = trainer.update(state, trainer.pack(sequences))
                losses.append(float(numbers["loss"]))
        return trainer, state, losses, sequences

    return go


def assert_there(state, shardings):
    import jax

    for leaf, where in zip(jax.tree.leaves(state), jax.tree.leaves(shardings), strict=True):
        assert leaf.sharding.is_equivalent_to(where, leaf.ndim) and leaf.sharding.memory_kind == where.memory_kind


def test_moments_on_the_host_change_no_number(run, tmp_path):
    import jax
    import numpy as np

    from acecoder_jax.stops import Stop
    from acecoder_jax.training.checkpoint import Checkpoints, Position

    _, plain, losses, _ = run(())
    trainer, state, again, _ = run(("optimizer",))
    assert losses == again
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(plain), jax.device_get(state))
    kinds = [leaf.sharding.memory_kind for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim]
    assert kinds and set(kinds) == {"pinned_host"}
    assert {leaf.sharding.memory_kind for leaf in jax.tree.leaves(state.params)} == {"device"}
    assert_there(state, trainer.shardings)
    with Checkpoints(tmp_path, keep=1, every=1) as checkpoints:
        trainer.keep(checkpoints, Stop(), Position(3), state, {})
    with Checkpoints(tmp_path, keep=1, every=1) as checkpoints:
        restored = trainer.start(lambda: pytest.fail("it is in the checkpoint"), checkpoints).state
    assert_there(restored, trainer.shardings)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(restored), jax.device_get(state))


def test_a_reference_waits_on_the_host(run):
    import jax
    import numpy as np

    trainer, state, _, sequences = run(("reference",))
    parked = trainer.parked(state.params)
    assert {leaf.sharding.memory_kind for leaf in jax.tree.leaves(parked)} == {"pinned_host"}
    for one, other in zip(trainer.ref_logps(parked, sequences), trainer.logps(state.params, sequences), strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_cannot_be_offloaded_is_an_error():
    import numpy as np

    from acecoder_jax.training import offload

    device = types.SimpleNamespace(
        device_kind="Toaster", addressable_memories=lambda: [types.SimpleNamespace(kind="device")]
    )
    mesh = types.SimpleNamespace(devices=np.array([device]))
    with pytest.raises(ValueError, match=r"Toaster has device: leave trainer\.offload empty"):
        offload.check(("optimizer",), mesh)
    offload.check((), mesh)
    with pytest.raises(ValueError, match=r"names \['params'\]; what can be offloaded is optimizer, reference"):
        offload.check(("params",), mesh)


if __name__ == "__main__":
    compile_all()
