"""AceCodePair-300K: two programs for one question, one clearly better (arXiv 2502.01718), from the hub or files."""

import os

from acecoder_jax.data import _columns, _rows
from acecoder_jax.types import Pair

HUB_ID = _columns.PAIRS.hub_id


def load_pairs(path: str | os.PathLike[str] | None = None, hub_id: str = HUB_ID, split: str = "train") -> list[Pair]:
    """The pairs, in the order of the rows, all in memory; `tfds_read` reads them from the disk as they are needed.

    path: a .jsonl, .jsonl.gz or .parquet file, a folder of such files, or a TFDS folder; None reads the `split` of
        `hub_id`.
    FileNotFoundError for a path that is not there; ValueError for a file of another kind, and for a bad row: it names
    the file, the row and what is wrong.
    """
    pairs: dict[str, Pair] = {}
    for where, row in _rows.read(path, _columns.PAIRS.name, hub_id, split):
        found = _columns.to_pair(row, _rows.named(row, where))
        if found.id in pairs:
            raise ValueError(f"{_rows.named(row, where)}: the id appears twice")
        pairs[found.id] = found
    return list(pairs.values())
