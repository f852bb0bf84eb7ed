"""Sample programs for the filtered questions, and rate them by the tests: a dataset in AceCode-87K's schema.

    python -m acecoder_jax.main --config=configs/sample.py:recipe --workdir=runs/sample \\
        --config.questions=runs/filter/filtered.jsonl --config.endpoint.base_url=http://HOST:8000/v1

Out: WORKDIR/dataset.jsonl; programs.jsonl, a row a program; rejected.jsonl. The same command goes on where it was
stopped; with another model, in the same workdir, it adds that one's programs. The presets: recipe, the paper's, 16
programs of Qwen2.5-Coder-7B-Instruct at an endpoint; tiny, 4 of a local checkpoint named with --config.local.model.
"""

from typing import Any

from ml_collections import ConfigDict

from acecoder_jax import presets
from configs import _programs

PRESETS: dict[str, dict[str, Any]] = {
    "recipe": {},
    "tiny": {"writer": "local", "samples": 4, "max_tokens": 256, "local.max_new_tokens": 256}
    | {"local.engine.slots": 16},
}


def get_config(argument: str = "") -> ConfigDict:
    preset, overrides = presets.parse(argument, PRESETS, default="recipe")
    config = ConfigDict(
        _programs.knobs("Qwen/Qwen2.5-Coder-7B-Instruct", program_s=0.2)
        | {
            "stage": "sample",
            "samples": 16,  # programs a question and model
            "temperature": 0.7,
            # Pass rates over all tests imagined for a question, the dropped ones too, as published ("all": the
            # questions say how many in n_tests_all); or over its own tests ("kept").
            "pass_rate_over": "all",
            # Several models of the writer, in turn; (): the one that it names. model_names: for the rows; (): the last
            # part of each model's name.
            "models": (),
            "model_names": (),
        }
    )
    presets.apply(config, PRESETS[preset])
    presets.apply(config, overrides)
    return config.lock()
