"""From the trainer's mesh to the engine's: parameters become decode weights in one jitted call.

The meshes may differ in shape (fsdp for training, data and tensor parallel for decoding) and in size: the trainer's may
span processes while each has an engine on its own devices. Then the call leaves a copy with each process, split over
its devices as the engine wants it, and the engine keeps its own. Where the trainer's mesh mixes the processes' devices
(on a TPU slice a mesh follows the wiring), the parameters go to one that does not first: one copy more while it lasts.
Nothing passes through the host.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding

from acecoder_jax import hosts
from acecoder_jax.models.decoder import Params

_APART = (
    "the engine's devices {} and those that the parameters are on, {}, do not fit together: over several processes the "
    "trainer's mesh takes all devices, and each engine's all of its process, alike in each of them"
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
            if all(device.process_index == jax.process_index() for device in devices or []):
                return jax.device_put(self._jit(None)(params), self.shardings)
            order = _by_process(self.mesh, devices or [])
            params, made_on = _moved(params, order), _wide(self.mesh, order)
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


def _by_process(mesh: Mesh, devices: list[jax.Device]) -> list[jax.Device]:
    """The devices in a block for each process, in it as the engine's mesh has this one's. ValueError, see _APART."""
    local = jax.local_devices()
    places = [local.index(device) if device in local else -1 for device in mesh.devices.flat]
    alike = hosts.exchange("devices of the engine", places)
    order = [jax.local_devices(p)[i] for p in range(jax.process_count()) for i in places]
    if any(other != places for other in alike) or sorted(d.id for d in order) != sorted(d.id for d in devices):
        raise ValueError(_APART.format([d.id for d in mesh.devices.flat], [d.id for d in devices]))
    return order


def _moved(params: Params, order: list[jax.Device]) -> Params:
    """The parameters, split as they are, on a mesh with its devices in another order."""

    def where(leaf: jax.Array) -> NamedSharding:
        old = leaf.sharding
        assert isinstance(old, NamedSharding)
        devices = np.array(order).reshape(old.mesh.devices.shape)
        return NamedSharding(Mesh(devices, old.mesh.axis_names, axis_types=old.mesh.axis_types), old.spec)

    return jax.device_put(params, jax.tree.map(where, params))


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
