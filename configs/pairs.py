"""The hard quarter of a dataset, and preference pairs of its programs.

    python -m acecoder_jax.main --config=configs/pairs.py --workdir=runs/pairs \\
        --config.dataset=runs/sample/dataset.jsonl

In: rows of AceCode-87K's schema. Out: WORKDIR/hard.jsonl, the rows of the hard questions, for reinforcement learning;
WORKDIR/pairs.jsonl in the schema of AceCodePair-300K, for a reward model. The presets: recipe, the published rules over
all models of the dataset; published, over the models that the published ones were made with, for AceCode-87K itself;
tiny, the same rules with smaller gaps, so that a handful of programs gives pairs.
"""

from typing import Any

from ml_collections import ConfigDict

from acecoder_jax import curate, presets

PRESETS: dict[str, dict[str, Any]] = {
    "recipe": {},
    "published": {"hard.models": curate.PUBLISHED_MODELS, "pairs.models": ("qwen_coder_2.5",)},
    "tiny": {"pairs.min_best": 0.5, "pairs.min_gap": 0.2},
}


def get_config(argument: str = "") -> ConfigDict:
    preset, overrides = presets.parse(argument, PRESETS, default="recipe")
    config = ConfigDict(
        {
            "stage": "pairs",
            "seed": 0,
            "dataset": "",  # a JSONL file
            "hard": {"models": ()},  # whose programs say how hard a question is; (): all models'
            "pairs": {
                "models": (),  # whose programs make pairs, each model's by themselves; (): all
                "over": "all",  # pass rates over all imagined tests, as the rows have them, or over the kept ones
                "min_best": 0.8,  # the chosen program's pass rate, at least
                "min_gap": 0.4,  # by which it is above the rejected one's, at least
                "above": 0.0,  # the rejected one's, more than this
                "ascii_only": True,  # leave out questions with other characters
                "max_pairs": 0,  # of a question and model; 0: all
            },
        }
    )
    presets.apply(config, PRESETS[preset])
    presets.apply(config, overrides)
    return config.lock()
