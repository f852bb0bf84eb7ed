"""Best of N: an evaluation's samples ranked by a reward model, beside greedy, average and oracle.

    python -m acecoder_jax.main --config=configs/best_of_n.py:humaneval --config.model=DIR --config.reward_model=DIR

Answers are got and judged as by the stage `evaluate`. WORKDIR/scores.jsonl has a row for each of them, results.json
and best_of_n.png say what came of it, official/ has the samples on top.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from ml_collections import ConfigDict

from acecoder_jax import metrics, prompts, store
from acecoder_jax.benchmarks import Benchmark, Task
from acecoder_jax.stages import _answers, _best, _best_plot, _reward_model, evaluate
from acecoder_jax.stages._answers import GREEDY
from acecoder_jax.stages._best import Problem
from acecoder_jax.stages._reward_model import Pair
from acecoder_jax.store import Row

MAY_CHANGE = (*evaluate.MAY_CHANGE, *_reward_model.MAY_CHANGE)
NO_PROGRAM = "no program"  # why an empty answer has no score
QUESTIONS: dict[str, Callable[[Benchmark, Task], str]] = {
    "prompt": lambda bench, task: user_turn(bench, task),
    "statement": lambda bench, task: task.statement,
}
TEXTS: dict[str, Callable[[Row], str]] = {
    "program": lambda row: prompts.program_reply(row["program"]) if row["program"].strip() else "",
    "reply": lambda row: row["reply"],
}


def run(config: ConfigDict, workdir: Path) -> None:
    """Gets, judges and scores what is missing, then ranks."""
    for key, known in (("question", QUESTIONS), ("text", TEXTS)):
        if config[key] not in known:
            raise ValueError(f"config.{key} is one of {', '.join(known)}, not {config[key]!r}")
    identity = _reward_model.identify(config)
    name = identity.name
    check_scores(workdir, name)  # before answers are written for hours
    found = evaluate.answer(config, workdir, greedy=True)
    if found.stopped is not None:
        raise found.stopped
    rows = found.rows()
    scores = score(config, name, workdir / "scores.jsonl", list(ranked(config, found.benches, rows)))
    results: _best.Results = {}
    for bench in found.benches:
        problems = problems_of(bench, found.wanted[bench.name], rows[bench.name], scores)
        results |= _best.of(bench, problems, len(found.wanted[bench.name]), config.samples, config.seed)
        write_official(workdir, bench, problems)
    about = {"reward_model": config.reward_model, "fingerprint": identity.fingerprint, "samples": config.samples}
    store.write_json(workdir / "results.json", about | {"scores": results})
    _best.report(results)
    _best_plot.save(workdir / "best_of_n.png", results)
    print(f"plot: {workdir / 'best_of_n.png'}")


# ---- what the reward model reads


def user_turn(bench: Benchmark, task: Task) -> str:
    """What a user asks a chat model."""
    return [turn["content"] for turn in bench.prompt(task, "chat").messages if turn["role"] == "user"][-1]


def ranked(config: ConfigDict, benches: Sequence[Benchmark], rows: Mapping[str, Sequence[Row]]) -> Iterator[Pair]:
    """The answers as the reward model is to read them; a program of "" where there is none."""
    for bench in benches:
        tasks = {task.id: task for task in bench.tasks}
        for row in rows[bench.name]:
            question = QUESTIONS[config.question](bench, tasks[row["task"]])
            yield Pair(row["id"], question, TEXTS[config.text](row))


def check_scores(workdir: Path, name: str) -> None:
    """ValueError for scores of another reward model or other rules, and for those of answers that are gone."""
    answers = store.done_ids(workdir / "answers.jsonl")
    if gone := sorted(read_scores(workdir / "scores.jsonl", name).keys() - answers):
        raise ValueError(
            f"{workdir}/scores.jsonl has scores of {len(gone)} answers that answers.jsonl lacks, {gone[0]!r} for one: "
            "what is written now would get the scores of others; remove scores.jsonl too, or use another --workdir"
        )


def read_scores(path: Path, name: str) -> dict[str, Row]:
    """The rows of scores.jsonl by the answer's id. ValueError for those of another name."""
    store.repair_jsonl(path)
    rows = store.stream_jsonl(path) if path.exists() else ()
    return {row["id"]: row for row in _reward_model.check_same(rows, path, name)}


def score(config: ConfigDict, name: str, path: Path, pairs: Sequence[Pair]) -> dict[str, float | None]:
    """The score of each pair, by its id; None where there is none. Those that scores.jsonl lacks are made and added: a
    text that it has by another id has the same score.
    """
    there = read_scores(path, name)
    known = {(pair.question, pair.program): there[pair.id] for pair in pairs if pair.id in there}
    for pair in (pair for pair in pairs if pair.id not in there):
        if not pair.program.strip():
            there[pair.id] = _reward_model.to_row(pair.id, None, name, NO_PROGRAM)
        elif (pair.question, pair.program) in known:
            there[pair.id] = known[pair.question, pair.program] | {"id": pair.id}
        else:
            continue
        store.append_jsonl(path, [there[pair.id]])
    if left := [pair for pair in pairs if pair.id not in there]:
        print(f"reward model: {len(left)} of {len(pairs)} answers to score")
        made = _reward_model.score(_reward_model.load(config), name, left, path, config.reward)
        for row in metrics.watched(made, "score", len(left)):
            there[row["id"]] = row
    return {pair.id: there[pair.id]["score"] for pair in pairs}


# ---- what came of it


def problems_of(
    bench: Benchmark, wanted: evaluate.Wanted, rows: Sequence[Row], scores: Mapping[str, float | None]
) -> list[Problem]:
    """The benchmark's problems with the answers there are. If any has a greedy one, all should: files may lack it."""
    greedy = any(k == GREEDY for _, k in wanted.values())
    problems = {task: Problem(task, greedy) for task, _ in wanted.values()}
    for row in rows:
        if row["sample"] == GREEDY:
            problems[row["task"]].greedy = row
            problems[row["task"]].greedy_score = scores[row["id"]]
        else:
            problems[row["task"]].add(row, scores[row["id"]])
    return list(problems.values())


def write_official(workdir: Path, bench: Benchmark, problems: Sequence[Problem]) -> None:
    """The answers on top, in the files of the benchmark's own package."""
    folder = workdir / "official" / bench.name
    if not all(problem.samples for problem in problems):
        evaluate.remove_official(folder)
        print(f"{bench.name}: problems without a sample, so no official files")
        return
    top = [_answers.to_answer(problem.top) for problem in problems]
    path = bench.official(folder, top)
    print(f"{bench.name}: what was picked, as other packages read it: {path}")
