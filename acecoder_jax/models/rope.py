"""Rotary position embeddings: the frequency of each pair of dimensions, the tables of a batch, the rotation.

Letters: b batch, t time, n heads, h half the head dim (one pair of dimensions each).
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from acecoder_jax.models.config import ModelConfig, YarnScaling


def inv_freq_and_scale(config: ModelConfig) -> tuple[np.ndarray, float]:
    """The angle a position adds in each pair of dimensions, and the number that multiplies sine and cosine.

    Returns (inv_freq float32 [head_dim / 2], in radians per position; attention scaling). Pair i is the dimensions i
    and i + head_dim / 2. Plain RoPE (arXiv 2104.09864) has theta^(-2i / head_dim) and scaling 1; YaRN (arXiv
    2309.00071, section 3.2) divides the slow frequencies by its factor, keeps the fast ones and ramps between.
    """
    exponent_h = np.arange(0, config.head_dim, 2, dtype=np.float32) / np.float32(config.head_dim)
    wavelength_h = np.power(config.rope_theta, exponent_h.astype(np.float64)).astype(np.float32)
    fast_h = np.float32(1) / wavelength_h
    yarn = config.rope_scaling
    if yarn is None:
        return fast_h, 1.0
    low, high = _ramp_ends(config, yarn)
    ramp_h = np.clip((np.arange(config.head_dim // 2, dtype=np.float32) - low) / (high - low), 0, 1).astype(np.float32)
    keep_h = np.float32(1) - ramp_h
    slow_h = np.float32(1) / (np.float32(yarn.factor) * wavelength_h)
    return slow_h * (np.float32(1) - keep_h) + fast_h * keep_h, _attention_scaling(yarn)


def tables(config: ModelConfig, position_bt: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Cosine and sine of each token's angles, attention scaling included: two arrays [b, t, h] of float32."""
    inv_freq_h, scale = inv_freq_and_scale(config)
    angle_bth = position_bt[..., None].astype(jnp.float32) * inv_freq_h
    return jnp.cos(angle_bth) * scale, jnp.sin(angle_bth) * scale


def rotate(x_btnd: jax.Array, cos_bth: jax.Array, sin_bth: jax.Array) -> jax.Array:
    """Queries or keys [b, t, n, d] (d = 2 h) turned by their token's angles; the pairs are (i, i + h)."""
    first_btnh, second_btnh = jnp.split(x_btnd, 2, axis=-1)
    cos_bt1h, sin_bt1h = cos_bth[:, :, None], sin_bth[:, :, None]
    turned = (first_btnh * cos_bt1h - second_btnh * sin_bt1h, second_btnh * cos_bt1h + first_btnh * sin_bt1h)
    return jnp.concatenate(turned, axis=-1)


def _ramp_ends(config: ModelConfig, yarn: YarnScaling) -> tuple[float, float]:
    """The pairs that make beta_fast and beta_slow turns within the original context."""

    def pair(turns: float) -> float:
        length = yarn.original_max_position_embeddings / (turns * 2 * math.pi)
        return config.head_dim * math.log(length) / (2 * math.log(config.rope_theta))

    low, high = pair(yarn.beta_fast), pair(yarn.beta_slow)
    if yarn.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, config.head_dim - 1)
    return low, high if high != low else high + 0.001


def _attention_scaling(yarn: YarnScaling) -> float:
    if yarn.attention_factor is not None:
        return float(yarn.attention_factor)

    def mscale(weight: float) -> float:
        return 1.0 if yarn.factor <= 1 else 0.1 * weight * math.log(yarn.factor) + 1.0

    if yarn.mscale and yarn.mscale_all_dim:
        return mscale(yarn.mscale) / mscale(yarn.mscale_all_dim)
    return mscale(1.0)
