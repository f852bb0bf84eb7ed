"""Rows of a built TFDS dataset (docs/data.md) through Grain: random access, each epoch in an order of its own.

    examples = tfds_read.examples("datasets", "acecode_pair_300k", seed=0, parse=tfds_read.pair)
    examples[17]                                          # the eighteenth example that training sees, a Pair
    for example in examples[start:]: ...                  # goes on after `start` examples
    mine = examples[process::processes].map(tokens).batch(128, batch_fn=list).to_iter_dataset()

The order is a function of (seed, epoch), so the number of examples taken is all that a checkpoint has to know.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acecoder_jax.data import _columns, _tfds
from acecoder_jax.types import Pair

if TYPE_CHECKING:
    import grain

Row = dict[str, Any]


def examples(
    folder: str | os.PathLike[str],
    name: str,
    *,
    seed: int,
    epochs: int | None = None,
    split: str = "train",
    parse: Callable[[Row], Any] | None = None,
) -> "grain.MapDataset":
    """All epochs as one dataset, one behind the other; every epoch has each row once.

    folder: the data_dir, or the folder of one version. name: the dataset, "acecode_87k" or "acecode_pair_300k".
    epochs: None: without end. parse: what becomes of a row; None: the row, a dict in the dataset's schema.
    FileNotFoundError where there is no such dataset; ValueError for one that cannot be read or is empty.
    """
    import grain

    built = _tfds.find(Path(folder), name)
    if built is None:
        raise FileNotFoundError(f"no TFDS dataset {name} in {folder}: the stage `data` builds it (docs/data.md)")
    rows = _tfds.TfdsRows(built, split)
    if rows.table.name != name:
        raise ValueError(f"{built} holds {rows.table.name}, not {name}")
    if not rows:
        raise ValueError(f"{built}: the split {split!r} has no row")
    # The shuffle's seed is folded with the number of the epoch.
    dataset = grain.MapDataset.source(rows).shuffle(seed=seed).repeat(epochs, reseed_each_epoch=True)
    return dataset if parse is None else dataset.map(parse)


def pair(row: Row) -> Pair:
    """A row of AceCodePair-300K as a Pair, to be given as `parse`."""
    return _columns.to_pair(row, f"pair {row.get('id')!r}")
