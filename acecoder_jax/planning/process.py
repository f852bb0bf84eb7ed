"""Compiling in a process of its own: a TPU's compiler takes the process it is loaded into for a TPU's.

`plan` starts one, sends it a job, and yields what it answers, a program at a time. This file is that process, too:

    python -m acecoder_jax.planning.process < job.json
"""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

from acecoder_jax import chips
from acecoder_jax.models.config import ModelConfig, YarnScaling
from acecoder_jax.planning.lengths import Lengths

_ANSWER = "PLAN "  # how a line of an answer begins: libtpu prints lines of its own


@dataclasses.dataclass(frozen=True)
class Job:
    """topology: libtpu's name, as v5p:2x2x4. config: of a stage train_rl or train_rm. sizes: of the model, as a dict.

    reward: those of a reward model beside the policy, or None.
    """

    topology: str
    config: Mapping[str, Any]
    sizes: Mapping[str, Any]
    lengths: Mapping[str, float]
    reward: Mapping[str, Any] | None = None


def environment() -> dict[str, str]:
    """That of a process which compiles for TPUs that are not there: nothing of this process's JAX, its cache least of
    all. It holds no TPU, so another process may load libtpu beside it.
    """
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "XLA_"))}
    return plain | {"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}


def plan(job: Job) -> Iterator[dict[str, Any]]:
    """Answers as they come: {"about": ...} first, then {"program": name, "rows": n, ...} for each that was compiled.

    ValueError for what the compiler's process refuses, with its words.
    """
    with tempfile.TemporaryFile("w+") as errors:
        child = subprocess.Popen(
            [sys.executable, "-m", "acecoder_jax.planning.process"], env=environment(), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
        )  # fmt: skip
        try:
            assert child.stdin is not None and child.stdout is not None
            child.stdin.write(json.dumps(dataclasses.asdict(job)))
            child.stdin.close()
            for line in child.stdout:
                if line.startswith(_ANSWER):
                    yield json.loads(line.removeprefix(_ANSWER))
            if child.wait():
                errors.seek(0)
                raise ValueError(f"the compiler's process ended with {child.returncode}: {errors.read()[-2000:]}")
        finally:
            child.kill()
            child.wait()


def main() -> None:
    """Answers the job on standard input."""
    from jax.experimental import topologies

    from acecoder_jax.planning import compile as compiler
    from acecoder_jax.planning import search

    job = Job(**json.load(sys.stdin))
    kind = job.topology.partition(":")[0]
    if kind not in chips.CHIPS:
        raise ValueError(f"topology {job.topology!r}: unknown chip {kind!r}; there are v4, v5e, v5p, v6e")
    # a v4 or v5p chip has two cores, which programs see as one device
    more = {"chip_config_name": "megacore"} if kind in ("v4", "v5p") else {}

    def devices_of(name: str) -> Any:
        return topologies.get_topology_desc(platform="tpu", topology_name=name, **more).devices

    devices = devices_of(job.topology)
    if len({device.process_index for device in devices}) == 1:
        host = devices
    else:  # for a part of a slice the compiler may refuse: a host is a slice of its own
        host = devices_of(f"{kind}:2x2x1" if kind in ("v4", "v5p") else f"{kind}:2x2")
    reward = None if job.reward is None else sizes_of(job.reward)
    lengths = Lengths(**job.lengths)
    for answer in search.answers(
        job.config, sizes_of(job.sizes), devices, host, lengths, chips.CHIPS[kind], compiler.compile_program, reward
    ):
        print(_ANSWER + json.dumps(answer), flush=True)


def sizes_of(fields: Mapping[str, Any]) -> ModelConfig:
    """A model's config from its fields as JSON has them."""
    scaling, kinds = fields.get("rope_scaling"), fields.get("layer_types")
    scaling = None if scaling is None else YarnScaling(**scaling)
    return ModelConfig(**{**fields, "rope_scaling": scaling, "layer_types": None if kinds is None else tuple(kinds)})


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
