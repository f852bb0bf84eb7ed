"""Evaluate a model on HumanEval(+), MBPP(+), BigCodeBench, LiveCodeBench, or any dataset in AceCode's schema.

    python -m acecoder_jax.main --config=configs/evaluate.py:humaneval --config.model=DIR
    python -m acecoder_jax.main --config=configs/evaluate.py:mbpp --config.answers=samples.jsonl    # no model

Out: WORKDIR/results.json, the scores; answers.jsonl, a row an answer; problems.tsv, a row a problem; official/, the
files that the benchmarks' own packages score. The same command goes on where it was stopped. Data come from the hub, or
from --config.data_path. docs/evaluation.md has more.

| preset | benchmarks | answers |
| --- | --- | --- |
| humaneval, mbpp | HumanEval and HumanEval+, MBPP and MBPP+ | greedy, of up to 768 tokens |
| bigcodebench, bigcodebench_hard | complete and instruct, of all tasks or of the hard ones | greedy, 1,280 tokens |
| livecodebench | release v4 | greedy, 2,048 tokens |
| acecode | a file in AceCode's schema, --config.data_path | greedy, 1,024 tokens |
| all | the first four, BigCodeBench in full | greedy, 2,048 tokens |
| tiny | 32 embedded toy problems, for small policies | greedy, 128 tokens |
"""

from typing import Any

from ml_collections import ConfigDict

from acecoder_jax import presets
from configs import synthesize

HUMANEVAL, MBPP = {"name": "humaneval"}, {"name": "mbpp"}
BIGCODEBENCH, BIGCODEBENCH_HARD = (
    tuple({"name": "bigcodebench", "split": split, "subset": subset} for split in ("complete", "instruct"))
    for subset in ("full", "hard")
)
LIVECODEBENCH = {"name": "livecodebench", "release": "release_v4"}

PRESETS: dict[str, dict[str, Any]] = {
    "humaneval": {"benchmarks": (HUMANEVAL,)},
    # of Google's set one problem's asserts take 3,765 tokens
    "mbpp": {"benchmarks": (MBPP,), "local.max_prompt_tokens": 4096},
    "bigcodebench": {"benchmarks": BIGCODEBENCH, "max_tokens": 1280, "local.max_prompt_tokens": 2048},
    "bigcodebench_hard": {"benchmarks": BIGCODEBENCH_HARD, "max_tokens": 1280, "local.max_prompt_tokens": 2048},
    "livecodebench": {"benchmarks": (LIVECODEBENCH,), "max_tokens": 2048, "local.max_prompt_tokens": 4096},
    "acecode": {"benchmarks": ({"name": "acecode"},), "max_tokens": 1024, "local.max_prompt_tokens": 2048},
    "all": {
        "benchmarks": (HUMANEVAL, MBPP, *BIGCODEBENCH, LIVECODEBENCH),
        "max_tokens": 2048,
        "local.max_prompt_tokens": 4096,
    },
    "tiny": {
        "benchmarks": ({"name": "toy", "count": 32},),
        "max_tokens": 128,
        "local.max_prompt_tokens": 256,
        "local.engine.slots": 16,
    },
}


def get_config(argument: str = "") -> ConfigDict:
    preset, overrides = presets.parse(argument, PRESETS, default="humaneval")
    endpoint = synthesize.ENDPOINT | {"base_url": "http://127.0.0.1:8000/v1", "key_env": ""}
    own = ("model", "max_new_tokens", "seed")  # of a writer, which this config has above
    config = ConfigDict(
        {
            "stage": "evaluate",
            "seed": 0,
            "model": "",  # a Hugging Face directory or hub id, or the name that an endpoint knows
            # How the model is asked: "chat" and "base" as the benchmark asks such models, "r1" as a chat with the
            # R1-style system prompt, for policies that were trained with it.
            "style": "chat",
            # Each with arguments of its own of acecoder_jax.benchmarks.make.
            "benchmarks": (HUMANEVAL,),
            "data_path": "",  # the file of the benchmark, where there is one; "": the hub
            "first": 0,  # only so many problems of each; 0: all
            # Answers that are there already: official samples, programs of the `sample` stage, another evaluation's
            # answers.jsonl. answers_model: whose, where the file has several models.
            "answers": "",
            "answers_model": "",
            "samples": 1,  # answers a problem that a model is asked for; more than one wants a temperature
            "temperature": 0.0,
            "top_p": 1.0,
            "max_tokens": 768,  # of an answer
            "pass_at": (1, 10, 100),  # k of pass@k, as far as there are so many answers
            "writer": "local",  # or endpoint, batch: as in configs/synthesize.py
            "endpoint": {key: value for key, value in endpoint.items() if key not in own},
            "batch": {key: value for key, value in synthesize.BATCH.items() if key not in own},
            "local": {key: value for key, value in synthesize.LOCAL.items() if key not in own}
            | {"max_prompt_tokens": 1024},
            "budget_usd": 0.0,  # of all starts of the run together; 0: no limit
            # As in configs/score.py; stop: tests behind the first failure of a part cannot change its score.
            "sandbox": {"workers": 0, "min_isolation": 4, "stop": "failure"},
        }
    )
    presets.apply(config, PRESETS[preset])
    presets.apply(config, overrides)
    return config.lock()
