"""Qwen2.5 weights in Hugging Face layout, in and out, tensor by tensor. layout.py has the table of their names."""

import functools
import glob
import itertools
import json
import math
import os
import pathlib
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, Sharding, SingleDeviceSharding

from acecoder_jax import hosts
from acecoder_jax.models import layout
from acecoder_jax.models import safetensors_io as st
from acecoder_jax.models.config import ARCHITECTURES, ModelConfig
from acecoder_jax.models.layout import Params, Path, Tensor

_DERIVED = re.compile(r"\.rotary_emb\.inv_freq$")  # old checkpoints store what the config already says
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def load_params(
    path_or_hub_id: str | os.PathLike[str],
    *,
    shardings: Params | Callable[[Params], Params] | None = None,
    dtype: Any = jnp.float32,
    config: ModelConfig | None = None,
    beside: Collection[str] = (),
) -> tuple[ModelConfig, Params]:
    """Reads a Qwen2.5 checkpoint: a local directory or a hub id, one safetensors file or several with an index.

    config: what to read it as, by default what its config.json says. beside: names of tensors that may stand there and
    are not read.

    shardings: a Sharding for every leaf, or a function that makes them from the abstract parameter tree; None puts
    everything on the first device. Each device's part is read from its own slices of the files: beside what is on the
    devices, a host holds one tensor's slice at a time, in the type it is stored in.

    Raises FileNotFoundError (no such directory, hub id or file) or ValueError (unsupported architecture; missing,
    unexpected, wrongly shaped or unsupported tensor; damaged or truncated file) with the tensor's or the file's name,
    before any weight is read.
    """
    directory = find(path_or_hub_id)
    config = config or load_config(directory)
    stored = st.open_checkpoint(directory)
    _check({name: tensor for name, tensor in stored.items() if name not in beside}, config, directory)
    abstract = layout.abstract_params(config, dtype)
    placed = _placement(shardings, abstract)
    leaves = {path: _load_leaf(path, config, stored, placed[path], np.dtype(dtype)) for path in layout.paths(config)}
    return config, layout.nested(leaves)


def load_config(path_or_hub_id: str | os.PathLike[str], architectures: Collection[str] = ARCHITECTURES) -> ModelConfig:
    """The config of a checkpoint. Raises what `load_params` raises for a directory or a config that is no good."""
    directory = find(path_or_hub_id)
    try:
        return ModelConfig.from_hf(st.read_json(directory / "config.json"), architectures)
    except ValueError as error:
        raise ValueError(f"{directory}: {error}") from error


def find(path_or_hub_id: str | os.PathLike[str]) -> pathlib.Path:
    """The local directory of a checkpoint, downloaded from the hub (safetensors and JSON only) where it is a hub id."""
    directory = pathlib.Path(path_or_hub_id).expanduser()
    if directory.is_dir():
        return directory
    if not _HUB_ID.fullmatch(str(path_or_hub_id)):
        raise FileNotFoundError(f"{directory} is no directory, and no hub id of the form owner/name")
    import huggingface_hub  # only who names a hub id waits for this import
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        patterns = ["model*.safetensors", "*.json"]
        return pathlib.Path(huggingface_hub.snapshot_download(str(path_or_hub_id), allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        message = f"{path_or_hub_id} is no local directory, and could not be had from the hub: {error}"
        raise FileNotFoundError(message) from error


def export(
    params: Params,
    config: ModelConfig,
    directory: str | os.PathLike[str],
    *,
    dtype: Any = jnp.bfloat16,
    max_shard_bytes: int = 5_000_000_000,
    tokenizer: Any = None,
    overwrite: bool = False,
    beside: Mapping[str, np.ndarray] | None = None,
    about: Mapping[str, Any] | None = None,
) -> None:
    """Writes a checkpoint directory that `transformers` opens: configs, weights stored as dtype, tokenizer files.

    beside: more tensors by name, stored as they are. about: more keys of config.json.

    One tensor is gathered to the host at a time. Everything goes to a temporary directory beside the target, renamed
    when whole: a failure leaves nothing behind, and what a kill left goes with the next export. On several hosts every
    process calls this, the first one writes, and all return once the directory is there.

    Raises FileExistsError for a directory that is not empty, unless overwrite; ValueError that names a leaf that does
    not fit the config, or for a dtype other than bfloat16, float16 and float32.
    """
    directory, dtype = pathlib.Path(directory).expanduser().absolute(), np.dtype(dtype)
    if dtype not in st.DTYPES.values():
        raise ValueError(f"cannot store {dtype}; supported: {', '.join(d.name for d in st.DTYPES.values())}")
    leaves = _checked_leaves(params, config)
    shards = _split(layout.tensors(config), dtype.itemsize, max_shard_bytes)
    if not hosts.is_first():
        for tensor in itertools.chain.from_iterable(shards):
            _gather(leaves, tensor, dtype)
        hosts.barrier("export")
        return
    if directory.exists() and not directory.is_dir():
        raise FileExistsError(f"{directory} is a file")
    if directory.is_dir() and any(directory.iterdir()) and not overwrite:
        raise FileExistsError(f"{directory} exists and is not empty; give another one, or overwrite=True")
    directory.parent.mkdir(parents=True, exist_ok=True)
    for left in directory.parent.glob(f".{glob.escape(directory.name)}.export-*"):  # by a kill
        shutil.rmtree(left)
    scratch = pathlib.Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".{directory.name}.export-"))
    try:
        scratch.chmod(0o755)  # mkdtemp makes it private
        _write_weights(scratch, shards, leaves, dtype, beside or {})
        _write_configs(scratch, config, dtype, tokenizer, about or {})
        _move(scratch, directory)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    hosts.barrier("export")


