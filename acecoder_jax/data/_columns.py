"""The columns of the two published datasets, what is wrong with a row, and the form that rows are written in."""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from acecoder_jax.types import Pair

Row = dict[str, Any]
Kind = Any  # str, int, float; a tuple of them: any; [kind] for a list; {name: kind} for a record
WORDS = {str: "a text", int: "a whole number", float: "a number", (str, int): "a text or a whole number"}


@dataclasses.dataclass(frozen=True)
class Table:
    """A dataset's columns with their kinds, and those that no row may lack; further columns are allowed.

    name: as a TFDS dataset. In a record inside a row no key is required, and further ones are allowed.
    """

    name: str
    hub_id: str
    columns: Mapping[str, Kind]
    required: tuple[str, ...]


ACECODE = Table(
    name="acecode_87k",
    hub_id="TIGER-Lab/AceCode-87K",
    columns={
        "id": str,
        "source": str,
        "question": str,
        "test_cases": [str],
        "inferences": [{"model_name": str, "completion_id": int, "completion": str, "pass_rate": float}],
        "context_messages": [[{"content": str, "role": str}]],
    },
    required=("id", "source", "question", "test_cases"),
)
PAIRS = Table(
    name="acecode_pair_300k",
    hub_id="TIGER-Lab/AceCodePair-300K",
    # The published pairs are numbered; those that the stage `pairs` makes have names.
    columns={"id": (str, int), "instruction": str, "input": str, "chosen": str, "rejected": str},
    required=("id", "instruction", "chosen", "rejected"),
)
# What rows of the stage `pairs` have beside them.
PAIR_MORE: dict[str, Kind] = {"question_id": str, "chosen_score": float, "rejected_score": float}
TABLES = {table.name: table for table in (ACECODE, PAIRS)}


def find(row: Mapping[str, Any], where: str) -> Table:
    """Which of the tables a row is of, by its columns. ValueError where it is of none."""
    if "chosen" in row or "rejected" in row:
        return PAIRS
    if "test_cases" in row or "inferences" in row:
        return ACECODE
    raise ValueError(
        f"{where}: a row of neither dataset: AceCode-87K has test_cases, AceCodePair-300K chosen and rejected; "
        f"this one has {', '.join(sorted(row))}"
    )


def wrong(row: Mapping[str, Any], table: Table, required: Collection[str] | None = None) -> str:
    """What is wrong with a row, in words; "" for nothing. A column that is None is missing.

    required: columns that may not be missing; None: those of the table.
    """
    needed = table.required if required is None else required
    if missing := [column for column in needed if row.get(column) is None]:
        return f"the row lacks {', '.join(missing)} (it has {', '.join(sorted(row))})"
    kept = plain(row, table)
    found = (_wrong(kept[column], kind, column) for column, kind in table.columns.items() if column in kept)
    return next(filter(None, found), "")


def _wrong(value: Any, kind: Kind, place: str) -> str:
    """What does not fit the kind, and where: "inferences[1].pass_rate must be a number, not 'x'"; "" for nothing."""
    if isinstance(kind, list):
        if not isinstance(value, list | tuple):
            return f"{place} must be a list{' of texts' if kind == [str] else ''}, not {value!r:.80}"
        found = (_wrong(item, kind[0], f"{place}[{number}]") for number, item in enumerate(value))
        return next(filter(None, found), "")
    if isinstance(kind, dict):
        if not isinstance(value, Mapping):
            return f"{place} must be a record of {', '.join(kind)}, not {value!r:.80}"
        given = ((key, one) for key, one in kind.items() if value.get(key) is not None)
        return next(filter(None, (_wrong(value[key], one, f"{place}.{key}") for key, one in given)), "")
    if isinstance(value, str) and not value.isascii() and (half := _half(value)):
        return f"{place} holds half a character, {half!r}, which no file can store"
    good = isinstance(value, (int, float) if kind is float else kind) and not isinstance(value, bool)
    return "" if good else f"{place} must be {WORDS[kind]}, not {value!r:.80}"


def _half(text: str) -> str:
    """The first surrogate that stands alone, as JSON's escapes can hold one; "" for none."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return text[error.start]
    return ""


def plain(row: Mapping[str, Any], table: Table) -> Row:
    """The row as it is written: the table's columns first and in its order, then further ones; what is None left out.

    Messages that stand in `context_messages` themselves are wrapped: the published rows hold a list of chats.
    """
    order = [*table.columns, *(column for column in row if column not in table.columns)]
    kept = {column: row[column] for column in order if row.get(column) is not None}
    chats = kept.get("context_messages")
    if table is ACECODE and isinstance(chats, list) and chats and isinstance(chats[0], Mapping):
        kept["context_messages"] = [chats]
    return kept


def to_pair(row: Mapping[str, Any], where: str) -> Pair:
    """A row of AceCodePair-300K as a Pair; the question is the instruction, and below it the input where there is one.

    ValueError for a bad row: `where` and what is wrong.
    """
    if told := wrong(row, PAIRS):
        raise ValueError(f"{where}: {told}")
    question = row["instruction"] + (f"\n{row['input']}" if row.get("input") else "")
    more = {name: row[name] for name in PAIR_MORE if row.get(name) is not None}
    for name, value in more.items():
        if told := _wrong(value, PAIR_MORE[name], name):
            raise ValueError(f"{where}: {told}")
    return Pair(str(row["id"]), question, row["chosen"], row["rejected"], **more)
