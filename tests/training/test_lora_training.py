"""A trainer whose state is an adapter: what an update moves, what the reference is, and a start from a checkpoint."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from acecoder_jax import parallel
from acecoder_jax.models import lora
from acecoder_jax.models.config import ModelConfig
from acecoder_jax.models.decoder import Model
from acecoder_jax.models.lora import Lora
from acecoder_jax.stops import Stop
from acecoder_jax.training.checkpoint import Checkpoints, Position
from acecoder_jax.training.loss import cross_entropy
from acecoder_jax.training.packing import TokenSequence
from acecoder_jax.training.trainer import make_trainer

CONFIG = ModelConfig(
    vocab_size=24, hidden_size=16, intermediate_size=24, num_layers=2, num_heads=4, num_kv_heads=2, head_dim=4
)
MODEL = Model(CONFIG, jnp.float32, "full", lora=Lora(2, 4.0, ("q", "o", "gate", "down")))
MESHES = {"one": None, "data2_fsdp2_tensor2": {"data": 2, "fsdp": 2, "tensor": 2}}


def make(mesh_sizes=None, model=MODEL):
    mesh = parallel.make_mesh(devices=jax.devices()[:1]) if mesh_sizes is None else parallel.make_mesh(**mesh_sizes)
    trainer = make_trainer(
        model, cross_entropy, mesh, updates=20, optimizer={"learning_rate": 0.05}, rows=4, row_tokens=12, logit_chunk=8
    )
    return trainer, mesh


@pytest.fixture(scope="module")
def base():
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(np.float32), MODEL.abstract_params)


@pytest.fixture(scope="module")
def sequences():
    rng = np.random.default_rng(1)
    return [
        TokenSequence(rng.integers(0, 24, n + 1).astype(np.int32), {"loss_weight": np.ones(n)}) for n in (9, 4, 7, 11)
    ]


def begin(trainer, tmp_path):
    with Checkpoints(tmp_path, keep=1, every=1) as checkpoints:
        return trainer.start(lambda: trainer.adapter(0), checkpoints).state


def train(trainer, mesh, state, base, sequences, updates):
    losses = []
    with jax.set_mesh(mesh):
        placed = jax.device_put(base, trainer.model_shardings)
        for _ in range(updates):
            state, numbers = trainer.update(state, trainer.pack(sequences), placed)
            losses.append(float(numbers["loss"]))
    return jax.device_get(state), losses, placed


def moments(state):
    adam = [x for x in jax.tree.leaves(state.opt_state, is_leaf=is_adam) if is_adam(x)]
    return adam[0].mu, adam[0].nu


def is_adam(node):
    return isinstance(node, optax.ScaleByAdamState)


@pytest.mark.parametrize("mesh", MESHES)
def test_training_moves_the_adapter_and_nothing_else(base, sequences, tmp_path, mesh):
    trainer, mesh_of = make(MESHES[mesh])
    state, losses, placed = train(trainer, mesh_of, begin(trainer, tmp_path), base, sequences, 12)
    assert losses[-1] < losses[0] - 0.2
    names = {name for target in MODEL.lora.targets for name in lora.names(target)[1:]}
    for tree in (state.params, *moments(state)):
        assert tree.keys() == {"layers"} and tree["layers"].keys() == names
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(placed), base)
    for leaf, where, like in zip(
        jax.tree.leaves(moments(trainer.shardings)[0]), jax.tree.leaves(trainer.shardings.params),
        jax.tree.leaves(state.params), strict=True,
    ):  # fmt: skip
        assert leaf.is_equivalent_to(where, like.ndim)
        assert (mesh == "one") == where.is_fully_replicated


def test_eight_devices_train_as_one_does(base, sequences, tmp_path):
    states = []
    for i, sizes in enumerate(MESHES.values()):
        trainer, mesh = make(sizes)
        state, losses, _ = train(trainer, mesh, begin(trainer, tmp_path / str(i)), base, sequences, 2)
        states.append((state.params, np.array(losses)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-4), *states)


def test_an_update_equals_that_of_the_adapters_gradient(base, sequences, tmp_path):
    """The norm of the gradient, from a plain derivative of the joined tree."""
    trainer, _ = make()
    state = begin(trainer, tmp_path)
    leaves = jax.device_get(state.params)
    state, numbers = trainer.update(state, trainer.pack(sequences), base)

    def loss(leaves):
        total = 0.0
        for sequence in sequences:
            tokens = sequence.tokens[None]
            n = tokens.shape[1] - 1
            logits = MODEL.logits(
                lora.join(base, leaves), tokens[:, :-1], np.ones((1, n), np.int32), np.arange(n)[None]
            )
            total -= jnp.take_along_axis(jax.nn.log_softmax(logits), tokens[:, 1:, None], -1).sum()
        return total / sum(map(len, sequences))

    expected, gradient = jax.jit(jax.value_and_grad(loss))(leaves)
    assert float(numbers["loss"]) == pytest.approx(float(expected), rel=1e-5)
    assert float(numbers["grad_norm"]) == pytest.approx(float(optax.global_norm(gradient)), rel=1e-4)


def test_the_base_is_its_own_reference(base, sequences, tmp_path):
    trainer, mesh = make()
    state, _, placed = train(trainer, mesh, begin(trainer, tmp_path), base, sequences, 3)
    plain, _ = make(model=dataclasses.replace(MODEL, lora=None))
    expected = plain.logps(base, sequences)
    for one, other in zip(trainer.ref_logps(placed, sequences), expected, strict=True):
        np.testing.assert_array_equal(one, other)
    merged = plain.logps(trainer.merged(state.params, placed), sequences)
    for one, other, before in zip(
        trainer.logps(trainer.whole(state.params, placed), sequences), merged, expected, strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-4)
        assert np.abs(one - before).max() > 1e-2


def test_a_start_from_a_checkpoint_goes_on_as_the_run_would(base, sequences, tmp_path):
    trainer, mesh = make()
    state = begin(trainer, tmp_path)
    for _ in range(2):
        state, _ = trainer.update(state, trainer.pack(sequences), base)
    with Checkpoints(tmp_path, keep=1, every=1) as checkpoints:
        trainer.keep(checkpoints, Stop(), Position(2), state, {})
    with Checkpoints(tmp_path, keep=1, every=1) as checkpoints:
        again = trainer.start(lambda: pytest.fail("the adapter is in the checkpoint"), checkpoints)
    assert again.position == Position(2)
    assert sum(file.stat().st_size for file in (tmp_path / "checkpoints").rglob("*") if file.is_file()) < 200_000
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(again.state), jax.device_get(state))
    one, other = (train(trainer, mesh, start, base, sequences, 2) for start in (again.state, state))
    assert one[1] == other[1]
    jax.tree.map(np.testing.assert_array_equal, one[0], other[0])


def test_the_adapter_that_draws_ahead_is_kept_as_it_is(tmp_path):
    """In float32 where the model is in bfloat16: a rounded adapter would draw other samples after a resume."""
    trainer, _ = make(model=dataclasses.replace(MODEL, dtype=jnp.bfloat16))
    state = begin(trainer, tmp_path)
    older = trainer.copy(jax.tree.map(lambda leaf: leaf + 1e-4, state.params))
    with Checkpoints(tmp_path, keep=1, every=1, minibatches=1) as checkpoints:
        trainer.keep(checkpoints, Stop(), Position(2, 1), state, {}, lambda: older)
    with Checkpoints(tmp_path, keep=1, every=1) as checkpoints:
        started = trainer.start(lambda: pytest.fail("the adapter is in the checkpoint"), checkpoints)
    assert {leaf.dtype for leaf in jax.tree.leaves(started.behavior)} == {np.dtype(np.float32)}
    jax.tree.map(np.testing.assert_array_equal, started.behavior, older)
    jax.tree.map(np.testing.assert_array_equal, started.state, state)


def test_a_forgotten_or_needless_base_is_an_error(base, sequences, tmp_path):
    trainer, _ = make()
    with pytest.raises(ValueError, match="takes the frozen base"):
        trainer.update(begin(trainer, tmp_path), trainer.pack(sequences))
    plain, _ = make(model=dataclasses.replace(MODEL, lora=None))
    with pytest.raises(ValueError, match="takes the frozen base"):
        plain.update(begin(trainer, tmp_path), plain.pack(sequences), base)
    with pytest.raises(ValueError, match="with LoRA it is the base"):
        make_trainer(
            MODEL, cross_entropy, parallel.make_mesh(), updates=1, optimizer={"learning_rate": 1.0}, rows=8,
            row_tokens=8, logit_chunk=8, offload=("reference",),
        )  # fmt: skip
