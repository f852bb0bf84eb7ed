"""Rows of EvalPlus' sets: the release's JSONL (what HUMANEVAL_OVERRIDE_PATH names), and the tables on the hub.

In the release a row has base_input and plus_input. On the hub it has `test`, a program whose `inputs` are both.
"""

import ast
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from acecoder_jax.data import _rows

Row = dict[str, Any]
_INPUTS = re.compile(r"^\s*inputs = ", re.MULTILINE)
ROOT_TOLERANCE = 1e-4  # of a root of a polynomial, HumanEval/32: on the hub it stands in the test's own text


def read(path: str | None, hub_id: str, split: str = "test") -> list[tuple[str, Row]]:
    """All rows with their places; ids must be there, and none twice. FileNotFoundError, ValueError."""
    rows = list(_rows.read_hub(hub_id, split) if path is None else _rows.read_table(Path(path)))
    seen: dict[Any, str] = {}
    for where, row in rows:
        _rows.require(row, ("task_id",), where)
        if (task_id := row["task_id"]) in seen:
            raise ValueError(f"{where}: task_id {task_id!r} stands at {seen[task_id]} too")
        seen[task_id] = where
    if not rows:
        raise ValueError(f"{path or hub_id} has no rows")
    return rows


def is_release(row: Mapping[str, Any]) -> bool:
    """Whether a row is of the release."""
    return "base_input" in row or "plus_input" in row


def is_hub(row: Mapping[str, Any]) -> bool:
    """Whether a row is of EvalPlus' tables on the hub."""
    return not is_release(row) and _INPUTS.search(str(row.get("test"))) is not None


def all_are(what: Callable[[Mapping[str, Any]], bool], rows: Iterable[tuple[str, Row]], kind: str) -> bool:
    """Whether the first row is of a kind. ValueError for a later one that is of another."""
    first, *others = [(where, what(row)) for where, row in rows]
    for where, same in others:
        if same is not first[1]:
            raise ValueError(f"{where}: {'not' if first[1] else 'a row'} of {kind}, as the first row ({first[0]}) is")
    return first[1]


def texts(row: Row, columns: Sequence[str], where: str) -> None:
    """ValueError unless the columns are there and hold texts."""
    _rows.require(row, columns, where)
    for column in columns:
        if not isinstance(row[column], str):
            raise ValueError(f"{where}: {column} must be a text, not {row[column]!r:.80}")


def entry_point(row: Row, where: str) -> str:
    """The name of the function. ValueError where there is none, or it is no name."""
    name = row.get("entry_point")
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f"{where} ({row['task_id']}): entry_point must name a function, not {name!r}")
    return name


def release_inputs(
    row: Row, where: str, parts: Iterable[str], revive: Callable[[str, Sequence], Sequence]
) -> tuple[dict[str, str], float]:
    """The inputs by part, as source, and the tolerance. revive: what makes arguments of JSON."""
    columns = [f"{part}_input" for part in parts]
    _rows.require(row, [*columns, "atol"], where)
    for column in columns:
        if not isinstance(row[column], list) or not all(isinstance(given, list) for given in row[column]):
            raise ValueError(f"{where} ({row['task_id']}): {column} must be a list of lists of arguments")
    tolerance = _tolerance(row["atol"], "atol", f"{where} ({row['task_id']})")
    try:
        return {part: repr(revive(row["task_id"], row[f"{part}_input"])) for part in parts}, tolerance
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise ValueError(
            f"{where} ({row['task_id']}): the inputs are not those of the problem with this id ({error})"
        ) from error


def hub_inputs(row: Row, where: str) -> tuple[str, float]:
    """The inputs as source, and the tolerance, from the program in `test`."""
    try:
        nodes = list(ast.walk(ast.parse(row["test"])))
    except (SyntaxError, ValueError, RecursionError) as error:
        raise ValueError(f"{where} ({row['task_id']}): test is not Python ({error})") from error
    for node in nodes:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["inputs"]:
            return ast.unparse(node.value), _asserted(nodes, f"{where} ({row['task_id']})")
    raise ValueError(f"{where} ({row['task_id']}): test has no inputs")


def _asserted(nodes: Iterable[ast.AST], where: str) -> float:
    """The tolerance: the third argument of its `assertion`; where it calls none, it looks for a root."""
    for node in nodes:
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "assertion" and len(node.args) == 3:
            try:
                value = ast.literal_eval(node.args[2])
            except ValueError:
                value = ast.unparse(node.args[2])
            return float(_tolerance(value, "the tolerance of its assertion", where))
    return ROOT_TOLERANCE


def _tolerance(value: Any, what: str, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"{where}: {what} must be a number from 0 on, not {value!r:.80}")
    return value
