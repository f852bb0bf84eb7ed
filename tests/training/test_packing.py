"""Packing: the shift by one, rows, segments and positions, and the way back."""

import itertools

import numpy as np
import pytest

from acecoder_jax.training.packing import (
    TokenSequence,
    align,
    first_fit_decreasing,
    micro_batch,
    minibatches,
    pack,
    response_mask,
)


def sequence(length: int, start: int = 0) -> TokenSequence:
    """A sequence of `length` targets whose tokens count up from start, with a number for each target."""
    tokens = np.arange(start, start + length + 1)
    return TokenSequence(tokens, {"value": tokens[1:] / 10})


def test_the_shift_by_one():
    # prompt [10, 11], response [20, 1]
    one = TokenSequence(np.array([10, 11, 20, 1]), {"mask": response_mask(2, [1, 1]), "logp": align(2, [-0.5, -0.25])})
    arrays = pack([one], rows=1, row_tokens=3).arrays
    assert len(one) == 3
    assert arrays["tokens_mbt"].tolist() == [[[10, 11, 20]]]
    assert arrays["target_mbt"].tolist() == [[[11, 20, 1]]]
    assert arrays["mask_mbt"].tolist() == [[[0, 1, 1]]]
    assert arrays["logp_mbt"].tolist() == [[[0, -0.5, -0.25]]]


def test_a_prompt_of_one_token_has_nothing_masked():
    assert response_mask(1, [1, 1]).tolist() == [1, 1]
    assert response_mask(3, [1, 0, 1]).tolist() == [0, 0, 1, 0, 1]
    assert align(1, [3.0]).tolist() == [3.0]
    assert response_mask(2, [1]).dtype == align(2, [1]).dtype == np.float32


def test_first_fit_decreasing():
    # 6 opens row 0 (4 left), 5 opens row 1 (5 left), 4 fills row 0, 3 goes to row 1, 2 fills row 1, 2 opens row 2
    assert first_fit_decreasing([2, 5, 3, 6, 2, 4], 10) == [[3, 5], [1, 2, 0], [4]]
    assert first_fit_decreasing([1, 1, 1], 1) == [[0], [1], [2]]


def test_rows_segments_and_positions():
    packed = pack([sequence(2, 10), sequence(3, 20), sequence(4, 30)], rows=2, row_tokens=5)
    assert packed.arrays["tokens_mbt"][0].tolist() == [[30, 31, 32, 33, 0], [20, 21, 22, 10, 11]]
    assert packed.arrays["target_mbt"][0].tolist() == [[31, 32, 33, 34, 0], [21, 22, 23, 11, 12]]
    assert packed.arrays["segment_mbt"][0].tolist() == [[1, 1, 1, 1, 0], [1, 1, 1, 2, 2]]
    assert packed.arrays["position_mbt"][0].tolist() == [[0, 1, 2, 3, 0], [0, 1, 2, 0, 1]]
    assert packed.places == ((0, 1, 3), (0, 1, 0), (0, 0, 0))


def test_the_shape_depends_on_the_number_of_sequences_alone():
    small = pack([sequence(1)] * 5, rows=2, row_tokens=6)
    large = pack([sequence(6)] * 5, rows=2, row_tokens=6)
    assert {array.shape for array in (*small.arrays.values(), *large.arrays.values())} == {(3, 2, 6)}
    assert (small.micro_batches, large.micro_batches) == (1, 3)
    assert small.arrays["tokens_mbt"].dtype == np.int32
    assert small.arrays["value_mbt"].dtype == np.float32
    assert not any(array[1:].any() for array in small.arrays.values())  # what is not in use is empty


@pytest.mark.parametrize("seed", range(5))
def test_unpack_is_the_way_back(seed):
    rng = np.random.default_rng(seed)
    sequences = [sequence(int(length), 100 * i) for i, length in enumerate(rng.integers(1, 17, 30))]
    packed = pack(sequences, rows=3, row_tokens=16)
    for name, expected in {
        "value": [s.per_token["value"].astype(np.float32) for s in sequences],
        "tokens": [s.tokens[:-1] for s in sequences],
        "target": [s.tokens[1:] for s in sequences],
        "position": [np.arange(len(s)) for s in sequences],
    }.items():
        for one, other in zip(packed.unpack(packed.arrays[f"{name}_mbt"]), expected, strict=True):
            np.testing.assert_array_equal(one, other)
    used = packed.arrays["segment_mbt"] > 0
    assert used.sum() == sum(map(len, sequences))  # nothing lies over anything else
    assert used.any((1, 2)).sum() == packed.micro_batches == used[: packed.micro_batches].any((1, 2)).sum()
    for row_t in packed.arrays["segment_mbt"].reshape(-1, 16):
        numbers = [n for n in dict.fromkeys(row_t.tolist()) if n]
        assert numbers == list(range(1, len(numbers) + 1))


def test_errors():
    with pytest.raises(ValueError, match="a sequence of 7 tokens is longer than a row of 6"):
        pack([sequence(3), sequence(7)], rows=1, row_tokens=6)
    with pytest.raises(ValueError, match="no sequences"):
        pack([], rows=1, row_tokens=6)


def test_scaled():
    one = TokenSequence(np.arange(3), {"loss_weight": np.array([0, 1]), "advantage": np.array([2, 2])})
    half = one.scaled("loss_weight", 0.5)
    assert half.per_token["loss_weight"].tolist() == [0, 0.5]
    assert half.per_token["advantage"].tolist() == [2, 2]
    assert one.per_token["loss_weight"].tolist() == [0, 1]


def test_micro_batch():
    packed = pack([sequence(4, 10), sequence(4, 20)], rows=1, row_tokens=4)
    batch = micro_batch(packed.arrays, 1)
    assert batch.keys() == {"tokens_bt", "target_bt", "segment_bt", "position_bt", "value_bt"}
    assert batch["tokens_bt"].tolist() == [[20, 21, 22, 23]]


def test_minibatches_are_a_function_of_seed_and_rollout():
    sequences = [sequence(1, i) for i in range(10)]

    def order(seed: int, rollout: int) -> list[list[int]]:
        return [[int(s.tokens[0]) for s in batch] for batch in minibatches(sequences, 4, seed, rollout)]

    assert [len(batch) for batch in order(0, 0)] == [4, 4, 2]
    assert sorted(itertools.chain(*order(0, 0))) == list(range(10))
    assert order(0, 0) == order(0, 0)
    assert len({str(order(seed, rollout)) for seed in (0, 1) for rollout in (0, 1)}) == 4
