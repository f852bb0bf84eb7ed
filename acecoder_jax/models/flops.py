"""Operations of a decoder's forward pass, by formula: what a utilisation (MFU) is measured against.

A token takes 2 operations for each weight of the matrices that it goes through, and in each layer 4 x heads x head_dim
for each key that it attends to: a product with the key and one with the value. Norms, activations, the softmax and
whatever is computed a second time to save memory count as nothing. A backward pass takes twice a forward pass.
(Chowdhery et al. 2022, arXiv 2204.02311, appendix B.)
"""

import math

import numpy as np

from acecoder_jax.models.config import ModelConfig
from acecoder_jax.models.lora import Lora, abstract


def layer_weights(config: ModelConfig) -> int:
    """Weights of one layer's matrices."""
    d, h = config.hidden_size, config.head_dim
    attention = 2 * d * config.num_heads * h + 2 * d * config.num_kv_heads * h
    return attention + 3 * d * config.intermediate_size


def adapter_weights(config: ModelConfig, lora: Lora) -> int:
    """Weights of an adapter's matrices in one layer."""
    leaves = abstract(lora, config)["layers"].values()
    return sum(math.prod(leaf.shape[1:]) for leaf in leaves)


def forward(config: ModelConfig, position_n: np.ndarray, predicted: int) -> float:
    """Operations of a forward pass over tokens at these positions of their sequences, `predicted` of which go through
    the output head. A token at position p attends to p + 1 keys, or to its layer's window."""
    return _matrices(config, len(position_n), predicted) + _attention(config, position_n)


def update(config: ModelConfig, position_n: np.ndarray, predicted: int, lora: Lora | None = None) -> float:
    """Operations of a forward and a backward pass. With LoRA the frozen matrices have no gradient of their own."""
    if lora is None:
        return 3 * forward(config, position_n, predicted)
    adapter = 2 * config.num_layers * adapter_weights(config, lora) * len(position_n)
    frozen = _matrices(config, len(position_n), predicted)
    return 2 * frozen + 3 * (adapter + _attention(config, position_n))


def _matrices(config: ModelConfig, tokens: int, predicted: int) -> float:
    head = config.hidden_size * config.vocab_size * predicted
    return float(2 * (config.num_layers * layer_weights(config) * tokens + head))


def _attention(config: ModelConfig, position_n: np.ndarray) -> float:
    keys_n = np.asarray(position_n, np.float64) + 1
    keys = sum(np.sum(keys_n if window is None else np.minimum(keys_n, window)) for window in config.windows)
    return float(4 * config.num_heads * config.head_dim * keys)
