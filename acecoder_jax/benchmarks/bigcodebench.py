"""BigCodeBench: functions that use many libraries (Zhuo et al. 2024, arXiv 2406.15877), complete and instruct.

A task's tests are a unittest class that runs beside the program, with files, threads and servers of its own: the
sandbox's library profile. Verdicts are those of the package bigcodebench (docs/bigcodebench.md says where they cannot
be).
"""

import ast
import dataclasses
import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from acecoder_jax import prompts
from acecoder_jax.benchmarks import Benchmark, Part, Prompt, Task, _samples
from acecoder_jax.benchmarks._evalplus import CHAT_STOP, STOP
from acecoder_jax.benchmarks._sanitize import sanitize_as_bigcodebench
from acecoder_jax.data import _rows
from acecoder_jax.sandbox import Library, Limits

HUB_IDS = {"full": "bigcode/bigcodebench", "hard": "bigcode/bigcodebench-hard"}
HUB_SPLIT = "v0.1.4"
SPLITS = ("complete", "instruct")
COLUMNS = (
    "task_id", "complete_prompt", "instruct_prompt", "canonical_solution", "code_prompt", "test", "entry_point",
)  # fmt: skip
PART = "tests"
BASE_STOP = ("\ndef ", "\nclass ", "\nimport ", "\nfrom ", "\nassert ")
PRELOAD = ("numpy", "pandas", "matplotlib.pyplot", "scipy", "sklearn", "seaborn", "requests")
TIMEOUT_S = 240.0  # of a program with all its tests, as the package has it
MEMORY_BYTES = 8 << 30
SCRATCH_BYTES = 256 << 20


def make(
    path: str | None = None,
    split: str = "complete",
    subset: str = "full",
    calibrate: bool = True,
    missing: str = "refuse",
    packages: Sequence[str] = (),
    readable: Sequence[str] = (),
    timeout_s: float = TIMEOUT_S,
) -> Benchmark:
    """The tasks of a subset, each asked for in one way.

    path: a file or folder of the hub's columns (.jsonl, .jsonl.gz, .parquet); None: the hub. split: "complete", where
    a function's beginning with its docstring is gone on with, or "instruct", where a text asks for it. subset: "full"
    or "hard". calibrate: put the task's own imports and signature above each program, as the package does by default.
    missing: "refuse" or "fail", tasks that need packages which are not installed. packages: distributions beside those
    that the tasks import; readable: folders of data that packages look for (nltk_data). timeout_s: CPU and wall seconds
    of a program with its tests.
    FileNotFoundError; ValueError for a bad argument or row, by file, line and id, and for packages that are missing.
    """
    _one_of("split", split, SPLITS)
    _one_of("subset", subset, tuple(HUB_IDS))
    _one_of("missing", missing, ("refuse", "fail"))
    rows = list(_rows.read_hub(HUB_IDS[subset], HUB_SPLIT) if path is None else _rows.read_table(Path(path)))
    tasks: dict[str, Task] = {}
    wanted: dict[str, int] = {}
    for where, row in rows:
        task = _task(row, where, split, calibrate, timeout_s)
        if task.id in tasks:
            raise ValueError(f"{where}: task_id {task.id!r} appears twice")
        tasks[task.id] = task
        for module in _imports(row):
            wanted[module] = wanted.get(module, 0) + 1
    if not tasks:
        raise ValueError(f"bigcodebench: {path or HUB_IDS[subset]} has no rows")
    found, absent = _distributions(wanted)
    if absent and missing == "refuse":
        needs = ", ".join(f"{module} ({wanted[module]})" for module in absent)
        raise ValueError(
            f"bigcodebench: tasks import modules that are not installed, in so many of {len(tasks)} tasks: {needs}. "
            "Install them beside acecoder_jax; or missing='fail' judges those tasks without, and they fail"
        )
    library = Library(
        packages=(*found, *packages),
        preload=tuple(name for name in PRELOAD if name.partition(".")[0] in wanted and _is_there(name)),
        threads=True,
        loopback=True,
        scratch_bytes=SCRATCH_BYTES,
        readable=tuple(readable),
    )
    name = f"bigcodebench_{split}" + ("_hard" if subset == "hard" else "")
    return Benchmark(
        name=name,
        tasks=tuple(tasks.values()),
        scores={name: (PART,)},
        prompt=functools.partial(prompt, split=split),
        program=program,
        official=_samples.write,
        sandbox={"library": library},
    )


