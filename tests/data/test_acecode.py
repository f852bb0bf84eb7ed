"""AceCode-87K's rows, from JSONL, Parquet and folders, with the nested columns of the published rows."""

import pytest

from acecoder_jax import data, prompts
from acecoder_jax.data import acecode
from tests.data.published import question, write


def row(number):
    return {
        "id": f"evol_{number}",
        "source": "evol",
        "question": f"Write f{number}.",
        "test_cases": [f"assert f{number}(1) == {number}", f"assert f{number}(2) == 0"],
        "inferences": [{"model_name": "qwen", "completion_id": 0, "completion": "x", "pass_rate": 0.5}],
        "context_messages": [[{"content": "q", "role": "user"}]],
    }


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.parquet"])
def test_a_file(tmp_path, name):
    first, second = acecode.load(write(tmp_path / name, [row(3), row(1)]))
    assert (first.id, first.question, first.source) == ("evol_3", "Write f3.", "evol")
    assert first.tests == ("assert f3(1) == 3", "assert f3(2) == 0")
    assert (first.entry_point, first.setup, first.solution) == (None, "", None)
    assert second.id == "evol_1"


def test_a_folder_of_mixed_files_in_the_order_of_names(tmp_path):
    write(tmp_path / "b.jsonl", [row(2)])
    write(tmp_path / "a.parquet", [row(1)])
    write(tmp_path / "c.jsonl.gz", [row(3)])
    (tmp_path / "README.md").write_text("not data")
    assert [problem.id for problem in acecode.load(tmp_path)] == ["evol_1", "evol_2", "evol_3"]


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_a_missing_column_is_named_with_its_row(tmp_path, name):
    lacking = row(2)
    del lacking["test_cases"]
    path = write(tmp_path / name, [row(1), lacking])
    with pytest.raises(ValueError, match=rf"{name} (line|row) 2 \(id 'evol_2'\): the row lacks test_cases"):
        acecode.load(path)


def test_other_bad_rows_and_paths(tmp_path):
    with pytest.raises(ValueError, match=r"a.jsonl line 1: the row lacks id"):
        acecode.load(write(tmp_path / "a.jsonl", [{"question": "q", "test_cases": []}]))
    with pytest.raises(ValueError, match=r"'evol_1'\): test_cases must be a list of texts, not 'assert True'"):
        acecode.load(write(tmp_path / "a.jsonl", [row(1) | {"test_cases": "assert True"}]))
    with pytest.raises(ValueError, match=r"line 2 \(id 'evol_1'\): the id appears twice"):
        acecode.load(write(tmp_path / "a.jsonl", [row(1), row(1)]))
    with pytest.raises(FileNotFoundError, match=r"no file or folder at .*gone"):
        acecode.load(tmp_path / "gone")
    with pytest.raises(ValueError, match=r"a.csv: a file of rows ends in .jsonl, .jsonl.gz, .parquet"):
        acecode.load(write(tmp_path / "a.csv", [row(1)]))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty: the folder holds no file that ends in"):
        acecode.load(tmp_path / "empty")
    (tmp_path / "bad.parquet").write_bytes(b"no parquet at all")
    with pytest.raises(ValueError, match=r"bad.parquet: not a whole Parquet file"):
        acecode.load(tmp_path / "bad.parquet")


def test_ranked_programs(tmp_path):
    rows = [question(1, programs=8), question(2, programs=3)]
    path = write(tmp_path / "a.jsonl", rows)
    (first,) = data.load_ranked("acecode", str(path), rules={"ascii_only": False, "min_gap": 0.8})
    assert (first.id, first.question_id) == ("evol_1|qwen", "evol_1")
    assert first.question == prompts.program_request(rows[0]["question"], rows[0]["test_cases"][:1])
    assert [(first.replies[i], first.replies[j]) for i, j in first.wins] == [
        ("```python\ndef f1(x): return 7\n```", "```python\ndef f1(x): return 1\n```")
    ]
    assert first.scores == ((1.0, 1 / 7),)
    assert data.load_ranked("acecode", str(path)) == []  # not ascii
    bad = write(tmp_path / "b.jsonl", [rows[0] | {"inferences": [{"model_name": "m", "completion": "x"}]}])
    with pytest.raises(ValueError, match=r"line 1 \(id 'evol_1'\): inferences\[0\] lacks pass_rate"):
        data.load_ranked("acecode", str(bad))
    none = write(tmp_path / "c.jsonl", [{k: v for k, v in rows[0].items() if k != "inferences"}])
    with pytest.raises(ValueError, match="the row lacks inferences"):
        data.load_ranked("acecode", str(none))