# ---- in


def _placement(shardings: Params | Callable[[Params], Params] | None, abstract: Params) -> dict[Path, Sharding]:
    if shardings is None:
        first = SingleDeviceSharding(jax.local_devices()[0])
        shardings = jax.tree.map(lambda _: first, abstract)
    placed = layout.flat(shardings(abstract) if callable(shardings) else shardings)
    if odd := sorted("/".join(path) for path in placed.keys() ^ layout.flat(abstract).keys()):
        raise ValueError(f"shardings and parameters differ in the leaves {odd}")
    return placed


def _check(stored: Mapping[str, st.Stored], config: ModelConfig, directory: pathlib.Path) -> None:
    expected = {tensor.name: tensor.shape for tensor in layout.tensors(config)}
    head, _ = layout.TENSORS[layout.HEAD]  # some checkpoints store it beside a tied embedding, as a copy
    for name, shape in expected.items():
        if name not in stored:
            raise ValueError(f"{directory} lacks the tensor {name!r} of shape {list(shape)}")
        if stored[name].shape != shape:
            found = list(stored[name].shape)
            raise ValueError(f"{stored[name].file}: tensor {name!r} has shape {found}, expected {list(shape)}")
    for name, tensor in stored.items():
        if name not in expected and name != head and not _DERIVED.search(name):
            raise ValueError(f"{tensor.file}: unexpected tensor {name!r}")


def _load_leaf(
    path: Path, config: ModelConfig, stored: Mapping[str, st.Stored], sharding: Sharding, dtype: np.dtype
) -> jax.Array:
    """One leaf, each device's part filled on that device, a tensor's slice at a time in the type it is stored in."""
    name, _ = layout.TENSORS[path]
    letters, merged = layout.letters(path), layout.tensor_letters(path)
    split = [layout.sizes(config)[letter] for letter in merged]
    order = tuple(merged.index(letter) for letter in letters)
    shape = layout.leaf_shape(path, config)

    def part(device: jax.Device, index: tuple[slice, ...]) -> jax.Array:
        cuts = index[-len(letters) :]
        source = tuple(cuts[letters.index(letter)] for letter in merged)

        def slice_of(tensor: st.Stored) -> jax.Array:
            # Never an alias of the file, which may change under a live parameter.
            return jax.device_put(tensor.map().reshape(split)[source], device, may_alias=False)

        if path[0] != "layers":
            return _arrange(slice_of(stored[name]), order, dtype)
        layers = range(shape[0])[index[0]]
        local = [len(range(size)[cut]) for size, cut in zip(shape, index, strict=True)]
        leaf = jnp.empty(local, dtype, device=device)
        for row, layer in enumerate(layers):
            leaf = _put(leaf, slice_of(stored[name.format(layer)]), row, order)
        return leaf

    places = sharding.addressable_devices_indices_map(shape).items()
    parts = []
    for device, index in places:
        if index is not None:
            with jax.set_mesh(
                Mesh(np.array([device]), ("device",))
            ):  # the caller's would not let one device work alone
                parts.append(part(device, index))
    return jax.make_array_from_single_device_arrays(shape, sharding, parts)


@functools.partial(jax.jit, static_argnums=(1, 2))
def _arrange(tensor: jax.Array, order: tuple[int, ...], dtype: np.dtype) -> jax.Array:
    return tensor.transpose(order).astype(dtype)


@functools.partial(jax.jit, donate_argnums=0, static_argnums=3)
def _put(leaf: jax.Array, tensor: jax.Array, row: int, order: tuple[int, ...]) -> jax.Array:
    return jax.lax.dynamic_update_index_in_dim(leaf, _arrange(tensor, order, leaf.dtype), row, 0)


# ---- out


def _checked_leaves(params: Params, config: ModelConfig) -> dict[Path, jax.Array]:
    leaves = layout.flat(params)
    for path in layout.paths(config):
        if path not in leaves:
            raise ValueError(f"the parameters lack the leaf {'/'.join(path)}")
        if leaves[path].shape != (shape := layout.leaf_shape(path, config)):
            raise ValueError(f"the leaf {'/'.join(path)} has shape {leaves[path].shape}, expected {shape}")
    if unexpected := sorted("/".join(path) for path in leaves.keys() - set(layout.paths(config))):
        raise ValueError(f"the parameters hold unexpected leaves: {unexpected}")
    return leaves


