"""Evaluate a model on benchmarks: answers from a writer or a file, judged while others are written; then the scores.

    python -m acecoder_jax.main --config=configs/evaluate.py:humaneval --config.model=DIR

WORKDIR/answers.jsonl has a row an answer, results.json the scores, problems.tsv what became of each problem, and
official/ the files that the benchmarks' own packages score. The same command goes on where it was stopped.
"""

import contextlib
import dataclasses
import functools
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from acecoder_jax import benchmarks, cluster, store, writers
from acecoder_jax.benchmarks import Benchmark, Task
from acecoder_jax.cluster import Work
from acecoder_jax.models import huggingface
from acecoder_jax.models.fingerprint import fingerprint
from acecoder_jax.sandbox import Limits, Sandbox
from acecoder_jax.stages import _answers, _given, _judging, _scores, _work, _writing
from acecoder_jax.stages._answers import GREEDY, Asking, Digests
from acecoder_jax.stages._given import Given
from acecoder_jax.stages._judging import AGAIN
from acecoder_jax.store import Row

MAY_CHANGE = (
    *_writing.MAY_CHANGE, "first", "samples", "pass_at", "local.max_prompt_tokens", "sandbox.workers",
    "sandbox.min_isolation",
)  # fmt: skip
Wanted = dict[str, tuple[str, int]]  # the task and the number of each answer, by its id


@dataclasses.dataclass(frozen=True)
class Answered:
    """What there is in the end. answers: the file of their rows. stopped: the error that ended the work early."""

    benches: Sequence[Benchmark]
    wanted: Mapping[str, Wanted]  # by the name of the benchmark
    answers: Path
    stopped: Exception | None

    def rows(self) -> dict[str, list[Row]]:
        """Of the wanted answers those that are there, by the name of the benchmark, in the order of its tasks."""
        found: dict[str, dict[str, Row]] = {bench.name: {} for bench in self.benches}
        for row in store.stream_jsonl(self.answers) if self.answers.exists() else ():
            if row["id"] in self.wanted.get(row["benchmark"], ()):
                found[row["benchmark"]][row["id"]] = row
        return {name: [found[name][one] for one in ours if one in found[name]] for name, ours in self.wanted.items()}


def run(config: ConfigDict, workdir: Path) -> None:
    """Gets and judges what answers are missing, then writes the scores of all; also where an error ends the work."""
    if bad := [k for k in config.pass_at if not isinstance(k, int) or isinstance(k, bool) or k < 1]:
        raise ValueError(f"config.pass_at: the k of pass@k are whole numbers from 1 on, not {bad[0]!r}")
    found = answer(config, workdir)
    try:
        tell(config, workdir, found)
    finally:
        if found.stopped is not None:
            raise found.stopped


def answer(config: ConfigDict, workdir: Path, greedy: bool = False) -> Answered:
    """Gets and judges what answers are missing.

    greedy: beside config.samples of them the greedy answer to each problem, of the number GREEDY; where the samples are
    of a file, so many of each problem and the greedy one of config.greedy_answers, if that is named.
    """
    if config.answers and config.samples != 1 and not greedy:
        raise ValueError(
            f"samples={config.samples} beside answers: all answers of the file are evaluated, however many it has"
        )
    if config.samples < 1 or (config.samples > 1 and config.temperature <= 0):
        raise ValueError(
            f"samples={config.samples} at temperature={config.temperature}: one answer at least, and several only "
            "above temperature 0, where they differ"
        )
    if config.first < 0:
        raise ValueError(f"config.first={config.first}: it counts the first problems of each benchmark; 0 takes all")
    benches = make_benchmarks(config.benchmarks, config.data_path)
    tasks = {bench.name: {task.id: task for task in bench.tasks[: config.first or None]} for bench in benches}
    given = read_given(config, benches, tasks, greedy)
    asking = Asking(
        config.style, config.temperature, config.top_p, config.max_tokens, config.seed, begins=can_begin(config)
    )
    if given is None:
        check_model(config, workdir)
    wanted = {bench.name: wanted_of(bench, tasks[bench.name], config.samples, given, greedy) for bench in benches}
    # A way of asking that a benchmark does not have is refused here, before others are answered.
    source = given or asking
    digests = {bench.name: digests_of(bench, tasks[bench.name].values(), source) for bench in benches}
    answers, rejected = workdir / "answers.jsonl", workdir / "rejected.jsonl"
    check_answers(answers, wanted, digests, given)
    stopped: Exception | None = None
    with contextlib.ExitStack() as stack:
        # The writer is made when the first answer is wanted of it, and serves all benchmarks.
        hand = functools.cache(lambda: given or make_writer(config, workdir, [answers, rejected], stack))
        for bench in benches:
            todo = Todo(bench, tasks[bench.name], digests[bench.name], _writing.spent_on_failures(rejected, AGAIN))
            try:
                stopped, counts = _writing.until_stopped(
                    wanted[bench.name],
                    functools.partial(todo.rows, wanted[bench.name]),
                    functools.partial(work, todo, source, hand, config.sandbox.to_dict()),
                    runner=cluster.make("local"), title=bench.name, output=answers, rejected=rejected, retry=AGAIN,
                    measure=passed, columns=list(bench.scores),
                )  # fmt: skip
            except Exception as error:  # such as tests that cannot be read: what is there has its scores all the same
                stopped = error
                break
            _work.summary(bench.name, counts)
            if stopped is not None:
                break
    return Answered(benches, wanted, answers, stopped)


