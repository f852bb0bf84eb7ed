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
from configs import synthesize

PRESETS: dict[str, dict[str, Any]] = {
    "recipe": {},
    "tiny": {"writer": "local", "samples": 4, "max_tokens": 256, "local.max_new_tokens": 256}
    | {"local.engine.slots": 16},
}


def get_config(argument: str = "") -> ConfigDict:
    preset, overrides = presets.parse(argument, PRESETS, default="recipe")
    config = ConfigDict(
        {
            "stage": "sample",
            "seed": 0,
            "questions": "",  # a JSONL file
            "samples": 16,  # programs a question and model
            "temperature": 0.7,
            "top_p": 1.0,
            "max_tokens": 2048,  # of a reply
            "shown_tests": 2,  # of a question's tests, in the prompt
            # Pass rates over all tests imagined for a question, the dropped ones too, as published ("all": the
            # questions say how many in n_tests_all); or over its own tests ("kept").
            "pass_rate_over": "all",
            # Several models of the writer, in turn; (): the one that it names. model_names: for the rows; (): the last
            # part of each model's name.
            "models": (),
            "model_names": (),
            "writer": "endpoint",  # or batch, local: as in configs/synthesize.py
            "endpoint": synthesize.ENDPOINT
            | {"base_url": "http://127.0.0.1:8000/v1", "model": "Qwen/Qwen2.5-Coder-7B-Instruct", "key_env": ""}
            | {"prefix": "continue"},
            "batch": synthesize.BATCH,
            "local": synthesize.LOCAL | {"max_prompt_tokens": 2048, "max_new_tokens": 2048},
            "budget_usd": 0.0,  # of all starts of the run together; 0: no limit
            "cluster": "local",  # who does the work: acecoder_jax/cluster/
            "cluster_args": {},
            # CPU seconds of a test, and of a program for all its tests.
            "limits": {"test_s": 0.2, "program_s": 0.2, "memory_bytes": 1 << 30},
            # As in configs/score.py.
            "sandbox": {"workers": 0, "min_isolation": 4, "preload": ()},
        }
    )
    presets.apply(config, PRESETS[preset])
    presets.apply(config, overrides)
    return config.lock()