def _split(tensors: list[Tensor], itemsize: int, max_shard_bytes: int) -> list[list[Tensor]]:
    """The tensors in order, cut into files of at most max_shard_bytes, or of one tensor that is larger."""
    shards: list[list[Tensor]] = [[]]
    used = 0
    for tensor in tensors:
        size = math.prod(tensor.shape) * itemsize
        if shards[-1] and used + size > max_shard_bytes:
            shards.append([])
            used = 0
        shards[-1].append(tensor)
        used += size
    return shards


@functools.partial(jax.jit, static_argnames=("path", "shape", "dtype"))
def _tensor(leaf: jax.Array, layer: int | None, *, path: Path, shape: tuple[int, ...], dtype: np.dtype) -> jax.Array:
    """One tensor in Hugging Face layout, cut out of its leaf."""
    letters, merged = layout.letters(path), layout.tensor_letters(path)
    x = leaf if layer is None else jax.lax.dynamic_index_in_dim(leaf, layer, 0, keepdims=False)
    return x.astype(dtype).transpose([letters.index(letter) for letter in merged]).reshape(shape)


def _gather(leaves: Mapping[Path, jax.Array], tensor: Tensor, dtype: np.dtype) -> np.ndarray:
    """One tensor on the host. Where a leaf lies on several hosts, every process must ask for it."""
    _, shape, path, layer = tensor
    return on_host(_tensor(leaves[path], layer, path=path, shape=shape, dtype=dtype))


def on_host(array: jax.Array) -> np.ndarray:
    """All of an array. Where it lies on several hosts, every process must ask for it."""
    whole = array.is_fully_addressable or array.is_fully_replicated
    return np.asarray(array if whole else multihost_utils.process_allgather(array, tiled=True))


def _write_weights(
    directory: pathlib.Path, shards: list[list[Tensor]], leaves: Mapping[Path, jax.Array], dtype: np.dtype,
    beside: Mapping[str, np.ndarray],
) -> None:  # fmt: skip
    """One file a shard; what stands beside is in the last one."""
    weight_map = {}
    for i, shard in enumerate(shards):
        file = st.SINGLE if len(shards) == 1 else f"model-{i + 1:05}-of-{len(shards):05}.safetensors"
        more = beside if i == len(shards) - 1 else {}
        _write_shard(directory / file, shard, leaves, dtype, more)
        weight_map.update(dict.fromkeys([*(tensor.name for tensor in shard), *more], file))
    if len(shards) > 1:
        total = sum(math.prod(tensor.shape) * dtype.itemsize for shard in shards for tensor in shard)
        total += sum(array.nbytes for array in beside.values())
        _write_json(directory / st.INDEX, {"metadata": {"total_size": total}, "weight_map": weight_map})


def _write_shard(
    file: pathlib.Path, shard: list[Tensor], leaves: Mapping[Path, jax.Array], dtype: np.dtype,
    beside: Mapping[str, np.ndarray],
) -> None:  # fmt: skip
    tensors = {tensor.name: tensor for tensor in shard}
    kinds = {name: (tensor.shape, dtype) for name, tensor in tensors.items()}
    kinds |= {name: (array.shape, array.dtype) for name, array in beside.items()}
    st.write_file(file, kinds, lambda name: beside[name] if name in beside else _gather(leaves, tensors[name], dtype))


def _write_configs(
    directory: pathlib.Path, config: ModelConfig, dtype: np.dtype, tokenizer: Any, about: Mapping[str, Any]
) -> None:
    generation: dict[str, Any] = {"_from_model_config": True}  # no sampling default of its own
    ids: dict[str, Any] = {}
    if tokenizer is not None:
        tokenizer.save_pretrained(directory)
        stops = [tokenizer.eos_token_id, tokenizer.pad_token_id]
        generation = {"eos_token_id": list(dict.fromkeys(stops)), "pad_token_id": tokenizer.pad_token_id}
        ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    _write_json(directory / "config.json", {**config.to_hf(dtype.name), **ids, **about})
    _write_json(directory / "generation_config.json", generation)


def _write_json(file: pathlib.Path, value: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(value, indent=2) + "\n")


def _move(scratch: pathlib.Path, directory: pathlib.Path) -> None:
    """Puts the finished directory in place; what was there leaves it only then."""
    if not directory.exists() or not any(directory.iterdir()):
        scratch.replace(directory)
        return
    old = pathlib.Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".{directory.name}.export-old-"))
    directory.replace(old)
    try:
        scratch.replace(directory)
    except OSError:
        old.replace(directory)
        raise
    shutil.rmtree(old)
