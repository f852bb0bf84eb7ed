"""Answers that are in a file already, in each of the forms that others write."""

import json

import pytest

from acecoder_jax import benchmarks, store
from acecoder_jax.stages import evaluate
from configs.evaluate import get_config
from tests.stages import evaluating
from tests.stages.evaluating import PROBLEMS, program, two_parts

RIGHT = {problem.id: number % 3 == 0 for number, problem in enumerate(PROBLEMS)}
PROGRAMS = {task: program(task, right) for task, right in RIGHT.items()}
FORMS = {
    "solutions": lambda task: {"task_id": task, "solution": PROGRAMS[task], "raw_solution": "x"},
    "code lists": lambda task: {"question_id": task, "code_list": [PROGRAMS[task]], "output_list": ["x"]},
    "programs of sample": lambda task: {
        "id": f"{task}|coder|0", "question_id": task, "model_name": "coder", "completion_id": 0,
        "completion": PROGRAMS[task], "pass_rate": 0.0,
    },
}  # fmt: skip


def config(path, argument="tiny", **more):
    settings = evaluating.toys(get_config(argument))
    with settings.unlocked():
        settings.answers, settings.model = str(path), ""
        settings.update(more)
    return settings


def write(path, rows):
    rows = list(rows)
    path.write_text(json.dumps(rows) if path.suffix == ".json" else "".join(json.dumps(row) + "\n" for row in rows))
    return path


def passed(workdir):
    return {row["task"]: row["passed"]["toy"] for row in store.read_jsonl(workdir / "answers.jsonl")}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("ending", ["jsonl", "json"])
def test_a_file_of_answers(tmp_path, form, ending):
    path = write(tmp_path / f"samples.{ending}", map(FORMS[form], reversed(PROGRAMS)))
    evaluate.run(config(path), tmp_path / "run")
    assert passed(tmp_path / "run") == RIGHT
    row = store.read_jsonl(tmp_path / "run" / "answers.jsonl")[0]
    assert row["program"] == row["reply"] == PROGRAMS[row["task"]] and row["finish"] == "given"
    assert store.read_json(tmp_path / "run" / "results.json")["toy"]["pass@1"] == 3 / 8


def test_completions_stand_behind_their_statements(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmarks, "make", lambda name, **knobs: two_parts(name))
    settings = config(write(tmp_path / "s.jsonl", [
        {"task_id": f"t/{n}", "completion": "\ndef f(x): return x + 1"} for n in range(2)
    ]))  # fmt: skip
    evaluate.run(settings, tmp_path / "run")
    rows = store.read_jsonl(tmp_path / "run" / "answers.jsonl")
    # "Write f: 0." is no Python, so both programs fail to load.
    assert [row["program"] for row in rows] == [f"Write f: {n}.\ndef f(x): return x + 1" for n in range(2)]
    assert [row["passed"]["toy"] for row in rows] == [False, False]


def test_answers_of_another_evaluation(tmp_path):
    samples = [{"task_id": task, "solution": text} for task in PROGRAMS for text in (PROGRAMS[task], "x = 1", "y = 2")]
    with pytest.raises(ValueError, match="samples=2 beside answers"):
        evaluate.run(config(write(tmp_path / "samples.jsonl", samples), samples=2), tmp_path / "none")
    evaluate.run(config(write(tmp_path / "samples.jsonl", samples), pass_at=(1, 3)), tmp_path / "one")
    again = config(tmp_path / "one" / "answers.jsonl", pass_at=(1, 3))
    evaluate.run(again, tmp_path / "two")
    for name in ("answers.jsonl", "results.json", "official/toy/samples.jsonl"):
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes(), name
    score = store.read_json(tmp_path / "two" / "results.json")["toy"]
    assert (score["pass@1"], score["pass@3"], score["answers"]) == (pytest.approx(1 / 8), 3 / 8, 24)


def test_programs_of_several_models(tmp_path):
    rows = [FORMS["programs of sample"](task) for task in PROGRAMS]
    rows += [row | {"model_name": "other", "completion": "x = 1"} for row in rows]
    path = write(tmp_path / "programs.jsonl", rows)
    with pytest.raises(ValueError, match="has programs of coder, other: choose one with config"):
        evaluate.run(config(path), tmp_path / "run")
    evaluate.run(config(path, answers_model="coder"), tmp_path / "coder")
    assert passed(tmp_path / "coder") == RIGHT
    with pytest.raises(ValueError, match=r"has no program of config\.answers_model 'third'; it has coder, other"):
        evaluate.run(config(path, answers_model="third"), tmp_path / "third")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda rows: rows[1:], "no answer to 1 tasks of toy, 'toy_"),
        (
            lambda rows: [*rows, {"task_id": "HumanEval/0", "solution": ""}],
            r"line 9: no benchmark of the run \(toy\) has",
        ),
        (lambda rows: [*rows, {"task_id": "toy", "code": "x"}], "line 9: a row of answers has the texts task_id and"),
        (lambda rows: [rows[0] | {"sample": 1}, *rows], "line 2: the answer 1 to 'toy_.* stands there twice"),
        (lambda rows: [rows[0] | {"sample": "0"}, *rows], "line 1: the number of the answer is '0'"),
    ],
)
def test_files_that_will_not_do(tmp_path, change, told):
    rows = change([FORMS["solutions"](task) for task in PROGRAMS])
    with pytest.raises(ValueError, match=told):
        evaluate.run(config(write(tmp_path / "samples.jsonl", rows)), tmp_path / "run")


def test_a_file_that_is_not_there_or_has_changed(tmp_path):
    path = tmp_path / "samples.jsonl"
    with pytest.raises(FileNotFoundError, match=r"config\.answers: no file .*samples.jsonl"):
        evaluate.run(config(path), tmp_path / "run")
    rows = [FORMS["solutions"](task) for task in PROGRAMS]
    evaluate.run(config(write(path, rows)), tmp_path / "run")
    rows[2]["solution"] = "x = 1"
    with pytest.raises(ValueError, match=r"is another program in config\.answers now; use another --workdir"):
        evaluate.run(config(write(path, rows)), tmp_path / "run")
    path.write_text('{"task_id": 1\n')
    with pytest.raises(ValueError, match="line 1: damaged JSON"):
        evaluate.run(config(path), tmp_path / "other")
