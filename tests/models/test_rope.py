"""RoPE and YaRN by hand; test_parity.py compares them with `transformers`."""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np
import pytest

from acecoder_jax.models import rope
from acecoder_jax.models.config import ModelConfig, YarnScaling

CONFIG = ModelConfig(
    vocab_size=8,
    hidden_size=8,
    intermediate_size=8,
    num_layers=1,
    num_heads=1,
    num_kv_heads=1,
    head_dim=8,
    rope_theta=10_000.0,
)


def with_yarn(**kw) -> ModelConfig:
    return dataclasses.replace(CONFIG, rope_scaling=YarnScaling(**kw))


def test_plain_frequencies():
    inv_freq_h, scale = rope.inv_freq_and_scale(CONFIG)
    np.testing.assert_allclose(inv_freq_h, [1, 0.1, 0.01, 0.001], rtol=1e-6)
    assert (inv_freq_h.dtype, scale) == (np.float32, 1.0)


def test_yarn_frequencies():
    # Within 256 positions pair x makes 256 / 2pi / 10^x turns: 40.7, 4.07, 0.407, 0.0407. The ramp goes from the pair
    # with 32 turns (x = 0.105, rounded down to 0) to that with one (x = 1.61, rounded up to 2): the first pair is kept,
    # the last two are divided by 4, the second is halfway.
    inv_freq_h, scale = rope.inv_freq_and_scale(with_yarn(factor=4.0, original_max_position_embeddings=256))
    np.testing.assert_allclose(inv_freq_h, [1, 0.1 * (0.5 + 0.5 / 4), 0.01 / 4, 0.001 / 4], rtol=1e-6)
    assert scale == pytest.approx(0.1 * math.log(4) + 1)


def test_yarn_without_rounding_of_the_ramp():
    inv_freq_h, _ = rope.inv_freq_and_scale(with_yarn(factor=4.0, original_max_position_embeddings=256, truncate=False))
    low, high = math.log10(256 / (2 * math.pi * 32)), math.log10(256 / (2 * math.pi))
    ramp = (1 - low) / (high - low)
    np.testing.assert_allclose(inv_freq_h, [1, 0.1 * (1 - ramp + ramp / 4), 0.0025, 0.00025], rtol=1e-6)


@pytest.mark.parametrize(
    ("yarn", "scale"),
    [
        ({"attention_factor": 0.8}, 0.8),
        ({"mscale": 2.0, "mscale_all_dim": 1.0}, (0.2 * math.log(4) + 1) / (0.1 * math.log(4) + 1)),
        ({"mscale": 2.0}, 0.1 * math.log(4) + 1),  # one of the two alone is not used
        ({"attention_factor": 0.8, "mscale": 2.0, "mscale_all_dim": 1.0}, 0.8),
        ({"factor": 1.0}, 1.0),
    ],
)
def test_yarn_attention_scaling(yarn, scale):
    config = with_yarn(**{"factor": 4.0, "original_max_position_embeddings": 256, **yarn})
    assert rope.inv_freq_and_scale(config)[1] == pytest.approx(scale)


def test_rotate_turns_pairs_by_position():
    position_bt = jnp.array([[0, 3]])
    cos_bth, sin_bth = rope.tables(CONFIG, position_bt)
    x_btnd = jnp.zeros((1, 2, 1, 8)).at[..., 1].set(2.0)  # the first dimension of the second pair (1, 5)
    turned = rope.rotate(x_btnd, cos_bth, sin_bth)
    np.testing.assert_allclose(turned[0, 0, 0], x_btnd[0, 0, 0])
    expected = np.zeros(8)
    expected[[1, 5]] = 2 * math.cos(0.3), 2 * math.sin(0.3)
    np.testing.assert_allclose(turned[0, 1, 0], expected, atol=1e-6)


def test_a_score_depends_on_the_distance_alone():
    rng = np.random.default_rng(0)
    q_h, k_h = rng.normal(size=(2, 8))
    config = with_yarn(factor=4.0, original_max_position_embeddings=256)

    def score(query: int, key: int) -> float:
        cos_bth, sin_bth = rope.tables(config, jnp.array([[query, key]]))
        both = rope.rotate(jnp.array([[q_h, k_h]])[:, :, None], cos_bth, sin_bth)
        return float(both[0, 0, 0] @ both[0, 1, 0])

    assert score(17, 5) == pytest.approx(score(912, 900), rel=1e-3)
    assert score(17, 5) != pytest.approx(score(17, 6), rel=1e-2)
