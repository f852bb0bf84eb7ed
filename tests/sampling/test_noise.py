"""Noise by name: pinned numbers, another number for every part of the name, none for the place in a batch."""

from typing import Any

import jax
import numpy as np
import pytest

from acecoder_jax.sampling.noise import sample_key, stable_hash, uniforms

NAME: dict[str, Any] = {"seed": 0, "purpose": "rollout", "rollout": 3, "problem_id": "toy/7", "sample": 1, "turn": 0}
drawn = jax.jit(uniforms)


def test_the_hash_is_the_same_on_every_machine():
    assert stable_hash(1, "a", "β", -2).hex() == "c0a3d01736910a06"
    assert len(stable_hash("a", size=16)) == 16


def test_names_do_not_run_into_each_other():
    names: list[Any] = [("ab", "c"), ("a", "bc"), ("abc",), (1,), ("1",), (1, 1), (11,)]
    assert len({stable_hash(*name) for name in names}) == 7


def test_the_key_and_the_numbers_are_pinned():
    """A change here changes every sample of every run: it would break each resume."""
    key_2 = sample_key(**NAME)
    assert (key_2.dtype, key_2.tolist()) == (np.uint32, [1836561984, 1832212714])
    np.testing.assert_array_equal(drawn(key_2[None], np.array([0]))[0], np.array([0.11533761, 0.7886764], np.float32))


@pytest.mark.parametrize("part", NAME)
def test_every_part_of_the_name_counts(part):
    other = NAME | {part: NAME[part] + ("x" if isinstance(NAME[part], str) else 1)}
    assert sample_key(**other).tolist() != sample_key(**NAME).tolist()


def test_the_position_counts_and_the_row_does_not():
    keys = np.stack([sample_key(**NAME | {"sample": i}) for i in range(4)])
    first = np.asarray(drawn(keys, np.array([0, 0, 0, 5])))
    assert len(set(first.ravel().tolist())) == 8
    order = [2, 0, 3, 1]
    np.testing.assert_array_equal(drawn(keys[order], np.array([0, 0, 0, 5])[order]), first[order])
    later = np.asarray(drawn(keys, np.array([1, 1, 1, 6])))
    assert not (first == later).any()


def test_numbers_are_uniform():
    keys = np.tile(sample_key(**NAME), (20_000, 1))
    numbers = np.asarray(jax.jit(uniforms)(keys, np.arange(20_000)))
    assert numbers.dtype == np.float32
    assert numbers.min() >= 0
    assert numbers.max() < 1
    cells = np.histogram2d(numbers[:, 0], numbers[:, 1], bins=8, range=((0.0, 1.0), (0.0, 1.0)))[0]
    chi2 = np.sum((cells - 20_000 / 64) ** 2) / (20_000 / 64)
    assert 30 < chi2 < 110  # 63 degrees of freedom: mean 63, standard deviation 11
