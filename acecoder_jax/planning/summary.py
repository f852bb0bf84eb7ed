"""A plan's answers as rows of tables, an estimate of a step, and what to change where something does not fit."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from acecoder_jax.chips import Chip
from acecoder_jax.models import flops, lora
from acecoder_jax.models.config import ModelConfig
from acecoder_jax.planning import estimate
from acecoder_jax.planning.compile import Compiled
from acecoder_jax.planning.lengths import Lengths

GIB = 2**30
MEMORY_COLUMNS = ("program", "holds", "beside", "temporaries", "sum", "room", "fits")
WORK_COLUMNS = ("program", "calls", "TFLOP", "GB moved", "collectives", "compile s", "ms a call", "bound by")


@dataclasses.dataclass(frozen=True)
class Part:
    """One program of a plan: `Compiled` and what its answer says beside that."""

    name: str
    rows: int
    calls: float
    devices: int
    takes: tuple[str, ...]
    compiled: Compiled
    beside: int
    seconds: estimate.Seconds

    @property
    def total(self) -> int:
        """Bytes a device while it runs."""
        return self.beside + self.compiled.own_bytes + self.compiled.temporary_bytes


def parts(about: Mapping[str, Any], answers: Sequence[Mapping[str, Any]], chip: Chip) -> list[Part]:
    """The programs of a plan's answers, in their order."""
    found = []
    for one in answers:
        fields = one["compiled"]
        collectives = {kind: (float(number), float(size)) for kind, (number, size) in fields["collectives"].items()}
        compiled = Compiled(**{**fields, "collectives": collectives, "unknown_loops": tuple(fields["unknown_loops"])})
        name = one["program"]
        seconds = estimate.seconds(compiled, chip, one["devices"], about["moved"].get(name))
        beside = about["beside"][name]
        found.append(
            Part(name, one["rows"], one["calls"], one["devices"], tuple(one["takes"]), compiled, beside, seconds)
        )
    return found


