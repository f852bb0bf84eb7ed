"""Reading, checking and writing a config.json."""

import dataclasses
import json
import math

import jax
import pytest

from acecoder_jax.models.config import PUBLISHED, ModelConfig, YarnScaling
from acecoder_jax.models.decoder import Model

OLD = {  # as the hub has it for Qwen2.5-Coder-0.5B-Instruct
    "architectures": ["Qwen2ForCausalLM"],
    "attention_dropout": 0.0,
    "bos_token_id": 151643,
    "eos_token_id": 151645,
    "hidden_act": "silu",
    "hidden_size": 896,
    "initializer_range": 0.02,
    "intermediate_size": 4864,
    "max_position_embeddings": 32768,
    "max_window_layers": 24,
    "model_type": "qwen2",
    "num_attention_heads": 14,
    "num_hidden_layers": 24,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "sliding_window": 32768,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "use_sliding_window": False,
    "vocab_size": 151936,
}
NEW = {key: value for key, value in OLD.items() if key not in ("rope_theta", "torch_dtype")} | {
    "dtype": "bfloat16",
    "layer_types": ["full_attention"] * 24,
    "rope_parameters": {"rope_theta": 1000000.0, "rope_type": "default"},
    "sliding_window": None,
}
SMALL = ModelConfig(
    vocab_size=96, hidden_size=32, intermediate_size=48, num_layers=3, num_heads=4, num_kv_heads=2, head_dim=8
)
YARN = YarnScaling(4.0, 32768)


@pytest.mark.parametrize("hf", [OLD, NEW], ids=["transformers 4", "transformers 5"])
def test_both_layouts_are_the_published_config(hf):
    config = ModelConfig.from_hf(hf)
    assert config == PUBLISHED["Qwen2.5-Coder-0.5B-Instruct"]
    assert config.windows == (None,) * 24


