"""Sample programs for the filtered questions from one model or several, and rate each by the tests.

Questions in, WORKDIR/dataset.jsonl out, in the schema of AceCode-87K. WORKDIR/programs.jsonl has a row a program. A
later start with another model, in the same workdir, adds that one's programs to both.
"""

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path

from ml_collections import ConfigDict

from acecoder_jax import cluster, ledger, metrics, store
from acecoder_jax.sandbox import Sandbox
from acecoder_jax.stages import _judging, _programs, _work, _writing
from acecoder_jax.stages._programs import Asking
from acecoder_jax.store import Row
from acecoder_jax.types import Status
from acecoder_jax.writers import Writer

MAY_CHANGE = (
    *_writing.MAY_CHANGE, "questions", "samples", "writer", "endpoint", "batch", "local", "models", "model_names",
    "cluster", "cluster_args", "sandbox.workers", "sandbox.min_isolation",
)  # fmt: skip


def run(config: ConfigDict, workdir: Path) -> None:
    """Samples what is missing of each model in turn, then writes the dataset."""
    questions = read_questions(config.questions, config.pass_rate_over)
    output, rejected = workdir / "programs.jsonl", workdir / "rejected.jsonl"
    asking = Asking(config.temperature, config.top_p, config.max_tokens, config.shown_tests, config.seed)
    runner = cluster.make(config.cluster, **config.cluster_args)
    results, stopped = {}, None
    for model, name in named_models(config).items():
        arguments = _writing.writer_args(config, workdir, [output, rejected]) | {"model": model}
        earlier = _writing.spent_on_failures(rejected, _judging.AGAIN)
        stopped, counts = _writing.until_stopped(
            [program_id(row["id"], name, k) for row in questions for k in range(config.samples)],
            functools.partial(missing, questions, name, config.samples, earlier),
            functools.partial(
                _programs.work, config.writer, arguments, config.sandbox.to_dict(), config.limits.to_dict(),
                functools.partial(ask, asking, name),
            ),
            runner=runner, title=f"sample {name}", output=output, rejected=rejected, retry=_judging.AGAIN,
            measure=rates, columns=["pass rate"],
        )  # fmt: skip
        _work.summary(f"programs of {name}", counts)
        results[name] = counts.to_json()
        if stopped is not None:
            break
    best: dict[str, list[float]] = {}
    rows = write_dataset(questions, output, workdir / "dataset.jsonl", best)
    print(f"{workdir / 'dataset.jsonl'}: {rows} of {len(questions)} questions have programs")
    metrics.table("pass rate of the best program of a question", ("model", "questions", "mean"), [
        (model, f"{len(found):,}", f"{sum(found) / len(found):.3f}") for model, found in sorted(best.items())
    ])  # fmt: skip
    store.write_json(workdir / "results.json", {"models": results, "questions": len(questions), "rows": rows})
    if stopped is not None:
        raise stopped


def named_models(config: ConfigDict) -> dict[str, str]:
    """The models to sample from, each with its name in the rows."""
    models = tuple(config.models) or (config[config.writer].model,)
    names = tuple(config.model_names) or tuple(short_name(model) for model in models)
    if len(names) != len(models) or len(set(names)) != len(names) or any("|" in name for name in names):
        raise ValueError(f"a name for each model is needed, no two alike and none with '|': {names} for {models}")
    return dict(zip(models, names, strict=True))


def read_questions(path: str, pass_rate_over: str) -> list[Row]:
    """The questions, each with the number of tests that its pass rates are over."""
    if pass_rate_over not in ("all", "kept"):
        raise ValueError(f"config.pass_rate_over is 'all' or 'kept', not {pass_rate_over!r}")
    counted = {"n_tests_all": int} if pass_rate_over == "all" else {}
    rows = _work.read_input(path, _programs.COLUMNS | counted, "questions")
    for row in rows:
        if "|" in row["id"]:
            raise ValueError(f"config.questions: {path}: the id {row['id']!r} holds '|', which ids of programs need")
        row["n_tests_all"] = row["n_tests_all"] if pass_rate_over == "all" else len(row["test_cases"])
        if row["n_tests_all"] < max(1, len(row["test_cases"])):
            raise ValueError(f"config.questions: {path}: {row['id']!r} has {row['n_tests_all']} for n_tests_all")
    return rows


