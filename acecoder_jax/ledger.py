"""A JSONL file that one process keeps open and lets grow by whole rows, and that is put in order when it is complete.

    with ledger.appending(path) as append:
        append({"id": "b"})
        append({"id": "a"})
    ledger.sort(path)

The file is never rewritten while it grows, so a kill tears at most its last line, which `store.repair_jsonl` cuts off.
"""

import contextlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from acecoder_jax import store

_ENCODE = json.JSONEncoder(allow_nan=False, check_circular=False).encode


@contextlib.contextmanager
def appending(path: store.PathLike) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """A function that appends a row as one line, handed to the system before it returns.

    File and folder are made where they are missing, and a torn last line is cut off first. Raises ValueError where a
    row is not JSON (NaN and infinities neither), and OSError where the disk is full.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    store.repair_jsonl(path)
    with open(path, "ab", buffering=0) as file:

        def append(row: Mapping[str, Any]) -> None:
            try:
                line = _ENCODE(row).encode() + b"\n"
            except (TypeError, ValueError) as error:
                raise ValueError(f"{path}: row {row.get('id', '')!r} is not JSON: {error}") from error
            written = file.write(line)
            while written < len(line):  # the disk is nearly full: the next write says so
                written += file.write(line[written:])

        yield append


def sort(path: store.PathLike, key: str = "id") -> None:
    """Rewrites the file in the order of its ids, atomically; one that is in order already is left as it is.

    Lines keep their bytes; no more than ids and places are held in memory. A file that is missing is made, empty.
    Raises ValueError for a damaged line, a row without the key, and an id that stands there twice.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    store.repair_jsonl(path)
    places: list[tuple[str, int, int]] = []  # id, where its line begins, how long it is
    with open(path, "rb") as file:
        at = 0
        for number, line in enumerate(file, start=1):
            if line.strip():
                places.append((_id(path, number, line, key), at, len(line)))
            at += len(line)
        ordered = sorted(places)
        for one, following in itertools.pairwise(ordered):
            if one[0] == following[0]:
                raise ValueError(f"{path}: the id {one[0]!r} stands there twice")
        if ordered != places:
            store.write_lines(path, (_read(file, at, size) for _, at, size in ordered))


def write_rows(path: store.PathLike, rows: Iterable[Mapping[str, Any]]) -> int:
    """Writes rows as they come, one line each: the whole file or nothing. Returns how many."""
    count = 0

    def lines() -> Iterator[bytes]:
        nonlocal count
        for row in rows:
            count += 1
            yield _ENCODE(row).encode() + b"\n"

    store.write_lines(path, lines())
    return count


def _id(path: Path, number: int, line: bytes, key: str) -> str:
    opening = b'{"%b": "' % key.encode()
    if line.startswith(opening):  # as rows are written here: nothing else of them has to be read
        found, _, rest = line[len(opening) :].partition(b'"')
        if b"\\" not in found and rest.endswith(b"}\n"):
            return found.decode()
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{path}, line {number}: damaged JSON: {error}") from error
    if not isinstance(row, dict) or not isinstance(row.get(key), str):
        raise ValueError(f"{path}, line {number}: not a row with a text as its {key!r}")
    return row[key]


def _read(file: Any, at: int, size: int) -> bytes:
    file.seek(at)
    return file.read(size)
