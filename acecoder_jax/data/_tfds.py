"""Rows of the two datasets in TFDS folders (ArrayRecord), read without TensorFlow; the features, and the way both ways.

TFDS keeps a list of records as a record of lists, texts as bytes, and has no place for columns that it was not told of.
A row is put into that form by `to_example` and comes back whole from `to_row`: what the features have no place for
travels as JSON in the feature `more`.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from acecoder_jax.data import _columns

Row = dict[str, Any]
INFERENCE = _columns.ACECODE.columns["inferences"][0]
NONE = {str: "", int: -1, float: float("nan")}  # in a record that lacks a key


def features(table: _columns.Table) -> Any:
    """The features of the dataset in TFDS, with `more`: JSON of further columns."""
    import tensorflow_datasets as tfds  # slow to import

    text, number = tfds.features.Text, tfds.features.Scalar(np.int64)
    # As floats TFDS would keep 32 bits of a rate; as bytes all 64.
    rate = tfds.features.Tensor(shape=(), dtype=np.float64, encoding=tfds.features.Encoding.BYTES)
    if table is _columns.PAIRS:
        return tfds.features.FeaturesDict({column: text() for column in [*table.columns, "more"]})
    inference = {key: {str: text(), int: number, float: rate}[kind] for key, kind in INFERENCE.items()}
    return tfds.features.FeaturesDict(
        {
            **{column: text() for column in ("id", "source", "question", "more")},
            "test_cases": tfds.features.Sequence(text()),
            "inferences": tfds.features.Sequence({**inference, "more": text()}),
            # TFDS writes no list of lists without TensorFlow: the number of its chat stands beside a message.
            "context_messages": tfds.features.Sequence({"chat": number, "content": text(), "role": text()}),
        }
    )


def to_example(row: Mapping[str, Any], table: _columns.Table) -> Row:
    """A row that `_columns.wrong` has passed, in the form of the features."""
    kept = _columns.plain(row, table)
    more = {column: value for column, value in kept.items() if column not in table.columns}
    lacking = [column for column in table.columns if column not in kept]
    if table is _columns.PAIRS:
        if not isinstance(kept["id"], str):
            more["id"] = kept["id"]
        return {column: str(kept.get(column, "")) for column in table.columns} | {"more": _pack(more, lacking)}
    inferences = [_split(one, INFERENCE) for one in kept.get("inferences", ())]
    messages = [
        {"chat": number, "content": message.get("content") or "", "role": message.get("role") or ""}
        for number, chat in enumerate(kept.get("context_messages", ()))
        for message in chat
    ]
    return {
        **{column: kept[column] for column in ("id", "source", "question")},
        "test_cases": list(kept["test_cases"]),
        "inferences": inferences,
        "context_messages": messages,
        "more": _pack(more, lacking),
    }


def to_row(example: Mapping[str, Any], table: _columns.Table) -> Row:
    """The row of an example as `as_data_source` gives it."""
    more = json.loads(_text(example["more"]) or "{}")
    lacking = more.pop("", [])
    row: Row = {column: _text(example[column]) for column, kind in table.columns.items() if not isinstance(kind, list)}
    if table is _columns.ACECODE:
        row["test_cases"] = [_text(test) for test in example["test_cases"]]
        row["inferences"] = [_join(one, INFERENCE) for one in _records(example["inferences"])]
        chats: list[list[Row]] = []
        for message in _records(example["context_messages"]):
            while len(chats) <= int(message["chat"]):
                chats.append([])
            chats[-1].append({key: _text(message[key]) for key in ("content", "role")})
        row["context_messages"] = chats
    return {column: value for column, value in (row | more).items() if column not in lacking}


def find(path: Path, name: str) -> Path | None:
    """The folder of a built dataset: the path itself, or the newest version of `name` where the path is a data_dir."""
    if (path / "dataset_info.json").is_file():
        return path
    found = (file.parent for file in path.glob(f"{name}/*/dataset_info.json"))
    versions = [folder for folder in found if re.fullmatch(r"\d+(\.\d+)*", folder.name)]  # not what a kill has left
    return max(versions, key=lambda folder: [int(part) for part in folder.name.split(".")], default=None)


class TfdsRows(Sequence[Row]):
    """The rows of a built dataset by their number, each read from the disk when it is asked for.

    ValueError for a folder that is no whole dataset of ours, and for an unknown split.
    """

    def __init__(self, folder: Path, split: str = "train"):
        import tensorflow_datasets as tfds

        self.folder = folder
        try:
            builder = tfds.builder_from_directory(folder)
            self._examples = builder.as_data_source(split)
        except (ValueError, OSError, RuntimeError) as error:
            raise ValueError(f"{folder}: no TFDS dataset that can be read: {error}") from error
        if builder.name not in _columns.TABLES:
            raise ValueError(f"{folder}: the TFDS dataset {builder.name} is none of {', '.join(_columns.TABLES)}")
        self.table = _columns.TABLES[builder.name]

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: Any) -> Any:
        return to_row(self._examples[index], self.table)


def read(folder: Path, split: str) -> Iterator[tuple[str, Row]]:
    """The rows of a built dataset, each with its place, "FOLDER row N" from 1."""
    rows = TfdsRows(folder, split)
    for number in range(len(rows)):
        yield f"{folder} row {number + 1}", rows[number]


def _pack(more: Row, lacking: list[str]) -> str:
    """JSON of the further columns; under "" the columns that the row lacks."""
    packed = more | ({"": lacking} if lacking else {})
    return json.dumps(packed) if packed else ""


def _split(record: Mapping[str, Any], kinds: Mapping[str, type]) -> Row:
    more = {key: value for key, value in record.items() if key not in kinds and value is not None}
    known = {key: NONE[kind] if record.get(key) is None else kind(record[key]) for key, kind in kinds.items()}
    return known | {"more": _pack(more, [key for key in kinds if record.get(key) is None])}


def _join(record: Mapping[str, Any], kinds: Mapping[str, type]) -> Row:
    more = json.loads(_text(record["more"]) or "{}")
    lacking = more.pop("", [])
    known = {key: _text(record[key]) if kind is str else kind(record[key]) for key, kind in kinds.items()}
    return {key: value for key, value in (known | more).items() if key not in lacking}


def _records(lists: Mapping[str, Sequence[Any]]) -> Iterator[Row]:
    """{"a": [1, 2], "b": [3, 4]} -> {"a": 1, "b": 3}, {"a": 2, "b": 4}."""
    for values in zip(*lists.values(), strict=True):
        yield dict(zip(lists, values, strict=True))


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
