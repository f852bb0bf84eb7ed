"""Checkpoints: what is saved comes back, on another mesh too; a few are kept; a half-written one does not count."""

import contextlib
import errno
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acecoder_jax import parallel
from acecoder_jax.stops import Stop, Stopped
from acecoder_jax.training import state as train_state
from acecoder_jax.training.checkpoint import Checkpoints, Position
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
        checkpoints.save(Position(3), state)
    with Checkpoints(tmp_path, keep=2, every=1) as checkpoints:
        assert checkpoints.latest() == Position(3)
        restored = checkpoints.restore(Position(3), TARGET, meshes[read])
    assert isinstance(restored, TrainState)
    assert_same(state, restored)
    for leaf, where in zip(jax.tree.leaves(restored), jax.tree.leaves(meshes[read]), strict=True):
        assert leaf.sharding.is_equivalent_to(where, leaf.ndim)


def test_the_state_may_change_as_soon_as_save_returns(tmp_path, meshes):
    state, expected = random_state(0, meshes["one"]), random_state(0)
    spoil = jax.jit(lambda state: jax.tree.map(lambda leaf: leaf * 0 - 1, state), donate_argnums=0)
    with Checkpoints(tmp_path, keep=1, every=1) as checkpoints:
        checkpoints.save(Position(0), state)
        for _ in range(3):
            state = spoil(state)  # donated: the saved arrays' memory is written over
        jax.block_until_ready(state)
    with Checkpoints(tmp_path, keep=1, every=1) as checkpoints:
        assert_same(checkpoints.restore(Position(0), TARGET, meshes["one"]), expected)


def test_the_run_goes_on_while_a_checkpoint_is_written(tmp_path, meshes):
    go, log = threading.Event(), []

    @contextlib.contextmanager
    def writing():
        assert go.wait(60)
        yield
        log.append("written")

    with Checkpoints(tmp_path, keep=2, every=1, writing=writing) as checkpoints:
        checkpoints.save(Position(1), random_state(1, meshes["one"]))
        checkpoints.check()
        assert not log and "1" not in on_disk(tmp_path) and checkpoints.last_good == "there is no checkpoint yet"
        go.set()
        checkpoints.wait()
        assert log == ["written"] and on_disk(tmp_path) == {"1"}


def test_the_newest_few_are_kept(tmp_path, meshes):
    with Checkpoints(tmp_path, keep=2, every=1) as checkpoints:
        assert checkpoints.latest() is None
        for step in range(4):
            checkpoints.save(Position(step), random_state(step, meshes["one"]))
    assert on_disk(tmp_path) == {"2", "3"}
    with Checkpoints(tmp_path, keep=2, every=1) as checkpoints:
        assert checkpoints.latest() == Position(3)
        assert_same(checkpoints.restore(Position(2), TARGET, meshes["one"]), random_state(2))
        assert_same(checkpoints.restore(Position(3), TARGET, meshes["one"]), random_state(3))


def test_saves_that_are_not_due_are_passed_over_unless_forced(tmp_path, meshes):
    with Checkpoints(tmp_path, keep=9, every=3) as checkpoints:
        for step in range(5):
            checkpoints.save(Position(step), random_state(step, meshes["one"]))
        checkpoints.save(Position(5), random_state(5, meshes["one"]), force=True)
    assert on_disk(tmp_path) == {"0", "3", "5"}


def test_saving_a_step_twice_keeps_the_first(tmp_path, meshes):
    with Checkpoints(tmp_path, keep=2, every=1) as checkpoints:
        checkpoints.save(Position(1), random_state(1, meshes["one"]))
        checkpoints.save(Position(1), random_state(2, meshes["one"]))
    with Checkpoints(tmp_path, keep=2, every=1) as checkpoints:
        assert checkpoints.latest() == Position(1)
        checkpoints.save(Position(1), random_state(3, meshes["one"]), force=True)  # as a run resumed at its end does
        assert_same(checkpoints.restore(Position(1), TARGET, meshes["one"]), random_state(1))


def test_within_a_rollout(tmp_path, meshes):
    with Checkpoints(tmp_path, keep=9, every=2, minibatches=3) as checkpoints:
        for position in [Position(4, i) for i in range(8)] + [Position(5), Position(5, 1)]:
            checkpoints.save(position, random_state(0, meshes["one"]), {"at": position.minibatch})
        checkpoints.save(Position(10), random_state(0, meshes["one"]))
    assert on_disk(tmp_path) == {"4", "4.3", "4.6", "10"}
    with Checkpoints(tmp_path, keep=2, every=1) as checkpoints:
        assert checkpoints.about(Position(4, 3)) == {"at": 3}
        assert checkpoints.latest() == Position(10)


