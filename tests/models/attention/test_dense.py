"""Who sees whom in packed, padded and windowed rows, and attention itself against a few lines of numpy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acecoder_jax.models.attention.dense import attention
from acecoder_jax.models.attention.places import NO_WINDOW, Places, mask

masks = jax.jit(mask)


def seen(
    segment_t: list[int], position_t: list[int], window: int = NO_WINDOW, branch_t: list[int] | None = None
) -> list[list[int]]:
    """The mask of one row that attends to itself."""
    rows = (None if numbers is None else np.array([numbers]) for numbers in (segment_t, position_t, branch_t))
    places = Places(*rows)
    return np.asarray(masks(places, places, window))[0].astype(int).tolist()


def test_packed():
    assert seen([5, 5, 6], [0, 1, 0]) == [[1, 0, 0], [1, 1, 0], [0, 0, 1]]


def test_padding_on_the_left_is_seen_by_nobody():
    assert seen([0, 0, 1, 1], [0, 0, 0, 1]) == [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]]


def test_padding_on_the_right_is_seen_by_nobody():
    assert seen([1, 1, 0], [0, 1, 2]) == [[1, 0, 0], [1, 1, 0], [0, 0, 0]]


def test_a_window_counts_the_query_itself():
    expected = [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]
    assert seen([1, 1, 1, 1], [0, 1, 2, 3], window=2) == expected
    assert seen([1, 1, 1, 1], [0, 1, 2, 3], window=1) == np.eye(4, dtype=int).tolist()


def test_a_window_goes_by_position_within_the_segment():
    # two packed sequences: the second's first token is the fourth of the row
    assert seen([1, 1, 1, 2, 2, 2], [0, 1, 2, 0, 1, 2], window=2) == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [0, 1, 1, 0, 0, 0],
        [0, 0, 0, 1, 0, 0],
        [0, 0, 0, 1, 1, 0],
        [0, 0, 0, 0, 1, 1],
    ]


def test_branches_see_the_prompt_and_themselves():
    assert seen([1, 1, 1, 1, 2], [0, 1, 2, 1, 0], branch_t=[0, 1, 1, 2, 0]) == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 0, 0, 1, 0],
        [0, 0, 0, 0, 1],
    ]


@pytest.fixture(scope="module")
def rows():
    """Queries [2, 3, 4, 6], keys and values [2, 5, 4, 6], and a mask with a query that sees nothing."""
    rng = np.random.default_rng(0)
    q_btnh = rng.normal(size=(2, 3, 4, 6)).astype(np.float32)
    k_bsnh, v_bsnh = rng.normal(size=(2, 2, 5, 4, 6)).astype(np.float32)
    mask_bts = rng.random((2, 3, 5)) < 0.6
    mask_bts[..., 0], mask_bts[1, 2] = True, False
    return q_btnh, k_bsnh, v_bsnh, mask_bts


plain = jax.jit(functools.partial(attention, scale=0.3, dtype=jnp.float32))


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_against_numpy(rows, kv_heads):
    q_btnh, k_bsnh, v_bsnh, mask_bts = rows
    k_bskh, v_bskh = k_bsnh[:, :, :kv_heads], v_bsnh[:, :, :kv_heads]
    out_btnh = np.asarray(plain(q_btnh, k_bskh, v_bskh, mask_bts))
    assert np.isfinite(out_btnh).all()
    for i, t, head in np.ndindex(2, 3, 4):
        if mask_bts[i, t].any():
            kv = head * kv_heads // 4  # heads next to each other share keys and values
            score_s = np.where(mask_bts[i, t], 0.3 * k_bskh[i, :, kv] @ q_btnh[i, t, head], -np.inf)
            weight_s = np.exp(score_s - score_s.max())
            expected_h = weight_s @ v_bskh[i, :, kv] / weight_s.sum()
            np.testing.assert_allclose(out_btnh[i, t, head], expected_h, rtol=1e-5, atol=1e-5)


def test_masked_keys_do_not_matter(rows):
    q_btnh, k_bsnh, v_bsnh, mask_bts = rows
    mask_bts = mask_bts & (np.arange(5) != 3)
    k_bskh, v_bskh = k_bsnh[:, :, :2].copy(), v_bsnh[:, :, :2].copy()
    one = plain(q_btnh, k_bskh, v_bskh, mask_bts)
    k_bskh[:, 3], v_bskh[:, 3] = 1e4, -1e4
    other = plain(q_btnh, k_bskh, v_bskh, mask_bts)
    seeing_bt = mask_bts.any(-1)
    np.testing.assert_array_equal(np.asarray(one)[seeing_bt], np.asarray(other)[seeing_bt])


def test_bfloat16_products_keep_float32_scores():
    q_btnh = np.full((1, 1, 1, 2), 16, np.float32)
    k_bskh = np.array([[1, 1], [1, 1.0078125]], np.float32).reshape(1, 2, 1, 2)  # one step of bfloat16 apart
    v_bskh = np.array([[0, 0], [1, 1]], np.float32).reshape(1, 2, 1, 2)
    # scores 32 and 32.125: rounded to bfloat16 (steps of 0.25 there) they would be the same, the answer 0.5
    out = jax.jit(functools.partial(attention, scale=1.0, dtype=jnp.bfloat16))(
        q_btnh, k_bskh, v_bskh, np.ones((1, 1, 2), bool)
    )
    np.testing.assert_allclose(out.ravel(), 1 / (1 + np.exp(-0.125)), rtol=5e-3)
    assert out.dtype == jnp.float32
