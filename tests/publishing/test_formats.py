"""Rows through JSONL, Parquet and TFDS and back: nothing lost, nothing changed, whole files or none."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from acecoder_jax.data import _columns, _rows, acecode
from acecoder_jax.publishing import tfds_build, write
from acecoder_jax.publishing.rows import Source
from acecoder_jax.publishing.whole import whole
from tests.data.published import pair, question
from tests.data.published import write as write_file

ROOT = Path(__file__).parents[2]


def refuse(told):
    pytest.fail(told)


def ragged():
    """Rows that lack columns and keys, with further ones of several kinds."""
    rows = [question(n) for n in range(5)]
    del rows[1]["inferences"], rows[1]["context_messages"]
    del rows[2]["inferences"][0]["completion_id"], rows[2]["n_tests_all"]
    rows[2]["inferences"][1]["test_results"] = [1, 0]
    rows[3] |= {
        "inferences": [],
        "licence": "PSF-2.0",
        "context_messages": [[{"content": "a", "role": "user"}] * 2] * 2,
    }
    return rows


def schema_of(rows, table):
    schema = write.Schema(table)
    for row in rows:
        schema.add(row)
    return schema.finish()


def without_none(value):
    if isinstance(value, dict):
        return {key: without_none(inner) for key, inner in value.items() if inner is not None}
    return [without_none(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("table", "rows"), [(_columns.ACECODE, ragged()), (_columns.PAIRS, [pair(7), pair(3) | {"score": 0.1}])]
)
def test_there_and_back(tmp_path, table, rows):
    write.write_jsonl(tmp_path / "a.jsonl.gz", rows)
    source = Source(tmp_path / "a.jsonl.gz")
    assert source.table is table and list(source.rows(refuse)) == rows

    write.write_parquet(tmp_path / "a.parquet", source.rows(refuse), schema_of(rows, table))
    assert [without_none(row) for _, row in _rows.read_parquet(tmp_path / "a.parquet")] == rows

    built = tfds_build.build(Source(tmp_path / "a.parquet"), tmp_path / "datasets", refuse)
    assert built == tmp_path / "datasets" / table.name / "1.0.0"
    for folder in (tmp_path / "datasets", built):
        assert [without_none(row) for row in Source(folder).rows(refuse)] == rows


def test_published_types():
    schema = schema_of([question(1) | {"inferences": [], "context_messages": [[]]}], _columns.ACECODE)
    inference = schema.field("inferences").type.value_type
    assert {field.name: str(field.type) for field in inference} == {
        "model_name": "string", "completion_id": "int64", "completion": "string", "pass_rate": "double",
    }  # fmt: skip
    message = schema.field("context_messages").type.value_type.value_type
    assert {field.name for field in message} == {"content", "role"}
    assert str(schema_of([pair(1)], _columns.PAIRS).field("id").type) == "int64"


def test_numbered_and_named_pairs_in_one_file(tmp_path):
    rows = [pair(1), pair(2) | {"id": "evol_1|qwen|0|3"}]
    write.write_parquet(tmp_path / "a.parquet", rows, schema_of(rows, _columns.PAIRS))
    assert [row["id"] for _, row in _rows.read_parquet(tmp_path / "a.parquet")] == ["1", "evol_1|qwen|0|3"]


def test_kinds_that_do_not_go_together_are_named():
    with pytest.raises(ValueError, match="the column 'more' holds values of kinds that do not go together"):
        schema_of([question(1) | {"more": "text"}, question(2) | {"more": [1]}], _columns.ACECODE)


def test_shards(tmp_path):
    assert write.cut([4, 4, 4, 9], 8) == [2, 1, 1]
    assert write.cut([100], 8) == [1] and write.cut([], 8) == [0]
    rows = [question(n) for n in range(7)]
    paths = write.write_shards(tmp_path, rows, schema_of(rows, _columns.ACECODE), [3, 4])
    assert [path.name for path in paths] == ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]
    assert [pyarrow.parquet.read_metadata(path).num_rows for path in paths] == [3, 4]
    assert [problem.id for problem in acecode.load(tmp_path)] == [row["id"] for row in rows]


def test_bad_rows_are_told_and_left_out(tmp_path):
    path = write_file(tmp_path / "a.jsonl", [question(1), question(1), question(2) | {"question": 3}, question(4)])
    with open(path, "a") as file:
        file.write("{torn\n")
    told = []
    assert [row["id"] for row in Source(path).rows(told.append)] == ["evol_1", "evol_4"]
    assert [one.partition("a.jsonl ")[2].partition(":")[0] for one in told] == [
        "line 2 (id 'evol_1')", "line 3 (id 'evol_2')", "line 5",
    ]  # fmt: skip


def test_what_cannot_be_a_source(tmp_path):
    with pytest.raises(ValueError, match="unknown kind 'pears': acecode_87k, acecode_pair_300k"):
        Source("x", kind="pears")
    with pytest.raises(ValueError, match="nothing to read"):
        Source("")
    with pytest.raises(FileNotFoundError, match="gone"):
        Source(tmp_path / "gone")
    with pytest.raises(ValueError, match="there is no row"):
        Source(write_file(tmp_path / "empty.jsonl", []))
    with pytest.raises(ValueError, match=r"a row of neither dataset: .* this one has text"):
        Source(write_file(tmp_path / "other.jsonl", [{"text": "x"}]))
    for kind in (pair, question):
        tfds_build.build(Source(write_file(tmp_path / f"{kind.__name__}.jsonl", [kind(1)])), tmp_path / "both", refuse)
    with pytest.raises(ValueError, match="holds acecode_87k and acecode_pair_300k: name one of them"):
        Source(tmp_path / "both")
    assert Source(tmp_path / "both", kind="acecode_pair_300k").table is _columns.PAIRS


def test_whole_or_nothing(tmp_path):
    target = tmp_path / "out"
    with pytest.raises(RuntimeError), whole(target) as temporary:
        temporary.mkdir()
        (temporary / "half").write_text("x")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    (tmp_path / ".partial-out").mkdir()  # left by a kill
    with whole(target) as temporary:
        temporary.write_text("all")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    with pytest.raises(FileExistsError, match="out is there already"), whole(target):
        pass


def test_a_build_that_fails_leaves_nothing(tmp_path):
    path = write_file(tmp_path / "a.jsonl", [question(1), question(2)])

    def stop(told):
        raise ValueError(told)

    with open(path, "a") as file:
        file.write(json.dumps(question(3) | {"question": 5}) + "\n")
    with pytest.raises(ValueError, match=r"\(id 'evol_3'\): question must be a text"):
        tfds_build.build(Source(path), tmp_path / "datasets", stop)
    assert [p for p in (tmp_path / "datasets").rglob("*") if p.is_file()] == []


def test_no_tensorflow(tmp_path):
    """Building and reading import none, where there is one neither."""
    write_file(tmp_path / "p.jsonl", [pair(1), pair(2)])
    program = """
import sys
from acecoder_jax.publishing import tfds_build
builder = tfds_build.AcecodePair300k(path="p.jsonl", data_dir=".", file_format="array_record")
builder.download_and_prepare()
print(builder.info.version, builder.as_data_source("train")[1]["chosen"], "tensorflow" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "1.0.0 b'good 2' False"
