"""AceCode-87K: questions with imagined asserts, filtered by a strong coder (arXiv 2502.01718), from the hub or files.

A row has `id`, `source`, `question`, `test_cases`; its other columns (`inferences`, `context_messages`) are checked and
left alone. The rows that the stages `filter` and `sample` write are read too.
"""

import os
from collections.abc import Mapping
from typing import Any

from acecoder_jax import curate, prompts
from acecoder_jax.data import _columns, _rows
from acecoder_jax.types import Problem, Ranked

HUB_ID = _columns.ACECODE.hub_id


def load(path: str | os.PathLike[str] | None = None, hub_id: str = HUB_ID, split: str = "train") -> list[Problem]:
    """The problems of AceCode-87K, in the order of the rows; the question is the whole prompt.

    path: a .jsonl, .jsonl.gz or .parquet file, a folder of such files (read in the order of their names; all of
        their rows), or a TFDS folder; None reads the `split` of `hub_id`.
    FileNotFoundError for a path that is not there; ValueError for a file of another kind, and for a bad row: it names
    the file, the row and what is wrong.
    """
    problems: dict[str, Problem] = {}
    for where, row in _rows.read(path, _columns.ACECODE.name, hub_id, split):
        where = _rows.named(row, where)
        if told := _columns.wrong(row, _columns.ACECODE, required=("id", "question", "test_cases")):
            raise ValueError(f"{where}: {told}")
        if row["id"] in problems:
            raise ValueError(f"{where}: the id appears twice")
        problems[row["id"]] = Problem(
            id=row["id"],
            question=row["question"],
            tests=tuple(row["test_cases"]),
            entry_point=_text(row, "entry_point", where),
            source=row.get("source") or "acecode",
        )
    return list(problems.values())


def load_ranked(
    path: str | os.PathLike[str] | None = None,
    hub_id: str = HUB_ID,
    split: str = "train",
    rules: Mapping[str, Any] | None = None,
) -> list[Ranked]:
    """The questions whose programs are far enough apart, in the order of the rows, worded as in AceCodePair-300K.

    path, hub_id, split and errors: as of `load`; a row must have `inferences`. rules: those of curate.make_groups.
    """
    found: dict[str, Ranked] = {}
    for where, row in _rows.read(path, _columns.ACECODE.name, hub_id, split):
        where = _rows.named(row, where)
        if told := _columns.wrong(row, _columns.ACECODE, required=("id", "question", "test_cases", "inferences")):
            raise ValueError(f"{where}: {told}")
        for number, one in enumerate(row["inferences"]):
            if lacks := [name for name in ("model_name", "completion", "pass_rate") if one.get(name) is None]:
                raise ValueError(f"{where}: inferences[{number}] lacks {lacks[0]}")
        for group in curate.make_groups([row], **(rules or {})):
            name = f"{group.question_id}|{group.model_name}"
            if name in found:
                raise ValueError(f"{where}: the id appears twice")
            question = prompts.program_request(row["question"], row["test_cases"][:1])
            replies = tuple(map(prompts.program_reply, group.texts))
            found[name] = Ranked(name, group.question_id, question, replies, group.wins, group.scores, group.shares)
    return list(found.values())


def _text(row: _columns.Row, column: str, where: str) -> str | None:
    value = row.get(column)
    if not isinstance(value, str | None):
        raise ValueError(f"{where}: {column} must be a text, not {value!r:.80}")
    return value
