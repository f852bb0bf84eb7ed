"""MBPP's rows become problems: splits by id, entry points from the tests, errors that name the file and the row."""

import gzip
import json

import pytest

from acecoder_jax.data import mbpp

ADD = {
    "task_id": 601,
    "text": "Write a function to add two numbers. ",
    "code": "import math\r\ndef helper(a):\r\n  return a\r\ndef add(a, b):\r\n  return helper(a) + b",
    "test_setup_code": "",
    "test_list": ["assert add(1, 2) == 3", "assert add(helper(1), 1) == 2 ", "assert set([add(0, 0)]) == {0}"],
    "challenge_test_list": [],
}


def write(path, rows):
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def test_a_row(tmp_path):
    (problem,) = mbpp.load(path=write(tmp_path / "m.jsonl", [ADD | {"test_setup_code": "x = 1\r\ny = 2"}]))
    assert problem.id == "mbpp_601" and problem.source == "mbpp"
    assert problem.entry_point == "add"
    assert problem.tests == ("assert add(1, 2) == 3", "assert add(helper(1), 1) == 2", "assert set([add(0, 0)]) == {0}")
    assert problem.setup == "x = 1\ny = 2"
    assert problem.solution == "import math\ndef helper(a):\n  return a\ndef add(a, b):\n  return helper(a) + b"
    assert problem.question.startswith("Write a function to add two numbers.\n")
    assert all(test in problem.question for test in problem.tests)


@pytest.mark.parametrize("name", ["m.jsonl", "m.jsonl.gz"])
def test_splits_by_id_in_order(tmp_path, name):
    ids = [974, 600, 10, 11, 510, 511, 601, 1]
    path = write(tmp_path / name, [ADD | {"task_id": task_id} for task_id in ids])
    found = {split: [p.id for p in mbpp.load(path, split)] for split in mbpp.SPLITS}
    assert found == {
        "prompt": ["mbpp_1", "mbpp_10"],
        "test": ["mbpp_11", "mbpp_510"],
        "validation": ["mbpp_511", "mbpp_600"],
        "train": ["mbpp_601", "mbpp_974"],
    }


def test_entry_points():
    program = "class Pair: pass\ndef inner(x): return x\ndef outer(x): return x"
    assert mbpp.find_entry_point(["assert outer(inner(Pair())) == 1"], program) == "outer"
    assert mbpp.find_entry_point(["assert (outer(1)) == 1", "assert inner(1)", "assert inner(2)"], program) == "inner"
    assert mbpp.find_entry_point(["assert len([1]) == 1"], program) is None
    assert mbpp.find_entry_point(["assert f(1)"], 'def f(x): return "\\d"') == "f"


def test_errors_name_the_place(tmp_path):
    with pytest.raises(ValueError, match="splits prompt, test, validation, train, not 'dev'"):
        mbpp.load(path=tmp_path, split="dev")
    with pytest.raises(FileNotFoundError, match=r"no MBPP file at .*gone.jsonl"):
        mbpp.load(path=tmp_path / "gone.jsonl")
    with pytest.raises(ValueError, match=r"m.csv: an MBPP file ends in .jsonl or .jsonl.gz"):
        mbpp.load(path=write(tmp_path / "m.csv", [ADD]))
    lacking = {column: value for column, value in ADD.items() if column != "test_list"} | {"task_id": 602}
    with pytest.raises(ValueError, match=r"lack.jsonl line 2: the row lacks test_list"):
        mbpp.load(path=write(tmp_path / "lack.jsonl", [ADD, lacking]))
    with pytest.raises(ValueError, match=r"twice.jsonl line 2: task_id 601 appears twice"):
        mbpp.load(path=write(tmp_path / "twice.jsonl", [ADD, ADD]))
    with pytest.raises(ValueError, match=r"bad.jsonl line 1: the code or a test of task_id 601 is not Python"):
        mbpp.load(path=write(tmp_path / "bad.jsonl", [ADD | {"code": "def ("}]))
    with pytest.raises(ValueError, match=r"m.jsonl: no row of MBPP's split 'test' \(task_id 11 to 510\)"):
        mbpp.load(path=write(tmp_path / "m.jsonl", [ADD]), split="test")


def test_broken_files(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps(ADD) + "\n\n{oops\n")
    with pytest.raises(ValueError, match=r"m.jsonl line 3: not JSON"):
        mbpp.load(path=path)
    path.write_text("[1]\n")
    with pytest.raises(ValueError, match=r"m.jsonl line 1: a row must be a JSON object"):
        mbpp.load(path=path)
    cut = tmp_path / "cut.jsonl.gz"
    rows = [ADD | {"text": str(number)} for number in range(50)]
    cut.write_bytes(write(tmp_path / "whole.jsonl.gz", rows).read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"cut.jsonl.gz"):
        mbpp.load(path=cut)
