"""Training attention on an NVIDIA GPU by cuDNN's fused kernel, through the public jax.nn.dot_product_attention."""

from typing import Literal

import jax

from acecoder_jax.models.attention.places import Places, mask

IMPLEMENTATION: Literal["cudnn", "xla"] = "cudnn"  # of jax.nn.dot_product_attention; a test on a CPU takes xla


def attend(
    q_btnh: jax.Array, k_bskh: jax.Array, v_bskh: jax.Array, queries: Places, keys: Places, window: jax.Array | int,
    scale: float,
) -> jax.Array:  # fmt: skip
    """Attention of queries to keys by `places.mask`: [b, t, n, h] of the queries' type, bfloat16 or float16.

    cuDNN knows of no segments: it takes the mask as a bias, [b, 1, t, s] in the queries' type.
    """
    mask_b1ts = mask(queries, keys, window)[:, None]
    return jax.nn.dot_product_attention(
        q_btnh, k_bskh, v_bskh, mask=mask_b1ts, scale=scale, implementation=IMPLEMENTATION
    )
