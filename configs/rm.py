"""A reward model from comparisons of programs, AceCodeRM's recipe.

    python -m acecoder_jax.main --config=configs/rm.py:tiny                                  # 2 CPU cores, minutes
    python -m acecoder_jax.main --config=configs/rm.py:0.5b --config.model=DIR --config.data_path=WORKDIR/pairs.jsonl
    python -m acecoder_jax.main --config=configs/rm.py:7b                                    # 16 chips of 95 GiB
    python -m acecoder_jax.main --config=configs/plan.py --config.target=configs/rm.py:32b \\
        --config.topology=v5p:4x4x4

| preset | model | what it is |
| --- | --- | --- |
| tiny | made from scratch | correct programs of the toy families before spoilt ones; held-out accuracy above 0.9 |
| 0.5b | Qwen2.5-Coder-0.5B-Instruct | LoRA of rank 32, a batch of 32 pairs of short texts: a CPU will do |
| 7b | Qwen2.5-Coder-7B-Instruct | AceCodeRM-7B: texts of at most 2,048 tokens |
| 32b | Qwen2.5-Coder-32B-Instruct | AceCodeRM-32B: texts of at most 1,024 tokens; 64 chips of 95 GiB |
| 32b_v5e | Qwen2.5-Coder-32B-Instruct | the same on 256 chips of 16 GiB |
"""

from typing import Any

from ml_collections import ConfigDict

from acecoder_jax import presets
from configs.sft import TINY_ARCHITECTURE

PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {
        "model": "",
        "data": "toy",
        "data_args": {"split": "train", "count": 4096},
        "max_tokens": 128,
        "held_out.share": 0.02,
        "evaluate_every": 60,
        "steps": 240,
        "batch": 64,
        "optimizer.learning_rate": 3e-3,
        "optimizer.beta2": 0.98,
        "trainer.rows": 16,
        "trainer.row_tokens": 256,
        "dtype": "float32",
        "export_dtype": "float32",
        "remat": "none",
        "checkpoint.every": 200,
    },
    "0.5b": {
        "model": "Qwen/Qwen2.5-Coder-0.5B-Instruct",
        "max_tokens": 768,
        "held_out.share": 0.05,
        "evaluate_every": 10,
        "batch": 32,
        "optimizer.learning_rate": 2e-4,
        "lora.rank": 32,
        "trainer.rows": 2,
        "trainer.row_tokens": 1536,
        "checkpoint.every": 5,
    },
    "7b": {},
    "32b": {
        "model": "Qwen/Qwen2.5-Coder-32B-Instruct",
        "max_tokens": 1024,
        "trainer.row_tokens": 2048,
    },
}
# 128 pairs are 128 rows at most: over 256 shards half of the chips would have none, so 4 chips share a row.
PRESETS["32b_v5e"] = PRESETS["32b"] | {"mesh.tensor": 4}


def get_config(argument: str = "") -> ConfigDict:
    preset, overrides = presets.parse(argument, PRESETS, default="7b")
    config = ConfigDict(
        {
            "stage": "train_rm",
            "seed": 0,
            # What it begins as: a Hugging Face directory or hub id, of a language model or a reward model; "" makes one
            # of `architecture` with a tokenizer of `vocab_size` trained on the texts.
            "model": "Qwen/Qwen2.5-Coder-7B-Instruct",
            # The head: "auto" is the checkpoint's, or a new one if it has none; "checkpoint": it must have one; "new".
            "init_head": "auto",
            "architecture": TINY_ARCHITECTURE,
            "vocab_size": 768,
            # Comparisons: a source of acecoder_jax/data and what it takes; data_path names a file of the stage `pairs`,
            # any JSONL, Parquet or TFDS folder; "" is the hub.
            "data": "acecode_pairs",
            "data_path": "",
            "data_args": {},
            # "pairs", or "nwise": all comparisons of a question's programs at once, from a source with their pass
            # rates ("acecode"), by these rules, which are those of configs/pairs.py.
            "loss": "pairs",
            "nwise": {
                "models": (),
                "over": "all",
                "min_best": 0.8,
                "min_gap": 0.4,
                "above": 0.0,
                "ascii_only": True,
                # "programs": a comparison weighs 1 / (n (n - 1)) of n programs of the question, as in equation 1 of the
                # paper; "questions": each question weighs the same, however few of its programs can be compared.
                "weigh": "programs",
            },
            # dropout: on the hidden state that the head reads. margin: by how much the scores' difference has to
            # exceed 0 for a gap of pass rates of 1. centering: weight of the square of the two scores' sum.
            "objective": {"dropout": 0.1, "margin": 0.0, "centering": 0.0},
            # Where the score is read: the chat template's last token, or the "end_of_turn" token before it; the
            # model's config.json says so.
            "read": "last",
            "max_tokens": 2048,  # of a text: question and program
            "over": "truncate",  # longer ones lose the beginning of their question; "drop": they are left out
            # Questions held back from training: this share, by a hash of their ids, and so many at least.
            "held_out": {"share": 0.005, "at_least": 16},
            "evaluate_every": 100,  # updates between evaluations on them; there is one at the end in any case
            "epochs": 1,
            "steps": 0,  # updates, where fewer are wanted than the epochs have; 0: all
            "batch": 128,  # pairs, or questions with loss "nwise", of an update
            # Updates in a row that are left out, their loss or gradient not being finite, before the run stops.
            "max_skipped": 5,
            "optimizer": {"learning_rate": 1e-5, "warmup_ratio": 0.1, "final_ratio": 0.0, "beta2": 0.999},
            # A micro-batch is rows x row_tokens packed tokens; a row holds all texts of a comparison, so row_tokens is
            # at least twice max_tokens.
            "trainer": {"rows": 64, "row_tokens": 4096, "attention": "auto"},
            # LoRA: rank 0 trains all parameters; else a path of this rank beside each of the targets, and the head.
            "lora": {"rank": 0, "alpha": 64.0, "targets": ("q", "k", "v", "o", "gate", "up", "down")},
            "dtype": "bfloat16",
            "export_dtype": "bfloat16",
            "remat": "full",
            "mesh": {"data": 1, "fsdp": -1, "context": 1, "tensor": 1},
            "checkpoint": {"keep": 1, "every": 100},
        }
    )
    presets.apply(config, PRESETS[preset])
    presets.apply(config, overrides)
    return config.lock()
