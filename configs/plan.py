"""What a run would take on TPUs that are not there: bytes a device, operations, collectives, time.

    python -m acecoder_jax.main --config=configs/plan.py --config.target=configs/rl_rule.py:7b \\
        --config.topology=v5p:2x2x4

No accelerator; libtpu, which brings the compiler (the extra `tpu`); minutes on 2 CPU cores. docs/plan.md says how to
read it, docs/results/plan.md has plans of the paper's recipes.
"""

from ml_collections import ConfigDict

from acecoder_jax import presets

PRESETS: dict[str, dict] = {"default": {}}


def get_config(argument: str = "") -> ConfigDict:
    preset, overrides = presets.parse(argument, PRESETS, default="default")
    config = ConfigDict(
        {
            "stage": "plan",
            "seed": 0,
            # The run: FILE[:preset[,key=value...]], of a stage train_rl or train_rm.
            "target": "configs/rl_rule.py:7b",
            # The slice by libtpu's name: chips along each axis, v4:2x2x4, v5e:8x8, v5p:2x2x4, v6e:8x8.
            "topology": "v5p:2x2x4",
            # RL with a reward model: a published model's name or a directory; "" is the target's own, if it has one.
            "reward_model": "",
            # Mean tokens; the share of a row that holds tokens; the share of slots that decode.
            "assumed": {"prompt": 400.0, "response": 400.0, "packing": 0.9, "occupancy": 0.75},
        }
    )
    presets.apply(config, PRESETS[preset])
    presets.apply(config, overrides)
    return config.lock()
