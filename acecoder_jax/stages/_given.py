"""Answers that are there already: official files, programs of the `sample` stage, answers of another evaluation.

| a row has | its program |
| --- | --- |
| task_id, solution | the solution (EvalPlus, BigCodeBench) |
| task_id, completion | the task's statement with the completion behind it (HumanEval) |
| question_id, code_list | each of the list (LiveCodeBench) |
| question_id, completion, completion_id, model_name | the completion (programs.jsonl of `sample`) |
| benchmark, task, sample, reply, program | the program (answers.jsonl of `evaluate`) |
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from acecoder_jax import store
from acecoder_jax.benchmarks import Benchmark, Task
from acecoder_jax.stages._answers import GREEDY, answer_id
from acecoder_jax.store import Row
from acecoder_jax.writers import Reply, Request

FORMS = (
    "task_id and solution", "task_id and completion", "question_id and code_list", "question_id and completion",
    "task and program",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class GivenAnswer:
    """An answer of a file. reply: the text that the program was found in, or the program once more."""

    program: str
    reply: str
    finish: str = "given"
    tokens: int = 0


Answers = dict[str, dict[int, GivenAnswer]]  # by task and sample


def read(path: Path, benches: Sequence[Benchmark], model: str = "") -> dict[str, Answers]:
    """The answers in a file, by the name of the benchmark; every task of every benchmark has one.

    path: JSONL (.gz too), or JSON that holds a list. model: whose programs count, where the rows name several.
    FileNotFoundError; ValueError, with file and line, for a row of no known form, a task that no benchmark has, an
    answer that stands there twice; and for tasks without an answer, rows of several models.
    """
    if not path.is_file():
        raise FileNotFoundError(f"config.answers: no file {path}")
    tasks = {bench.name: {task.id: task for task in bench.tasks} for bench in benches}
    found: dict[str, Answers] = {bench.name: {} for bench in benches}
    models: set[str] = set()
    for where, row in _rows(path):
        models.add(str(row.get("model_name", "")))
        if not model and len(models) > 1:
            raise ValueError(
                f"{path} has programs of {', '.join(sorted(models))}: choose one with config.answers_model"
            )
        if model and row.get("model_name") != model:
            continue
        task, answers = _answers(row, where)
        holders = [name for name in tasks if task in tasks[name] and row.get("benchmark", name) == name]
        if not holders:
            raise ValueError(f"{where}: no benchmark of the run ({', '.join(tasks)}) has the task {task!r}")
        for name in holders:
            _add(found[name].setdefault(task, {}), answers, row, tasks[name][task], where)
    if model and model not in models:
        raise ValueError(f"{path} has no program of config.answers_model {model!r}; it has {', '.join(sorted(models))}")
    return found


def check_whole(answers: Answers, bench: Benchmark, tasks: Iterable[Task], path: Path) -> None:
    """ValueError for tasks without an answer: a score over the others would not be the benchmark's."""
    if missing := [task.id for task in tasks if not answers.get(task.id)]:
        raise ValueError(f"{path}: no answer to {len(missing)} tasks of {bench.name}, {missing[0]!r} for one")


def only(answers: Mapping[int, GivenAnswer], task: str, path: Path) -> GivenAnswer:
    """The greedy answer to a task, or the one that there is. ValueError for several."""
    if GREEDY in answers:
        return answers[GREEDY]
    if len(answers) > 1:
        raise ValueError(f"{path}: {len(answers)} answers to {task!r}, where one, the greedy one, is wanted")
    return next(iter(answers.values()))


class Given:
    """The answers of a file as a source of answers, and as the writer that gives them."""

    def __init__(self, answers: Mapping[str, Answers]):
        self.answers = answers
        self._by_id: dict[str, GivenAnswer] = {}

    def request(self, bench: Benchmark, task: Task, sample: int) -> Request:
        """A request of the answer's id alone."""
        name = answer_id(bench, task.id, sample)
        self._by_id[name] = self.answers[bench.name][task.id][sample]
        return Request(name, ())

    def program(self, bench: Benchmark, task: Task, key: str, reply: str) -> str:
        """The program of the answer, as it is."""
        return self._by_id[key].program

    def digest(self, bench: Benchmark, task: Task) -> str:
        """Nobody is asked."""
        return ""

    def write(self, requests: Iterable[Request]) -> Iterator[Reply]:
        """A reply to each request, in order."""
        for request in requests:
            one = self._by_id[request.key]
            yield Reply(request.key, one.reply, one.finish, completion_tokens=one.tokens)


def _rows(path: Path) -> Iterator[tuple[str, Row]]:
    """Each row with its place."""
    if path.suffix == ".json":
        rows = store.read_json(path)
        if not isinstance(rows, list):
            raise ValueError(f"{path}: a JSON file of answers holds a list, not a {type(rows).__name__}")
        found: Iterable[tuple[int, Any]] = enumerate(rows, start=1)
    else:
        found = store.scan_jsonl(path)
    for number, row in found:
        where = f"{path}, {'entry' if path.suffix == '.json' else 'line'} {number}"
        if not isinstance(row, dict):
            raise ValueError(f"{where}: {row if isinstance(row, str) else 'no row'}")
        yield where, row


def _answers(row: Row, where: str) -> tuple[str, list[str]]:
    """The task of a row, and the texts in it: programs, or completions that want their task's statement before them."""
    if _are(row, "task", "program"):
        return row["task"], [row["program"]]
    if _are(row, "task_id", "solution"):
        return row["task_id"], [row["solution"]]
    if _are(row, "task_id", "completion"):
        return row["task_id"], [row["completion"]]
    codes = row.get("code_list")
    if _are(row, "question_id") and isinstance(codes, list) and all(isinstance(code, str) for code in codes):
        return row["question_id"], codes
    if _are(row, "question_id", "completion"):
        return row["question_id"], [row["completion"]]
    raise ValueError(f"{where}: a row of answers has the texts {'; or '.join(FORMS)}: this one has {', '.join(row)}")


def _are(row: Row, *columns: str) -> bool:
    return all(isinstance(row.get(column), str) for column in columns)


def _add(answers: dict[int, GivenAnswer], texts: Sequence[str], row: Row, task: Task, where: str) -> None:
    number = row.get("sample", row.get("completion_id", len(answers)))
    if not isinstance(number, int) or isinstance(number, bool):
        raise ValueError(f"{where}: the number of the answer is {number!r}")
    for sample, text in enumerate(texts, start=number):
        if sample in answers:
            raise ValueError(f"{where}: the answer {sample} to {task.id!r} stands there twice")
        behind = _are(row, "task_id", "completion") and not _are(row, "solution")
        program = task.statement + text if behind else text
        more = (str(row.get("finish", "given")), int(row.get("tokens", 0))) if _are(row, "task", "program") else ()
        answers[sample] = GivenAnswer(program, row["reply"] if more and _are(row, "reply") else program, *more)
