"""MBPP (Austin et al. 2021, arXiv 2108.07732), its test split of 500, and EvalPlus' selection MBPP+ with its inputs.

| path | the rows | scores |
| --- | --- | --- |
| Google's mbpp.jsonl | text, code, test_list | mbpp |
| EvalPlus' release, MbppPlus.jsonl.gz | base_input, plus_input | mbpp, mbpp_plus |
| a copy of `evalplus/mbppplus`; None: the hub's | prompt, code, test_list; `test` has all inputs | mbpp, mbpp_plus |

A statement is a docstring: the text, then the assert that EvalPlus shows, or all of Google's. Of EvalPlus' sets "mbpp"
is about its own selection (378 problems in v0.2.0), as EvalPlus counts it.
"""

import ast
import dataclasses
from collections.abc import Sequence
from typing import Any

from acecoder_jax.benchmarks import Benchmark, Part, Task, _evalplus, _evalplus_rows, _mbpp_inputs
from acecoder_jax.benchmarks._evalplus_truth import MEMORY_BYTES, Problem, find
from acecoder_jax.data import _rows, mbpp
from acecoder_jax.sandbox import Limits

PLUS_HUB_ID = "evalplus/mbppplus"
BASE_STOP = ('\n"""', "\nassert")
# Of an assert, and of all of a problem's. The reference of problem 123 takes 3 s of a slow core for one of them.
LIMITS = Limits(test_s=6.0, program_s=12.0, memory_bytes=MEMORY_BYTES)
RULES = {  # evalplus/eval/_special_oracle.py
    "are_equivalent": "any",
    "sum_div": "zero",
    "surface_Area": "pyramid",
    "digit_distance_nums": "digits",
    "check_str": "not none",
    "text_match_three": "not none",
    "text_starta_endb": "not none",
    "similar_elements": "set",
    "find_char_long": "set",
    "common_in_nested_lists": "set",
    "extract_singly": "set",
    "larg_nnum": "set",
    "intersection_array": "set",
    "find_dissimilar": "set",
    "Diff": "set",
}


def make(path: str | None = None, plus: bool = True, split: str = "test") -> Benchmark:
    """MBPP, and MBPP+ where the source has it.

    path: a file (.jsonl, .jsonl.gz, .parquet); see above. plus: False leaves MBPP+ out, and reads Google's set where no
    path is given. split: of Google's set. The first time, the reference programs of MBPP+ are run (about a minute).
    FileNotFoundError; ValueError for rows with something missing or wrong, by file, line and id.
    """
    hub = False
    if path is None and not plus:
        tasks = _google(mbpp.rows(None, split))
    else:
        rows = _evalplus_rows.read(path, PLUS_HUB_ID)
        if _evalplus_rows.all_are(_evalplus_rows.is_release, rows, "EvalPlus' release"):
            tasks = _release(rows, ("base", "plus") if plus else ("base",))
        elif hub := _evalplus_rows.all_are(_evalplus_rows.is_hub, rows, "EvalPlus' table"):
            tasks = _hub(rows, plus)
        else:
            tasks = _google(mbpp.rows(path, split))
    # Test 367 builds its trees from a class of the program's.
    return _evalplus.benchmark("mbpp", tasks, BASE_STOP, plus_has_base=hub, allow_inside=True)


def _google(rows: list[tuple[str, dict[str, Any]]]) -> list[Task]:
    tasks = []
    for where, row in rows:
        code = row["code"].replace("\r\n", "\n")
        setup = (row.get("test_setup_code") or "").replace("\r\n", "\n")
        part, keep = _asserts(row, code, setup, where)
        statement = _docstring(row["text"], row["test_list"])
        tasks.append(Task(f"Mbpp/{row['task_id']}", statement, {"base": part}, code, {"keep": keep}))
    return tasks


def _release(rows: list[tuple[str, dict[str, Any]]], names: tuple[str, ...]) -> list[Task]:
    problems = []
    for where, row in rows:
        _evalplus_rows.texts(row, ("task_id", "prompt", "canonical_solution"), where)
        entry_point = _evalplus_rows.entry_point(row, where)
        inputs, tolerance = _evalplus_rows.release_inputs(row, where, names, _mbpp_inputs.revive)
        reference = row["prompt"] + row["canonical_solution"]
        problems.append(Problem(row["task_id"], entry_point, reference, inputs, tolerance, RULES.get(entry_point, "")))
    truth = find("mbpp", problems)
    return [
        Task(one.id, row["prompt"], _evalplus.parts(one, truth[one.id]), one.reference, {"keep": one.entry_point})
        for (_, row), one in zip(rows, problems, strict=True)
    ]


