"""Which axis of an array lies on which axis of the mesh: one table for parameters and activations.

An array's axes are the letters at the end of its name: `q_dnh` is (embed, heads, head_dim), and a parameter inside
`layers` has the layer axis in front. Mesh axes: data (replicas), fsdp (parameters and batch split), context (the
time of a row split), tensor (heads, hidden units and vocabulary split).
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

# letter: (logical name, mesh axis in a parameter, mesh axis in an activation)
AXES: dict[str, tuple[str, Any, Any]] = {
    "l": ("layers", None, None),
    "v": ("vocab", "tensor", "tensor"),
    "d": ("embed", "fsdp", None),
    "n": ("heads", "tensor", "tensor"),
    "k": ("kv_heads", "tensor", "tensor"),
    "h": ("head_dim", None, None),
    "f": ("mlp", "tensor", "tensor"),
    "r": ("rank", None, None),
    "m": ("micro_batch", None, None),
    "b": ("batch", None, ("data", "fsdp")),
    "s": ("slots", None, ("data", "fsdp")),
    "t": ("time", None, "context"),
    "c": ("cache", None, None),
    "g": ("heads_per_kv_head", None, None),
    "x": ("heads_per_kv_head_and_kv", None, None),
    "w": ("gate_and_up", None, None),
    "e": ("key_words", None, None),
    "p": ("pages", None, ("data", "fsdp")),
    "j": ("keys_and_values", None, "tensor"),
    "i": ("pages_of_a_row", None, None),
    "y": ("panels", None, None),
    "u": ("depth_of_a_panel", None, None),
    "o": ("outputs_of_a_panel", None, None),
    "z": ("weights_side_by_side", None, None),
    "a": ("score", None, None),
}
_log = logging.getLogger(__name__)


def logical_axes(path: tuple[str, ...]) -> tuple[str, ...]:
    """The logical axis names of the parameter at a path: ("layers", "q_dnh") -> (layers, embed, heads, head_dim)."""
    letters = ("l" if path[0] == "layers" else "") + path[-1].rsplit("_", 1)[-1]
    return tuple(AXES[letter][0] for letter in letters)


def _spec(letters: str, shape: tuple[int, ...], mesh: Any, column: int) -> PartitionSpec:
    """The partition of an array; an axis that the mesh does not divide stays whole (2 KV heads on 4 devices)."""
    entries: list[Any] = []
    for letter, size in zip(letters, shape, strict=True):
        axis = AXES[letter][column]
        names = axis if isinstance(axis, tuple) else (axis,) if axis else ()
        parts = 1
        for name in names:
            parts *= mesh.shape[name]
        if parts > 1 and size % parts:
            _log.info("axis %s of size %d is not divided by %s=%d: replicated", AXES[letter][0], size, names, parts)
            axis = None
        entries.append(axis)
    return PartitionSpec(*entries)


def param_shardings(params: Mapping[str, Any], mesh: Mesh) -> Any:
    """A NamedSharding for every parameter of a (possibly abstract) parameter tree."""

    def one(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
        keys = [key.key for key in path]
        letters = ("l" if "layers" in keys else "") + keys[-1].rsplit("_", 1)[-1]
        return NamedSharding(mesh, parameter_spec(letters, leaf.shape, mesh))

    return jax.tree_util.tree_map_with_path(one, params)


def sharding(shape: tuple[int, ...], letters: str, mesh: Mesh) -> NamedSharding:
    """The sharding of an activation or an input batch whose axes are these letters."""
    return NamedSharding(mesh, activation_spec(letters, shape, mesh))


def activation_spec(letters: str, shape: tuple[int, ...], mesh: Any) -> PartitionSpec:
    """The partition of an activation over a mesh, real or abstract."""
    return _spec(letters, shape, mesh, 2)


def parameter_spec(letters: str, shape: tuple[int, ...], mesh: Any) -> PartitionSpec:
    """The partition of a parameter over a mesh, real or abstract."""
    return _spec(letters, shape, mesh, 1)


def named_shardings(tree: Any, mesh: Mesh) -> Any:
    """The sharding of every leaf of a tree of activations, caches or decode weights whose names end in their axes."""

    def one(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
        return sharding(leaf.shape, path[-1].key.rsplit("_", 1)[-1], mesh)

    return jax.tree_util.tree_map_with_path(one, tree)


def split_mesh() -> Any:
    """The mesh set by `jax.set_mesh`; None where there is none, or it has one device: nothing is split then."""
    mesh = jax.sharding.get_abstract_mesh()
    return None if mesh.empty or mesh.size == 1 else mesh


def constrain(x: jax.Array, letters: str) -> jax.Array:
    """Pins an activation to its place in the mesh set by `jax.set_mesh`; does nothing without one."""
    if (mesh := split_mesh()) is None:
        return x
    return jax.lax.with_sharding_constraint(x, activation_spec(letters, x.shape, mesh))


def lookup_table(table_vd: jax.Array) -> jax.Array:
    """A table of rows to be looked up, whole over d where the mesh splits more than one of data, fsdp and tensor.

    XLA's partitioner would give every device the looked up rows of all others there; over fsdp alone it does well.
    """
    mesh = split_mesh()
    if mesh is None or sum(mesh.shape[axis] > 1 for axis in ("data", "fsdp", "tensor")) < 2:
        return table_vd
    vocab, _ = parameter_spec("vd", table_vd.shape, mesh)
    return jax.lax.with_sharding_constraint(table_vd, PartitionSpec(vocab, None))


def by_shard(
    function: Callable[..., Any], letters: tuple[str, ...], out_letters: tuple[str, ...], **sizes: int
) -> Callable[..., Any]:
    """The function run on each device's own part of its arguments, in the mesh set by `jax.set_mesh`.

    letters, out_letters: the axes of its arguments and of the tuple that it returns. sizes: of axes that may be split
    only as if they had that size. Without a mesh it is the function itself.
    """
    if (mesh := split_mesh()) is None:
        return function

    def run(*arrays: jax.Array) -> Any:
        found = {
            letter: size
            for x, names in zip(arrays, letters, strict=True)
            for letter, size in zip(names, x.shape, strict=True)
        }
        found |= sizes

        def place(names: str) -> PartitionSpec:
            return activation_spec(names, tuple(found[letter] for letter in names), mesh)

        in_specs, out_specs = tuple(map(place, letters)), tuple(map(place, out_letters))
        return jax.shard_map(function, in_specs=in_specs, out_specs=out_specs, check_vma=False)(*arrays)

    return run
