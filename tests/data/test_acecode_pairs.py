"""AceCodePair-300K's rows as pairs; what is wrong with a row is told with its place."""

import pytest

from acecoder_jax import data
from acecoder_jax.data import _columns, acecode_pairs
from acecoder_jax.types import Pair
from tests.data.published import pair, question, write


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.parquet"])
def test_a_file(tmp_path, name):
    rows = [pair(3), pair(1) | {"input": "with this"}]
    first, second = data.load_pairs("acecode_pairs", str(write(tmp_path / name, rows)))
    assert first == Pair("3", "Write f3.", "good 3", "bad")
    assert second.question == "Write f1.\nwith this"


def test_what_the_stage_pairs_adds(tmp_path):
    more = {"question_id": "q", "chosen_score": 1, "rejected_score": 0.25, "model_name": "m"}
    (first,) = acecode_pairs.load_pairs(write(tmp_path / "p.jsonl", [pair(3) | more]))
    assert first == Pair("3", "Write f3.", "good 3", "bad", "q", 1, 0.25)
    with pytest.raises(ValueError, match=r"id 3\): chosen_score must be a number, not 'all'"):
        acecode_pairs.load_pairs(write(tmp_path / "q.jsonl", [pair(3) | more | {"chosen_score": "all"}]))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"chosen": None}, r"p.jsonl line 2 \(id 2\): the row lacks chosen \(it has chosen, id, input, "),
        ({"id": 1}, r"line 2 \(id 1\): the id appears twice"),
        ({"id": "1"}, r"line 2 \(id '1'\): the id appears twice"),
        ({"id": True}, r"line 2 \(id True\): id must be a text or a whole number, not True"),
        ({"rejected": ["x"]}, r"line 2 \(id 2\): rejected must be a text, not \['x'\]"),
    ],
)
def test_a_bad_row_is_named(tmp_path, change, told):
    path = write(tmp_path / "p.jsonl", [pair(1), pair(2) | change])
    with pytest.raises(ValueError, match=told):
        acecode_pairs.load_pairs(path)


def test_sources_of_the_one_kind_are_none_of_the_other(tmp_path):
    with pytest.raises(ValueError, match="'acecode_pairs' has pairs, not problems"):
        data.load("acecode_pairs")
    with pytest.raises(ValueError, match="'mbpp' has problems, not pairs"):
        data.load_pairs("mbpp")
    with pytest.raises(ValueError, match="'acecode' has problems and rated programs, not pairs"):
        data.load_pairs("acecode")
    with pytest.raises(ValueError, match="takes path, hub_id, split, not slpit"):
        data.load_pairs("acecode_pairs", slpit="train")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"inferences": [{"pass_rate": 1}, {"pass_rate": "all"}]},
            "inferences[1].pass_rate must be a number, not 'all'",
        ),
        ({"inferences": {"pass_rate": 1}}, "inferences must be a list, not {'pass_rate': 1}"),
        ({"inferences": ["x"]}, "inferences[0] must be a record of model_name, completion_id, completion, pass_rate"),
        (
            {"inferences": [{"completion": "é \ud83d"}]},
            "inferences[0].completion holds half a character, '\\ud83d', which no file can store",
        ),
        ({"context_messages": [[{"role": 1}]]}, "context_messages[0][0].role must be a text, not 1"),
        ({"context_messages": [{"role": 1}]}, "context_messages[0][0].role must be a text, not 1"),
        ({"test_cases": ["assert True", 3]}, "test_cases[1] must be a text, not 3"),
        ({"source": None}, "the row lacks source"),
    ],
)
def test_a_wrong_kind_is_named_to_its_place(change, told):
    assert _columns.wrong(question(1), _columns.ACECODE) == ""
    assert _columns.wrong(question(1) | change, _columns.ACECODE).startswith(told)


def test_messages_are_wrapped_where_they_are_not():
    flat = question(1) | {"context_messages": [{"content": "q1", "role": "user"}]}
    assert _columns.plain(flat, _columns.ACECODE) == _columns.plain(question(1), _columns.ACECODE)
    assert _columns.wrong(flat, _columns.ACECODE) == ""
