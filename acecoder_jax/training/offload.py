"""Arrays that wait in the host's pinned memory while the devices do not need them.

A sharding says where: that of a parked array has the memory kind "pinned_host". `park` and `fetch` work inside a jitted
function and outside.
"""

from collections.abc import Collection
from typing import Any

import jax
from jax.sharding import Mesh

NAMES = ("optimizer", "reference")
HOST = "pinned_host"


def check(names: Collection[str], mesh: Mesh) -> None:
    """ValueError for a name that is none of NAMES, and where the platform has no pinned host memory."""
    if unknown := sorted(set(names) - set(NAMES)):
        raise ValueError(f"trainer.offload names {unknown}; what can be offloaded is {', '.join(NAMES)}")
    device = mesh.devices.flat[0]
    kinds = sorted(memory.kind for memory in device.addressable_memories())
    if names and HOST not in kinds:
        raise ValueError(
            f"trainer.offload needs devices with the memory {HOST!r}; {device.device_kind} has {', '.join(kinds)}: "
            "leave trainer.offload empty"
        )


def on_host(shardings: Any) -> Any:
    """The same places in the memory of the host."""
    return jax.tree.map(lambda one: one.with_memory_kind(HOST), shardings)


def fetch(tree: Any, shardings: Any) -> Any:
    """The leaves whose sharding is on the host, brought to the devices."""
    return _moved(tree, shardings, jax.memory.Space.Device)


def park(tree: Any, shardings: Any) -> Any:
    """The leaves whose sharding is on the host, sent there."""
    return _moved(tree, shardings, jax.memory.Space.Host)


def _moved(tree: Any, shardings: Any, space: Any) -> Any:
    def one(leaf: Any, where: Any) -> Any:
        return jax.device_put(leaf, space) if where.memory_kind == HOST else leaf

    return jax.tree.map(one, tree, shardings)
