"""REINFORCE++ with a reward model: its score is what a program earns, and the tests are watched beside it.

    python -m acecoder_jax.main --config=configs/rl_rm.py:tiny       # 2 CPU cores, minutes, nothing to download
    python -m acecoder_jax.main --config=configs/rl_rm.py:0.5b --config.model=DIR --config.reward_model.model=RM_DIR \\
        --config.data=mbpp --config.data_path=mbpp.jsonl.gz          # two 0.5B models on one machine
    python -m acecoder_jax.main --config=configs/rl_rm.py            # :7b, the paper's recipe (docs/rl_rm.md)

| preset | policy | reward model |
| --- | --- | --- |
| 7b | Qwen2.5-Coder-7B-Instruct | AceCodeRM-7B; the script's column: 256 x 8 samples a rollout, 2 episodes |
| 7b_general | Qwen2.5-7B-Instruct | the same |
| 7b_base | Qwen2.5-Coder-7B, R1 style | the same; it reads the answer without the thoughts before it |
| 0.5b | Qwen2.5-Coder-0.5B-Instruct | one that you name, by configs/rm.py:0.5b say |
| tiny | made on the spot | made on the spot by configs/rm.py:tiny |

All other knobs are those of configs/rl_rule.py, whose presets of the same names these are.
"""

from typing import Any

from ml_collections import ConfigDict

from acecoder_jax import presets
from configs import rl_rule, rm

PRESETS: dict[str, dict[str, Any]] = {
    "7b": {"episodes": 2},
    "7b_general": {"episodes": 2},
    "7b_base": {"episodes": 2},
    "0.5b": {"reward_model.model": "", "reward_model.max_tokens": 1024, "reward_model.row_tokens": 1024},
    "tiny": {
        "reward_model.model": "",
        "reward_model.max_tokens": 256,
        "reward_model.row_tokens": 256,
        "reward_model.dtype": "float32",
        # 32 problems a rollout: its pass rate alone goes up and down by ten points
        "alarm.window": 10,
        "alarm.pass_fall": 0.15,
    },
}


def get_config(argument: str = "") -> ConfigDict:
    preset, overrides = presets.parse(argument, PRESETS, default="7b")
    config = rl_rule.get_config(preset).unlock()
    config.reward = "model"
    # R = weight_model * score + weight_rule * rule. where: "all" answers have the score in their reward, or those to
    # problems without tests only ("untested"). rule: knobs of the rule reward (configs/rl_rule.py).
    config.reward_args = {
        "weight_model": 1.0,
        "weight_rule": 0.0,
        "where": "all",
        "rule": {"kind": "binary", "full_pass_bonus": 0.5, "score_truncated": True},
    }
    config.reward_model = {
        "model": "TIGER-Lab/AceCodeRM-7B",  # a directory or hub id; "" makes one by the stage `train_rm` first
        # Scores are clipped to +-clip, then normalised: "none", "whiten" (over the rollout), "running" (over all yet)
        "clip": 10.0,
        "normalise": "none",
        "text": "reply",  # what it reads: the "reply" (in the style "r1" its answer), or the "program" in it alone
        # Where the score is: the "last" token of the template, or "end_of_turn"; "auto": as the model was trained.
        "read": "auto",
        # Longer texts lose the beginning of the question ("truncate") or are left out ("drop").
        "max_tokens": 4096,
        "over": "truncate",
        # A micro-batch is rows x row_tokens packed tokens (rows 0: one for each shard of the mesh).
        "rows": 0,
        "row_tokens": 4096,
        "attention": "auto",
        "dtype": "bfloat16",
        "devices": 0,  # 0: its parameters are split over the trainer's mesh; else over the first so many devices
    }
    # A warning, and `hacking_alarm` in metrics.jsonl, where over `window` rollouts the mean score rises by score_rise
    # of its deviations while the pass rate falls by pass_fall; stop: the run ends there.
    config.alarm = {"window": 8, "score_rise": 0.1, "pass_fall": 0.05, "stop": False}
    presets.apply(config, PRESETS[preset])
    if not config.reward_model.model and preset == "tiny":
        config.rm = rm.get_config("tiny")
        config.rm.seed = config.get_ref("seed")
    presets.apply(config, overrides)
    return config.lock()
