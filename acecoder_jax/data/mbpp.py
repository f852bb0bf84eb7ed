"""MBPP: 974 short problems with three asserts each (Austin et al. 2021, arXiv 2108.07732), from the hub or a file."""

import ast
import collections
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from acecoder_jax.data import _rows
from acecoder_jax.types import Problem

HUB_ID = "google-research-datasets/mbpp"
SPLITS = {"prompt": range(1, 11), "test": range(11, 511), "validation": range(511, 601), "train": range(601, 975)}


def load(path: str | os.PathLike[str] | None = None, split: str = "train", hub_id: str = HUB_ID) -> list[Problem]:
    """The problems of a split ("prompt", "test", "validation" or "train"), by id: `mbpp_<task_id>`.

    The question shows all the asserts: without them the function's name is unknown. Raises as `rows` does.
    """
    return [_problem(int(row["task_id"]), row, where) for where, row in rows(path, split, hub_id)]


def rows(
    path: str | os.PathLike[str] | None = None, split: str = "train", hub_id: str = HUB_ID
) -> list[tuple[str, dict[str, Any]]]:
    """The rows of a split by task_id, each with its place.

    path: a .jsonl or .jsonl.gz file with MBPP's fields (all splits in one file); None reads `hub_id`.
    FileNotFoundError for a path that is not there; ValueError for an unknown split, a bad row, or a file in which the
    split has no row.
    """
    if split not in SPLITS:
        raise ValueError(f"MBPP has the splits {', '.join(SPLITS)}, not {split!r}")
    if path is None:
        read = _rows.read_hub(hub_id, split, config="full")
    else:
        if not Path(path).is_file():
            raise FileNotFoundError(f"no MBPP file at {os.fspath(path)}")
        if not os.fspath(path).endswith(_rows.JSONL_ENDINGS):
            raise ValueError(f"{os.fspath(path)}: an MBPP file ends in {' or '.join(_rows.JSONL_ENDINGS)}")
        read = _rows.read_jsonl(Path(path))
    found: dict[int, tuple[str, dict[str, Any]]] = {}
    for where, row in read:
        _rows.require(row, ("task_id", "text", "code", "test_list"), where)
        task_id = int(row["task_id"])
        if task_id in found:
            raise ValueError(f"{where}: task_id {task_id} appears twice")
        found[task_id] = where, row
    wanted = SPLITS[split]
    chosen = [found[task_id] for task_id in sorted(found) if task_id in wanted]
    if not chosen:
        raise ValueError(f"{path or hub_id}: no row of MBPP's split {split!r} (task_id {wanted[0]} to {wanted[-1]})")
    return chosen


def find_entry_point(tests: Sequence[str], program: str) -> str | None:
    """The function of `program` that most tests call; of a tie, the one whose call stands outside the other's.

    Calls of what the program does not define as a function (`set`, `math.isclose`, a class) do not count. None where no
    function is left. SyntaxError where a text is not Python.
    """
    defined = {node.name for node in parse(program).body if isinstance(node, ast.FunctionDef)}
    counts: collections.Counter[str] = collections.Counter()
    for test in tests:
        calls = [node.func for node in ast.walk(parse(test)) if isinstance(node, ast.Call)]
        names = (name.id for name in calls if isinstance(name, ast.Name) and name.id in defined)
        # Once a test, in order of arrival, which most_common keeps: ast.walk goes from the outside in.
        counts.update(list(dict.fromkeys(names)))
    return counts.most_common(1)[0][0] if counts else None


def parse(text: str) -> ast.Module:
    """The syntax tree of one of MBPP's texts. SyntaxError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of MBPP's programs hold "\d" in plain strings
        return ast.parse(text)


def _problem(task_id: int, row: dict[str, Any], where: str) -> Problem:
    tests = tuple(test.strip() for test in _rows.texts(row, "test_list", where))
    code = row["code"].replace("\r\n", "\n")
    try:
        entry_point = find_entry_point(tests, code)
    except SyntaxError as error:
        raise ValueError(f"{where}: the code or a test of task_id {task_id} is not Python ({error})") from error
    setup = (row.get("test_setup_code") or "").replace("\r\n", "\n")
    shown = "\n".join([setup, *tests] if setup else tests)
    return Problem(
        id=f"mbpp_{task_id}",
        question=f"{row['text'].strip()}\nThe program has to pass these tests:\n```python\n{shown}\n```",
        tests=tests,
        entry_point=entry_point,
        setup=setup,
        solution=code,
        source="mbpp",
    )
