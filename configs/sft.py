"""Supervised fine-tuning.

    python -m acecoder_jax.main --config=configs/sft.py:tiny                                 # 2 CPU cores, a minute
    python -m acecoder_jax.main --config=configs/sft.py:0.5b --config.model=DIR --config.data_path=mbpp.jsonl.gz

tiny: a small policy from scratch on the toy families, stopped when it passes part of the problems held back from
training. 0.5b: Qwen2.5-Coder-0.5B on the solutions of MBPP's training problems; 0.5b_lora: the same with LoRA.
"""

from typing import Any

from ml_collections import ConfigDict

from acecoder_jax import presets

TINY_ARCHITECTURE = {
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_layers": 3,
    "num_heads": 2,
    "num_kv_heads": 1,
    "head_dim": 64,
    "rope_theta": 10_000.0,
    "tie_word_embeddings": True,
    "max_position_embeddings": 256,
    "initializer_range": 0.06,  # a narrow model learns to copy in half the steps from a wider start
}

PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {},
    "0.5b": {
        "model": "Qwen/Qwen2.5-Coder-0.5B-Instruct",
        "data": "mbpp",
        "data_args": {"split": "train"},
        "heldback": 0,
        "steps": 44,
        "batch": 16,
        "max_new_tokens": 512,
        "dtype": "bfloat16",
        "export_dtype": "bfloat16",
        "optimizer.learning_rate": 1e-5,
        "trainer.rows": 2,
        "trainer.row_tokens": 1024,
        "trainer.logit_chunk": 512,
        "engine.slots": 32,
        "checkpoint.every": 10,
    },
}
PRESETS["0.5b_lora"] = PRESETS["0.5b"] | {"lora.rank": 32, "optimizer.learning_rate": 2e-4}


def get_config(argument: str = "") -> ConfigDict:
    preset, overrides = presets.parse(argument, PRESETS, default="tiny")
    config = ConfigDict(
        {
            "stage": "sft",
            "seed": 0,
            # Where the policy comes from: a Hugging Face directory or hub id; "" makes one of `architecture` with a
            # tokenizer of `vocab_size` trained on the demonstrations.
            "model": "",
            "architecture": TINY_ARCHITECTURE,
            "vocab_size": 768,
            "data": "toy",
            "data_path": "",
            "data_args": {"split": "train", "count": 8192},
            "style": "chat",
            # Problems kept from training; training stops when greedy answers to them pass this often.
            "heldback": 96,
            "evaluate_every": 60,
            "stop_at_pass_rate": 0.45,
            "max_new_tokens": 48,
            "steps": 180,
            "batch": 64,
            # Updates in a row that are left out, their loss or gradient not being finite, before the run stops.
            "max_skipped": 5,
            "optimizer": {"learning_rate": 4e-3, "warmup_ratio": 0.03, "final_ratio": 0.05, "beta2": 0.98},
            # As in configs/rl_rule.py.
            "trainer": {
                "rows": 16,
                "row_tokens": 128,
                "logit_chunk": 1024,
                "attention": "auto",
                "share_prompts": True,
                "offload": (),
            },
            # The decoding engine: as in configs/rl_rule.py.
            "engine": {
                "slots": 96,
                "chunk": 16,
                "prefill_rows": 8,
                "prefill_width": 64,
                "prefill_calls": 2,
                "cache_tokens": 0,
                "int8": False,
                "backend": "auto",
            },
            # As in configs/rl_rule.py.
            "lora": {"rank": 0, "alpha": 64.0, "targets": ("q", "k", "v", "o", "gate", "up", "down")},
            "dtype": "float32",
            "export_dtype": "float32",
            "remat": "none",
            "mesh": {"data": 1, "fsdp": -1, "context": 1, "tensor": 1},
            # Decoding: copies of the weights (data), each split over tensor; over the devices of this process.
            "decode_mesh": {"data": -1, "fsdp": 1, "tensor": 1},
            "checkpoint": {"keep": 1, "every": 200},
            "sandbox": {"workers": 2, "min_isolation": 4},
            "limits": {"test_s": 1.0, "program_s": 8.0},
        }
    )
    presets.apply(config, PRESETS[preset])
    presets.apply(config, overrides)
    return config.lock()
