"""Looking a data source up by its module's name."""

import sys

import pytest

from acecoder_jax import data
from acecoder_jax.data import _rows, toy


def test_load_by_name_passes_the_arguments():
    assert data.load("toy", split="heldout", seed=3, count=5) == toy.load("heldout", 3, 5)


def test_unknown_source_lists_those_that_exist():
    with pytest.raises(
        ValueError, match="no data source 'humaneval': acecoder_jax/data has acecode, acecode_pairs, mbpp, toy"
    ):
        data.load("humaneval")
    with pytest.raises(ValueError, match="no data source '_rows'"):
        data.load("_rows")


def test_a_misspelt_argument_is_an_error_that_lists_those_there_are():
    with pytest.raises(ValueError, match="takes split, seed, count, not slpit"):
        data.load("toy", slpit="train")


def test_hub_rows_carry_their_place(monkeypatch):
    class Hub:
        @staticmethod
        def load_dataset(hub_id, config, split):
            assert (hub_id, config, split) == ("owner/name", "full", "train")
            return [{"a": 1}, {"a": 2}]

    monkeypatch.setitem(sys.modules, "datasets", Hub)
    rows = list(_rows.read_hub("owner/name", "train", config="full"))
    assert rows == [("owner/name row 1", {"a": 1}), ("owner/name row 2", {"a": 2})]
