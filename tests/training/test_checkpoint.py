"""Checkpoints: what is saved comes back, on another mesh too; a few are kept; a half-written one does not count."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acecoder_jax import parallel
from acecoder_jax.training import state as train_state
from acecoder_jax.training.checkpoint import Checkpoints
from acecoder_jax.training.optimizer import make_optimizer
from acecoder_jax.training.state import TrainState

SHAPES = {"embed_vd": (2048, 32), "layers": {"gate_df": (3, 32, 48), "mlp_norm_d": (3, 32)}}
ABSTRACT = jax.tree.map(
    lambda shape: jax.ShapeDtypeStruct(shape, jnp.float32), SHAPES, is_leaf=lambda x: type(x) is tuple
)
ADAM, _ = make_optimizer(learning_rate=1e-3, updates=10)
TARGET = train_state.abstract(ABSTRACT, ADAM)


def random_state(seed: int, shardings: TrainState | None = None) -> TrainState:
    """A state with every leaf drawn at random."""
    rng = np.random.default_rng(seed)
    numbers = jax.tree.map(lambda leaf: (100 * rng.random(leaf.shape)).astype(leaf.dtype), TARGET)
    return jax.device_put(numbers) if shardings is None else jax.device_put(numbers, shardings)


def assert_same(one: TrainState, other: TrainState) -> None:
    jax.tree.map(np.testing.assert_array_equal, one, other)


def on_disk(workdir) -> set[str]:
    return {path.name for path in (workdir / "checkpoints").iterdir()}


@pytest.fixture(scope="module")
def meshes():
    return {
        "cube": train_state.state_shardings(TARGET, parallel.make_mesh(data=2, fsdp=2, tensor=2)),
        "flat": train_state.state_shardings(TARGET, parallel.make_mesh(data=1, fsdp=8, tensor=1)),
        "one": train_state.state_shardings(TARGET, parallel.make_mesh(1, 1, 1, devices=jax.devices()[:1])),
    }


@pytest.mark.parametrize(("written", "read"), [("cube", "cube"), ("cube", "flat"), ("cube", "one"), ("one", "cube")])
def test_what_is_saved_comes_back_on_any_mesh(tmp_path, meshes, written, read):
    state = random_state(0, meshes[written])
    with Checkpoints(tmp_path, keep=2, every=1) as checkpoints:
        checkpoints.save(3, state)
    with Checkpoints(tmp_path, keep=2, every=1) as checkpoints:
        assert checkpoints.latest() == 3
        restored = checkpoints.restore(3, TARGET, meshes[read])
    assert isinstance(restored, TrainState)
    assert_same(state, restored)
    for leaf, where in zip(jax.tree.leaves(restored), jax.tree.leaves(meshes[read]), strict=True):
        assert leaf.sharding.is_equivalent_to(where, leaf.ndim)


def test_the_state_may_change_as_soon_as_save_returns(tmp_path, meshes):
    state, expected = random_state(0, meshes["one"]), random_state(0)
    spoil = jax.jit(lambda state: jax.tree.map(lambda leaf: leaf * 0 - 1, state), donate_argnums=0)
    with Checkpoints(tmp_path, keep=1, every=1) as checkpoints:
        checkpoints.save(0, state)
        for _ in range(3):
            state = spoil(state)  # donated: the saved arrays' memory is written over
        jax.block_until_ready(state)
    with Checkpoints(tmp_path, keep=1, every=1) as checkpoints:
        assert_same(checkpoints.restore(0, TARGET, meshes["one"]), expected)


def test_the_newest_few_are_kept(tmp_path, meshes):
    with Checkpoints(tmp_path, keep=2, every=1) as checkpoints:
        assert checkpoints.latest() is None
        for step in range(4):
            checkpoints.save(step, random_state(step, meshes["one"]))
    assert on_disk(tmp_path) == {"2", "3"}
    with Checkpoints(tmp_path, keep=2, every=1) as checkpoints:
        assert checkpoints.latest() == 3
        assert_same(checkpoints.restore(2, TARGET, meshes["one"]), random_state(2))
        assert_same(checkpoints.restore(3, TARGET, meshes["one"]), random_state(3))


def test_saves_that_are_not_due_are_passed_over_unless_forced(tmp_path, meshes):
    with Checkpoints(tmp_path, keep=9, every=3) as checkpoints:
        for step in range(5):
            checkpoints.save(step, random_state(step, meshes["one"]))
        checkpoints.save(5, random_state(5, meshes["one"]), force=True)
    assert on_disk(tmp_path) == {"0", "3", "5"}


def test_saving_a_step_twice_keeps_the_first(tmp_path, meshes):
    with Checkpoints(tmp_path, keep=2, every=1) as checkpoints:
        checkpoints.save(1, random_state(1, meshes["one"]))
        checkpoints.save(1, random_state(2, meshes["one"]))
    with Checkpoints(tmp_path, keep=2, every=1) as checkpoints:
        checkpoints.save(1, random_state(3, meshes["one"]), force=True)  # as a run resumed at its end does
        assert_same(checkpoints.restore(1, TARGET, meshes["one"]), random_state(1))


def test_a_half_written_checkpoint_does_not_count(tmp_path, meshes):
    with Checkpoints(tmp_path, keep=2, every=1) as checkpoints:
        checkpoints.save(1, random_state(1, meshes["one"]))
    # what a kill leaves behind: the folder under the name that it has until it is whole
    left = tmp_path / "checkpoints" / "2.orbax-checkpoint-tmp"
    shutil.copytree(tmp_path / "checkpoints" / "1", left)
    next(path for path in left.rglob("*") if path.is_file()).unlink()
    with Checkpoints(tmp_path, keep=2, every=1) as checkpoints:
        assert checkpoints.latest() == 1
        checkpoints.save(2, random_state(2, meshes["one"]))
    with Checkpoints(tmp_path, keep=2, every=1) as checkpoints:
        assert checkpoints.latest() == 2
        assert_same(checkpoints.restore(2, TARGET, meshes["one"]), random_state(2))
