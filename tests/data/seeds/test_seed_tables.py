"""Evol, OSS and Stack from hand-made rows: which block is taken, ids, licences, and rows and columns that are wrong."""

import json
import sys

import pyarrow
import pyarrow.parquet
import pytest

from acecoder_jax.data.seeds import tables
from acecoder_jax.types import Rejection, Seed

BLOCK = "```python\ndef f(x):\n    return x\n```"


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(tmp_path, *rows, source="evol", **kw):
    return list(tables.read(source, write(tmp_path / "rows.jsonl", rows), **kw))


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (f"Here:\n{BLOCK}\nIt returns x.", "def f(x):\n    return x"),
        ("```python\nx = 1\n```\nand\n```py\nclass A:\n    pass\n```", "class A:\n    pass"),
        (f"```python\ndef broken(:\n```\n{BLOCK}", "def f(x):\n    return x"),
        ("```python\nif a:\n    def g(): pass\n", "if a:\n    def g(): pass"),  # cut short before the closing fence
        ("1. So:\n    ```python\n    def h():\n        return 1\n    ```", "def h():\n    return 1"),
    ],
)
def test_the_first_python_block_that_holds_a_function_or_class(tmp_path, response, expected):
    row = {"instruction": "Write f.", "response": response}
    assert read(tmp_path, row) == [Seed("evol_0", "evol", expected, "Write f.")]
    assert read(tmp_path, row, source="oss") == [Seed("oss_0", "oss", expected, "Write f.")]


@pytest.mark.parametrize(
    ("response", "reason", "detail"),
    [
        ("No code here.", "no python block", ""),
        ("```java\nint x;\n```", "no python block", ""),
        ("```python\nprint(1)\n```", "no function or class", ""),
        ("```python\ndef f(:\n```", "not python", "invalid syntax (line 1)"),
        ("", "no text", "response is ''"),
        (None, "no text", "response is None"),
        (7, "no text", "response is 7"),
    ],
)
def test_rows_without_a_program_are_rejected_by_name(tmp_path, response, reason, detail):
    rows = read(tmp_path, {"instruction": "Write f.", "response": response})
    assert rows == [Rejection("evol_0", reason, detail)]


def test_stack_takes_the_content_and_its_licence(tmp_path):
    rows = [{"content": "def f(): return 1", "id": 12, "max_stars_repo_licenses": ["MIT", "ISC"]}, {"content": "x = 1"}]
    first, second = read(tmp_path, *rows, source="stack")
    assert first == Seed("bigcode_python_fns_12", "bigcode_python_fns", "def f(): return 1", licence="MIT OR ISC")
    assert second == Seed("bigcode_python_fns_1", "bigcode_python_fns", "x = 1")


def test_ids_are_the_rows_own_or_their_number_and_a_label_stands_before_them(tmp_path):
    rows = [
        {"instruction": "i", "response": BLOCK} | extra for extra in ({}, {"id": "mine_7"}, {"id": "x"}, {"id": None})
    ]
    assert [row.id for row in read(tmp_path, *rows, label="mine")] == ["mine_0", "mine_7", "mine_x", "mine_3"]


def test_a_folder_numbers_its_rows_as_one_table(tmp_path):
    row = {"instruction": "i", "response": BLOCK}
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row, row]), tmp_path / "train-00000-of-00002.parquet")
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row]), tmp_path / "train-00001-of-00002.parquet")
    assert [seed.id for seed in tables.read("evol", tmp_path)] == ["evol_0", "evol_1", "evol_2"]


def test_errors_name_the_row(tmp_path):
    good = {"instruction": "i", "response": BLOCK}
    with pytest.raises(ValueError, match=r"rows.jsonl line 2: a row of evol lacks response \(it has instruction\)"):
        read(tmp_path, good, {"instruction": "i"})
    with pytest.raises(ValueError, match=r"line 3: the id 'evol_1' appears twice, first in .*line 2"):
        read(tmp_path, good, good, good | {"id": 1})
    with pytest.raises(ValueError, match=r"line 1: an id is a text or a whole number, not 1.5"):
        read(tmp_path, good | {"id": 1.5})
    with pytest.raises(FileNotFoundError, match="no file or folder at"):
        list(tables.read("evol", tmp_path / "none.jsonl"))
    with pytest.raises(ValueError, match=r"a.csv: a file of rows ends in \.jsonl, \.jsonl\.gz, \.parquet"):
        (tmp_path / "a.csv").write_text("x")
        list(tables.read("evol", tmp_path / "a.csv"))
    with pytest.raises(ValueError, match="line 1: not JSON"):
        (tmp_path / "b.jsonl").write_text("{")
        list(tables.read("evol", tmp_path / "b.jsonl"))


@pytest.fixture
def hub(monkeypatch):
    """Stands in for `datasets`: rows, or an error, by hub id."""
    import datasets

    known = {}

    def load_dataset(hub_id, config, split, streaming):
        assert config is None and split == "train" and streaming
        if isinstance(known[hub_id], Exception):
            raise known[hub_id]
        return known[hub_id]

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return known


def test_the_hub_is_read_as_a_stream(hub):
    def rows():
        yield {"content": "def f(): return 1"}
        raise AssertionError("no more than one row was wanted")

    hub["bigcode/stack-dedup-python-fns"] = rows()
    assert next(tables.read("stack")).id == "bigcode_python_fns_0"


def test_a_gated_and_an_unreachable_dataset(hub):
    from datasets.exceptions import DatasetNotFoundError

    hub["me/evol"] = DatasetNotFoundError("Dataset 'me/evol' is a gated dataset on the Hub.")
    with pytest.raises(
        FileNotFoundError, match=r"me/evol could not be had .*gated.* log in with `hf auth login`; or name a"
    ):
        list(tables.read("evol", hub_id="me/evol"))
    hub["me/evol"] = ConnectionError("Couldn't reach the Hub")
    with pytest.raises(FileNotFoundError, match=r"could not be had from the hub \(Couldn't reach the Hub\); or name a"):
        list(tables.read("evol", hub_id="me/evol"))


def test_a_connection_that_breaks_off_while_reading(hub):
    def rows():
        yield {"instruction": "i", "response": BLOCK}
        raise ConnectionError("broken off")

    hub[tables.TABLES["evol"].hub_id] = rows()
    with pytest.raises(FileNotFoundError, match="broken off"):
        list(tables.read("evol"))


def test_the_real_loader_of_a_hub_that_is_not_there(monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    assert "datasets" in sys.modules
    with pytest.raises(FileNotFoundError, match="nobody/nothing could not be had from the hub"):
        list(tables.read("evol", hub_id="nobody/nothing"))
