"""Records what `transformers` computes for small random Qwen2 models: `python tests/golden/make_golden.py`.

Needs torch (2.13.0) and transformers (5.23). Each tests/golden/qwen2_<case>.npz holds the config.json, the weights (as
the upper 16 bits of float32: they are drawn in bfloat16), the RoPE frequencies, and two batches with their logits:
left-padded rows, as `transformers` takes them, and packed rows, whose logits are those of each segment run alone.
"""

import json
import pathlib

import numpy as np
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

HERE = pathlib.Path(__file__).parent
VOCAB, TIME = 97, 40
COMMON = {"vocab_size": VOCAB, "num_hidden_layers": 2, "hidden_act": "silu", "rms_norm_eps": 1e-6}
COMMON |= {"max_position_embeddings": 64, "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}
PLAIN = {"rope_type": "default", "rope_theta": 1e6}


def sizes(hidden: int, intermediate: int, heads: int, kv_heads: int) -> dict:
    names = ("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads")
    return dict(zip(names, (hidden, intermediate, heads, kv_heads), strict=True))


CASES = {
    "tied_gqa1": {**sizes(32, 48, 4, 4), "tie_word_embeddings": True, "rope_parameters": PLAIN},
    "untied_gqa2": {**sizes(32, 40, 4, 2), "tie_word_embeddings": False, "rope_parameters": PLAIN},
    "tied_gqa7": {**sizes(56, 64, 14, 2), "tie_word_embeddings": True, "rope_parameters": PLAIN},
    "window_gqa4": {
        **sizes(32, 48, 4, 1),
        "tie_word_embeddings": False,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
        "use_sliding_window": True,
        "sliding_window": 5,
        "max_window_layers": 1,
    },
    # The layout of transformers 4, as the published models are and as their cards add YaRN.
    "yarn_old_layout": {
        **sizes(64, 48, 4, 2),
        "tie_word_embeddings": True,
        "rope_theta": 1e6,
        "rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16},
        "use_sliding_window": False,
        "sliding_window": 5,
        "max_window_layers": 1,
    },
    "yarn_window_wide_heads": {
        **sizes(32, 48, 4, 2),
        "head_dim": 16,
        "tie_word_embeddings": False,
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 1e4,
            "factor": 2.0,
            "original_max_position_embeddings": 32,
            "beta_fast": 16.0,
            "beta_slow": 2.0,
            "mscale": 0.7,
            "mscale_all_dim": 1.3,
            "truncate": False,
        },
        "use_sliding_window": True,
        "sliding_window": 7,
        "layer_types": ["sliding_attention", "full_attention"],
    },
}


def random_model(config: dict, seed: int) -> Qwen2ForCausalLM:
    """A model in float32 whose every parameter (biases and norms too) is drawn at random, in bfloat16 steps."""
    torch.manual_seed(seed)
    model = Qwen2ForCausalLM._from_config(Qwen2Config(**config), attn_implementation="eager", dtype=torch.float32)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            norm = "norm" in name
            draw = torch.randn_like(parameter) * (0.2 if norm or name.endswith("bias") else 0.25) + float(norm)
            parameter.copy_(draw.bfloat16().float())
    return model.eval()


def padded_batch(model: Qwen2ForCausalLM, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Left-padded rows, logits by one call of `transformers` with its attention mask."""
    lengths = [TIME, TIME // 3, 1]
    tokens_bt = rng.integers(0, model.config.vocab_size, (len(lengths), TIME))
    segment_bt = np.array([[0] * (TIME - n) + [1] * n for n in lengths])
    position_bt = np.maximum(np.cumsum(segment_bt, axis=1) - 1, 0)
    with torch.no_grad():
        logits_btv = model(
            torch.tensor(tokens_bt),
            attention_mask=torch.tensor(segment_bt),
            position_ids=torch.tensor(position_bt),
        ).logits.numpy()
    return {"tokens_bt": tokens_bt, "segment_bt": segment_bt, "position_bt": position_bt, "logits_btv": logits_btv}


def packed_batch(model: Qwen2ForCausalLM, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Rows of several segments and a padded tail; the logits are those of each segment alone."""
    tokens_bt = rng.integers(0, model.config.vocab_size, (2, TIME))
    segment_bt, position_bt = np.zeros_like(tokens_bt), np.zeros_like(tokens_bt)
    logits_btv = np.zeros((*tokens_bt.shape, model.config.vocab_size), np.float32)
    for row, lengths in enumerate([[11, 1, 17, TIME - 29], [TIME - 7, 4]]):
        start = 0
        for segment, length in enumerate(lengths, start=1):
            cut = slice(start, start + length)
            segment_bt[row, cut], position_bt[row, cut] = segment, np.arange(length)
            with torch.no_grad():
                logits_btv[row, cut] = model(torch.tensor(tokens_bt[row : row + 1, cut])).logits[0].numpy()
            start += length
    return {"tokens_bt": tokens_bt, "segment_bt": segment_bt, "position_bt": position_bt, "logits_btv": logits_btv}


def record(name: str, case: dict, seed: int) -> None:
    config = COMMON | case
    model = random_model(config, seed)
    # The old layout goes in as it is, the new one as transformers 5 writes it.
    recorded = config if "rope_theta" in config else json.loads(model.config.to_json_string())
    rotary = model.model.rotary_emb
    arrays = {"config": np.array(json.dumps(recorded)), "inv_freq_h": rotary.inv_freq.numpy()}
    arrays["attention_scaling"] = np.array(rotary.attention_scaling)
    for weight, tensor in model.state_dict().items():
        if weight != "lm_head.weight" or not config["tie_word_embeddings"]:
            arrays[f"weights/{weight}"] = (tensor.numpy().view(np.uint32) >> 16).astype(np.uint16)
    rng = np.random.default_rng(seed)
    for kind, batch in (("padded", padded_batch(model, rng)), ("packed", packed_batch(model, rng))):
        arrays |= {
            f"{kind}/{key}": value.astype(np.float32 if key == "logits_btv" else np.int16)
            for key, value in batch.items()
        }
    np.savez_compressed(HERE / f"qwen2_{name}.npz", **arrays)
    print(
        name,
        f"{(HERE / f'qwen2_{name}.npz').stat().st_size:,} bytes, largest logit",
        np.abs(arrays["packed/logits_btv"]).max(),
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    for seed, (name, case) in enumerate(CASES.items()):
        record(name, case, seed)