# ---- what is evaluated


def make_benchmarks(entries: Sequence[Mapping[str, Any]], data_path: str) -> list[Benchmark]:
    """The benchmarks of the config, each with knobs of its own. No two may have a name or a score in common."""
    if data_path and len({entry.get("name") for entry in entries}) != 1:
        raise ValueError("config.data_path is for a single benchmark: give each of several a 'path' in benchmarks")
    if data_path and any("path" in entry for entry in entries):
        raise ValueError(f"config.data_path is {data_path}, and benchmarks has a 'path' too: give one of them")
    benches = []
    for entry in entries:
        benches.append(benchmarks.make_entry(dict(entry) | ({"path": data_path} if data_path else {}), "benchmarks"))
    names = [bench.name for bench in benches] + [score for bench in benches for score in {*bench.scores} - {bench.name}]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"config.benchmarks: two of them have the name or the score {', '.join(twice)}")
    if not benches:
        raise ValueError("config.benchmarks is empty")
    if odd := [bench.name for bench in benches if bench.name in ("", ".", "..") or "/" in bench.name]:
        raise ValueError(f"config.benchmarks: {odd[0]!r} can be no benchmark's name: its files get a folder of it")
    return benches


def read_given(
    config: ConfigDict, benches: Sequence[Benchmark], tasks: Mapping[str, Mapping[str, Task]], greedy: bool
) -> Given | None:
    """The answers of the files that the config names; None where a model is asked. greedy: as of `answer`."""
    if not config.answers:
        if greedy and config.greedy_answers:
            raise ValueError("config.greedy_answers is for samples of a file: name them in config.answers")
        return None
    path = Path(config.answers)
    answers = _given.read(path, benches, config.answers_model)
    for bench in benches:
        for one in answers[bench.name].values():
            if not greedy or config.greedy_answers:
                one.pop(GREEDY, None)
        _given.check_whole(answers[bench.name], bench, tasks[bench.name].values(), path)
    if greedy and config.greedy_answers:
        path = Path(config.greedy_answers)
        best = _given.read(path, benches, config.answers_model)
        for bench in benches:
            _given.check_whole(best[bench.name], bench, tasks[bench.name].values(), path)
            for task, one in best[bench.name].items():
                answers[bench.name].setdefault(task, {})[GREEDY] = _given.only(one, task, path)
    return Given(answers)


def wanted_of(bench: Benchmark, tasks: Iterable[str], samples: int, given: Given | None, greedy: bool) -> Wanted:
    """The answers that there shall be: task and number by their ids, in order. greedy: as of `answer`."""
    wanted: Wanted = {}
    for task in tasks:
        numbers = sorted(given.answers[bench.name][task]) if given else [*([GREEDY] if greedy else []), *range(samples)]
        if greedy:
            numbers = [k for k in numbers if k == GREEDY] + [k for k in numbers if k != GREEDY][:samples]
        wanted |= {_answers.answer_id(bench, task, k): (task, k) for k in numbers}
    return wanted


def check_model(config: ConfigDict, workdir: Path) -> None:
    """ValueError where no model is named, and where the weights have changed since the workdir's answers."""
    if not config.model:
        raise ValueError("config.model is empty: name a Hugging Face directory or hub id, or answers in config.answers")
    if config.writer != "local":
        return
    path, answers = workdir / "model.json", workdir / "answers.jsonl"
    now = {"model": config.model, "fingerprint": fingerprint(huggingface.find(config.model))}
    before = store.read_json(path) if path.exists() else now
    if before["fingerprint"] != now["fingerprint"] and answers.exists() and answers.stat().st_size:
        raise ValueError(
            f"{workdir} has answers of another model: the weights in {now['model']} (fingerprint {now['fingerprint']}) "
            f"are not those of then ({before['model']}, {before['fingerprint']}); use another --workdir"
        )
    store.write_json(path, now)


def digests_of(bench: Benchmark, tasks: Iterable[Task], source: _answers.Source) -> dict[str, Digests]:
    """By the task: what judges it, and how it is asked."""
    return {task.id: Digests(_answers.judging(bench, task), source.digest(bench, task)) for task in tasks}


