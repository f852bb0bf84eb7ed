"""The good rows of a dataset, each in the form that it is written in; the bad ones are told with their place."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from acecoder_jax.data import _columns, _rows
from acecoder_jax.data._columns import Row, Table


class Source:
    """A dataset to read as often as needed: a file, a folder of files, a TFDS folder, or the hub where path is "".

    kind: the name of its table ("acecode_87k", "acecode_pair_300k"); "" finds it out from the first row.
    FileNotFoundError, or ValueError where there is no row or the kind cannot be told.
    """

    def __init__(self, path: str | os.PathLike[str], kind: str = "", hub_id: str = "", split: str = "train"):
        if kind and kind not in _columns.TABLES:
            raise ValueError(f"unknown kind {kind!r}: {', '.join(_columns.TABLES)}")
        if not path and not kind and not hub_id:
            raise ValueError("nothing to read: name a file or folder, or a kind or hub id to read from the hub")
        self.path, self.split = path or None, split
        self.hub_id = hub_id or (_columns.TABLES[kind].hub_id if kind else "")
        self.table = _columns.TABLES[kind] if kind else self._find()

    @property
    def name(self) -> str:
        """Where the rows come from, for messages."""
        return str(self.path or self.hub_id)

    def _find(self) -> Table:
        """The table of the first row."""
        built = [
            name for name in _columns.TABLES if self.path and any(Path(self.path).glob(f"{name}/*/dataset_info.json"))
        ]
        if len(built) > 1:
            raise ValueError(f"{self.path} holds {' and '.join(built)}: name one of them as the kind")
        name = built[0] if built else _columns.ACECODE.name
        first = next(_rows.read(self.path, name, self.hub_id, self.split, damaged=lambda told: None), None)
        if first is None:
            raise ValueError(f"{self.name}: there is no row in it")
        return _columns.find(first[1], first[0])

    def rows(self, bad: Callable[[str], None]) -> Iterator[Row]:
        """The good rows, in their order. `bad` is told of the others: their place, their id, and what is wrong."""
        seen: set[str] = set()
        for where, row in _rows.read(self.path, self.table.name, self.hub_id, self.split, damaged=bad):
            told = _columns.wrong(row, self.table)
            if not told and str(row["id"]) in seen:
                told = "the id appears twice"
            if told:
                bad(f"{_rows.named(row, where)}: {told}")
                continue
            seen.add(str(row["id"]))
            yield _columns.plain(row, self.table)
