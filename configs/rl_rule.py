"""REINFORCE++ with rule rewards: the tests say what a program earns.

    python -m acecoder_jax.main --config=configs/rl_rule.py:tiny      # 2 CPU cores, 5 minutes, nothing to download
    python -m acecoder_jax.main --config=configs/rl_rule.py:0.5b --config.model=DIR \\
        --config.data=mbpp --config.data_path=mbpp.jsonl.gz           # 24 GB of memory, minutes a step on 2 CPU cores
    python -m acecoder_jax.main --config=configs/rl_rule.py           # :7b, the paper's recipe (docs/hosts.md)

| preset | policy | what it is |
| --- | --- | --- |
| 7b | Qwen2.5-Coder-7B-Instruct | AceCoder's recipe (the paper's column): 256 x 8 samples a rollout, binary reward |
| 7b_v5e | Qwen2.5-Coder-7B-Instruct | the same on 64 chips of 16 GiB (docs/results/plan.md) |
| 7b_general | Qwen2.5-7B-Instruct | the same from the general model |
| 7b_base | Qwen2.5-Coder-7B | the same from the base model, R1 style: think, then answer |
| 7b_script | Qwen2.5-Coder-7B-Instruct | the rule script's column: 512 prompts, 3 episodes, pass rate as the reward |
| 0.5b, 0.5b_base | Qwen2.5-Coder-0.5B(-Instruct) | full fine-tuning on one machine: 8 x 8 samples, 3 rollouts |
| 0.5b_lora | Qwen2.5-Coder-0.5B-Instruct | the same with LoRA of rank 32 on every matrix |
| tiny | made on the spot | the embedded toy families: supervised start, RL, held-out scores before and after |
"""

from typing import Any

from ml_collections import ConfigDict

from acecoder_jax import presets
from configs import sft

# A host of 4 chips decodes as one, with a quarter of the weights on each and room for 128 answers of the full length.
SEVEN_B = {"decode_mesh.tensor": 4, "engine.cache_tokens": 128 * 2048}

PRESETS: dict[str, dict[str, Any]] = {
    "7b": SEVEN_B,
    # 64 chips of 16 GiB: 4 of them share a row, since the output head's gradient is 2 GiB whole
    "7b_v5e": SEVEN_B | {"mesh.tensor": 4, "trainer.rows": 16},
    "7b_general": SEVEN_B | {"model": "Qwen/Qwen2.5-7B-Instruct"},
    "7b_base": SEVEN_B | {"model": "Qwen/Qwen2.5-Coder-7B", "style": "r1"},
    "7b_script": SEVEN_B | {"prompts_per_rollout": 512, "episodes": 3, "reward_args.kind": "pass_rate"},
    "0.5b": {
        "model": "Qwen/Qwen2.5-Coder-0.5B-Instruct",
        "data": "mbpp",
        "data_args": {"split": "train"},
        "prompts_per_rollout": 8,
        "rollouts": 3,
        "minibatch": 64,
        "max_prompt_tokens": 256,
        "max_new_tokens": 256,
        "trainer.rows": 1,
        "trainer.row_tokens": 1024,  # room for a prompt with four responses
        "trainer.logit_chunk": 256,
        "remat": "dots",
        "engine.slots": 64,
        "engine.chunk": 16,
        "engine.prefill_rows": 8,
        "engine.prefill_width": 64,
        "checkpoint.keep": 1,
        "checkpoint.every": 1,
        "sandbox.workers": 2,
    },
    "tiny": {
        "model": "",
        "data": "toy",
        "data_args": {"split": "train", "count": 2048},
        "heldout_args": {"split": "heldout", "count": 128},
        "prompts_per_rollout": 32,
        "rollouts": 20,
        "minibatch": 64,
        "max_prompt_tokens": 64,
        "max_new_tokens": 48,
        "optimizer.learning_rate": 1.5e-4,
        "trainer.rows": 16,
        "trainer.row_tokens": 128,
        "trainer.logit_chunk": 1024,
        "engine.slots": 128,
        "engine.chunk": 16,
        "engine.prefill_rows": 32,
        "engine.prefill_width": 64,
        "dtype": "float32",
        "export_dtype": "float32",
        "remat": "none",
        "checkpoint.every": 5,
        "sandbox.workers": 2,
    },
}
PRESETS["0.5b_lora"] = PRESETS["0.5b"] | {"lora.rank": 32, "optimizer.learning_rate": 1e-5}
PRESETS["0.5b_base"] = PRESETS["0.5b"] | {
    "model": "Qwen/Qwen2.5-Coder-0.5B",
    "style": "r1",
    "max_new_tokens": 512,  # it thinks before it answers
}


