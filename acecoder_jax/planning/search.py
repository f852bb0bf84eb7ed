"""What a plan compiles, in order: every program once, then the update at other numbers of rows."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax

from acecoder_jax import parallel
from acecoder_jax.chips import Chip
from acecoder_jax.models.config import ModelConfig
from acecoder_jax.planning import estimate
from acecoder_jax.planning.compile import Compiled
from acecoder_jax.planning.lengths import Lengths
from acecoder_jax.planning.target import Program, Target, rl_target, rm_target


def answers(
    config: Mapping[str, Any], sizes: ModelConfig, devices: Sequence[jax.Device], host: Sequence[jax.Device],
    lengths: Lengths, chip: Chip, compiled: Callable[[Program], Compiled], reward: ModelConfig | None = None,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """As `process.plan` says. The last answer, {"most_rows": n}, is the largest micro-batch that fits, compiled; 0 for
    none. host: the devices of one host, where it samples. compiled: compiles a program.
    """

    def target(rows: int | None = None) -> Target:
        if config["stage"] == "train_rm":
            return rm_target(config, sizes, devices, lengths, rows)
        return rl_target(config, sizes, devices, host, lengths, reward, rows)

    rows = config["trainer"]["rows"] or parallel.row_shards(parallel.make_mesh(**config["mesh"], devices=devices))
    config = {**config, "trainer": {**config["trainer"], "rows": rows}}
    first = target()
    yield {"about": about(first, devices)}
    known: dict[int, Compiled] = {}
    for name, program in first.programs.items():
        result = compiled(program)
        known |= {rows: result} if name == "update" else {}
        yield _answer(name, rows, program, result)
    free = estimate.room(chip) - beside(first, "update")
    limit = -(-first.most_rows // first.shards) * first.shards
    for tried in _candidates(known, free, first.shards, limit):
        program = target(tried).programs["update"]
        known[tried] = compiled(program)
        yield _answer("update", tried, program, known[tried])
    yield {"most_rows": max((rows for rows, one in known.items() if fits(one, free)), default=0)}


def _candidates(known: Mapping[int, Compiled], free: float, shards: int, limit: int) -> Iterator[int]:
    """Rows to compile the update at, next to those that are known by then: a second point of the line, then its end,
    and from there down while it does not fit."""
    (rows,) = known
    if rows + shards <= limit:
        yield rows + shards
    elif rows > shards:
        yield rows - shards
    points = [(r, one.own_bytes + one.temporary_bytes) for r, one in sorted(known.items())]
    best = estimate.most_rows(points, free, shards, limit)
    while best >= shards and not (best in known and fits(known[best], free)):
        if best not in known:
            yield best
        if not fits(known[best], free):
            best -= shards


def fits(one: Compiled, free: float) -> bool:
    """Whether a program with its arguments fits into what the other arrays leave free."""
    return not one.too_large and one.own_bytes + one.temporary_bytes <= free


def beside(target: Target, name: str) -> int:
    """Bytes a device of the arrays that are held while a program runs and are none of its arguments."""
    program = target.programs[name]
    return sum(
        size
        for held, size in target.held.items()
        if held not in program.takes and (held not in target.passing or held in program.needs)
    )


def about(target: Target, devices: Sequence[jax.Device]) -> dict[str, Any]:
    """What there is to say of a target before anything is compiled."""
    return {
        "devices": len(devices), "hosts": target.hosts, "kind": devices[0].device_kind, "held": target.held,
        "passing": target.passing, "shards": target.shards, "moved": target.moved,
        "beside": {name: beside(target, name) for name in target.programs},
    }  # fmt: skip


def _answer(name: str, rows: int, program: Program, result: Compiled) -> dict[str, Any]:
    return {
        "program": name, "rows": rows, "calls": program.calls, "devices": program.mesh.size,
        "mesh": dict(program.mesh.shape), "takes": program.takes, "turns": dict(program.turns),
        "compiled": dataclasses.asdict(result),
    }  # fmt: skip
