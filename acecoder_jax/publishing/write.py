"""Rows into JSONL and Parquet files. Rows are streamed: no more than a batch of them is in memory."""

import gzip
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acecoder_jax.data._columns import Row, Table

if TYPE_CHECKING:
    import pyarrow

BATCH = 500  # rows in a row group: some 30 MB of AceCode-87K


def write_jsonl(path: Path, rows: Iterable[Row]) -> None:
    """One line a row, compressed where the path ends in .gz."""
    # Without the time in its header a compressed file is the same whenever it is written.
    with open(path, "wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) if path.suffix == ".gz" else raw as file:
        for row in rows:
            file.write(json.dumps(row, allow_nan=False).encode() + b"\n")


class Schema:
    """The Arrow schema of the rows that were added: known columns as published, further ones as they are found."""

    def __init__(self, table: Table):
        self.table = table
        self._found: pyarrow.Schema | None = None
        self._batch: list[Row] = []
        self._text_ids = False

    def add(self, row: Row) -> None:
        """Takes a row into account. ValueError where a column holds values that have no type in common."""
        self._text_ids = self._text_ids or isinstance(row["id"], str)
        self._batch.append(row)
        if len(self._batch) == BATCH:
            self._merge()

    def _merge(self) -> None:
        import pyarrow

        for column in dict.fromkeys(name for row in self._batch for name in row if name != "id"):
            values = [{column: row.get(column)} for row in self._batch]
            try:
                one = pyarrow.Table.from_pylist(values).schema
                parts = [] if self._found is None else [self._found]
                known = [] if column not in self.table.columns else [self._published(column)]
                self._found = pyarrow.unify_schemas([*parts, *known, one], promote_options="permissive")
            except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError) as error:
                raise ValueError(
                    f"the column {column!r} holds values of kinds that do not go together: {error}"
                ) from error
        self._batch = []

    def _published(self, column: str) -> "pyarrow.Schema":
        import pyarrow

        return pyarrow.schema([(column, arrow_type(self.table.columns[column]))])

    def finish(self) -> "pyarrow.Schema":
        """The schema: known columns first, in their order; then the further ones."""
        import pyarrow

        if self._batch:
            self._merge()
        found = {} if self._found is None else {field.name: field.type for field in self._found}
        found["id"] = pyarrow.string() if self._text_ids else pyarrow.int64()
        order = [
            *(name for name in self.table.columns if name in found),
            *(n for n in found if n not in self.table.columns),
        ]
        return pyarrow.schema([(name, found[name]) for name in order])


def arrow_type(kind: Any) -> "pyarrow.DataType":
    """The type of a kind of `_columns`."""
    import pyarrow

    if isinstance(kind, list):
        return pyarrow.list_(arrow_type(kind[0]))
    if isinstance(kind, dict):
        return pyarrow.struct([(name, arrow_type(inner)) for name, inner in kind.items()])
    return {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64()}[kind]


def write_parquet(path: Path, rows: Iterable[Row], schema: "pyarrow.Schema") -> int:
    """A Parquet file of this schema. Returns how many rows."""
    import pyarrow
    import pyarrow.parquet

    count, ids_are_texts = 0, schema.field("id").type == pyarrow.string()
    with open(path, "wb") as file, pyarrow.parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for batch in batches(rows):
            if ids_are_texts:
                batch = [row | {"id": str(row["id"])} for row in batch]
            writer.write_table(pyarrow.Table.from_pylist(batch, schema=schema))
            count += len(batch)
    return count


def batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """BATCH rows at a time."""
    rows = iter(rows)
    while batch := list(itertools.islice(rows, BATCH)):
        yield batch


def write_shards(folder: Path, rows: Iterable[Row], schema: "pyarrow.Schema", cuts: Sequence[int]) -> list[Path]:
    """Parquet files as the hub names them, `train-00000-of-00002.parquet`; cuts: how many rows each gets."""
    rows, paths = iter(rows), []
    for number, count in enumerate(cuts):
        path = folder / f"train-{number:05}-of-{len(cuts):05}.parquet"
        write_parquet(path, itertools.islice(rows, count), schema)
        paths.append(path)
    return paths


def cut(sizes: Iterable[int], most: int) -> list[int]:
    """([4, 4, 4, 9], 8) -> [2, 1, 1]: rows in each shard, so that none but a single row is larger than `most`."""
    cuts, room = [0], most
    for size in sizes:
        if size > room and cuts[-1]:
            cuts.append(0)
            room = most
        cuts[-1] += 1
        room -= size
    return cuts
