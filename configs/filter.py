"""Drop the imagined tests that a strong coder's program fails, and the questions that have too few left.

    python -m acecoder_jax.main --config=configs/filter.py:recipe --workdir=runs/filter \\
        --config.questions=runs/synthesize/questions.jsonl --config.endpoint.base_url=http://HOST:8000/v1

In: {"id", "source", "question", "test_cases", ...} a row, as the stage synthesize writes it. Out: filtered.jsonl, the
same with the tests that are kept; oracle.jsonl, the programs and what became of each test; rejected.jsonl. The same
command goes on where it was stopped. The presets: recipe, the paper's, with Qwen2.5-Coder-32B-Instruct at an endpoint;
majority, five programs of it of which more than half have to pass a test; tiny, a local checkpoint named with
--config.local.model, short replies, for a laptop.
"""

from typing import Any

from ml_collections import ConfigDict

from acecoder_jax import presets
from configs import _programs

PRESETS: dict[str, dict[str, Any]] = {
    "recipe": {},
    "majority": {"oracle_samples": 5, "temperature": 0.7},
    "tiny": {"writer": "local", "max_tokens": 256, "local.max_new_tokens": 256, "local.engine.slots": 16}
    | {"keep.min_tests": 2, "keep.min_passes": 1},
}


def get_config(argument: str = "") -> ConfigDict:
    preset, overrides = presets.parse(argument, PRESETS, default="recipe")
    config = ConfigDict(
        _programs.knobs("Qwen/Qwen2.5-Coder-32B-Instruct", program_s=0.8)
        | {
            "stage": "filter",
            "oracle_samples": 1,  # programs a question; of several a test needs a majority
            "temperature": 0.0,  # 0: greedy
            # A question with fewer passed tests is dropped at once (the public code's first rule), one with fewer kept
            # tests after that. Of several programs more than this share has to pass a test.
            "keep": {"min_passes": 4, "min_tests": 5, "majority": 0.5},
        }
    )
    presets.apply(config, PRESETS[preset])
    presets.apply(config, overrides)
    return config.lock()
