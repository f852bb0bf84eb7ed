"""Operations by hand arithmetic, and beside what the compiler counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acecoder_jax.models import flops
from acecoder_jax.models.config import ModelConfig
from acecoder_jax.models.decoder import Model
from acecoder_jax.models.lora import Lora

CONFIG = ModelConfig(
    vocab_size=11, hidden_size=8, intermediate_size=12, num_layers=2, num_heads=4, num_kv_heads=2, head_dim=2
)


def test_by_hand():
    # q and o: 8 x 8 each; k and v: 8 x 4 each; gate, up, down: 8 x 12 each
    assert flops.layer_weights(CONFIG) == 64 + 64 + 32 + 32 + 3 * 96
    # tokens at positions 0, 1, 2 attend to 1 + 2 + 3 keys in each of 2 layers; one of them is predicted from
    expected = 2 * 2 * 480 * 3 + 2 * 8 * 11 * 1 + 4 * 4 * 2 * 6 * 2
    assert flops.forward(CONFIG, np.arange(3), 1) == expected
    assert flops.update(CONFIG, np.arange(3), 1) == 3 * expected


def test_by_hand_with_lora():
    adapter = Lora(3, 6.0, ("k", "down"))
    # A and B of k: 8 x 3 and 3 x 4; of down: 12 x 3 and 3 x 8
    assert flops.adapter_weights(CONFIG, adapter) == 24 + 12 + 36 + 24
    matrices, attention = 2 * 2 * 480 * 3 + 2 * 8 * 11 * 1, 4 * 4 * 2 * 6 * 2
    # frozen matrices go forward and pass a gradient on, but have none of their own
    expected = 2 * matrices + 3 * (attention + 2 * 2 * 96 * 3)
    assert flops.update(CONFIG, np.arange(3), 1, adapter) == expected


def test_a_window_bounds_the_keys():
    windowed = ModelConfig(**{**vars(CONFIG), "sliding_window": 2, "max_window_layers": 1})
    less = flops.forward(CONFIG, np.arange(3), 1) - flops.forward(windowed, np.arange(3), 1)
    assert less == 4 * 4 * 2 * (3 - 2)  # the last token of the windowed layer


def test_the_compiler_counts_about_as_many():
    config = ModelConfig(
        vocab_size=512, hidden_size=64, intermediate_size=256, num_layers=2, num_heads=4, num_kv_heads=2, head_dim=16
    )
    model = Model(config, jnp.float32, "none")
    shape = jax.ShapeDtypeStruct((1, 64), jnp.int32)
    compiled = jax.jit(model.logits).lower(model.abstract_params, shape, shape, shape).compile()
    counted = compiled.cost_analysis()["flops"]
    assert flops.forward(config, np.arange(64), 64) == pytest.approx(counted, rel=0.25)