def test_numbers_that_json_lacks_come_back_as_words(tmp_path, meshes):
    with Checkpoints(tmp_path, keep=1, every=1) as checkpoints:
        row = {"loss": float("nan"), "norm": float("inf"), "skipped": 1.0}
        checkpoints.save(Position(1), random_state(0, meshes["one"]), {"row": row, "updates": [row]})
    with Checkpoints(tmp_path, keep=1, every=1) as checkpoints:
        words = {"loss": "nan", "norm": "inf", "skipped": 1.0}
        assert checkpoints.about(Position(1)) == {"row": words, "updates": [words]}


def test_another_model_is_an_error_that_names_an_array(two):
    wide = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((*leaf.shape[:-1], 7), leaf.dtype), ABSTRACT)
    fewer = {name: leaf for name, leaf in ABSTRACT.items() if name != "embed_vd"}
    with Checkpoints(two, keep=2, every=1) as checkpoints:
        for params, said in (
            (wide, r"\['embed_vd'\].* is \[2048, 32\] there and \[2048, 7\] now"),
            (fewer, "and absent now"),
        ):
            with pytest.raises(ValueError, match=said) as error:
                checkpoints.restore(Position(2), train_state.abstract(params, ADAM))
            assert "checkpoint 2 is of another model" in str(error.value) and "lora" in str(error.value)


def test_files_of_others_in_the_folder_are_left_alone(tmp_path, meshes):
    with Checkpoints(tmp_path, keep=1, every=1) as checkpoints:
        checkpoints.save(Position(1), random_state(0, meshes["one"]))
    (tmp_path / "checkpoints" / ".nfs0001").write_text("open elsewhere")
    with Checkpoints(tmp_path, keep=1, every=1) as checkpoints:
        assert checkpoints.latest() == Position(1)


def test_what_a_kill_leaves_does_not_count_and_goes(tmp_path, meshes):
    with Checkpoints(tmp_path, keep=2, every=1) as checkpoints:
        checkpoints.save(Position(1), random_state(1, meshes["one"]))
    folder = tmp_path / "checkpoints"
    for left in (".saving-2", ".deleting-0"):
        shutil.copytree(folder / "1", folder / left)
        next(path for path in (folder / left).rglob("*") if path.is_file()).unlink()
    with Checkpoints(tmp_path, keep=2, every=1) as checkpoints:
        assert on_disk(tmp_path) == {"1"}
        assert checkpoints.latest() == Position(1)
        checkpoints.save(Position(2), random_state(2, meshes["one"]))
    with Checkpoints(tmp_path, keep=2, every=1) as checkpoints:
        assert checkpoints.latest() == Position(2)
        assert_same(checkpoints.restore(Position(2), TARGET, meshes["one"]), random_state(2))


@pytest.fixture(scope="module")
def two(tmp_path_factory, meshes):
    """A folder with checkpoints 1 and 2."""
    workdir = tmp_path_factory.mktemp("two")
    with Checkpoints(workdir, keep=2, every=1) as checkpoints:
        for step in (1, 2):
            checkpoints.save(Position(step), random_state(step, meshes["one"]))
    return workdir


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)