def _hub(rows: list[tuple[str, dict[str, Any]]], plus: bool) -> list[Task]:
    """The base tests are the inputs of the asserts, judged as EvalPlus does; the asserts themselves where an argument
    is no constant.
    """
    tasks, problems = [], []
    for where, row in rows:
        _evalplus_rows.texts(row, ("prompt", "code"), where)
        setup = "\n".join(row.get("test_imports") or ())
        part, keep = _asserts(row, row["code"], setup, where)
        statement = _docstring(row["prompt"], row["test_list"][:1])
        task = Task(f"Mbpp/{row['task_id']}", statement, {"base": part}, row["code"], {"keep": keep})
        of_both, tolerance = _evalplus_rows.hub_inputs(row, where)
        tasks.append(task)
        name = _entry_point(row, row["code"], where)
        base = _arguments(row["test_list"], name)
        inputs = ({"base": base} if base else {}) | ({"plus": of_both} if plus else {})
        problems.append(Problem(task.id, name, row["code"], inputs, tolerance, RULES.get(name, "")))
    truth = find("mbpp", problems)
    return [
        dataclasses.replace(task, parts={**task.parts, **_evalplus.parts(problem, truth[problem.id])})
        for task, problem in zip(tasks, problems, strict=True)
    ]


def _arguments(tests: Sequence[str], name: str) -> str:
    """The arguments of the call of a function in each assert, as the source of a list of lists; "" where an assert has
    no such call, several, or arguments that are no constants."""
    found = []
    for test in tests:
        nodes = ast.walk(mbpp.parse(test))
        calls = [n for n in nodes if isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id == name]
        if len(calls) != 1 or calls[0].keywords:
            return ""
        source = ast.unparse(ast.List(calls[0].args, ast.Load()))
        try:
            ast.literal_eval(source)
        except (ValueError, TypeError, SyntaxError):
            return ""
        found.append(source)
    return f"[{', '.join(found)}]"


def _docstring(text: str, tests: Sequence[str]) -> str:
    shown = "\n".join([text.strip(), *(test.strip() for test in tests)])
    return f'"""\n{shown}\n"""\n'


def _entry_point(row: dict[str, Any], code: str, where: str) -> str:
    """The function that the asserts call. ValueError where they call none that the code defines."""
    _rows.require(row, ("test_list",), where)
    try:
        name = mbpp.find_entry_point(_rows.texts(row, "test_list", where), code)
    except SyntaxError as error:
        raise ValueError(f"{where} (task_id {row['task_id']}): the code or a test is not Python ({error})") from error
    if name is None:
        raise ValueError(
            f"{where} (task_id {row['task_id']}): no entry point: the code defines no function that the tests call"
        )
    return name


def _asserts(row: dict[str, Any], code: str, setup: str, where: str) -> tuple[Part, str | None]:
    """The asserts of a problem, and what is to be kept of a program: the entry point, or all where tests want more."""
    name = _entry_point(row, code, where)
    tests = tuple(test.strip() for test in row["test_list"])
    used = {node.id for test in (setup, *tests) for node in ast.walk(mbpp.parse(test)) if isinstance(node, ast.Name)}
    defined = {one.name for one in mbpp.parse(code).body if isinstance(one, ast.FunctionDef | ast.ClassDef)}
    entry, below = name, ""
    if name[:1].isupper():  # as a class is written, and classes do not leave the program's process
        entry, below = _evalplus.ENTRY, f"{_evalplus.ENTRY} = {name}\n"
        tests = tuple(ast.unparse(_Renamed(name, entry).visit(mbpp.parse(test))) for test in tests)
    return Part(tests, setup, entry, limits=LIMITS, below=below), None if used & defined - {name} else name


class _Renamed(ast.NodeTransformer):
    """A name in the place of another."""

    def __init__(self, name: str, other: str):
        self.name, self.other = name, other

    def visit_Name(self, node: ast.Name) -> ast.Name:
        """A use of the name."""
        return ast.Name(self.other, node.ctx) if node.id == self.name else node
