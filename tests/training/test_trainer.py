"""What a training stage holds: mini-batches with weights that make a mean, a state fresh or from a checkpoint."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acecoder_jax import parallel
from acecoder_jax.models.config import ModelConfig
from acecoder_jax.models.decoder import Model
from acecoder_jax.stops import Stop
from acecoder_jax.training import state as train_state
from acecoder_jax.training.checkpoint import Checkpoints, Position
from acecoder_jax.training.loss import cross_entropy
from acecoder_jax.training.packing import TokenSequence
from acecoder_jax.training.trainer import check_finite, make_trainer

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
        fresh = trainer.start(lambda: jax.device_put(params(), trainer.shardings.params), checkpoints)
        assert fresh.position == Position(0) and fresh.behavior is None
        trainer.keep(checkpoints, Stop(), Position(3), fresh.state, {"updates": [{"loss": 0.1}]})
    with Checkpoints(tmp_path, keep=1, every=1) as checkpoints:
        again = trainer.start(lambda: pytest.fail("the parameters are in the checkpoint"), checkpoints)
        assert again.position == Position(3) and again.about["updates"] == [{"loss": 0.1}] and again.behavior is None
    jax.tree.map(np.testing.assert_array_equal, fresh.state, again.state)
    for leaf, where in zip(jax.tree.leaves(again.state), jax.tree.leaves(trainer.shardings), strict=True):
        assert leaf.sharding.is_equivalent_to(where, leaf.ndim)


def test_a_start_on_another_mesh_goes_on_with_the_same_update(tmp_path):
    """From a checkpoint of one mesh: moments, metrics and log-probs agree up to the rounding of float32."""
    rng = np.random.default_rng(0)
    drawn = jax.tree.map(lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(leaf.dtype), Model(CONFIG).abstract_params)
    sequences = [
        TokenSequence(rng.integers(0, 16, n + 1).astype(np.int32), {"loss_weight": np.ones(n)}) for n in (7, 3, 5, 6)
    ]

    def update(mesh, seen):
        """The state before (from a checkpoint, or fresh and then saved after an update) and one more update."""
        made = make(mesh, optimizer={"learning_rate": 1e-3, "warmup_ratio": 0.0}, updates=9)
        with jax.set_mesh(mesh), Checkpoints(tmp_path, keep=1, every=1) as checkpoints:
            now = made.start(lambda: jax.device_put(drawn, made.shardings.params), checkpoints)
            state = now.state
            if now.position == Position(0):
                state, _ = made.update(state, made.pack(sequences))
                made.keep(checkpoints, Stop(), Position(1), state, {})
            seen.append(now.position)
            state, numbers = made.update(state, made.pack(sequences))
            return jax.device_get((state, numbers)), made.logps(state.params, sequences)

    seen: list[Position] = []
    (state, numbers), logps = update(parallel.make_mesh(data=2, fsdp=2, tensor=2), seen)
    for mesh in (
        parallel.make_mesh(devices=jax.devices()[:1]),
        parallel.make_mesh(data=1, fsdp=4, context=2),
    ):
        (other, other_numbers), other_logps = update(mesh, seen)
        assert (int(other.update), int(other.skipped)) == (int(state.update), int(state.skipped)) == (2, 0)
        for name, value in numbers.items():
            assert other_numbers[name] == pytest.approx(value, rel=1e-5), name
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * np.abs(b).max()),
            other.opt_state, state.opt_state,
        )  # fmt: skip
        for one, two in zip(other_logps, logps, strict=True):
            np.testing.assert_allclose(one, two, atol=1e-4)
    assert seen == [Position(0), Position(1), Position(1)]


def test_other_weights_can_be_kept_beside_the_state(trainer, tmp_path):
    state = train_state.create(jax.device_put(params(), trainer.shardings.params), trainer.optimizer, trainer.shardings)
    older = trainer.copy(jax.tree.map(lambda leaf: leaf + 1, state.params))
    with Checkpoints(tmp_path, keep=1, every=1, minibatches=1) as checkpoints:
        trainer.keep(checkpoints, Stop(), Position(3, 1), state, {}, lambda: older)
    with Checkpoints(tmp_path, keep=1, every=1) as checkpoints:
        started = trainer.start(lambda: pytest.fail("the parameters are in the checkpoint"), checkpoints)
    jax.tree.map(np.testing.assert_array_equal, started.state, state)
    jax.tree.map(np.testing.assert_array_equal, started.behavior, older)


def test_a_copy_outlives_the_update_of_what_it_was_made_of(trainer):
    given = jax.device_put(params(), trainer.shardings.params)
    copied = trainer.copy(given)
    for leaf in jax.tree.leaves(given):
        leaf.delete()
    jax.tree.map(np.testing.assert_array_equal, copied, params())


def test_too_many_skipped_in_a_row_name_the_last_good_checkpoint(tmp_path):
    with Checkpoints(tmp_path, keep=1, every=1) as checkpoints:
        checkpoints.save(Position(7), {"a": jnp.zeros(3)})
        check_finite({"in_a_row": 1.0}, 2, checkpoints)
        with pytest.raises(RuntimeError, match=f"2 updates in a row .*{tmp_path}/checkpoints/7"):
            check_finite({"in_a_row": 2.0}, 2, checkpoints)


def test_a_misspelt_knob_is_an_error():
    with pytest.raises(TypeError, match="learning_rat"):
        make_trainer(
            Model(CONFIG), cross_entropy, parallel.make_mesh(), updates=1, optimizer={"learning_rat": 1.0},
            rows=8, row_tokens=8, logit_chunk=8,
        )  # fmt: skip


def make(mesh, **kw):
    return make_trainer(
        Model(CONFIG, jnp.float32, "none"), cross_entropy, mesh,
        **{"updates": 1, "optimizer": {"learning_rate": 1.0}, "rows": 4, "row_tokens": 8, "logit_chunk": 8} | kw,
    )  # fmt: skip


def test_a_row_that_cannot_be_split_over_the_context_axis_is_refused():
    with pytest.raises(ValueError, match="row_tokens is 9: not a multiple of the mesh's context axis, 2"):
        make(parallel.make_mesh(data=2, fsdp=2, context=2), row_tokens=9)


def test_rows_0_is_one_for_each_shard():
    trainer = make(parallel.make_mesh(data=2, fsdp=2, tensor=2), rows=0)
    assert trainer.rows == 4
    assert trainer.about == "micro-batches of 4 x 8 tokens, prompts shared, attention xla, remat none"


def test_heads_that_every_device_repeats_are_said(caplog):
    make(parallel.make_mesh(fsdp=1, data=1, tensor=8), rows=1)
    assert "mesh.tensor=8 does not divide 2 heads" in caplog.text
    caplog.clear()
    make(parallel.make_mesh(fsdp=4, tensor=2))
    assert not caplog.text


def test_rows_that_cannot_be_split_over_the_mesh_are_refused():
    with pytest.raises(ValueError, match="rows is 6: not a multiple of the 4 shards"):
        make(parallel.make_mesh(data=2, fsdp=2, tensor=2), rows=6)
