"""Operations of a decoder's forward pass, by formula: what a utilisation (MFU) is measured against.

A token takes 2 operations for each weight of the matrices that it goes through, and in each layer 4 x heads x head_dim
for each key that it attends to: a product with the key and one with the value. Norms, activations, the softmax and
whatever is computed a second time to save memory count as nothing. A backward pass takes twice a forward pass.
(Chowdhery et al. 2022, arXiv 2204.02311, appendix B.)
"""

import numpy as np

from acecoder_jax.models.config import ModelConfig


def layer_weights(config: ModelConfig) -> int:
    """Weights of one layer's matrices."""
    d, h = config.hidden_size, config.head_dim
    attention = 2 * d * config.num_heads * h + 2 * d * config.num_kv_heads * h
    return attention + 3 * d * config.intermediate_size


def forward(config: ModelConfig, position_n: np.ndarray, predicted: int) -> float:
    """Operations of a forward pass over tokens at these positions of their sequences, `predicted` of which go through
    the output head. A token at position p attends to p + 1 keys, or to its layer's window."""
    keys_n = np.asarray(position_n, np.float64) + 1
    keys = sum(np.sum(keys_n if window is None else np.minimum(keys_n, window)) for window in config.windows)
    matrices = config.num_layers * layer_weights(config) * len(keys_n)
    head = config.hidden_size * config.vocab_size * predicted
    return float(2 * matrices + 2 * head + 4 * config.num_heads * config.head_dim * keys)


def update(config: ModelConfig, position_n: np.ndarray, predicted: int) -> float:
    """Operations of a forward and a backward pass."""
    return 3 * forward(config, position_n, predicted)
