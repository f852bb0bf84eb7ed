"""Packing: the shift by one, rows, segments and positions, and the way back."""

import itertools

import numpy as np
import pytest

from acecoder_jax.training.packing import (
    TokenSequence,
    align,
    deal,
    fill_rows,
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
    def rows(lengths: list[int], row_tokens: int) -> list[list[int]]:
        filled = fill_rows([sequence(n) for n in lengths], row_tokens, share=False)
        return [[i for group in row for i in group.members] for row in filled]

    # 6 opens row 0 (4 left), 5 opens row 1 (5 left), 4 fills row 0, 3 goes to row 1, 2 fills row 1, 2 opens row 2
    assert rows([2, 5, 3, 6, 2, 4], 10) == [[3, 5], [1, 2, 0], [4]]
    assert rows([1, 1, 1], 1) == [[0], [1], [2]]


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


def test_responses_share_their_prompt():
    ones = [
        TokenSequence(np.array([10, 11, 20, 1]), {"value": np.array([0, 0.5, 0.25])}, prompt=2),
        TokenSequence(np.array([10, 11, 30, 31, 1]), {"value": np.array([0, 3, 4, 5])}, prompt=2),
        TokenSequence(np.array([12, 11, 7]), {"value": np.array([0, 9])}, prompt=2),
    ]
    packed = pack(ones, rows=1, row_tokens=9, share=True)
    row = {name: array[0, 0].tolist() for name, array in packed.arrays.items()}
    assert row == {
        "tokens_mbt": [10, 11, 30, 31, 11, 20, 12, 11, 0],
        "target_mbt": [11, 30, 31, 1, 20, 1, 11, 7, 0],
        "wanted_mbt": [0, 1, 1, 1, 1, 1, 0, 1, 0],
        "segment_mbt": [1, 1, 1, 1, 1, 1, 2, 2, 0],
        "position_mbt": [0, 1, 2, 3, 1, 2, 0, 1, 0],
        "branch_mbt": [0, 1, 1, 1, 2, 2, 0, 0, 0],
        "value_mbt": [0, 3, 4, 5, 0.5, 0.25, 0, 9, 0],
    }
    assert [part.tolist() for part in packed.unpack(packed.arrays["value_mbt"])] == [[0.5, 0.25], [3, 4, 5], [9]]
    assert packed.padding_share == pytest.approx(1 / 9)
    assert "branch_mbt" not in pack(ones, rows=1, row_tokens=9).arrays


def test_a_group_too_large_for_a_row_goes_to_several():
    ones = [TokenSequence(np.arange(4 + n), {}, prompt=4) for n in (5, 4, 4, 3)]  # 3 shared, then 5, 4, 4, 3
    packed = pack(ones, rows=1, row_tokens=11, share=True)
    assert packed.arrays["branch_mbt"][:, 0].max(-1).tolist()[:2] == [2, 2]
    assert packed.micro_batches == 2
    assert packed.tokens == 2 * 3 + 5 + 4 + 4 + 3


@pytest.mark.parametrize("seed", range(5))
def test_sharing_loses_nothing_and_pads_less(seed):
    rng = np.random.default_rng(seed)
    ones = []
    for prompt in range(6):
        start = rng.integers(0, 9, rng.integers(1, 9))
        for _ in range(rng.integers(1, 9)):
            tokens = np.concatenate([[prompt], start, rng.integers(0, 9, rng.integers(1, 12))])
            ones.append(TokenSequence(tokens, {"value": rng.random(len(tokens) - 1)}, len(start) + 1))
    order = rng.permutation(len(ones))
    ones = [ones[i] for i in order]
    packed, apart = (pack(ones, rows=2, row_tokens=24, share=share) for share in (True, False))
    for name, array in packed.arrays.items():
        if name != "branch_mbt":
            for one, other in zip(packed.unpack(array), apart.unpack(apart.arrays[name]), strict=True):
                if name != "segment_mbt":
                    np.testing.assert_array_equal(one, other)
    assert packed.arrays["wanted_mbt"].sum() == apart.arrays["wanted_mbt"].sum() == sum(one.wanted for one in ones)
    assert packed.tokens < apart.tokens == sum(map(len, ones))
    assert (packed.arrays["segment_mbt"] > 0).sum() == packed.tokens


def test_rows_are_dealt_so_that_shards_have_the_same_to_predict():
    assert deal([9, 8, 2, 1], micro_batches=1, rows=4, shards=2) == [(0, 0), (0, 2), (0, 3), (0, 1)]
    rng = np.random.default_rng(0)
    wanted = rng.integers(1, 1000, 45).tolist()
    places = deal(wanted, micro_batches=6, rows=8, shards=4)
    assert len(set(places)) == 45
    load = np.zeros((6, 4))
    for (m, b), n in zip(places, wanted, strict=True):
        load[m, b // 2] += n
    assert load.max(1).sum() < 1.1 * load.mean(1).sum()


@pytest.mark.parametrize("shards", [1, 2])
def test_an_allocated_shape_stays_and_unpacks(shards):
    sequences = [sequence(n) for n in (5, 3, 2, 4)]
    packed = pack(sequences, rows=2, row_tokens=6, allocate=9, shards=shards)
    assert packed.arrays["tokens_mbt"].shape == (5, 2, 6)
    assert packed.micro_batches == 2
    for one, part in zip(sequences, packed.unpack(packed.arrays["target_mbt"]), strict=True):
        np.testing.assert_array_equal(one.tokens[1:], part)


def test_errors():
    with pytest.raises(ValueError, match="a sequence of 7 tokens is longer than a row of 6"):
        pack([sequence(3), sequence(7)], rows=1, row_tokens=6)
    with pytest.raises(ValueError, match="no sequences"):
        pack([], rows=1, row_tokens=6)
    with pytest.raises(ValueError, match="a loss weight within its prompt"):
        pack([TokenSequence(np.arange(4), {"loss_weight": np.ones(3)}, prompt=2)], rows=1, row_tokens=6)


def test_scaled():
    one = TokenSequence(np.arange(3), {"loss_weight": np.array([0, 1]), "advantage": np.array([2, 2])})
    half = one.scaled("loss_weight", 0.5)
    assert half.per_token["loss_weight"].tolist() == [0, 0.5]
    assert half.per_token["advantage"].tolist() == [2, 2]
    assert one.per_token["loss_weight"].tolist() == [0, 1]


def test_micro_batch():
    packed = pack([sequence(4, 10), sequence(4, 20)], rows=1, row_tokens=4)
    batch = micro_batch(packed.arrays, 1)
    assert batch.keys() == {"tokens_bt", "target_bt", "wanted_bt", "segment_bt", "position_bt", "value_bt"}
    assert batch["tokens_bt"].tolist() == [[20, 21, 22, 23]]


def test_minibatches_are_a_function_of_seed_and_rollout():
    sequences = [sequence(1, i) for i in range(10)]

    def order(seed: int, rollout: int) -> list[list[int]]:
        return [[int(s.tokens[0]) for s in batch] for batch in minibatches(sequences, 4, seed, rollout)]

    assert [len(batch) for batch in order(0, 0)] == [4, 4, 2]
    assert sorted(itertools.chain(*order(0, 0))) == list(range(10))
    assert order(0, 0) == order(0, 0)
    assert len({str(order(seed, rollout)) for seed in (0, 1) for rollout in (0, 1)}) == 4


def test_minibatches_may_keep_the_samples_of_a_prompt_together():
    sequences = [TokenSequence(np.array([i % 5, 9, i]), {}, prompt=2) for i in range(20)]
    batches = list(minibatches(sequences, 8, 0, 0, by_prompt=True))
    assert [len({int(s.tokens[0]) for s in batch}) for batch in batches] == [2, 2, 1]
    assert sorted(int(s.tokens[2]) for batch in batches for s in batch) == list(range(20))
    other = list(minibatches(sequences, 8, 0, 1, by_prompt=True))
    assert [s.tokens[0] for s in other[0]] != [s.tokens[0] for s in batches[0]]


def test_each_pass_has_an_order_of_its_own():
    sequences = [TokenSequence(np.array([1, i]), {}) for i in range(12)]
    names = lambda batches: [[int(one.tokens[1]) for one in batch] for batch in batches]  # noqa: E731
    three = names(minibatches(sequences, 5, seed=1, rollout=2, passes=3))
    assert [len(batch) for batch in three] == [5, 5, 2] * 3
    passes = [list(itertools.chain(*three[i : i + 3])) for i in (0, 3, 6)]
    assert all(sorted(one) == list(range(12)) for one in passes)
    assert passes[0] != passes[1] != passes[2] != passes[0]
    assert three[:3] == names(minibatches(sequences, 5, seed=1, rollout=2))
    assert three[3:] != names(minibatches(sequences, 5, seed=1, rollout=3, passes=3))[3:]