@pytest.mark.parametrize("kind", ["type", "rope_type"])
def test_yarn_of_the_old_layout(kind):
    scaling = {kind: "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
    assert ModelConfig.from_hf(OLD | {"rope_scaling": scaling}).rope_scaling == YARN


def test_yarn_of_the_new_layout():
    rope = {"rope_type": "yarn", "rope_theta": 5e5, "factor": 4.0, "original_max_position_embeddings": 32768}
    config = ModelConfig.from_hf(NEW | {"rope_parameters": rope | {"beta_fast": 16.0, "attention_factor": None}})
    assert config.rope_scaling == dataclasses.replace(YARN, beta_fast=16.0)
    assert config.rope_theta == 5e5


def test_yarn_takes_its_lengths_from_the_config():
    config = ModelConfig.from_hf(OLD | {"rope_scaling": {"type": "yarn", "factor": 2.0}})
    assert config.rope_scaling == YarnScaling(2.0, 32768)
    config = ModelConfig.from_hf(
        OLD | {"rope_scaling": {"type": "yarn", "factor": None, "original_max_position_embeddings": 8192}}
    )
    assert config.rope_scaling == YarnScaling(4.0, 8192)


def test_windows():
    late = {"use_sliding_window": True, "sliding_window": 512, "max_window_layers": 21, "num_hidden_layers": 24}
    assert ModelConfig.from_hf(OLD | late).windows == (None,) * 21 + (512,) * 3
    kinds = ["sliding_attention", "full_attention"] * 12
    assert ModelConfig.from_hf(OLD | late | {"layer_types": kinds}).windows == (512, None) * 12


CONFIGS = {
    "plain": SMALL,
    "tied": dataclasses.replace(SMALL, tie_word_embeddings=True, rope_theta=1e4, head_dim=16, initializer_range=0.01),
    "yarn": dataclasses.replace(SMALL, rope_scaling=YarnScaling(3.0, 64, 16.0, 2.0, 1.2, 0.7, 1.1, False)),
    "window": dataclasses.replace(SMALL, sliding_window=7, max_window_layers=2),
    "layer types": dataclasses.replace(
        SMALL, sliding_window=7, layer_types=("full_attention", "sliding_attention", "full_attention")
    ),
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_round_trip(config):
    assert ModelConfig.from_hf(json.loads(json.dumps(config.to_hf()))) == config


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_transformers_reads_what_is_written_as_meant(config):
    from transformers import Qwen2Config

    theirs = Qwen2Config(**json.loads(json.dumps(config.to_hf())))
    assert ModelConfig.from_hf(theirs.to_dict()) == config
    windows = [theirs.sliding_window if kind == "sliding_attention" else None for kind in theirs.layer_types]
    assert tuple(windows) == config.windows


@pytest.mark.parametrize(
    "key",
    [
        "model_type",
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "rms_norm_eps",
        "rope_theta",
        "tie_word_embeddings",
        "max_position_embeddings",
    ],
)
def test_a_missing_key_is_named(key):
    with pytest.raises(ValueError, match=f"lacks the key '{key}'"):
        ModelConfig.from_hf({name: value for name, value in OLD.items() if name != key})


@pytest.mark.parametrize("key", ["sliding_window", "max_window_layers"])
def test_a_window_needs_its_keys(key):
    hf = {name: value for name, value in OLD.items() if name != key} | {"use_sliding_window": True}
    with pytest.raises(ValueError, match=f"lacks the key '{key}'"):
        ModelConfig.from_hf(hf)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architectures": ["LlamaForCausalLM"]}, "architecture 'LlamaForCausalLM' .* supported: Qwen2ForCausalLM"),
        ({"model_type": "qwen3"}, "model_type 'qwen3' is not supported; supported: qwen2"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu' is not supported; supported: silu"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope type 'linear' .* supported: default, yarn"),
        ({"rope_scaling": {"type": "yarn", "factor": 2.0, "facto": 1}}, r"unknown keys \['facto'\]"),
        ({"rope_parameters": {"full_attention": {"rope_theta": 1e4}}}, "full_attention"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"attention_dropout": 0.1}, "attention_dropout = 0.1"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ({"rope_scaling": {"rope_type": "default", "partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ({"hidden_size": "896", "head_dim": 64}, "hidden_size must be a whole number"),
        ({"num_key_value_heads": 3}, "num_heads 14 is no multiple of num_kv_heads 3"),
        ({"num_hidden_layers": 0}, "num_layers must be a whole number of at least 1, got 0"),
        ({"head_dim": 63}, "head_dim must be even"),
        ({"layer_types": ["full_attention"]}, "names 1 layers, the model has 24"),
        ({"layer_types": ["chunked_attention"] * 24}, "chunked_attention"),
        ({"layer_types": ["sliding_attention"] * 24}, "no sliding_window is set"),
        ({"use_sliding_window": True, "sliding_window": -1}, "sliding_window must be at least 1"),
    ],
)
def test_what_is_unsupported_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        ModelConfig.from_hf(OLD | change)


# Counts as the model cards round them: 0.49B, 1.54B, 3.09B, 7.61B, 14.7B, 32.5B (32.8B with the head), 72.7B.
PARAMETERS = {
    "0.5B": 494_032_768,
    "1.5B": 1_543_714_304,
    "3B": 3_085_938_688,
    "7B": 7_615_616_512,
    "14B": 14_770_033_664,
    "32B": 32_763_876_352,
    "72B": 72_706_203_648,
}


@pytest.mark.parametrize("size", PARAMETERS)
def test_published_sizes(size):
    config = PUBLISHED[f"Qwen2.5-{size}-Instruct"]
    leaves = jax.tree.leaves(Model(config).abstract_params)
    assert sum(math.prod(leaf.shape) for leaf in leaves) == PARAMETERS[size]
    assert PUBLISHED.get(f"Qwen2.5-Coder-{size}-Instruct") == (None if size == "72B" else config)
