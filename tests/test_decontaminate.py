"""Which texts share a run of words with a benchmark: hand-made texts, n-grams by hand, and by brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acecoder_jax import decontaminate
from acecoder_jax.decontaminate import Benchmarks

QUESTION = "Write a function that returns the third largest number of a list, or None for a short list."


def test_grams_by_hand():
    numbers = np.array([1, 2, 3], np.uint64)
    base = decontaminate._BASE
    assert decontaminate.grams(numbers, 2).tolist() == [(base + 2) % 2**64, (2 * base + 3) % 2**64]
    assert decontaminate.grams(numbers, 3).tolist() == [(base * base + 2 * base + 3) % 2**64]
    assert decontaminate.grams(numbers, 4).tolist() == []


def test_ten_words_in_a_row_are_found_whatever_the_layout_and_the_case():
    benchmarks = Benchmarks([("he/1", QUESTION)])
    copied = 'def f(x):\n    """RETURNS the third\n    largest number, of a list: or none for (a)."""'
    assert benchmarks.find(copied) == ("he/1", "returns the third largest number of a list or none")
    nine = "returns the third largest number of a list or zero"
    assert benchmarks.find(nine) is None
    assert benchmarks.find("") is None


def test_short_texts_are_looked_for_whole_and_the_shortest_not_at_all():
    benchmarks = Benchmarks([("m/1", "find one two three four five six"), ("m/2", "return sorted(x)")])
    assert benchmarks.too_short == 1
    assert benchmarks.find("please find one two three four five six now") == ("m/1", "find one two three four five six")
    assert benchmarks.find("find one two three four five") is None
    assert benchmarks.find("return sorted(x)") is None


def test_a_row_of_numbers_is_no_copy():
    benchmarks = Benchmarks([("a", "1 2 3 4 5 6 7 8 9 10 11"), ("b", "of 1 2 3 4 5 6 7 8 sums list of")])
    assert benchmarks.too_short == 2 and benchmarks.size == 0
    half = Benchmarks([("c", "the sums of a list 1 2 3 4 5 6")])
    assert half.find("[the, sums, of, a, list, 1, 2, 3, 4, 5]") == ("c", "the sums of a list 1 2 3 4 5")
    assert half.find("[sums, of, a, list, 1, 2, 3, 4, 5, 6]") is None


def test_the_first_problem_that_has_the_words_is_named():
    benchmarks = Benchmarks([("a", "so it goes " + QUESTION), ("b", QUESTION)])
    assert benchmarks.find(QUESTION)[0] == "a"


def test_short_ngrams_are_refused():
    with pytest.raises(ValueError, match="n-grams of 3 words are in every text: take 7 or more"):
        Benchmarks([], ngram=3)


texts = st.lists(st.sampled_from("abc"), max_size=30).map(" ".join)


@given(st.lists(texts, max_size=4), texts)
def test_as_a_search_word_by_word_finds(held_out, text):
    benchmarks = Benchmarks([(str(number), known) for number, known in enumerate(held_out)], ngram=8)
    wanted = set()
    for known in held_out:
        n = min(len(known.split()), 8)
        if n >= decontaminate.WHOLE_WORDS:
            wanted |= {tuple(known.split()[i : i + n]) for i in range(len(known.split()) - n + 1)}
    mine = text.split()
    shared = any(tuple(mine[i : i + n]) in wanted for n in (7, 8) for i in range(len(mine) - n + 1))
    assert (benchmarks.find(text) is not None) == shared