def held_rows(about: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a run holds on each device, and for how long."""
    return [
        (name, f"{gib(size)}" + (" (while it samples)" if name in about["passing"] else ""))
        for name, size in about["held"].items()
    ]


def memory_rows(found: Sequence[Part], chip: Chip) -> list[tuple[str, ...]]:
    """A row a program under MEMORY_COLUMNS, in GiB a device."""
    room = estimate.room(chip)
    return [
        (
            _named(one), gib(one.compiled.own_bytes), gib(one.beside), gib(one.compiled.temporary_bytes),
            gib(one.total), gib(room), "yes" if fits(one, chip) else "NO",
        )
        for one in found
    ]  # fmt: skip


def fits(one: Part, chip: Chip) -> bool:
    """Whether a program fits with all that is held beside it."""
    return not one.compiled.too_large and one.total <= estimate.room(chip)


def work_rows(about: Mapping[str, Any], found: Sequence[Part]) -> list[tuple[str, ...]]:
    """A row a program under WORK_COLUMNS: of one call; operations of all its devices, the rest of one."""
    rows: list[tuple[str, ...]] = []
    for one in found:
        compiled, seconds = one.compiled, one.seconds
        moved = about["moved"].get(one.name, compiled.moved_bytes)
        collectives = "\n".join(
            f"{kind} {number:.0f}: {size / 1e9:.2f} GB" for kind, (number, size) in sorted(compiled.collectives.items())
        )
        if compiled.too_large:
            rows.append((_named(one), f"{one.calls:.0f}", f"{compiled.operations / 1e12:.1f}", "", "too large",
                         f"{compiled.compile_s:.0f}", "", ""))  # fmt: skip
            continue
        rows.append(
            (
                _named(one), f"{one.calls:.0f}", f"{compiled.operations / 1e12:.1f}", f"{moved / 1e9:.1f}",
                collectives or "none", f"{compiled.compile_s:.0f}",
                f"{1e3 * seconds.least:.0f} .. {1e3 * seconds.most:.0f}", seconds.bound,
            )
        )  # fmt: skip
    return rows


def step(
    found: Sequence[Part], config: Mapping[str, Any], sizes: ModelConfig, lengths: Lengths, chip: Chip, devices: int
) -> dict[str, Any]:
    """Seconds of a step and of its parts, each (at least, at most), and the MFU of the update and of the step.

    A step is a rollout with its updates, or one update of a reward model.
    """
    base = {one.name: one for one in reversed(found)}  # the first of a name is the one at the config's rows
    times = {name: (one.calls * one.seconds.least, one.calls * one.seconds.most) for name, one in base.items()}
    total = sum(least for least, _ in times.values()), sum(most for _, most in times.values())
    peak, adapter = devices * chip.bf16_flops, lora.make(**config["lora"])
    if config["stage"] == "train_rm":
        texts = 2 * config["batch"]
        useful = texts * flops.update(sizes, np.arange(round(lengths.whole)), 0, adapter)
        rest = 0.0
    else:
        samples = config["prompts_per_rollout"] * config["samples_per_prompt"]
        tokens, predicted = np.arange(round(lengths.whole)), round(lengths.response)
        useful = config["passes"] * samples * flops.update(sizes, tokens, predicted, adapter)
        # log-probs once or twice, and the sampling itself
        rest = (base["log-probs"].calls + 1) * samples * flops.forward(sizes, tokens, predicted)
    update = times["update"]
    return {
        "seconds": {**times, "step": total},
        "mfu_update": (useful / peak / update[1], useful / peak / update[0]),
        "mfu_step": ((useful + rest) / peak / total[1], (useful + rest) / peak / total[0]),
    }


def advice(found: Sequence[Part], config: Mapping[str, Any], chip: Chip, shards: int, most: int) -> list[str]:
    """What to change, the cheapest first, for each program that does not fit: knobs that the config has."""
    lines = []
    for name in dict.fromkeys(one.name for one in found):
        one = next(part for part in found if part.name == name)
        if fits(one, chip):
            continue
        over = one.total - estimate.room(chip)
        lines.append(f"{name} needs {gib(over)} GiB a device more than there is room for. Change, in this order:")
        if name in ("prefill", "decode"):
            lines += _sampler_advice(config)
        else:
            lines += _trainer_advice(config, one, shards, most)
        if "decode_mesh" in config and name not in ("prefill", "decode"):
            lines.append("  more decode_mesh.tensor, or engine.int8=True: the sampler's weights lie beside it")
    return lines


def _sampler_advice(config: Mapping[str, Any]) -> list[str]:
    engine, mesh = config["engine"], config["decode_mesh"]
    return [
        f"  fewer engine.slots (now {engine['slots']}), or less engine.cache_tokens (now {engine['cache_tokens']}; "
        "0 has room for every slot to be full)",
        f"  more decode_mesh.tensor (now {mesh['tensor']}): it splits the weights and the cache",
        *([] if engine["int8"] else ["  engine.int8=True: half of the weights"]),
        "  more fsdp for the trainer's arrays, which lie beside it: more devices",
    ]


def _trainer_advice(config: Mapping[str, Any], one: Part, shards: int, most: int) -> list[str]:
    shape, mesh = config["trainer"], config["mesh"]
    lines = []
    if one.name == "update" and most:
        lines.append(f"  trainer.rows={most}: that fits")
    elif shape["rows"] > shards:
        lines.append(f"  fewer trainer.rows (now {shape['rows']}), a multiple of {shards}")
    if config["remat"] not in ("full", "offload"):
        lines.append(f"  remat=full (now {config['remat']}): keeps the inputs of layers alone")
    if mesh["data"] > 1:
        lines.append(f"  mesh.data=1 (now {mesh['data']}) and more fsdp: no copies of the state")
    lines += [
        f"  more mesh.tensor (now {mesh['tensor']}), then fewer trainer.rows: splits vocabulary, heads, hidden units",
        f"  more mesh.context (now {mesh['context']}): splits the time of a row",
    ]
    if shape.get("logit_chunk", 0) > 512:
        lines.append(f"  a smaller trainer.logit_chunk (now {shape['logit_chunk']})")
    if "offload" in shape and not shape["offload"]:
        lines.append("  trainer.offload=('optimizer', 'reference'): they wait in the host's memory")
    if not config["lora"]["rank"]:
        lines.append("  lora.rank=32: no gradient, moments or float32 copy of the model, and no reference beside it")
        if config.get("algorithm_args", {}).get("kl_coef"):
            lines.append("  algorithm_args.kl_coef=0: no reference is held")
    return [*lines, "  more devices"]


def gib(size: float) -> str:
    """1610612736 -> "1.50"."""
    return f"{size / GIB:.2f}"


def _named(one: Part) -> str:
    return f"update, {one.rows} rows" if one.name == "update" else one.name
