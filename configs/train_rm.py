"""The recipe of AceCodeRM: a reward model trained on pairs of programs. So far it can be planned, not run:

    python -m acecoder_jax.main --config=configs/plan.py --config.target=configs/train_rm.py:32b \\
        --config.topology=v5p:4x4x4

| preset | model | what it is |
| --- | --- | --- |
| 7b | Qwen2.5-Coder-7B-Instruct | AceCodeRM-7B: texts of at most 2,048 tokens |
| 32b | Qwen2.5-Coder-32B-Instruct | AceCodeRM-32B: texts of at most 1,024 tokens; 64 chips of 95 GiB |
| 32b_v5e | Qwen2.5-Coder-32B-Instruct | the same on 256 chips of 16 GiB |
"""

from typing import Any

from ml_collections import ConfigDict

from acecoder_jax import presets

PRESETS: dict[str, dict[str, Any]] = {
    "7b": {},
    "32b": {"model": "Qwen/Qwen2.5-Coder-32B-Instruct", "trainer.row_tokens": 2048},
}
# 128 pairs are 128 rows at most: over 256 shards half of the chips would have none, so 4 chips share a row.
PRESETS["32b_v5e"] = PRESETS["32b"] | {"mesh.tensor": 4}


def get_config(argument: str = "") -> ConfigDict:
    preset, overrides = presets.parse(argument, PRESETS, default="7b")
    config = ConfigDict(
        {
            "stage": "train_rm",
            "seed": 0,
            "model": "Qwen/Qwen2.5-Coder-7B-Instruct",
            "batch": 128,  # pairs of an update
            "optimizer": {"learning_rate": 1e-5, "warmup_ratio": 0.1},
            # A micro-batch is rows x row_tokens packed tokens; a row holds both texts of a pair, so row_tokens is at
            # least twice the longest text.
            "trainer": {"rows": 64, "row_tokens": 4096, "attention": "auto"},
            # LoRA: rank 0 trains all parameters; else a path of this rank beside each of the targets, and the head.
            "lora": {"rank": 0, "alpha": 64.0, "targets": ("q", "k", "v", "o", "gate", "up", "down")},
            "dtype": "bfloat16",
            "remat": "full",
            "mesh": {"data": 1, "fsdp": -1, "context": 1, "tensor": 1},
        }
    )
    presets.apply(config, PRESETS[preset])
    presets.apply(config, overrides)
    return config.lock()
