"""What configs/filter.py and configs/sample.py share: a model writes programs, and the sandbox judges them."""

from typing import Any

from configs import synthesize


def knobs(model: str, program_s: float) -> dict[str, Any]:
    """model: of the endpoint. program_s: CPU seconds of a program for all its tests, and so of one."""
    return {
        "seed": 0,
        "questions": "",  # a JSONL file
        "top_p": 1.0,
        "max_tokens": 2048,  # of a reply
        "shown_tests": 2,  # of a question's tests, in the prompt
        "writer": "endpoint",  # or batch, local: as in configs/synthesize.py
        "endpoint": synthesize.ENDPOINT
        | {"base_url": "http://127.0.0.1:8000/v1", "model": model, "key_env": "", "prefix": "continue"},
        "batch": synthesize.BATCH,
        "local": synthesize.LOCAL | {"max_prompt_tokens": 2048, "max_new_tokens": 2048},
        "budget_usd": 0.0,  # of all starts of the run together; 0: no limit
        "cluster": "local",  # who does the work: acecoder_jax/cluster/
        "cluster_args": {},
        # CPU seconds of a test, and of a program for all its tests.
        "limits": {"test_s": program_s, "program_s": program_s, "memory_bytes": 1 << 30},
        # As in configs/score.py.
        "sandbox": {"workers": 0, "min_isolation": 4, "preload": ()},
    }
