"""AceCode-87K: questions with imagined asserts, filtered by a strong coder (arXiv 2502.01718), from the hub or files.

A row has `id`, `source`, `question`, `test_cases`; its other columns (`inferences`, `context_messages`) are left alone.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from acecoder_jax.data import _rows
from acecoder_jax.types import Problem

HUB_ID = "TIGER-Lab/AceCode-87K"
ENDINGS = (*_rows.JSONL_ENDINGS, ".parquet")


def load(path: str | os.PathLike[str] | None = None, hub_id: str = HUB_ID, split: str = "train") -> list[Problem]:
    """The problems of AceCode-87K, in the order of the rows; the question is the whole prompt.

    path: a .jsonl, .jsonl.gz or .parquet file, or a folder of such files (read in the order of their names; all of
        their rows); None reads the `split` of `hub_id`.
    FileNotFoundError for a path that is not there; ValueError for a file of another kind, and for a bad row: it names
    the file, the row and what is wrong.
    """
    problems: dict[str, Problem] = {}
    for where, row in _rows.read_hub(hub_id, split) if path is None else _read(Path(path)):
        _rows.require(row, ("id",), where)
        where = f"{where} (id {row['id']!r})"
        _rows.require(row, ("question", "test_cases"), where)
        tests = _rows.texts(row, "test_cases", where)
        if row["id"] in problems:
            raise ValueError(f"{where}: the id appears twice")
        problems[row["id"]] = Problem(
            id=row["id"], question=row["question"], tests=tests, source=row.get("source") or "acecode"
        )
    return list(problems.values())


def _read(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    if not path.exists():
        raise FileNotFoundError(f"no AceCode file or folder at {path}")
    files = sorted(file for file in path.iterdir() if file.name.endswith(ENDINGS)) if path.is_dir() else [path]
    if not files:
        raise ValueError(f"{path}: the folder holds no file that ends in {', '.join(ENDINGS)}")
    for file in files:
        if not file.name.endswith(ENDINGS):
            raise ValueError(f"{file}: an AceCode file ends in {', '.join(ENDINGS)}")
        yield from _rows.read_parquet(file) if file.suffix == ".parquet" else _rows.read_jsonl(file)
