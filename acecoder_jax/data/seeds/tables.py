"""Seeds from tables: Evol, OSS and Stack, the three that AceCoder used, from the hub or from files of their columns.

Evol and OSS hold an `instruction` and a `response`: the seed is the first python block of the response that parses and
holds a function or a class. Stack holds functions, in `content`. Two more columns are used where there are any: `id`,
which otherwise is the row's number from 0, and the licence.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from acecoder_jax import prompts
from acecoder_jax.data import _rows
from acecoder_jax.data.seeds import program
from acecoder_jax.types import Rejection, Seed


class Table(NamedTuple):
    """label: the `source` of its rows, and what their ids begin with. columns: those it must have."""

    hub_id: str
    label: str
    columns: tuple[str, ...]


TABLES = {
    "evol": Table("ise-uiuc/Magicoder-Evol-Instruct-110K", "evol", ("instruction", "response")),
    "oss": Table("ise-uiuc/Magicoder-OSS-Instruct-75K-Instruction-Response", "oss", ("instruction", "response")),
    "stack": Table("bigcode/stack-dedup-python-fns", "bigcode_python_fns", ("content",)),
}
LICENCES = ("licence", "license", "licenses", "max_stars_repo_licenses")


def read(
    source: str, path: str | os.PathLike[str] = "", hub_id: str = "", split: str = "train", label: str = ""
) -> Iterator[Seed | Rejection]:
    """The rows of a source, each as a seed or as what is wrong with it, in their order.

    path: a .jsonl, .jsonl.gz or .parquet file or a folder of them; "" reads `split` of `hub_id` from the hub, as a
    stream. label stands in for the table's own.
    FileNotFoundError for a path that is not there, and a dataset that cannot be had. ValueError, naming the row, for
    one that lacks a column, one whose id appeared before, and one that cannot be read.
    """
    table = TABLES[source]
    label = label or table.label
    rows = _rows.read_table(Path(path)) if path else _rows.read_hub(hub_id or table.hub_id, split, streaming=True)
    places: dict[str, str] = {}
    for number, (where, row) in enumerate(rows):
        if missing := [column for column in table.columns if column not in row]:
            raise ValueError(f"{where}: a row of {source} lacks {', '.join(missing)} (it has {', '.join(sorted(row))})")
        id = _id(label, number if row.get("id") is None else row["id"], where)
        if id in places:
            raise ValueError(f"{where}: the id {id!r} appears twice, first in {places[id]}")
        places[id] = where
        yield _seed(id, label, table, row)


def _id(label: str, value: Any, where: str) -> str:
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        raise ValueError(f"{where}: an id is a text or a whole number, not {value!r:.40}")
    return value if isinstance(value, str) and value.startswith(f"{label}_") else f"{label}_{value}"


def _seed(id: str, label: str, table: Table, row: dict[str, Any]) -> Seed | Rejection:
    for column in table.columns:
        if not isinstance(row[column], str) or not row[column].strip():
            return Rejection(id, "no text", f"{column} is {row[column]!r:.40}")
    if table.columns == ("content",):
        return Seed(id, label, row["content"], licence=_licence(row))
    blocks = [code for language, code in prompts.code_blocks(row["response"]) if language in prompts.PYTHON]
    if not blocks:
        return Rejection(id, "no python block")
    wrong = ""
    for code in blocks:
        try:
            if program.defines(program.parse(code)):
                return Seed(id, label, code, instruction=row["instruction"], licence=_licence(row))
        except ValueError as error:
            wrong = wrong or str(error)
    return Rejection(id, "not python", wrong) if wrong else Rejection(id, "no function or class")


def _licence(row: dict[str, Any]) -> str:
    for column in LICENCES:
        if value := row.get(column):
            return value if isinstance(value, str) else " OR ".join(map(str, value))
    return ""
