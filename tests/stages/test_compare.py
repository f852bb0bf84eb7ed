import json

import pytest

from acecoder_jax import store
from acecoder_jax.stages import compare
from configs.compare import get_config


def answers(passed, tests="d", score="humaneval"):
    """Rows of an evaluation: {task: [passed of each answer]}."""
    return [
        {
            "id": f"{score}|{task}|{k}", "benchmark": score, "task": task, "sample": k, "passed": {score: value},
            "tests": tests,
        }
        for task, values in passed.items()
        for k, value in enumerate(values)
    ]  # fmt: skip


def workdir(folder, passed, **more):
    """A folder with these answers."""
    folder.mkdir(exist_ok=True)
    store.write_jsonl(folder / "answers.jsonl", answers(passed, **more))
    return str(folder)


def run(tmp_path, first, second, **more):
    config = get_config()
    with config.unlocked():
        config.update({"first": first, "second": second} | more)
    (tmp_path / "out").mkdir(exist_ok=True)
    compare.run(config, tmp_path / "out")
    return json.loads((tmp_path / "out" / "results.json").read_text())


def test_a_run_against_another(tmp_path, capsys):
    first = workdir(tmp_path / "a", {"T/0": [True], "T/1": [False], "T/2": [False], "T/3": [True], "T/4": [True]})
    second = workdir(tmp_path / "b", {"T/3": [True], "T/1": [True], "T/2": [True], "T/0": [False], "T/9": [True]})
    row = run(tmp_path, first, second)["humaneval"]
    assert (row["n"], row["first"], row["second"], row["won"], row["lost"], row["p"]) == (4, 0.5, 0.75, 2, 1, 1.0)
    assert row["difference"] == 0.25 and row["low"] < 0.25 < row["high"] and row["left_out"] == 2
    lines = (tmp_path / "out" / "differences.tsv").read_text().splitlines()
    assert lines == [
        "score\ttask\tfirst\tsecond", "humaneval\tT/0\t1\t0", "humaneval\tT/1\t0\t1", "humaneval\tT/2\t0\t1",
    ]  # fmt: skip
    assert "+0.250" in capsys.readouterr().out


def test_several_answers_a_problem_have_no_mcnemar(tmp_path):
    first = workdir(tmp_path / "a", {"T/0": [True, False], "T/1": [False, False]})
    second = workdir(tmp_path / "b", {"T/0": [True, True], "T/1": [False, False]})
    row = run(tmp_path, first, second)["humaneval"]
    assert (row["first"], row["second"], row["p"], row["won"]) == (0.25, 0.5, None, 1)


def test_the_greedy_answer_beside_samples_is_none_of_them(tmp_path):
    first = workdir(tmp_path / "a", {"T/0": [True, False], "T/1": [False, False]})
    rows = answers({"T/0": [True, False], "T/1": [False, False]})
    greedy = [row | {"id": f"{row['id']}-", "sample": -1, "passed": {"humaneval": True}} for row in rows[::2]]
    (tmp_path / "b").mkdir()
    store.write_jsonl(tmp_path / "b" / "answers.jsonl", greedy + rows)
    row = run(tmp_path, first, str(tmp_path / "b"))["humaneval"]
    assert (row["first"], row["second"], row["difference"]) == (0.25, 0.25, 0)


def test_benchmarks_may_name_their_problems_alike(tmp_path):
    complete, instruct = {"T/0": [True], "T/1": [False]}, {"T/0": [False], "T/1": [True]}
    first = answers(complete, tests="c", score="complete") + answers(instruct, tests="i", score="instruct")
    for folder, rows in (("a", first), ("b", first[::-1])):
        (tmp_path / folder).mkdir()
        store.write_jsonl(tmp_path / folder / "answers.jsonl", rows)
    found = run(tmp_path, str(tmp_path / "a"), str(tmp_path / "b"))
    assert list(found) == ["complete", "instruct"]
    for row in found.values():
        assert (row["difference"], row["won"], row["lost"], row["p"], row["left_out"]) == (0, 0, 0, 1, 0)


def test_what_cannot_be_compared(tmp_path):
    first = workdir(tmp_path / "a", {"T/0": [True]})
    with pytest.raises(ValueError, match=r"config\.second is empty"):
        run(tmp_path, first, "")
    with pytest.raises(FileNotFoundError, match="no workdir of the stage evaluate"):
        run(tmp_path, first, str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="judged by different tests or limits: 1 problems, T/0 of humaneval for one"):
        run(tmp_path, first, workdir(tmp_path / "b", {"T/0": [True]}, tests="e"))
    with pytest.raises(ValueError, match="no problem of humaneval in common"):
        run(tmp_path, first, workdir(tmp_path / "d", {"T/7": [True]}))
    with pytest.raises(ValueError, match="no score in common: humaneval and mbpp"):
        run(tmp_path, first, workdir(tmp_path / "c", {"T/0": [True]}, score="mbpp"))
    with pytest.raises(ValueError, match="mbpp is not in both runs; in both are humaneval"):
        run(tmp_path, first, first, scores=("mbpp",))
    (tmp_path / "a" / "answers.jsonl").write_text('{"id": "x"}\n')
    with pytest.raises(ValueError, match="line 1: no row of an evaluation"):
        run(tmp_path, first, first)
