"""The train state: what it holds, and where each part lies on a mesh."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec as P

from acecoder_jax import parallel
from acecoder_jax.training import state as train_state
from acecoder_jax.training.optimizer import make_optimizer

SHAPES = {"embed_vd": (8, 4), "layers": {"gate_df": (3, 4, 6), "mlp_norm_d": (3, 4)}}
ABSTRACT = jax.tree.map(
    lambda shape: jax.ShapeDtypeStruct(shape, jnp.float32), SHAPES, is_leaf=lambda x: type(x) is tuple
)
ADAM, _ = make_optimizer(learning_rate=1e-3, updates=10)


@pytest.fixture(scope="module")
def shardings():
    mesh = parallel.make_mesh(data=2, fsdp=2, tensor=2)
    return train_state.state_shardings(train_state.abstract(ABSTRACT, ADAM), mesh)


def moments(state: train_state.TrainState) -> list:
    """The parts of the optimiser's state that are trees like the parameters."""
    adam = next(part for part in jax.tree.leaves(state.opt_state, is_leaf=is_adam) if is_adam(part))
    return [adam.mu, adam.nu]


def is_adam(node: object) -> bool:
    return isinstance(node, optax.ScaleByAdamState)


def test_moments_lie_as_their_parameters(shardings):
    expected = {
        "embed_vd": P("tensor", "fsdp"),
        "layers": {"gate_df": P(None, "fsdp", "tensor"), "mlp_norm_d": P(None, "fsdp")},
    }
    assert jax.tree.map(lambda one: one.spec, shardings.params) == expected
    for moment in moments(shardings):
        assert jax.tree.map(lambda one: one.spec, moment) == expected


def test_all_else_lies_everywhere(shardings):
    abstract = train_state.abstract(ABSTRACT, ADAM)
    scalars = 0
    for leaf, where in zip(jax.tree.leaves(abstract), jax.tree.leaves(shardings), strict=True):
        if leaf.shape == ():
            assert where.is_fully_replicated
            scalars += 1
    assert scalars == 5  # three counters of our own, and the counts of Adam and of the schedule


def test_a_fresh_state_is_what_abstract_says(shardings):
    params = jax.device_put(jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), ABSTRACT), shardings.params)
    state = train_state.create(params, ADAM, shardings)
    assert jax.tree.map(jnp.shape, state) == jax.tree.map(jnp.shape, train_state.abstract(ABSTRACT, ADAM))
    assert int(state.update) == int(state.skipped) == int(state.in_a_row) == 0
    for moment in moments(state):
        for leaf, where in zip(jax.tree.leaves(moment), jax.tree.leaves(shardings.params), strict=True):
            assert leaf.sharding.is_equivalent_to(where, leaf.ndim)
            assert not np.asarray(leaf).any()


def test_without_a_mesh():
    state = train_state.create(jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), ABSTRACT), ADAM)
    assert jax.tree.map(jnp.shape, state) == jax.tree.map(jnp.shape, train_state.abstract(ABSTRACT, ADAM))
