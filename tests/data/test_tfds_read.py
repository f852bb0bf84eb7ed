"""Grain over a built dataset: every row once an epoch, in an order of (seed, epoch), from any place on."""

import pickle

import pytest

from acecoder_jax.data import tfds_read
from acecoder_jax.publishing import tfds_build
from acecoder_jax.publishing.rows import Source
from acecoder_jax.types import Pair
from tests.data.published import pair, write

NAME = "acecode_pair_300k"
ROWS = 11


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    source = Source(write(folder / "p.jsonl", [pair(number) for number in range(ROWS)]))
    tfds_build.build(source, folder / "datasets", pytest.fail)
    return folder / "datasets"


def ids(dataset):
    return [example.id for example in dataset]


def test_an_order_of_seed_and_epoch(folder):
    examples = tfds_read.examples(folder, NAME, seed=1, epochs=3, parse=tfds_read.pair)
    assert len(examples) == 3 * ROWS
    epochs = [ids(examples[start : start + ROWS]) for start in range(0, 3 * ROWS, ROWS)]
    assert all(sorted(epoch, key=int) == [str(n) for n in range(ROWS)] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    again = tfds_read.examples(folder, NAME, seed=1, parse=tfds_read.pair)
    assert ids(again[: 3 * ROWS]) == [one for epoch in epochs for one in epoch]
    assert ids(tfds_read.examples(folder, NAME, seed=2, epochs=1, parse=tfds_read.pair)) != epochs[0]


def test_from_any_place_on_and_shares(folder):
    examples = tfds_read.examples(folder, NAME, seed=0, epochs=4, parse=tfds_read.pair)
    whole = ids(examples)
    assert ids(examples[15:]) == whole[15:]
    assert examples[30] == Pair(whole[30], f"Write f{whole[30]}.", f"good {whole[30]}", "bad")
    assert ids(examples[0::2]) == whole[0::2] and ids(examples[1::2]) == whole[1::2]
    iterator = iter(examples[5:].batch(4, batch_fn=list).to_iter_dataset())
    assert [one.id for one in next(iterator)] == whole[5:9]
    state = iterator.get_state()
    expected = next(iterator)
    iterator.set_state(state)
    assert next(iterator) == expected


def test_it_travels_to_the_processes_of_a_loader(folder):
    examples = tfds_read.examples(folder, NAME, seed=0, epochs=1)
    assert pickle.loads(pickle.dumps(examples))[3] == examples[3]
    assert examples[3].keys() == {"id", "instruction", "input", "chosen", "rejected"}


def test_what_is_not_there(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no TFDS dataset acecode_87k in .*: the stage `data` builds it"):
        tfds_read.examples(folder, "acecode_87k", seed=0)
    with pytest.raises(ValueError, match="holds acecode_pair_300k, not acecode_87k"):
        tfds_read.examples(folder / NAME / "1.0.0", "acecode_87k", seed=0)
    with pytest.raises(ValueError, match="no TFDS dataset that can be read: Unknown split 'test'"):
        tfds_read.examples(folder, NAME, seed=0, split="test")


def test_what_a_kill_has_left_is_no_version(folder, tmp_path):
    for version in (".partial-1.0.0", "1.0.0.incompleteAB"):
        (tmp_path / NAME / version).mkdir(parents=True)
        (tmp_path / NAME / version / "dataset_info.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match="no TFDS dataset"):
        tfds_read.examples(tmp_path, NAME, seed=0)