def get_config(argument: str = "") -> ConfigDict:
    preset, overrides = presets.parse(argument, PRESETS, default="7b")
    config = ConfigDict(
        {
            "stage": "train_rl",
            "seed": 0,
            # The starting policy: a Hugging Face directory or hub id; "" makes one by the stage `sft` first.
            "model": "Qwen/Qwen2.5-Coder-7B-Instruct",
            # Problems: a source of acecoder_jax/data, a file or folder for it ("" is the hub), and its other arguments.
            "data": "acecode",
            "data_path": "",
            "data_args": {"split": "train"},
            "heldout_args": {},  # the same source's arguments for held-out problems; {} measures nothing
            "heldout_samples": 8,
            # Benchmarks that the policy answers greedily after every `every`-th rollout (0: never), each with arguments
            # of acecoder_jax.benchmarks.make, the first so many problems of each (0: all): eval_humaneval in
            # metrics.jsonl.
            "eval": {"every": 0, "benchmarks": ({"name": "humaneval"},), "first": 64},
            "style": "chat",  # "chat": the bare question; "r1": think, then answer (base models)
            # The loop: a rollout is prompts x samples, trained on in mini-batches of that many sequences.
            "prompts_per_rollout": 256,
            "samples_per_prompt": 8,
            "minibatch": 128,
            "passes": 1,  # over a rollout, each in an order of its own
            # 1: the next rollout is drawn while this one is trained on, with the weights from before its updates; the
            # correction for that is algorithm_args.importance_cap.
            "off_policy_steps": 0,
            # Updates in a row that are left out, their loss or gradient not being finite, before the run stops.
            "max_skipped": 5,
            "episodes": 1,
            "rollouts": 0,  # 0: as many as the episodes give
            "max_prompt_tokens": 2048,
            "max_new_tokens": 2048,
            "sampling": {"temperature": 1.0, "top_p": 1.0, "top_k": 0},
            "algorithm": "reinforce_pp",
            # importance_cap: weigh a token by how much likelier the trainer finds it than its sampler did, up to this
            # much; 0: not.
            "algorithm_args": {
                "kl_coef": 0.01,
                "clip_low": 0.2,
                "clip_high": 0.2,
                "reward_clip": 10.0,
                "importance_cap": 0.0,
            },
            "reward": "rule",
            # kind: "binary", "pass_rate", or "pass_rate_bonus", which adds full_pass_bonus where all tests pass.
            "reward_args": {"kind": "binary", "full_pass_bonus": 0.5, "score_truncated": True},
            "optimizer": {
                "learning_rate": 5e-7,
                "warmup_ratio": 0.03,
                "final_ratio": 0.1,
                "beta1": 0.9,
                "beta2": 0.95,
                "weight_decay": 0.0,
                "clip_norm": 1.0,
            },
            # "prompts": the samples of a prompt go into one mini-batch, where they share its copy; "samples": each
            # sample is shuffled on its own, as AceCoder's code did.
            "shuffle": "prompts",
            # A micro-batch is rows x row_tokens packed tokens (rows 0: one for each shard of the mesh); rows are split
            # over the mesh's data and fsdp axes, time over context. logit_chunk: tokens of a device that are in the
            # output head at once. attention: "auto", "xla", "cpu", "splash" (TPU), "cudnn" (GPU). share_prompts: one
            # copy of a prompt for its samples in a row, where the attention allows it (all but splash). offload: what
            # waits in the host's pinned memory, of ("optimizer", "reference").
            "trainer": {
                "rows": 0,
                "row_tokens": 4096,
                "logit_chunk": 2048,
                "attention": "auto",
                "share_prompts": True,
                "offload": (),
            },
            # The decoding engine; cache_tokens 0: room for every slot to be full; int8: 8-bit weights.
            "engine": {
                "slots": 256,
                "chunk": 32,
                "prefill_rows": 16,
                "prefill_width": 256,
                "prefill_calls": 2,
                "cache_tokens": 0,
                "int8": False,
                "backend": "auto",
            },
            # LoRA: rank 0 trains all parameters; else a path of this rank, scaled by alpha / rank, beside each of the
            # targets (of q, k, v, o, gate, up, down). The model itself is frozen, in `dtype`, and its own reference.
            "lora": {"rank": 0, "alpha": 64.0, "targets": ("q", "k", "v", "o", "gate", "up", "down")},
            "dtype": "bfloat16",
            "export_dtype": "bfloat16",
            # What the backward pass keeps of a layer: "none" (does nothing again), "dots", "attention", "full" (keeps
            # nothing), "offload" (as dots, in the host's memory).
            "remat": "full",
            "mesh": {"data": 1, "fsdp": -1, "context": 1, "tensor": 1},
            # Decoding: copies of the weights (data), each split over tensor; over the devices of this process.
            "decode_mesh": {"data": -1, "fsdp": 1, "tensor": 1},
            # A checkpoint before each `every`-th rollout, and within one after every `minibatches` mini-batches, where
            # that is not 0; the last `keep` are kept.
            "checkpoint": {"keep": 2, "every": 10, "minibatches": 0},
            # allow_inside: let tests pass that can only run beside the program, and so can be fooled by it.
            "sandbox": {"workers": 8, "min_isolation": 4, "allow_inside": False},
            "limits": {"test_s": 1.0, "program_s": 8.0},
            "table_rows": 6,
        }
    )
    presets.apply(config, PRESETS[preset])
    if not config.model:
        config.sft = sft.get_config("tiny")
        config.sft.seed = config.get_ref("seed")
    presets.apply(config, overrides)
    return config.lock()
