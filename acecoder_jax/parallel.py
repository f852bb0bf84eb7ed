"""Meshes over the devices at hand, and sums of host-side numbers."""

import math
import threading
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from jax.experimental import mesh_utils, multihost_utils
from jax.sharding import AxisType, Mesh

AXES = ("data", "fsdp", "context", "tensor")

# Held while a program over several devices is enqueued: two threads that did so at once could leave two devices with
# the two programs in different orders, each waiting for the other.
LAUNCHES = threading.RLock()


def make_mesh(
    data: int = 1, fsdp: int = -1, tensor: int = 1, context: int = 1, devices: Sequence[jax.Device] | None = None
) -> Mesh:
    """A mesh with the axes ('data', 'fsdp', 'context', 'tensor') over `devices`, by default all of them on all hosts.

    data: copies of the whole state; fsdp: shards of parameters and batch; context: shards of a row's time, for long
    responses; tensor: shards of one layer's matrices.
    One size may be -1: it takes the devices that the others leave. Shardings are left to the compiler (AxisType.Auto).
    Raises ValueError when the sizes do not come to the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    sizes = dict(zip(AXES, (data, fsdp, context, tensor), strict=True))
    wanted = ", ".join(f"{name}={size}" for name, size in sizes.items())
    free = [name for name, size in sizes.items() if size == -1]
    if len(free) > 1 or any(size < 1 and size != -1 for size in sizes.values()):
        raise ValueError(f"mesh {wanted}: sizes are 1 or more, and one at most may be -1 (whatever is left)")
    fixed = math.prod(size for size in sizes.values() if size != -1)
    if free:
        if len(devices) % fixed:
            raise ValueError(f"mesh {wanted}: {fixed} does not divide the {len(devices)} devices")
        sizes[free[0]] = len(devices) // fixed
    elif fixed != len(devices):
        raise ValueError(f"mesh {wanted}: takes {fixed} devices, but there are {len(devices)}")
    if len({getattr(device, "slice_index", 0) for device in devices}) > 1:
        raise ValueError(f"mesh {wanted}: the devices are of several TPU slices, which one mesh cannot span yet")
    # jax.make_mesh would let an axis of the mesh be a part of one of the slice's on v5e alone
    placed = mesh_utils.create_device_mesh(tuple(sizes.values()), devices, allow_split_physical_axes=True)
    return Mesh(placed, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def row_shards(mesh: Mesh) -> int:
    """Over how many devices a mesh splits the rows of a batch."""
    return mesh.shape["data"] * mesh.shape["fsdp"]


def local_mesh(**sizes: int) -> Mesh:
    """The same over the devices of this process, where it decodes on its own."""
    return make_mesh(**sizes, devices=jax.local_devices())


def local_part(array: jax.Array) -> np.ndarray:
    """What of an array lies in this process: all of it, or its part of the one axis that is split over processes."""
    if array.is_fully_addressable:
        return np.asarray(array)
    parts = {tuple(side.start or 0 for side in shard.index): shard for shard in array.addressable_shards}
    starts = sorted(parts)
    split = [axis for axis in range(array.ndim) if len({start[axis] for start in starts}) > 1]
    blocks = [np.asarray(parts[start].data) for start in starts]
    return np.concatenate(blocks, axis=split[0]) if split else blocks[0]


def host_sum(values: Mapping[str, float]) -> dict[str, float]:
    """The sum of each number over the hosts, in float64; every host calls it with the same names.

    Counts, sums and squares go through here, so that means and variances are those of the whole batch.
    """
    names = sorted(values)
    totals = _gather(np.array([values[name] for name in names], np.float64)).sum(axis=0)
    return dict(zip(names, totals.tolist(), strict=True))


def _gather(array: np.ndarray) -> np.ndarray:
    """[...] on each host -> [hosts, ...] on all of them."""
    if jax.process_count() == 1:
        return array[None]
    # The gather runs on the devices, where 64-bit numbers become 32-bit ones: send their bytes instead.
    data = np.frombuffer(array.tobytes(), np.uint8)
    with LAUNCHES:
        gathered = np.asarray(multihost_utils.process_allgather(data))
    return np.frombuffer(gathered.tobytes(), array.dtype).reshape(jax.process_count(), *array.shape)
