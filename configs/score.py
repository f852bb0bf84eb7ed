"""Judge programs against tests in the sandbox, or score them with a reward model (preset rm).

    python -m acecoder_jax.main --config=configs/score.py --config.input=IN.jsonl --config.output=OUT.jsonl

In, a row an id: {"id", "program", "tests": [...]}, optionally "entry_point", "setup" and "profile". Out, a row an id as
it finishes: {"id", "statuses", "messages", "mode", "time_s", "memory_bytes", "pass_rate"}; WORKDIR/results.json sums up
all rows of the input that the output holds, whichever start judged them. CPU only. The same command goes on where it
was stopped. The presets acecoder_0.2s and acecoder_0.8s have AceCoder's time limits.

    python -m acecoder_jax.main --config=configs/score.py:rm --config.reward_model=DIR \\
        --config.input=IN.jsonl --config.output=OUT.jsonl

In, a row an id: {"id", "question", "program"}; question and program are the user's and the assistant's whole turns, the
program as a rule in a ```python block. Out, a row an id with its batch: {"id", "score", "reward_model"}, the score null
and "dropped" its reason where the program is too long; WORKDIR/results.json has count, mean and std. On the devices of
one process: a GPU for 7B in bfloat16, or a CPU for small models. docs/best_of_n.md.
"""

from typing import Any

from ml_collections import ConfigDict

from acecoder_jax import presets
from configs._reward_model import REWARD

PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "acecoder_0.2s": {"limits.test_s": 0.2, "limits.program_s": 0.2},
    "acecoder_0.8s": {"limits.test_s": 0.8, "limits.program_s": 0.8},
    "rm": {},
}

TESTS: dict[str, Any] = {
    # CPU seconds of a test and of a program with all its tests; address space of a program.
    "limits": {"test_s": 1.0, "program_s": 8.0, "memory_bytes": 1 << 30},
    "sandbox": {
        "workers": 0,  # 0: one a core
        "min_isolation": 4,  # the weakest tier that will do, 1 to 4; docs/sandbox.md has what each promises
        "allow_inside": False,  # let tests pass that can only run beside the program
        "stop": "never",  # or at the first "failure" (binary rewards), at the first "timeout"
        "preload": (),  # packages beside the standard library that programs may import
    },
}
REWARD_MODEL: dict[str, Any] = {
    "reward_model": "",  # a directory or hub id
    "reward": REWARD,
}


def get_config(argument: str = "") -> ConfigDict:
    preset, overrides = presets.parse(argument, PRESETS, default="default")
    files = {
        "input": "",
        "output": "",
        "skip_malformed": False,  # false: a malformed row is an error, before anything runs
    }
    scorer = REWARD_MODEL if preset == "rm" else TESTS
    config = ConfigDict({"stage": "score", "seed": 0} | files | scorer)
    presets.apply(config, PRESETS[preset])
    presets.apply(config, overrides)
    return config.lock()
