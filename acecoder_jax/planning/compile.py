"""A program compiled for its mesh, and what the compiler says of it."""

import contextlib
import dataclasses
import re
import tempfile
import time
from pathlib import Path

import jax

from acecoder_jax.planning import hlo, jaxpr
from acecoder_jax.planning.target import Program

_TOO_LARGE = re.compile(r"Used ([\d.]+)([KMGT])i?B? of ([\d.]+)([KMGT])i?B? hbm")
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclasses.dataclass(frozen=True)
class Compiled:
    """Of one call on one device, but `operations`, which are those of all devices of the mesh together.

    own_bytes: arguments and results, where they are not the same memory. temporary_bytes: beside those. too_large: the
    compiler gave up, as it all would not fit: temporary_bytes is then what it said it needs, less own_bytes.
    moved_bytes: read and written in the device's memory. collectives: kind -> (how many, bytes over the links).
    unknown_loops: scopes of loops counted once, as nobody told how often they turn.
    """

    own_bytes: int
    temporary_bytes: int
    too_large: bool
    operations: float
    moved_bytes: float
    collectives: dict[str, tuple[float, float]]
    unknown_loops: tuple[str, ...]
    compile_s: float


def compile_program(program: Program) -> Compiled:
    """Compiles a program for the devices of its mesh, which need not be there."""
    with jax.set_mesh(program.mesh):
        traced = program.trace()
        counted = jaxpr.count(traced.jaxpr, program.turns)
        platform = program.mesh.devices.flat[0].platform
        lowered = traced.lower(lowering_platforms=(platform,))
        own = sum(_bytes(leaf) for leaf in jax.tree.leaves(traced.in_avals)) // program.mesh.size
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            try:
                compiled = lowered.compile(compiler_options={"xla_dump_to": folder, "xla_dump_hlo_as_text": True})
            except jax.errors.JaxRuntimeError as error:
                if not (found := _TOO_LARGE.search(str(error))):
                    raise
                used = int(float(found[1]) * _UNITS[found[2]])
                passed = time.perf_counter() - start
                return Compiled(own, used - own, True, counted.operations, 0.0, {}, (), passed)
            passed = time.perf_counter() - start
            text = _text(compiled, Path(folder))
    moved = hlo.moved(text, program.turns)
    memory = compiled.memory_analysis()
    results = memory.output_size_in_bytes - memory.alias_size_in_bytes
    return Compiled(
        memory.argument_size_in_bytes + results, memory.temp_size_in_bytes, False, counted.operations,
        moved.memory_bytes, moved.collectives, tuple(sorted(counted.unknown | moved.unknown)), passed,
    )  # fmt: skip


def _bytes(leaf: jax.core.ShapedArray) -> int:
    return leaf.size * leaf.dtype.itemsize


def _text(compiled: jax.stages.Compiled, folder: Path) -> str:
    """The program's HLO text: as the compiler wrote it down, since a TPU's program cannot always be printed later."""
    files = sorted(folder.glob("*after_optimizations.txt"), key=lambda file: file.stat().st_size)
    if files:
        return files[-1].read_text()
    with contextlib.suppress(jax.errors.JaxRuntimeError):
        if text := compiled.as_text():
            return text
    raise RuntimeError("the compiler gave no text of the program that it made")
