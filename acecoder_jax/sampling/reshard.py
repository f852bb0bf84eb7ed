"""From the trainer's mesh to the engine's: parameters become decode weights in one jitted call.

The meshes may differ in shape (fsdp for training, data and tensor parallel for decoding) and in size: the trainer's may
span processes while each has an engine on its own devices. Then the call leaves a copy with each process, split over
its devices as the engine wants it, and the engine keeps its own. Nothing passes through the host.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding

from acecoder_jax.models.decoder import Params

_APART = (
    "the engine's devices {} are no whole block of the devices that the parameters are on, {}: over several processes "
    "both meshes have to take jax.devices() in one order"
)


class Resharder:
    """Calls function(params), with every leaf of the result in its sharding; all shardings are of the engine's mesh."""

    def __init__(self, function: Callable[[Params], Any], shardings: Any):
        self.function, self.shardings = function, shardings
        self.mesh: Mesh = jax.tree.leaves(shardings)[0].mesh
        self._jitted: dict[Mesh | None, Any] = {}  # by the mesh that the results are made on

    def __call__(self, params: Params) -> Any:
        """ValueError where that would need devices of other processes, on meshes that are laid out differently."""
        devices = _devices(params)
        made_on = self.mesh if devices is None else _wide(self.mesh, devices)
        if made_on is None:  # other devices, or the same in another order: from device to device
            if not all(device.process_index == jax.process_index() for device in devices or []):
                raise ValueError(_APART.format([d.id for d in self.mesh.devices.flat], [d.id for d in devices or []]))
            return jax.device_put(self._jit(None)(params), self.shardings)
        with jax.set_mesh(made_on):
            made = self._jit(made_on)(params)
        return made if made_on is self.mesh else jax.tree.map(_keep, made, self.shardings)

    def _jit(self, mesh: Mesh | None) -> Any:
        """The function with its results on a mesh, or wherever its parameters are."""
        if mesh not in self._jitted:
            where = mesh and jax.tree.map(lambda one: NamedSharding(mesh, one.spec), self.shardings)
            self._jitted[mesh] = jax.jit(self.function, out_shardings=where)
        return self._jitted[mesh]


def _keep(array: jax.Array, where: NamedSharding) -> jax.Array:
    """The copy of an array that the engine's mesh holds."""
    mine = set(where.mesh.devices.flat)
    parts = [shard.data for shard in array.addressable_shards if shard.device in mine]
    return jax.make_array_from_single_device_arrays(array.shape, where, parts)


def _devices(params: Params) -> list[jax.Device] | None:
    """The devices that the parameters are bound to, in the order of their mesh; None for numpy and the like."""
    leaf = jax.tree.leaves(params)[0]
    if not isinstance(leaf, jax.Array) or not leaf.committed:
        return None
    if isinstance(leaf.sharding, NamedSharding):
        return list(leaf.sharding.mesh.devices.flat)
    return list(leaf.sharding.device_set)


def _wide(mesh: Mesh, devices: list[jax.Device]) -> Mesh | None:
    """All these devices as copies of the mesh, one of which is the mesh itself; None where they lie otherwise."""
    if devices == list(mesh.devices.flat):
        return mesh
    size = mesh.size
    blocks = [devices[at : at + size] for at in range(0, len(devices), size)]
    if list(mesh.devices.flat) not in blocks or len(devices) % size:
        return None
    return Mesh(np.array(devices).reshape(-1, *mesh.devices.shape), ("copy", *mesh.axis_names))
