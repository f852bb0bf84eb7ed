"""An update compiled for TPUs that are not there: what the devices of an fsdp axis send one another.

libtpu wants a process of its own: this file is the test and, run as a script, that process.
"""

import json
import re
from typing import Any

import pytest

D, F, N, K, H = 2048, 8192, 16, 8, 128
FSDP, TENSOR = 8, 2
# of the seven matrices of a layer: the part of a device within its tensor group, whole and in its share of d
WHOLE = {(D, N // TENSOR, H), (D, K // TENSOR, H), (N // TENSOR, H, D), (D, F // TENSOR), (F // TENSOR, D)}
SHARES = {tuple(size // FSDP if size == D else size for size in shape) for shape in WHOLE}


def collectives_of_an_update() -> list[tuple[str, str, tuple[int, ...]]]:
    """(kind, type, shape) of each collective's result; axes of one are left out."""
    import jax
    from jax.experimental import topologies

    from acecoder_jax.models.config import ModelConfig
    from acecoder_jax.planning import hlo
    from acecoder_jax.planning.lengths import Lengths
    from acecoder_jax.planning.target import rm_target

    sizes = ModelConfig(
        vocab_size=4096, hidden_size=D, intermediate_size=F, num_layers=2, num_heads=N, num_kv_heads=K, head_dim=H
    )
    config = {
        "batch": 8, "optimizer": {"learning_rate": 1e-5}, "dtype": "bfloat16", "remat": "full",
        "trainer": {"rows": 8, "row_tokens": 1024, "attention": "auto"},
        "lora": {"rank": 0, "alpha": 1.0, "targets": ()},
        "objective": {"dropout": 0.1, "margin": 0.0, "centering": 0.0},
        "mesh": {"data": 1, "fsdp": FSDP, "context": 1, "tensor": TENSOR},
    }  # fmt: skip
    devices = topologies.get_topology_desc(platform="tpu", topology_name="v5e:4x4").devices
    update = rm_target(config, sizes, devices, Lengths(400, 400, 0.9, 0.75)).programs["update"]
    with jax.set_mesh(update.mesh):
        text = update.trace().lower(lowering_platforms=("tpu",)).compile().as_text()
    found = []
    for computation in hlo.parse(text)[0].values():
        for one in computation.values():
            kind = one.opcode.removesuffix("-start")
            if kind in hlo.COLLECTIVES:
                for name, axes in re.findall(r"(\w+)\[([\d,]+)\]", one.type):
                    found.append((kind, name, tuple(int(size) for size in axes.split(",") if size != "1")))
    return found


@pytest.fixture(scope="module")
def collectives():
    from tests.for_tpu import answer_of

    return [(kind, name, tuple(shape)) for kind, name, shape in answer_of(__file__)]


def test_weights_are_gathered_whole_and_in_bfloat16(collectives: list[Any]):
    gathered = {(name, shape) for kind, name, shape in collectives if kind == "all-gather" and shape in WHOLE}
    assert gathered == {("bf16", shape) for shape in WHOLE}
    # none is sent around in parts, to be multiplied part by part
    assert not [one for one in collectives if one[0] == "collective-permute" and one[2] in SHARES]


def test_gradients_of_layers_are_added_up_in_the_parts_that_are_stored(collectives: list[Any]):
    scattered = {(name, shape) for kind, name, shape in collectives if kind == "reduce-scatter"}
    assert {("f32", shape) for shape in SHARES} <= scattered
    assert not [one for one in collectives if one[0] == "all-reduce" and one[2] in WHOLE]


if __name__ == "__main__":
    print(json.dumps(collectives_of_an_update()))
