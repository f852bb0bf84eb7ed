"""What a training stage holds: mini-batches with weights that make a mean, a state fresh or from a checkpoint."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acecoder_jax import parallel
from acecoder_jax.models.config import ModelConfig
from acecoder_jax.models.decoder import Model
from acecoder_jax.training.checkpoint import Checkpoints
from acecoder_jax.training.loss import cross_entropy
from acecoder_jax.training.packing import TokenSequence
from acecoder_jax.training.trainer import make_trainer

CONFIG = ModelConfig(
    vocab_size=16, hidden_size=8, intermediate_size=8, num_layers=1, num_heads=2, num_kv_heads=2, head_dim=4
)


@pytest.fixture(scope="module")
def trainer():
    return make_trainer(
        Model(CONFIG, jnp.float32, "none"), cross_entropy, parallel.make_mesh(data=2, fsdp=2, tensor=2),
        updates=4, optimizer={"learning_rate": 0.5}, rows=4, row_tokens=8, logit_chunk=8,
    )  # fmt: skip


def params():
    return jax.tree.map(lambda leaf: np.full(leaf.shape, 0.25, leaf.dtype), Model(CONFIG).abstract_params)


def test_weights_make_a_mean_over_the_tokens(trainer):
    sequences = [
        TokenSequence(np.arange(4), {"loss_weight": np.array([0, 1, 1])}),
        TokenSequence(np.arange(3), {"loss_weight": np.array([0, 3])}),
    ]
    packed = trainer.pack(sequences)
    weights = packed.unpack(packed.arrays["loss_weight_mbt"])
    np.testing.assert_allclose(np.concatenate(weights), [0, 0.2, 0.2, 0, 0.6], rtol=1e-6)
    assert packed.arrays["tokens_mbt"].shape == (1, 4, 8)


def test_a_fresh_start_and_a_start_from_a_checkpoint(trainer, tmp_path):
    with Checkpoints(tmp_path, keep=1, every=1) as checkpoints:
        state, step = trainer.start(lambda: jax.device_put(params(), trainer.shardings.params), checkpoints)
        assert step == 0
        checkpoints.save(3, state)
    with Checkpoints(tmp_path, keep=1, every=1) as checkpoints:
        again, step = trainer.start(lambda: pytest.fail("the parameters are in the checkpoint"), checkpoints)
        assert step == 3
    jax.tree.map(np.testing.assert_array_equal, state, again)
    for leaf, where in zip(jax.tree.leaves(again), jax.tree.leaves(trainer.shardings), strict=True):
        assert leaf.sharding.is_equivalent_to(where, leaf.ndim)


def test_a_misspelt_knob_is_an_error():
    with pytest.raises(TypeError, match="learning_rat"):
        make_trainer(
            Model(CONFIG), cross_entropy, parallel.make_mesh(), updates=1, optimizer={"learning_rat": 1.0},
            rows=8, row_tokens=8, logit_chunk=8,
        )  # fmt: skip


def test_a_row_that_cannot_be_split_over_the_context_axis_is_refused():
    with pytest.raises(ValueError, match="row_tokens is 9: not a multiple of the mesh's context axis, 2"):
        make_trainer(
            Model(CONFIG), cross_entropy, parallel.make_mesh(data=2, fsdp=2, context=2), updates=1,
            optimizer={"learning_rate": 1.0}, rows=4, row_tokens=9, logit_chunk=8,
        )  # fmt: skip


def test_rows_that_cannot_be_split_over_the_mesh_are_refused():
    with pytest.raises(ValueError, match="rows is 6: not a multiple of the 4 shards"):
        make_trainer(
            Model(CONFIG), cross_entropy, parallel.make_mesh(data=2, fsdp=2, tensor=2), updates=1,
            optimizer={"learning_rate": 1.0}, rows=6, row_tokens=8, logit_chunk=8,
        )  # fmt: skip
