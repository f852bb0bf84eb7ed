"""Rows of a table with their place in it: what the sources that read files share."""

import gzip
import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from acecoder_jax.data import _tfds

JSONL_ENDINGS = (".jsonl", ".jsonl.gz")
TABLE_ENDINGS = (*JSONL_ENDINGS, ".parquet")

Damaged = Callable[[str], None] | None  # told of a line that is no JSON object; None: it is an error


def read(
    path: str | os.PathLike[str] | None, tfds_name: str, hub_id: str, split: str, damaged: Damaged = None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a TFDS folder, or those of `read_table`; of the hub where path is None. Each with its place.

    tfds_name: of the dataset that is looked for where the path is the data_dir of TFDS.
    """
    if path is None:
        return read_hub(hub_id, split)
    built = _tfds.find(Path(path), tfds_name)
    return read_table(Path(path), damaged) if built is None else _tfds.read(built, split)


def named(row: Mapping[str, Any], where: str) -> str:
    """The place of a row with its id, where it has one."""
    return where if row.get("id") is None else f"{where} (id {row['id']!r})"


def require(row: Mapping[str, Any], columns: Iterable[str], where: str) -> None:
    """ValueError that names the columns which a row lacks; `where` says which row."""
    if missing := [column for column in columns if row.get(column) is None]:
        raise ValueError(f"{where}: the row lacks {', '.join(missing)} (it has {', '.join(sorted(row))})")


def texts(row: Mapping[str, Any], column: str, where: str) -> tuple[str, ...]:
    """A column that must hold a list of texts."""
    value = row[column]
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"{where}: {column} must be a list of texts, not {value!r:.80}")
    return tuple(value)


def read_jsonl(path: Path, damaged: Damaged = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a .jsonl or .jsonl.gz file, each with its place, "FILE line N"; blank lines are skipped.

    ValueError, naming the place, for a file that is cut short or not gzip, and for a line that is not a JSON object:
    where `damaged` is given, it is told instead.
    """
    number = 0
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                where = f"{path} line {number}"
                row, told = None, ""
                try:
                    row = json.loads(line)
                except (json.JSONDecodeError, RecursionError) as error:
                    told = f"{where}: not JSON ({error})"
                if isinstance(row, dict):
                    yield where, row
                    continue
                told = told or f"{where}: a row must be a JSON object, not {line.strip()[:40]!r}"
                if damaged is None:
                    raise ValueError(told)
                damaged(told)
    except (EOFError, zlib.error, gzip.BadGzipFile, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read after line {number} ({error})") from error


def read_parquet(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a Parquet file, each with its place, "FILE row N" from 1. ValueError when the file is not Parquet."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as table:
            rows = (row for batch in table.iter_batches() for row in batch.to_pylist())
            for number, row in enumerate(rows, start=1):
                yield f"{path} row {number}", row
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"{path}: not a whole Parquet file ({error})") from error


def read_table(path: Path, damaged: Damaged = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a .jsonl, .jsonl.gz or .parquet file, or of all of them in a folder by name, each with its place.

    FileNotFoundError for a path that is not there; ValueError for a file of another kind and an empty folder.
    """
    if not path.exists():
        raise FileNotFoundError(f"no file or folder at {path}")
    files = sorted(file for file in path.iterdir() if file.name.endswith(TABLE_ENDINGS)) if path.is_dir() else [path]
    if not files:
        raise ValueError(f"{path}: the folder holds no file that ends in {', '.join(TABLE_ENDINGS)}")
    for file in files:
        if not file.name.endswith(TABLE_ENDINGS):
            raise ValueError(f"{file}: a file of rows ends in {', '.join(TABLE_ENDINGS)}")
        yield from read_parquet(file) if file.suffix == ".parquet" else read_jsonl(file, damaged)


def read_hub(
    hub_id: str, split: str, config: str | None = None, **options: Any
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a dataset of the Hugging Face hub, each with its place, "HUB_ID row N" from 1.

    options go to `datasets.load_dataset`; with `streaming` no more is fetched than is read.
    FileNotFoundError for a dataset that is not there, is gated, or cannot be reached.
    """
    import datasets  # slow to import

    try:
        rows = datasets.load_dataset(hub_id, config, split=split, **options)
        for number, row in enumerate(rows, start=1):
            yield f"{hub_id} row {number}", row
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        gated = "; ask for access on its page and log in with `hf auth login`" if "gated" in str(error) else ""
        raise FileNotFoundError(
            f"the dataset {hub_id} could not be had from the hub ({error}){gated}; or name a local copy by its path"
        ) from error