def prompt(task: Task, kind: str, split: str) -> Prompt:
    """A chat is shown the statement, and its reply is begun; a base model goes on from a function's beginning."""
    if kind == "base":
        if split == "instruct":
            raise ValueError("bigcodebench: instruct asks for a reply, which a base model does not give: use complete")
        return Prompt((), task.statement, (*STOP, *BASE_STOP))
    statement = task.statement.strip()
    request = prompts.program_request(f"```\n{statement}\n```" if split == "complete" else statement, ())
    return Prompt(tuple(prompts.chat(request)), prompts.PROGRAM_START, CHAT_STOP)


def program(task: Task, reply: str) -> str:
    """The program in a reply, sanitised as the package does."""
    text = reply.removeprefix(prompts.PROGRAM_START).replace("\t", "    ")
    return sanitize_as_bigcodebench(text, task.fields["entry_point"])


# ---- tasks


def _task(row: dict[str, Any], where: str, split: str, calibrate: bool, timeout_s: float) -> Task:
    _rows.require(row, COLUMNS, where)
    where = f"{where} ({row['task_id']})"
    for column in COLUMNS:
        if not isinstance(row[column], str):
            raise ValueError(f"{where}: {column} must be a text, not {row[column]!r:.80}")
    if not row["entry_point"].isidentifier():
        raise ValueError(f"{where}: entry_point must name a function, not {row['entry_point']!r}")
    if re.search(r"^class TestCases\b", row["test"], re.MULTILINE) is None:
        raise ValueError(f"{where}: test has no class TestCases")
    above = f"{row['code_prompt']}\n    pass\n" if calibrate else ""
    # All of the package's time is wall time. CPU time can be no more: a program is held to one core.
    limits = Limits(
        test_s=timeout_s,
        program_s=timeout_s,
        wall_factor=1.0,
        memory_bytes=MEMORY_BYTES,
        file_bytes=SCRATCH_BYTES,
    )
    part = Part(
        tests=(f"judge(bigcodebench_code, {row['test']!r})",),
        profile="library",
        limits=limits,
        wrap=functools.partial(_wrap, above),
    )
    judging = json.dumps([above, row["test"], dataclasses.asdict(limits), _harness()])
    digest = hashlib.sha256(judging.encode()).hexdigest()[:16]
    solution = f"{row['complete_prompt']}\n{row['canonical_solution']}"
    fields = {"entry_point": row["entry_point"]}
    return Task(row["task_id"], row[f"{split}_prompt"], {PART: part}, solution, fields, digest)


def _wrap(above: str, code: str) -> str:
    """What is run for a program."""
    return f"{_harness()}\n\nbigcodebench_code = {above + code!r}\n"


@functools.cache
def _harness() -> str:
    return Path(__file__).with_name("_bigcode_harness.py").read_text(encoding="utf-8")


# ---- libraries


def _imports(row: dict[str, Any]) -> set[str]:
    """The modules beyond the standard library that a task's solution and tests import, by their first names."""
    names: set[str] = set()
    for text in (row["complete_prompt"] + "\n" + row["canonical_solution"], row["test"]):
        try:
            nodes = [*ast.walk(ast.parse(text))]
        except SyntaxError:
            continue  # the package would run it, and fail
        for node in nodes:
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module)
    return {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"__test__"}


def _distributions(modules: Iterable[str]) -> tuple[list[str], list[str]]:
    """The installed distributions that hold these modules, and the modules that none holds."""
    holders = importlib.metadata.packages_distributions()
    found = {name for module in modules for name in holders.get(module, ())}
    return sorted(found), sorted(module for module in modules if module not in holders)


def _is_there(module: str) -> bool:
    return importlib.util.find_spec(module.partition(".")[0]) is not None


def _one_of(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ValueError(f"bigcodebench: {name} is one of {', '.join(known)}, not {value!r}")
