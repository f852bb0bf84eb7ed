"""Safetensors files: headers checked before anything is read, tensors mapped from disk, files written as a stream.

The format: 8 bytes of header length (little-endian), a JSON header of {name: {dtype, shape, data_offsets}}, then the
tensors' bytes in C order. A checkpoint is one file, or several named by an index.
"""

import dataclasses
import json
import math
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import ml_dtypes
import numpy as np

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
DTYPES: dict[str, np.dtype] = {
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F16": np.dtype(np.float16),
    "F32": np.dtype(np.float32),
}
_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 100_000_000  # the format's own limit


@dataclasses.dataclass(frozen=True)
class Stored:
    """Where a tensor lies. offset: of its first byte in the file."""

    file: pathlib.Path
    dtype: str
    shape: tuple[int, ...]
    offset: int

    def map(self) -> np.ndarray:
        """The tensor as a read-only map of the file: only what is sliced and copied is read."""
        return np.memmap(self.file, DTYPES[self.dtype], "r", self.offset, self.shape)


def read_json(file: pathlib.Path) -> dict[str, Any]:
    """The object in a JSON file. FileNotFoundError where it is not there, ValueError where it holds something else."""
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist")
    try:
        value = json.loads(file.read_bytes())
    except ValueError as error:
        raise ValueError(f"{file} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{file} holds a {type(value).__name__}, expected an object")
    return value


def open_checkpoint(directory: pathlib.Path) -> dict[str, Stored]:
    """Every tensor of a checkpoint by name, from the headers alone.

    Raises FileNotFoundError for a file that is not there and ValueError for a damaged one or for an index that does not
    match its files, each with the name of the file.
    """
    single, index = directory / SINGLE, directory / INDEX
    if single.is_file():
        return read_header(single)
    if not index.is_file():
        raise FileNotFoundError(f"{directory} has neither {SINGLE} nor {INDEX}")
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise ValueError(f"{index} has no weight_map of tensor to file name")
    files = {}
    for name in sorted(set(weight_map.values())):
        if pathlib.PurePath(name).name != name:
            raise ValueError(f"{index} names the file {name!r}, which is not beside it")
        if not (directory / name).is_file():
            raise FileNotFoundError(f"{directory / name} does not exist, but {index.name} names it")
        files[name] = read_header(directory / name)
    for tensor, name in weight_map.items():
        if tensor not in files[name]:
            raise ValueError(f"{directory / name} lacks the tensor {tensor!r} that {index.name} places there")
    for name, tensors in files.items():
        if unlisted := sorted(tensor for tensor in tensors if tensor not in weight_map):
            raise ValueError(f"{directory / name} holds the tensor {unlisted[0]!r} that {index.name} does not list")
    return {tensor: files[name][tensor] for tensor, name in weight_map.items()}


def read_header(file: pathlib.Path) -> dict[str, Stored]:
    """The tensors of one file. ValueError names the file, and the tensor, for a header that the file cannot honour."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
        start = _LENGTH_BYTES + length
        if size < _LENGTH_BYTES or length > _MAX_HEADER_BYTES or start > size:
            raise ValueError(f"{file} is truncated or no safetensors file: {size} bytes, header of {length}")
        raw = stream.read(length)
    try:
        header = json.loads(raw)
        header.pop("__metadata__", None)
        tensors = {name: _stored(file, name, entry, start, size) for name, entry in header.items()}
    except (AttributeError, KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{file} has a damaged header: {type(error).__name__}: {error}") from error
    end = max((tensor.offset + _bytes(tensor) for tensor in tensors.values()), default=start)
    if end != size:
        raise ValueError(f"{file} has {size} bytes, but its header describes {end}")
    return tensors


def _bytes(tensor: Stored) -> int:
    return math.prod(tensor.shape) * DTYPES[tensor.dtype].itemsize


def _stored(file: pathlib.Path, name: str, entry: dict[str, Any], start: int, size: int) -> Stored:
    begin, end = entry["data_offsets"]
    shape = tuple(int(n) for n in entry["shape"])
    if entry["dtype"] not in DTYPES:
        raise ValueError(f"{file}: tensor {name!r} is {entry['dtype']}; supported: {', '.join(DTYPES)}")
    tensor = Stored(file, entry["dtype"], shape, start + begin)
    if begin < 0 or min(shape, default=0) < 0 or end - begin != _bytes(tensor):
        raise ValueError(f"{file}: tensor {name!r} of shape {list(shape)} has bytes {begin} to {end}: damaged header")
    if start + end > size:
        raise ValueError(f"{file} is truncated: tensor {name!r} ends at byte {start + end} of {size}")
    return tensor


def write_file(
    file: pathlib.Path, kinds: Mapping[str, tuple[tuple[int, ...], np.dtype]], read: Callable[[str], np.ndarray]
) -> None:
    """Writes the named tensors, each of a (shape, type). read(name) is asked for them in order, and one is held at a
    time.

    Raises ValueError where a tensor is not of its promised shape and type.
    """
    codes = {known: code for code, known in DTYPES.items()}
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, (shape, dtype) in kinds.items():
        end = offset + math.prod(shape) * dtype.itemsize
        header[name] = {"dtype": codes[dtype], "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)  # so that the tensors start at a multiple of 8 bytes
    with file.open("wb") as stream:
        stream.write(len(raw).to_bytes(_LENGTH_BYTES, "little") + raw)
        for name, (shape, dtype) in kinds.items():
            tensor = read(name)
            if tensor.shape != shape or tensor.dtype != dtype:
                raise ValueError(f"tensor {name!r} is {tensor.dtype} {tensor.shape}, expected {dtype} {shape}")
            stream.write(np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data)
            del tensor  # before the next one is made
