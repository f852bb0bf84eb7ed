import json

import pytest

from acecoder_jax import prompts, store
from acecoder_jax.stages import pairs
from configs.pairs import get_config
from tests.stages import curating


def row(identity, *programs, **more):
    inferences = [
        {"model_name": model, "completion_id": number, "completion": text, "pass_rate": rate}
        for number, (model, text, rate) in enumerate(programs)
    ]
    base = {"id": identity, "source": "evol", "question": f"Write {identity}.", "test_cases": [" assert f(1) ", "x"]}
    return base | {"inferences": inferences, "n_tests_all": 4} | more


ROWS = [
    row("b", ("m", "P", 1.0), ("m", "Q", 0.5), ("m", "R", 0.25), ("n", "S", 0.5)),
    row("a", ("m", "P", 0.5), ("m", "Q", 0.25)),
    row("c", ("m", "P", 1.0), ("m", "Q", 1.0)),
    row("d", ("m", "P", 1.0), ("m", "Q", 0.5), question="Wie groß?"),
    row("e"),
]


def run(tmp_path, rows, argument="recipe"):
    config = get_config(argument)
    with config.unlocked():
        config.dataset = str(curating.write(tmp_path / "in.jsonl", rows))
    pairs.run(config, tmp_path)
    return [store.read_jsonl(tmp_path / name) for name in ("hard.jsonl", "pairs.jsonl")]


def test_hard_questions_and_pairs_in_the_published_schema(tmp_path, capsys):
    hard, made = run(tmp_path, ROWS)
    # Means: b 0.5625, a 0.375, c 1, d 0.75; the median is 0.65625. Deviations of a and b: 0.125, 0.27.
    assert hard == [ROWS[0]]
    assert sorted((one["id"][:4], one["chosen"], one["rejected"]) for one in made) == [
        ("b|m|", "```python\nP\n```", "```python\nQ\n```"),
        ("b|m|", "```python\nP\n```", "```python\nR\n```"),
    ]
    first = made[0]
    assert first["instruction"] == prompts.program_request("Write b.", ["assert f(1)"]) and first["input"] == ""
    assert list(first) == [
        "id", "instruction", "input", "chosen", "rejected", "question_id", "model_name", "chosen_score",
        "rejected_score",
    ]  # fmt: skip
    assert (first["question_id"], first["model_name"], first["chosen_score"]) == ("b", "m", 1.0)
    results = json.loads((tmp_path / "results.json").read_text())
    assert results == {
        "hard": {"questions": 1, "rated": 4, "unrated": 1, "median_mean": 0.65625, "median_std": 0.198715592},
        "pairs": 2,
        "counts": {
            "questions": 5, "pairs": 2, "questions with pairs": 1, "no programs far enough apart": 3, "not ascii": 1,
        },
    }  # fmt: skip
    assert "20.0%" in capsys.readouterr().out


def test_the_files_do_not_depend_on_the_order_of_rows(tmp_path):
    run(tmp_path, ROWS)
    before = [(tmp_path / name).read_bytes() for name in ("hard.jsonl", "pairs.jsonl", "results.json")]
    run(tmp_path, ROWS[::-1])
    assert [(tmp_path / name).read_bytes() for name in ("hard.jsonl", "pairs.jsonl", "results.json")] == before


def test_the_knobs_reach_the_rules(tmp_path):
    hard, made = run(tmp_path, ROWS, "recipe,hard.models=('n',),pairs.ascii_only=False,pairs.max_pairs=1")
    assert [one["id"] for one in hard] == ["b"] and [one["question_id"] for one in made] == ["b", "d"]
    # Over the two kept tests of four: a has 1.0 and 0.5; the others pass all of them, or as many.
    _, made = run(tmp_path, ROWS[1:2], "recipe,pairs.over=kept")
    assert [(one["chosen_score"], one["rejected_score"]) for one in made] == [(1.0, 0.5)]
    _, made = run(tmp_path, ROWS, "published")
    assert made == []


def test_nothing_rated_gives_empty_files(tmp_path):
    assert run(tmp_path, [ROWS[4]]) == [[], []]
    assert json.loads((tmp_path / "results.json").read_text())["hard"] == {"questions": 0, "rated": 0, "unrated": 1}


def test_bad_rows_are_named_before_anything_is_written(tmp_path):
    bad = row("x", ("m", "P", 1.0))
    del bad["inferences"][0]["pass_rate"]
    for rows, told in (
        ([*ROWS, bad], r"row 'x', inference 0: 'pass_rate' is wrong"),
        ([row("x") | {"inferences": ["P"]}], "row 'x', inference 0: 'model_name' is wrong"),
        ([*ROWS, ROWS[0]], "line 6: the id 'b' has been used"),
        ([{"id": "x", "question": "?", "test_cases": []}], "no column 'inferences'"),
    ):
        with pytest.raises(ValueError, match=told):
            run(tmp_path, rows)
        assert not (tmp_path / "hard.jsonl").exists() and not (tmp_path / "pairs.jsonl").exists()


def test_a_run_that_breaks_leaves_whole_files_and_the_next_one_does_all(tmp_path, monkeypatch):
    (tmp_path / "whole").mkdir()
    whole = run(tmp_path / "whole", ROWS)
    made, seen = pairs.pair_row, []

    def breaks(question, pair):
        seen.append(pair.id)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return made(question, pair)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(pairs, "pair_row", breaks)
        run(tmp_path, ROWS)
    assert not (tmp_path / "pairs.jsonl").exists()
    (tmp_path / ".pairs.jsonl.1.2").write_text("half")  # what a kill would have left
    assert run(tmp_path, ROWS) == whole
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [
        "hard.jsonl", "in.jsonl", "pairs.jsonl", "results.json",
    ]  # fmt: skip
