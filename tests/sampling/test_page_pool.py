"""Who holds which page: pages are handed out once, shared, and come back with their last holder."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acecoder_jax.sampling.page_pool import Pool


def test_a_page_is_free_again_when_its_last_holder_gives_it_back():
    pool = Pool(5)
    assert pool.free == 4
    prompt = pool.take(2)
    assert pool.free == 2
    pool.share(prompt[:1])  # a sample, of the page that the prompt fills
    pool.give_back(prompt)  # the prompt itself is forgotten
    assert pool.free == 3
    assert prompt[0] not in pool.take(3)
    pool.give_back(prompt[:1])
    assert pool.take(1) == prompt[:1]
    assert pool.free == 0


def test_nothing_is_taken_from_an_empty_pool_and_nobody_gives_back_what_nobody_holds():
    pool = Pool(2)
    assert pool.take(0) == []
    page = pool.take(1)
    with pytest.raises(ValueError, match="1 pages are wanted, 0 are free"):
        pool.take(1)
    pool.give_back(page)
    for call in (pool.give_back, pool.share):
        with pytest.raises(KeyError):
            call(page)
    assert pool.free == 1


def test_one_page_is_the_one_that_belongs_to_nobody():
    assert Pool(1).free == 0


# What happens to a pool: so many pages taken; the pages of one who holds some shared, or given back.
EVENTS = st.lists(st.tuples(st.sampled_from(["take", "share", "give back"]), st.integers(0, 9)), max_size=60)


@given(st.integers(1, 12), EVENTS)
def test_whatever_happens_no_page_has_two_owners_and_all_come_back(pages, events):
    pool = Pool(pages)
    held: list[list[int]] = []  # by each holder
    for event, number in events:
        if event == "take":
            taken = pool.take(min(number, pool.free))
            assert len(set(taken)) == len(taken) == min(number, len(taken) + pool.free)
            assert not set(taken) & {0, *itertools.chain(*held)}
            assert set(taken) <= set(range(1, pages))
            held.append(taken)
        elif held and event == "share":
            some = held[number % len(held)]
            pool.share(iter(some))
            held.append(list(some))
        elif held:
            pool.give_back(iter(held.pop(number % len(held))))
        others = set(itertools.chain(*held))
        assert pool.free == pages - 1 - len(others)
    for some in held:
        pool.give_back(some)
    assert sorted(pool.take(pool.free)) == list(range(1, pages))