def short_name(model: str) -> str:
    """The last part of a hub's or a folder's name."""
    return model.rstrip("/").rpartition("/")[2]


def program_id(question: str, model: str, sample: int) -> str:
    """Of a row of programs.jsonl."""
    return f"{question}|{model}|{sample}"


def missing(
    questions: Sequence[Row], model: str, samples: int, earlier: Mapping[str, float], done: Set[str]
) -> list[Row]:
    """The questions that lack programs of the model, each with the numbers of those ("samples").

    earlier: what programs have cost that are to be written again; "spent_usd" has it by their numbers.
    """
    rows = []
    for row in questions:
        lacking = {k: program_id(row["id"], model, k) for k in range(samples)}
        lacking = {k: name for k, name in lacking.items() if name not in done}
        if lacking:
            costs = {k: earlier[name] for k, name in lacking.items() if name in earlier}
            rows.append(row | {"samples": list(lacking), "spent_usd": costs})
    return rows


def ask(asking: Asking, model: str, hand: Writer, sandbox: Sandbox, rows: Sequence[Row]) -> Iterator[Row]:
    """A row for each program that a question lacks, as soon as it is judged."""
    asked = (one for row in rows for one in asking.ask(row, row["samples"], row["spent_usd"]))
    for one in _programs.judge(hand, sandbox, asked):
        cost = {"cost_usd": one.cost_usd} if one.cost_usd else {}
        name = {"id": program_id(one.row["id"], model, one.sample), "question_id": one.row["id"]}
        if one.verdict is None or one.reason:
            yield name | {"reason": one.reason, "detail": one.detail} | cost
            continue
        passed = one.verdict.statuses.count(Status.PASS)
        yield name | cost | {
            "model_name": model, "completion_id": one.sample, "completion": one.program,
            "pass_rate": passed / one.row["n_tests_all"], "passed": passed, "tests": len(one.row["test_cases"]),
            "n_tests_all": one.row["n_tests_all"], "finish": one.reply.finish,
        }  # fmt: skip


def rates(row: Row) -> Mapping[str, float]:
    """What is told of a program."""
    return {"pass rate": row["pass_rate"], "all kept tests passed": float(row["passed"] == row["tests"])}


def write_dataset(questions: Sequence[Row], programs: Path, path: Path, best: dict[str, list[float]]) -> int:
    """A row of AceCode-87K for each question with programs, whichever models they are of. Returns how many.

    programs: in the order of their ids, so that those of a question stand together. best: gets, by model, the pass
    rate of the best program of each question.
    """
    wanted = {row["id"]: row for row in questions}
    groups = itertools.groupby(store.stream_jsonl(programs), key=lambda row: row["question_id"])

    def rows() -> Iterator[Row]:
        for name, group in groups:
            if name in wanted:
                row = dataset_row(wanted[name], list(group), programs)
                rated: dict[str, float] = {}
                for one in row["inferences"]:
                    rated[one["model_name"]] = max(rated.get(one["model_name"], 0.0), one["pass_rate"])
                for model, rate in rated.items():
                    best.setdefault(model, []).append(rate)
                yield row

    count = ledger.write_rows(path, rows())
    ledger.sort(path)
    return count


def dataset_row(question: Row, programs: list[Row], path: Path) -> Row:
    """A question and its programs, these numbered over all models."""
    for one in programs:
        if (one["tests"], one["n_tests_all"]) != (len(question["test_cases"]), question["n_tests_all"]):
            raise ValueError(
                f"{path}: the program {one['id']!r} was judged by {one['tests']} of {one['n_tests_all']} tests, but "
                f"the question has {len(question['test_cases'])} of {question['n_tests_all']}: the questions have "
                "changed since; use another --workdir"
            )
    programs.sort(key=lambda one: (one["model_name"], one["completion_id"]))
    inferences = [
        {"model_name": one["model_name"], "completion_id": number}
        | {"completion": one["completion"], "pass_rate": one["pass_rate"]}
        for number, one in enumerate(programs)
    ]
    row = {key: question[key] for key in ("id", "question", "test_cases")}
    row = {"id": row.pop("id"), "source": question.get("source", ""), **row, "inferences": inferences}
    row["context_messages"] = [[{"content": question["question"], "role": "user"}]]
    more = ("n_tests_all", "entry_point", "licence", "oracle_model")
    return row | {key: question[key] for key in more if question.get(key) is not None}