def check_answers(
    path: Path, wanted: Mapping[str, Wanted], digests: Mapping[str, Mapping[str, Digests]], given: Given | None
) -> None:
    """ValueError where an answer of an earlier start was judged by other tests or limits, or was asked for in another
    way, or was another one in the file.
    """
    store.repair_jsonl(path)
    for row in store.stream_jsonl(path) if path.exists() else ():
        bench, task = row["benchmark"], row["task"]
        if row["id"] not in wanted.get(bench, ()):
            continue
        if row["tests"] != digests[bench][task].tests:
            raise ValueError(
                f"{path}: {row['id']!r} was judged by other tests than {bench} has now (or other limits, or another "
                "harness): its data or this program has changed; use another --workdir"
            )
        if row.get("asked") != digests[bench][task].asked:
            raise ValueError(
                f"{path}: {row['id']!r} was asked for in another way than {bench} does now (prompt, stop strings, or "
                "what its program is found by): its data or this program has changed; use another --workdir"
            )
        if given and row["program"] != given.answers[bench][task][row["sample"]].program:
            raise ValueError(f"{path}: {row['id']!r} is another program in config.answers now; use another --workdir")


# ---- the answers


def make_writer(
    config: ConfigDict, workdir: Path, files: Sequence[Path], stack: contextlib.ExitStack
) -> _judging.Writes:
    """The writer of the config, closed with the stack."""
    arguments = _writing.writer_args(config, workdir, files) | {"model": config.model}
    if config.writer == "local":
        arguments |= {"max_new_tokens": config.max_tokens, "seed": config.seed}
    return stack.enter_context(writers.make(config.writer, **arguments))


def can_begin(config: ConfigDict) -> bool:
    """Whether the writer can begin a chat's reply for the model."""
    return config.writer == "local" or (config.writer == "endpoint" and config.endpoint.prefix != "none")


def passed(row: Row) -> Mapping[str, float]:
    """What is told of an answer while the work goes on."""
    return {name: float(value) for name, value in row["passed"].items()}


@dataclasses.dataclass(frozen=True)
class Todo:
    """The answers to a benchmark's tasks. digests: by the task. spent_usd: on answers in vain, by their ids."""

    bench: Benchmark
    tasks: Mapping[str, Task]
    digests: Mapping[str, Digests]
    spent_usd: Mapping[str, float]

    def rows(self, wanted: Wanted, done: Set[str]) -> list[Row]:
        """Of the answers that are wanted and not there."""
        return [{"id": one, "task": task, "sample": k} for one, (task, k) in wanted.items() if one not in done]

    def answer(
        self, source: _answers.Source, hand: _judging.Writes, sandbox: Sandbox, rows: Sequence[Row]
    ) -> Iterator[Row]:
        """A row for each answer, as soon as it is judged."""
        asked = ((source.request(self.bench, self.tasks[row["task"]], row["sample"]), row) for row in rows)
        for found in _judging.judge(
            hand, sandbox, asked,
            lambda row, reply: source.program(self.bench, self.tasks[row["task"]], row["id"], reply),
            lambda row, program: self.tasks[row["task"]].jobs(program, row["id"]),
        ):  # fmt: skip
            task, sample = self.tasks[found.one["task"]], found.one["sample"]
            row = _answers.to_row(self.bench, task, sample, found, self.digests[task.id])
            cost_usd = found.reply.cost_usd + self.spent_usd.get(row["id"], 0.0)
            yield row | ({"cost_usd": cost_usd} if cost_usd else {})


@contextlib.contextmanager
def work(
    todo: Todo, source: _answers.Source, hand: Callable[[], _judging.Writes], sandbox_args: Mapping[str, Any]
) -> Iterator[Work]:
    """From rows that are to be done to those that are, in a sandbox as the benchmark wants it."""
    wants = dict(todo.bench.sandbox)
    limits = Limits(**wants.pop("limits", {}))
    with Sandbox(limits=limits, **sandbox_args, **wants) as sandbox:
        yield functools.partial(todo.answer, source, hand(), sandbox)


# ---- the scores


def tell(config: ConfigDict, workdir: Path, found: Answered) -> None:
    """Writes the scores, the table of problems and the official files, and prints the scores."""
    rows = found.rows()
    scores: _scores.Scores = {}
    for bench in found.benches:
        ours, wanted, folder = rows[bench.name], len(found.wanted[bench.name]), workdir / "official" / bench.name
        scores |= _scores.of(bench, ours, wanted, config.pass_at, config.seed)
        _scores.tell_left_out(bench.name, ours, found.wanted[bench.name].values(), config.pass_at)
        if len(ours) == wanted:
            path = bench.official(folder, [_answers.to_answer(row) for row in ours])
            print(f"{bench.name}: the answers as other packages read them: {path}")
        else:
            remove_official(folder)
            print(f"{bench.name}: {wanted - len(ours)} answers are missing, so no official files")
    _scores.write_problems(workdir / "problems.tsv", found.benches, rows)
    store.write_json(workdir / "results.json", scores)
    _scores.report(scores)


def remove_official(folder: Path) -> None:
    """Removes the official files of an earlier start, which would be taken for those of this one."""
    if folder.exists():
        shutil.rmtree(folder)
