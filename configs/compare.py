"""Compare two evaluations of the same problems: which is better, by how much, and whether that may be chance.

    python -m acecoder_jax.main --config=configs/compare.py --workdir=runs/compared \\
        --config.first=runs/before --config.second=runs/after

Reads the answers.jsonl of both workdirs of `evaluate`; seconds on a laptop. Out: WORKDIR/results.json, a row a score;
WORKDIR/differences.tsv, the problems on which the two differ.
"""

from typing import Any

from ml_collections import ConfigDict

from acecoder_jax import presets

PRESETS: dict[str, dict[str, Any]] = {"default": {}}


def get_config(argument: str = "") -> ConfigDict:
    preset, overrides = presets.parse(argument, PRESETS, default="default")
    config = ConfigDict(
        {
            "stage": "compare",
            "seed": 0,  # of the bootstrap
            "first": "",  # the workdirs of two evaluations
            "second": "",
            "scores": (),  # of those that both have; (): all
        }
    )
    presets.apply(config, PRESETS[preset])
    presets.apply(config, overrides)
    return config.lock()
