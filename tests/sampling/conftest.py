"""A small policy with all that a decoder has, its tokenizer, and the sampler's arithmetic in numpy."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acecoder_jax import tokenizer
from acecoder_jax.models.config import ModelConfig
from acecoder_jax.models.decoder import Model
from acecoder_jax.sampling.draw import BLOCK, SamplingParams

TEXTS = ["def add(a, b):\n    return a + b\n", "Write a function that adds two numbers. STOP the list."] * 3


@pytest.fixture(scope="session")
def words():
    return tokenizer.train_bpe(TEXTS, 300)


@pytest.fixture(scope="session")
def config(words):
    """Grouped heads, a full and a windowed layer, and a vocabulary that is no multiple of a block."""
    assert len(words) % BLOCK
    return ModelConfig(
        vocab_size=len(words), hidden_size=32, intermediate_size=48, num_layers=2, num_heads=4, num_kv_heads=2,
        head_dim=8, rope_theta=1e3, sliding_window=7, max_window_layers=1,
    )  # fmt: skip


@pytest.fixture(scope="session")
def params(config):
    """Parameters whose next-token distributions are neither flat nor certain."""
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(np.float32), Model(config).abstract_params)


@pytest.fixture(scope="session")
def full_logits(config, params):
    """Token ids -> the full forward's logits after each, [n, v] of float32; one shape for all lengths up to 48."""
    model = Model(config, jnp.float32, "none")
    forward = jax.jit(model.logits)

    def run(tokens: Any) -> np.ndarray:
        row = np.zeros((1, 48), np.int32)
        row[0, : len(tokens)] = tokens
        segment = (np.arange(48) < len(tokens)).astype(np.int32)[None]
        return np.asarray(forward(params, row, segment, np.arange(48)[None]))[0, : len(tokens)]

    return run


@dataclasses.dataclass(frozen=True)
class Reference:
    """What `draw` does, written plainly in float64, one row at a time."""

    def log_softmax(self, logits_v: np.ndarray) -> np.ndarray:
        shifted_v = logits_v.astype(np.float64) - logits_v.max()
        return shifted_v - np.log(np.sum(np.exp(shifted_v)))

    def distribution(self, logits_v: np.ndarray, sampling: SamplingParams) -> np.ndarray:
        """The sampling distribution: temperature, then top-k, then top-p of what is left; ties are kept."""
        p_v = np.exp(self.log_softmax(logits_v / np.float64(sampling.temperature)))
        if sampling.top_k:
            kth = np.sort(p_v)[::-1][min(sampling.top_k, len(p_v)) - 1]
            p_v = np.where(p_v >= kth, p_v, 0.0)
        if sampling.top_p < 1:
            sorted_v = np.sort(p_v)[::-1]
            enough = np.argmax(np.cumsum(sorted_v) >= sampling.top_p * p_v.sum())
            p_v = np.where(p_v >= sorted_v[enough], p_v, 0.0)
        return p_v / p_v.sum()

    def draw(self, p_v: np.ndarray, uniform_2: np.ndarray) -> int:
        """The token that two uniform numbers pick."""
        p_nc = np.pad(p_v, (0, -len(p_v) % BLOCK)).reshape(-1, BLOCK)
        block = int(np.argmax(np.cumsum(p_nc.sum(1)) > uniform_2[0] * p_v.sum()))
        return block * BLOCK + int(np.argmax(np.cumsum(p_nc[block]) > uniform_2[1] * p_nc[block].sum()))

    def distance(self, p_v: np.ndarray, uniform_2: np.ndarray, token: int) -> float:
        """How far the uniform numbers lie outside of a token's share; 0 when the token is the one they pick."""
        p_nc = np.pad(p_v, (0, -len(p_v) % BLOCK)).reshape(-1, BLOCK)
        block, within = divmod(token, BLOCK)
        outside = 0.0
        for share_n, at, uniform in ((p_nc.sum(1), block, uniform_2[0]), (p_nc[block], within, uniform_2[1])):
            edges = np.concatenate([[0], np.cumsum(share_n)]) / share_n.sum()
            outside = max(outside, edges[at] - uniform, uniform - edges[at + 1])
        return float(outside)


@pytest.fixture(scope="session")
def reference():
    return Reference()
