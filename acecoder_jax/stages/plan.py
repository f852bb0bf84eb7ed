"""What a run would take on devices that are not there: memory, work, time. Compiled for them, without an accelerator.

    python -m acecoder_jax.main --config=configs/plan.py --config.target=configs/rl_rule.py:7b \\
        --config.topology=v5p:2x2x4

WORKDIR/plan.json has all numbers. A second start with the same plan prints them again and compiles nothing.
"""

import dataclasses
import importlib.util
import json
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from acecoder_jax import chips, metrics, presets, store
from acecoder_jax.models import huggingface
from acecoder_jax.models.config import PUBLISHED, ModelConfig
from acecoder_jax.planning import estimate, process, summary
from acecoder_jax.planning.lengths import Lengths

MAY_CHANGE = ("target", "topology", "reward_model", "assumed")
REWARD_MODELS = {"AceCodeRM-7B": "Qwen2.5-Coder-7B-Instruct", "AceCodeRM-32B": "Qwen2.5-Coder-32B-Instruct"}


def run(config: ConfigDict, workdir: Path) -> None:
    """Makes the plan and prints it."""
    target = load_target(config.target)
    if target.stage not in ("train_rl", "train_rm"):
        raise ValueError(f"config.target: a plan is made for the stages train_rl and train_rm, not {target.stage!r}")
    sizes = model_sizes(target.model, target)
    reward = reward_sizes(config, target)
    if reward is not None and target.stage == "train_rm":
        raise ValueError("config.reward_model stands beside a policy: leave it empty for a target that trains one")
    job = process.Job(
        config.topology, target.to_dict(), dataclasses.asdict(sizes), config.assumed.to_dict(),
        None if reward is None else dataclasses.asdict(reward),
    )  # fmt: skip
    answers = earlier(workdir / "plan.json", job) or compile_all(job)
    about, most = answers[0]["about"], answers[-1]["most_rows"]
    chip = chips.CHIPS[config.topology.partition(":")[0]]
    found = summary.parts(about, answers[1:-1], chip)
    lengths = Lengths(**config.assumed)
    step = summary.step(found, target, sizes, lengths, chip, about["devices"])
    store.write_json(workdir / "plan.json", {"job": dataclasses.asdict(job), "answers": answers, "step": step})
    show(config, target, about | {"mesh": answers[1]["mesh"]}, found, chip, most, step)
    for line in summary.advice(found, target, chip, about["shards"], most) or ["everything fits"]:
        print(line)


def load_target(argument: str) -> ConfigDict:
    """The config of FILE[:preset[,key=value...]], as --config takes it."""
    path, _, rest = argument.partition(":")
    if not Path(path).is_file():
        raise presets.ConfigError(f"config.target: no config file {path!r}; name one as in configs/rl_rule.py:7b")
    spec = importlib.util.spec_from_file_location("target", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(rest)


def model_sizes(name: str, target: ConfigDict) -> ModelConfig:
    """The sizes of a published model or of a directory; "" are those of the model that the target makes itself."""
    if not name:
        made = target if "architecture" in target else target.sft
        return ModelConfig(vocab_size=made.vocab_size, **made.architecture)
    last = REWARD_MODELS.get(name.rpartition("/")[2], name.rpartition("/")[2])
    for known in (last, f"{last}-Instruct"):  # a base model has the sizes of the one tuned from it
        if known in PUBLISHED:
            return PUBLISHED[known]
    if Path(name).is_dir():
        return huggingface.load_config(name)
    raise ValueError(f"model {name!r} is no directory and none of those known: {', '.join(sorted(PUBLISHED))}")


def reward_sizes(config: ConfigDict, target: ConfigDict) -> ModelConfig | None:
    """The sizes of the reward model beside the policy: the plan's own, else the target's; None where there is none."""
    if config.reward_model or "reward_model" not in target:
        return model_sizes(config.reward_model, target) if config.reward_model else None
    if name := target.reward_model.model:
        return model_sizes(name, target)
    if "rm" not in target:
        raise ValueError("config.target: its reward_model.model is empty: name it, or config.reward_model")
    return model_sizes("", target.rm)


def earlier(path: Path, job: process.Job) -> list[dict[str, Any]]:
    """The answers to the same job that an earlier start left; [] where there are none."""
    if not path.exists():
        return []
    plan = store.read_json(path)
    same = plan["job"] == json.loads(json.dumps(dataclasses.asdict(job)))  # a list for a tuple, as the file has it
    return plan["answers"] if same else []


def compile_all(job: process.Job) -> list[dict[str, Any]]:
    """The answers to a job, with a line for each as it comes."""
    answers = []
    for answer in process.plan(job):
        answers.append(answer)
        if "program" in answer:
            print(f"compiled {answer['program']} at {answer['rows']} rows: {answer['compiled']['compile_s']:.0f} s")
    return answers


def show(
    config: ConfigDict, target: ConfigDict, about: dict[str, Any], found: list[summary.Part], chip: chips.Chip,
    most: int, step: dict[str, Any],
) -> None:  # fmt: skip
    """The tables, the estimate and what it assumes."""
    title = f"{config.target} on {config.topology}: {about['devices']} devices, {about['hosts']} hosts"
    rows = target.trainer.rows or about["shards"]
    print(f"{title}\nmesh {about['mesh']}, rows x tokens {rows} x {target.trainer.row_tokens}")
    metrics.table("held, GiB a device", ("what", "GiB"), summary.held_rows(about))
    metrics.table("memory, GiB a device", summary.MEMORY_COLUMNS, summary.memory_rows(found, chip))
    metrics.table("work of a call", summary.WORK_COLUMNS, summary.work_rows(about, found))
    print(f"the largest micro-batch that fits: {most} rows" if most else "no micro-batch fits")
    for name, (least, longest) in step["seconds"].items():
        print(f"{name}: {least:.1f} .. {longest:.1f} s a step")
    for name in ("mfu_update", "mfu_step"):
        low, high = step[name]
        print(f"{name.replace('mfu_', 'MFU of the ')}: {low:.1%} .. {high:.1%}")
    assumed = ", ".join(f"{name} {value:g}" for name, value in config.assumed.items())
    for line in (f"assumed: {assumed}", *estimate.ASSUMPTIONS):
        print(f"- {line}")
    if unknown := sorted({loop for one in found for loop in one.compiled.unknown_loops}):
        print(f"- counted once, as nobody told how often they turn: {', '.join(unknown)}")
