"""Duplicates by hand, and, whatever the programs and their order, only true ones of a program that stays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acecoder_jax.data.seeds import duplicates

WORDS = [f"word{number}" for number in range(20)]  # 16 shingles of five tokens


def test_layout_does_not_make_a_program_another():
    found = duplicates.find(
        {"b": "def f(x):\n    return  x", "a": "def f( x ): return x", "c": "def g(x): return x"}, 0
    )
    assert found == {"b": duplicates.Duplicate("a", 1.0, True)}


def test_similarity_by_hand():
    programs = {"a": " ".join(WORDS), "b": " ".join([*WORDS, "more"])}  # 16 shingles of 17 shared
    assert duplicates.find(programs, 0.9) == {"b": duplicates.Duplicate("a", 16 / 17, False)}
    assert duplicates.find(programs, 0.95) == {}
    assert duplicates.find(programs, 0) == {}


def test_a_copy_of_one_that_goes_is_a_duplicate_of_the_one_that_stays():
    near = " ".join([*WORDS, "more"])
    found = duplicates.find({"a": " ".join(WORDS), "b": near, "c": near}, 0.9)
    assert {id: (twin.of, twin.exact) for id, twin in found.items()} == {"b": ("a", False), "c": ("a", False)}


def test_programs_of_few_tokens_and_of_none():
    found = duplicates.find({"a": "x", "b": "y", "c": "x", "d": "", "e": ""}, 0.8)
    assert {id: twin.of for id, twin in found.items()} == {"c": "a", "e": "d"}


@pytest.mark.parametrize("threshold", [-0.1, 1.5])
def test_a_threshold_is_a_share(threshold):
    with pytest.raises(ValueError, match="between 0 and 1"):
        duplicates.find({}, threshold)


def test_bands_propose_pairs_at_the_threshold():
    for threshold in (0.3, 0.5, 0.8, 0.95, 1.0):
        bands, rows = duplicates._bands(threshold)
        assert bands * rows <= duplicates.PERMUTATIONS
        assert 1 - (1 - threshold**rows) ** bands >= duplicates.RECALL


def shingles(text):
    tokens = text.split()
    return {tuple(tokens[i : i + 5]) for i in range(max(len(tokens) - 4, 1))}


@given(st.lists(st.lists(st.sampled_from("ab"), min_size=5, max_size=12).map(" ".join), max_size=12), st.randoms())
def test_only_true_duplicates_and_in_any_order(texts, random):
    programs = {f"p{number:02}": text for number, text in enumerate(texts)}
    found = duplicates.find(programs, 0.7)
    for id, twin in found.items():
        mine, other = shingles(programs[id]), shingles(programs[twin.of])
        assert twin.of < id and twin.of not in found
        assert twin.similarity == pytest.approx(len(mine & other) / len(mine | other)) and twin.similarity >= 0.7
    kept = [programs[id] for id in programs if id not in found]
    assert len(set(kept)) == len(kept)
    shuffled = list(programs.items())
    random.shuffle(shuffled)
    assert duplicates.find(dict(shuffled), 0.7) == found
