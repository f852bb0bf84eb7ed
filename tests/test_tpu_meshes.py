"""Meshes over TPU slices that are not there: any split of the devices, whatever the shape of the slice.

libtpu wants a process of its own: this file is the test and, run as a script, that process.
"""

import json

# data, fsdp, tensor, context; on each a single axis of the mesh is a part of one of the slice's
MESHES = {
    "v5e:8x8": [(1, 16, 4, 1), (2, 16, 2, 1), (1, 8, 4, 2)],
    "v6e:8x8": [(1, 16, 4, 1), (2, 16, 2, 1), (1, 8, 4, 2)],
    "v5p:4x4x4": [(1, 32, 2, 1), (2, 16, 2, 1), (1, 8, 4, 2), (4, 16, 1, 1)],
    "v4:2x2x4": [(1, 2, 4, 2), (1, 8, 2, 1)],
}


def make_all() -> dict[str, list]:
    """The shape of each mesh and over how many devices it is."""
    from jax.experimental import topologies

    from acecoder_jax import parallel

    found = {}
    for name, meshes in MESHES.items():
        two_cores = {"chip_config_name": "megacore"} if name.startswith(("v4", "v5p")) else {}
        devices = topologies.get_topology_desc(platform="tpu", topology_name=name, **two_cores).devices
        made = [parallel.make_mesh(*sizes, devices=devices) for sizes in meshes]
        found[name] = [[*dict(mesh.shape).values(), len({device.id for device in mesh.devices.flat})] for mesh in made]
    return found


def test_any_split_of_a_slice_is_a_mesh():
    from tests.for_tpu import answer_of

    assert answer_of(__file__) == {
        name: [[data, fsdp, context, tensor, data * fsdp * context * tensor] for data, fsdp, tensor, context in meshes]
        for name, meshes in MESHES.items()
    }


if __name__ == "__main__":
    print(json.dumps(make_all()))
