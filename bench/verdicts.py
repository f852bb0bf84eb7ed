"""The verdicts on HumanEval(+) and MBPP(+) beside those of the package evalplus, on the same programs.

    python bench/verdicts.py --evalplus=$(bash bench/make_peer_env.sh evalplus) --humaneval=FILE --mbpp=FILE

FILE: the release's (HumanEvalPlus.jsonl.gz, MbppPlus.jsonl.gz), or the original (HumanEval.jsonl.gz, mbpp.jsonl.gz),
of which problems in the release's form are made: the inputs of their tests, and others like them. The programs are the
reference solutions, and those with one thing wrong (corrupt.py). Prints every difference; the last line is JSON.
"""

import argparse
import ast
import collections
import gzip
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import corrupt

from acecoder_jax import benchmarks, store
from acecoder_jax.benchmarks import _mbpp_inputs
from acecoder_jax.data.mbpp import find_entry_point
from acecoder_jax.sandbox import Job, Limits, Sandbox
from acecoder_jax.types import Status

Row = dict[str, Any]
Verdicts = dict[str, tuple[bool, bool]]  # by the sample's name: whether base, and plus, passed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evalplus", required=True, help="a Python that has evalplus: bench/make_peer_env.sh")
    parser.add_argument("--humaneval", default="")
    parser.add_argument("--mbpp", default="")
    parser.add_argument("--problems", type=int, default=0, help="so many of each, at even distances; 0: all")
    parser.add_argument(
        "--corrupted", type=int, default=3, help="changes in a program's syntax, beside those of results"
    )
    parser.add_argument("--kinds", type=int, default=0, help="so many of all a program's corruptions; 0: all")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    flags = parser.parse_args()
    summary = {}
    for name in ("humaneval", "mbpp"):
        if path := getattr(flags, name):
            rows = release_form(name, Path(path), flags.workers)
            rows = rows[:: max(1, len(rows) // flags.problems)][: flags.problems] if flags.problems else rows
            summary[name] = contest(name, rows, flags)
    print(json.dumps(summary))


def contest(name: str, rows: Sequence[Row], flags: argparse.Namespace) -> dict[str, Any]:
    """Both verdicts on the programs of one benchmark; what differs is printed."""
    samples = programs(rows, flags.corrupted, flags.kinds)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.jsonl"
        store.write_jsonl(path, rows)
        began = time.perf_counter()
        theirs = official(flags.evalplus, name, path, samples, flags.workers)
        middle = time.perf_counter()
        mine = ours(name, path, samples, flags.workers)
        seconds = [round(middle - began, 1), round(time.perf_counter() - middle, 1)]
    different = [sample for sample in samples if theirs[sample] != mine[sample]]
    for sample in different:
        print(f"{sample}: evalplus {theirs[sample]}, here {mine[sample]}\n{samples[sample][1]}\n", flush=True)
    passed = sum(all(found) for found in theirs.values())
    return {
        "problems": len(rows), "programs": len(samples), "passed by evalplus": passed, "different": len(different),
        "references passed": sum(all(found) for sample, found in mine.items() if sample.endswith("|reference")),
        "seconds evalplus, here": seconds,
    }  # fmt: skip


def programs(rows: Iterable[Row], count: int, kinds: int = 0) -> dict[str, tuple[str, str]]:
    """{name of the sample: (task, program)}; the names are "<task>|<what is wrong>|<number>" and "<task>|reference"."""
    found = {}
    for row in rows:
        task, program = row["task_id"], row["prompt"] + row["canonical_solution"]
        found[f"{task}|reference"] = task, program
        all_of = list(enumerate(corrupt.corrupted(program, row["entry_point"], count, task)))
        if kinds:
            all_of = random.Random(task).sample(all_of, min(kinds, len(all_of)))
        for number, (kind, text) in all_of:
            found[f"{task}|{kind}|{number}"] = task, text
    return found


def official(python: str, name: str, path: Path, samples: Mapping[str, tuple[str, str]], workers: int) -> Verdicts:
    """What evalplus says. It keeps the samples of a task in their order."""
    folder = path.parent
    given = folder / f"{name}-samples.jsonl"
    store.write_jsonl(given, [{"task_id": task, "solution": program} for task, program in samples.values()])
    paths = {"HUMANEVAL_OVERRIDE_PATH": str(path), "MBPP_OVERRIDE_PATH": str(path), "XDG_CACHE_HOME": str(folder)}
    command = [
        python,
        "-m",
        "evalplus.evaluate",
        "--dataset",
        name,
        "--samples",
        str(given),
        "--parallel",
        str(workers),
    ]
    done = subprocess.run(command, env=os.environ | paths, cwd=folder, capture_output=True, text=True, check=False)
    results = given.with_name(f"{name}-samples_eval_results.json")
    if done.returncode or not results.exists():
        raise SystemExit(f"evalplus failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    found = {task: iter(told) for task, told in json.loads(results.read_text())["eval"].items()}
    verdicts = {}
    for sample, (task, program) in samples.items():
        told = next(found[task])
        if told["solution"] != program:
            raise SystemExit(f"evalplus has another program in the place of {sample}")
        verdicts[sample] = told["base_status"] == "pass", told["plus_status"] == "pass"
    return verdicts


def ours(name: str, path: Path, samples: Mapping[str, tuple[str, str]], workers: int) -> Verdicts:
    """What the sandbox says."""
    bench = benchmarks.make(name, path=str(path))
    tasks = {task.id: task for task in bench.tasks}
    knobs = dict(bench.sandbox)
    limits = Limits(**knobs.pop("limits", {}))
    jobs = (job for sample, (task, program) in samples.items() for job in tasks[task].jobs(program, sample).values())
    with Sandbox(workers=workers, limits=limits, quiet=True, **knobs) as sandbox:
        found = {verdict.id: verdict for verdict in sandbox.score(jobs)}
    if broken := [verdict.id for verdict in found.values() if verdict.infra]:
        raise SystemExit(f"the sandbox broke on {', '.join(broken[:5])}")
    return {sample: (found[f"{sample}/base"].passed, found[f"{sample}/plus"].passed) for sample in samples}


# ---- problems in the release's form


def release_form(name: str, path: Path, workers: int) -> list[Row]:
    """The rows of a release, or rows made of an original file."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        rows = [json.loads(line) for line in file if line.strip()]
    if "base_input" in rows[0]:
        return rows
    made = [row for row in map(_from_humaneval if name == "humaneval" else _from_mbpp, rows) if row["base_input"]]
    jobs = []
    for row in made:
        row["plus_input"] = corrupt.other_inputs(row["base_input"], 20, row["task_id"])
        for part in ("base", "plus"):
            row[f"{part}_input"] = inputs = [given for given in row[f"{part}_input"] if _revived(row, given)]
            # Judged as any, on the arguments that evalplus will give: those that the reference takes are kept.
            tests = tuple(f"entry(*{_revived(row, given)!r})" for given in inputs)
            program = f"{row['prompt']}{row['canonical_solution']}\n\nentry = {row['entry_point']}\n"
            jobs.append(Job(f"{row['task_id']}|{part}", program, tests, "entry"))
    with Sandbox(workers=workers, limits=Limits(test_s=0.5, program_s=20.0), quiet=True) as sandbox:
        found = {verdict.id: verdict.statuses for verdict in sandbox.score(jobs)}
    for row in made:
        for part in ("base", "plus"):
            kept = zip(row[f"{part}_input"], found[f"{row['task_id']}|{part}"], strict=True)
            row[f"{part}_input"] = [given for given, status in kept if status is Status.PASS]
    return [row for row in made if row["base_input"] and row["plus_input"]]


def _revived(row: Row, given: list) -> Sequence:
    """The arguments as the function takes them; () where they are not what the release has for it."""
    if not row["task_id"].startswith("Mbpp/"):
        return given
    try:
        return _mbpp_inputs.revive(row["task_id"], [given])[0]
    except (TypeError, ValueError, AttributeError, IndexError):
        return ()


def _from_humaneval(row: Row) -> Row:
    tolerance = 1e-4 if row["entry_point"] == "find_zero" else 0
    inputs = _inputs(row["test"], "candidate")
    if row["entry_point"] == "find_zero":
        inputs = [[[-10, -2]], [[1, 2]], [[-6, 11, -6, 1]], [[3, -6, 9, -10]]]
    return {**row, "contract": "", "base_input": inputs, "atol": tolerance}


def _from_mbpp(row: Row) -> Row:
    name = find_entry_point(row["test_list"], row["code"]) or ""
    docstring = f'"""\n{row["text"]}\n{row["test_list"][0]}\n"""\n'
    code = row["code"].replace("\r\n", "\n")
    return {
        "task_id": f"Mbpp/{row['task_id']}", "prompt": docstring, "entry_point": name, "canonical_solution": code,
        "contract": "", "base_input": _inputs("\n".join(row["test_list"]), name), "atol": 0,
    }  # fmt: skip


def _inputs(tests: str, function: str) -> list[list]:
    """The arguments of a function's calls in a text of tests, where they are what JSON can hold; none twice."""
    found: dict[str, list] = collections.OrderedDict()
    for node in ast.walk(ast.parse(tests)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == function and not node.keywords:
            try:
                given = json.dumps([ast.literal_eval(one) for one in node.args])
            except (ValueError, TypeError):
                continue
            found[given] = json.loads(given)
    return list(found.values())


if __name__ == "__main__":
    main()