DAMAGE = {
    "flipped": (flip, "its bytes have changed"),
    "cut": (lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]), "it is cut short"),
    "missing": (Path.unlink, "is missing"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_to_any_file_is_found_named_and_moved_aside(two, tmp_path, meshes, capsys, kind):
    damage, word = DAMAGE[kind]
    files = sorted(path.relative_to(two) for path in (two / "checkpoints" / "2").rglob("*") if path.is_file())
    assert len(files) > 5
    for number, file in enumerate(files):
        workdir = tmp_path / str(number)
        shutil.copytree(two, workdir)
        damage(workdir / file)
        with Checkpoints(workdir, keep=2, every=1) as checkpoints:
            assert checkpoints.latest() == Position(1)
            assert on_disk(workdir) == {"1", "2.unusable"}
            assert str(workdir / "checkpoints" / "1") in checkpoints.last_good
            told = capsys.readouterr().out
            assert "checkpoint 2 cannot be used: " in told and str(workdir / "checkpoints" / "2.unusable") in told
            assert (word in told and file.name in told) or "manifest.json is damaged" in told
            if number == 0:
                assert_same(checkpoints.restore(Position(1), TARGET, meshes["one"]), random_state(1))
                for step in (2, 3, 4):  # its number is needed again; it itself is never deleted
                    checkpoints.save(Position(step), random_state(step, meshes["one"]))
                checkpoints.wait()
                assert on_disk(workdir) == {"3", "4", "2.unusable"}


def test_what_orbax_would_read_from_flipped_bits(two, tmp_path, meshes):
    """The reason for the checksums: were this an error one day, they could go."""
    shutil.copytree(two, tmp_path, dirs_exist_ok=True)
    flip(max((tmp_path / "checkpoints" / "2").rglob("d/*"), key=lambda path: path.stat().st_size))
    with Checkpoints(tmp_path, keep=2, every=1) as checkpoints:
        wrong = checkpoints.restore(Position(2), TARGET, meshes["one"])
    with pytest.raises(AssertionError):
        assert_same(wrong, random_state(2))


def test_one_that_cannot_be_used_is_passed_over(two, tmp_path, capsys):
    shutil.copytree(two, tmp_path, dirs_exist_ok=True)
    with Checkpoints(tmp_path, keep=2, every=1) as checkpoints:
        assert checkpoints.latest(lambda position: "" if position.rollout < 1 else "its rollout is missing") is None
    assert on_disk(tmp_path) == {"1.unusable", "2.unusable"}
    assert capsys.readouterr().out.count("its rollout is missing") == 2


def test_stop_saves_waits_and_raises(tmp_path, meshes, capsys):
    stop = Stop()
    state = random_state(1, meshes["one"])
    with Checkpoints(tmp_path, keep=2, every=10) as checkpoints:
        checkpoints.keep(stop, Position(1), lambda: pytest.fail("it is not due"))
        stop.signal = signal.SIGTERM
        with pytest.raises(Stopped):
            checkpoints.keep(stop, Position(1, 2), lambda: (state, {"a": 1}))
        assert on_disk(tmp_path) == {"1.2"}
        assert f"stopped at {tmp_path / 'checkpoints' / '1.2'}" in capsys.readouterr().out
        with pytest.raises(Stopped):
            checkpoints.keep(stop, Position(1, 2), lambda: pytest.fail("it is there"))


def test_an_error_of_another_file_names_the_last_good_one_too(tmp_path, capsys):
    with pytest.raises(OSError, match="No space"), Checkpoints(tmp_path, keep=3, every=1) as checkpoints:
        checkpoints.save(Position(1), random_state(1))
        raise OSError(errno.ENOSPC, "No space left on device")
    assert capsys.readouterr().out == f"checkpoints: the last good one is {tmp_path / 'checkpoints' / '1'}\n"


FULL_DISK = """
import resource, sys
from pathlib import Path
from tests.training.test_checkpoint import Checkpoints, Position, random_state
workdir = Path(sys.argv[1])
with Checkpoints(workdir, keep=3, every=1) as checkpoints:
    checkpoints.save(Position(1), random_state(1))
    checkpoints.wait()
    if sys.argv[2] == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    else:
        (workdir / "filler").write_bytes(bytes(int(sys.argv[2])))
    for step in range(2, 9):
        checkpoints.save(Position(step), random_state(step))
        checkpoints.wait()
"""


def fill(workdir: Path, how: str) -> str:
    """What a run says whose disk fills up after checkpoint 1."""
    command = [sys.executable, "-c", FULL_DISK, str(workdir), how]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    return done.stderr


def test_a_full_disk_leaves_earlier_ones_and_names_the_last_good(tmp_path):
    told = fill(tmp_path, "limit")
    assert "RuntimeError: checkpoint 2 could not be written: " in told
    assert f"the last good one is {tmp_path / 'checkpoints' / '1'}" in told
    assert on_disk(tmp_path) == {"1"}
    with Checkpoints(tmp_path, keep=3, every=1) as checkpoints:  # with room again
        assert checkpoints.latest() == Position(1)
        checkpoints.save(Position(2), random_state(2))
    assert on_disk(tmp_path) == {"1", "2"}


def test_a_small_file_system_that_fills_up(tmp_path):
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(tmp_path)], capture_output=True)
    if mounted.returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        told = fill(tmp_path, "1000000")
        assert "could not be written: " in told and "the last good one is" in told
        with Checkpoints(tmp_path, keep=9, every=1) as checkpoints:
            last = checkpoints.latest()
            assert last is not None and f"/checkpoints/{last.name}" in told
            (tmp_path / "filler").unlink()
            assert_same(checkpoints.restore(last, TARGET), random_state(last.rollout))
            checkpoints.save(Position(9), random_state(9))
        assert "9" in on_disk(tmp_path)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
