"""Prefill and cached decoding against the full forward; caches copied to slots; nothing stale is ever read."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acecoder_jax.models.config import FULL, SLIDING, ModelConfig, YarnScaling
from acecoder_jax.models.decoder import Model
from acecoder_jax.sampling import forward

GROUPED = ModelConfig(
    vocab_size=90, hidden_size=24, intermediate_size=32, num_layers=2, num_heads=6, num_kv_heads=2, head_dim=8,
    rope_theta=1e3, tie_word_embeddings=True,
)  # fmt: skip
CONFIGS = {
    "grouped_tied": GROUPED,
    "windowed_untied": dataclasses.replace(
        GROUPED, sliding_window=4, layer_types=(SLIDING, FULL), tie_word_embeddings=False
    ),
    "one_kv_head_yarn": dataclasses.replace(
        GROUPED, num_kv_heads=1, rope_scaling=YarnScaling(factor=2.0, original_max_position_embeddings=16)
    ),
}
PROMPTS, LENGTH, SLOTS, CACHE = [1, 9, 4], 20, 5, 24  # lengths of the prompts, of each whole sequence; slots, cache
SLOT_OF = [3, 0, 4]


@functools.cache
def random_params(name: str) -> Any:
    rng = np.random.default_rng(0)
    abstract = Model(CONFIGS[name]).abstract_params
    return jax.tree.map(lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(np.float32), abstract)


def tokens() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 90, (len(PROMPTS), LENGTH)).astype(np.int32)


@functools.cache
def jitted(name: str) -> dict[str, Any]:
    """The sampler's functions in float32 for a config."""
    config = CONFIGS[name]
    return {
        "weights": jax.jit(functools.partial(forward.to_weights, config=config, dtype=jnp.float32)),
        "prefill": jax.jit(functools.partial(forward.prefill, config=config)),
        "step": jax.jit(functools.partial(forward.decode_step, config=config)),
    }


def decode(name: str, fill: float = 0.0, width: int = 16) -> np.ndarray:
    """Logits [prompts, steps, v] after each token from the prompt's last on, teacher-forced, in scattered slots.

    The caches hold `fill` before anything is written to them; prompts are read `width` tokens at a time.
    """
    run, config = jitted(name), CONFIGS[name]
    weights = run["weights"](random_params(name))
    # each prompt's last token is left to the first step; one row of the prefill stays empty
    prompts = np.zeros((4, 16), np.int32)
    for row, n in enumerate(PROMPTS):
        prompts[row, : n - 1] = tokens()[row, : n - 1]
    prefilled = jax.tree.map(lambda leaf: leaf + fill, forward.empty_cache(config, 4, 16, jnp.float32))
    for offset in range(0, 16, width):
        prefilled = run["prefill"](
            weights, cache=prefilled, tokens_st=prompts[:, offset : offset + width], offset=np.int32(offset)
        )
    cache = jax.tree.map(lambda leaf: leaf + fill, forward.empty_cache(config, SLOTS, CACHE, jnp.float32))
    slot_n, row_n = np.array([*SLOT_OF, SLOTS, SLOTS]), np.array([0, 1, 2, 0, 0])
    cache = jax.jit(forward.insert)(cache, prefilled, slot_n, row_n)
    out = []
    for step in range(LENGTH - max(PROMPTS) + 1):
        token_s, position_s = np.full(SLOTS, 7, np.int32), np.zeros(SLOTS, np.int32)
        for row, (slot, n) in enumerate(zip(SLOT_OF, PROMPTS, strict=True)):
            token_s[slot], position_s[slot] = tokens()[row, n - 1 + step], n - 1 + step
        logits_sv, cache = run["step"](weights, cache=cache, token_s=token_s, position_s=position_s)
        out.append(np.asarray(logits_sv)[SLOT_OF])
    return np.stack(out, axis=1)


@pytest.mark.parametrize("width", [16, 4])
@pytest.mark.parametrize("name", CONFIGS)
def test_prefill_and_decode_equal_the_full_forward(name, width):
    decoded = decode(name, width=width)
    position_bt = np.tile(np.arange(LENGTH), (len(PROMPTS), 1))
    model = Model(CONFIGS[name], jnp.float32, "none")
    whole = np.asarray(jax.jit(model.logits)(random_params(name), tokens(), np.ones_like(position_bt), position_bt))
    for row, n in enumerate(PROMPTS):
        np.testing.assert_allclose(decoded[row], whole[row, n - 1 : n - 1 + decoded.shape[1]], atol=1e-4)
    assert np.abs(whole).max() > 1


def test_what_a_slot_held_before_is_never_seen():
    np.testing.assert_array_equal(decode("windowed_untied"), decode("windowed_untied", fill=1e3))


def test_insert_copies_the_named_rows_and_drops_slots_out_of_range():
    rng = np.random.default_rng(0)
    cache = [{"k_skch": rng.random((3, 1, 4, 2)), "v_skch": rng.random((3, 1, 4, 2))}]
    prompts = [{"k_skch": rng.random((2, 1, 3, 2)), "v_skch": rng.random((2, 1, 3, 2))}]
    cache, prompts = jax.tree.map(lambda leaf: leaf.astype(np.float32), (cache, prompts))
    into = forward.insert(jax.tree.map(jnp.asarray, cache), prompts, np.array([2, 0, 3]), np.array([1, 1, 0]))
    for name, array in into[0].items():
        np.testing.assert_array_equal(array[0, :, :3], prompts[0][name][1])
        np.testing.assert_array_equal(array[2, :, :3], prompts[0][name][1])
        np.testing.assert_array_equal(array[1], cache[0][name][1])  # not named
        np.testing.assert_array_equal(array[:, :, 3], cache[0][name][:, :, 3])  # beyond the prompt's width


def test_decode_weights_are_cast_but_for_norms_and_biases():
    config = CONFIGS["windowed_untied"]
    abstract = Model(config).abstract_params
    weights = jax.eval_shape(functools.partial(forward.to_weights, config=config, dtype=jnp.bfloat16), abstract)
    kinds = {name: leaf.dtype for name, leaf in (weights | weights["layers"][0]).items() if name != "layers"}
    assert {name for name, kind in kinds.items() if kind == jnp.float32} == {
        "attn_norm_d", "mlp_norm_d", "final_norm_d", "qkv_bias_kxh",
    }  # fmt: skip
    assert set(kinds.values()) == {jnp.dtype(jnp.float32), jnp.dtype(jnp.bfloat16)}
    assert len(weights["layers"]) == config.num_layers
    assert weights["layers"][0]["qkv_dkxh"].shape == (24, 2, 3 + 2, 8)
    numbers = sum(leaf.size for leaf in jax.tree.leaves(weights))
    assert numbers == sum(leaf.size for leaf in jax.tree.leaves(abstract))  # nothing twice, nothing lost
