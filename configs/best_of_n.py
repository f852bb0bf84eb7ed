"""Best of N: N sampled answers a problem and a greedy one, the samples ranked by a reward model.

    python -m acecoder_jax.main --config=configs/best_of_n.py:humaneval --config.model=DIR --config.reward_model=DIR
    python -m acecoder_jax.main --config=configs/best_of_n.py:mbpp --config.answers=samples.jsonl \\
        --config.greedy_answers=greedy.jsonl --config.reward_model=DIR    # of any other model

The paper's setting: 16 samples (32, 64) at temperature 1.0. Out: WORKDIR/results.json and best_of_n.png: by score
greedy, average, the reward model's best of n and the oracle for n = 1, 2, 4, ..., N; answers.jsonl and scores.jsonl, a
row an answer; official/, what the reward model picked, for the benchmarks' own packages. The same command goes on where
it was stopped, and with fewer or more samples uses those that are there. The presets are those of configs/evaluate.py,
with its knobs for benchmarks and writers. A GPU for 7B models; docs/best_of_n.md has more.
"""

from ml_collections import ConfigDict

from acecoder_jax import presets
from configs import evaluate
from configs._reward_model import REWARD

PRESETS = evaluate.PRESETS


def get_config(argument: str = "") -> ConfigDict:
    preset, overrides = presets.parse(argument, PRESETS, default="humaneval")
    knobs = evaluate.get_config(preset).to_dict()
    del knobs["pass_at"]  # here the n are 1, 2, 4, ..., samples
    config = ConfigDict(
        knobs
        | {
            "stage": "best_of_n",
            "samples": 16,  # N; of answers in a file the first so many of each problem
            "temperature": 1.0,  # of the samples
            "greedy_answers": "",  # a file with the greedy answers of the model whose samples are in config.answers
            "reward_model": "",  # a directory or hub id
            "reward": REWARD,
            # What the reward model reads: the benchmark's "prompt" for chat models or the bare "statement"; the
            # "program" in a python block, as AceCoder's pairs have it, or the whole "reply".
            "question": "prompt",
            "text": "program",
        }
    )
    presets.apply(config, overrides)
    return config.lock()
