"""Log-probs of a rollout: bit for bit as they were written, for that rollout alone, or not at all."""

from pathlib import Path

import numpy as np
import pytest

from acecoder_jax.training import logp_file


def make(tmp_path: Path, with_ref: bool = True) -> tuple[Path, Path, list[np.ndarray], list[np.ndarray] | None]:
    rng = np.random.default_rng(0)
    old, ref = ([rng.normal(size=n).astype(np.float32) for n in (3, 1, 7)] for _ in range(2))
    rollout = tmp_path / "000003.jsonl"
    rollout.write_text("samples")
    path = tmp_path / "logps" / "000003.npz"
    logp_file.save(path, rollout, old, ref if with_ref else None)
    return path, rollout, old, ref if with_ref else None


@pytest.mark.parametrize("with_ref", [True, False])
def test_as_written(tmp_path: Path, with_ref: bool) -> None:
    path, rollout, old, ref = make(tmp_path, with_ref)
    found = logp_file.load(path, rollout)
    assert found is not None
    for one, other in zip(found[0], old, strict=True):
        assert one.dtype == np.float32
        np.testing.assert_array_equal(one, other)
    assert (found[1] is None) == (ref is None)
    for one, other in zip(found[1] or [], ref or [], strict=True):
        np.testing.assert_array_equal(one, other)


def test_missing_damaged_or_of_another_rollout(tmp_path: Path) -> None:
    path, rollout, old, ref = make(tmp_path)
    assert logp_file.load(tmp_path / "none.npz", rollout) is None
    whole = path.read_bytes()
    for at in range(0, len(whole), 97):
        damaged = bytearray(whole)
        damaged[at] ^= 0x10
        path.write_bytes(damaged)
        found = logp_file.load(path, rollout)
        if found is not None:  # a spare byte of the format
            np.testing.assert_array_equal(np.concatenate([*found[0], *found[1]]), np.concatenate([*old, *ref]))
    path.write_bytes(whole[:-30])
    assert logp_file.load(path, rollout) is None
    path.write_bytes(whole)
    rollout.write_text("other samples")
    assert logp_file.load(path, rollout) is None
    rollout.unlink()
    assert logp_file.load(path, rollout) is None
