import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acecoder_jax import curate


def question(identity, rates, **more):
    """A row with a program for each (model, text, pass rate)."""
    programs = [
        {"model_name": model, "completion_id": number, "completion": text, "pass_rate": rate}
        for number, (model, text, rate) in enumerate(rates)
    ]
    row = {"id": identity, "question": f"What is {identity}?", "test_cases": ["assert f(1) == 1"] * 16}
    return row | {"inferences": programs} | more


# ---- tests


@pytest.mark.parametrize(
    ("passes", "places", "dropped"),
    [
        ([[1, 1, 0, 1, 1, 1, 0]], (0, 1, 3, 4, 5), ""),  # five are left, enough
        ([[1, 1, 0, 1, 1, 0, 0]], (), "few_tests"),  # four are not
        ([[1, 1, 0, 1, 0, 0, 0]], (), "few_passes"),  # three: the public code's first rule
        ([[]], (), "few_passes"),
        # Of three programs two have to agree: 3, 2, 2, 1, 2, 3, 0 votes.
        ([[1, 1, 0, 0, 1, 1, 0], [1, 1, 1, 1, 0, 1, 0], [1, 0, 1, 0, 1, 1, 0]], (0, 1, 2, 4, 5), ""),
        # Of two both: half is no majority. 2, 2, 2, 2, 2, 1 votes.
        ([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0]], (0, 1, 2, 3, 4), ""),
        ([[1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 0, 1]], (), "few_tests"),
    ],
)
def test_tests_that_the_strong_program_passes_are_kept(passes, places, dropped):
    assert curate.keep_tests(passes) == curate.Kept(places, dropped)


def test_thresholds_of_tests():
    passes = [[1, 1, 0, 1], [1, 0, 0, 1], [1, 0, 0, 0]]  # 3, 1, 0 and 2 votes
    assert curate.keep_tests(passes, min_tests=2, min_passes=0).places == (0, 3)
    assert curate.keep_tests(passes, min_tests=3, min_passes=2).dropped == "few_tests"
    assert curate.keep_tests(passes, min_tests=2, min_passes=3).dropped == "few_passes"
    assert curate.keep_tests(passes, min_tests=1, min_passes=0, majority=0.9).places == (0,)
    assert curate.keep_tests(passes, min_tests=1, min_passes=0, majority=0.3).places == (0, 1, 3)


@pytest.mark.parametrize("passes", [[], [[1, 1], [1]]])
def test_programs_that_cannot_be_compared(passes):
    with pytest.raises(ValueError, match="programs judged by the same tests"):
        curate.keep_tests(passes)


@settings(max_examples=200)
@given(data=st.data(), count=st.integers(1, 12))
def test_kept_tests_depend_on_no_order(data, count):
    passes = data.draw(st.lists(st.lists(st.booleans(), min_size=count, max_size=count), min_size=1, max_size=5))
    order = data.draw(st.permutations(range(count)))
    found = curate.keep_tests(passes)
    assert curate.keep_tests(data.draw(st.permutations(passes))) == found
    moved = curate.keep_tests([[program[place] for place in order] for program in passes])
    assert sorted(order[place] for place in moved.places) == list(found.places) and moved.dropped == found.dropped


# ---- hard questions


def rated(identity, *rates, model="m"):
    return question(identity, [(model, f"program {n}", rate) for n, rate in enumerate(rates)])


EIGHT = [  # mean, standard deviation
    rated("q1", 1.0, 1.0),  # 1, 0
    rated("q2", 1.0, 0.5),  # 0.75, 0.25
    rated("q3", 0.5, 0.5),  # 0.5, 0
    rated("q4", 1.0, 0.0),  # 0.5, 0.5
    rated("q5", 0.375, 0.125),  # 0.25, 0.125
    rated("q6", 0.5, 0.0),  # 0.25, 0.25
    rated("q7", 0.25, 0.0),  # 0.125, 0.125
    rated("q8", 1.0, 0.75),  # 0.875, 0.125
]


def test_the_hard_quarter_by_hand():
    # Means in order: 0.125, 0.25, 0.25, 0.5, 0.5, 0.75, 0.875, 1: the median is 0.5, and q3 and q4 are kept with it.
    # Deviations of q3 to q7 in order: 0, 0.125, 0.125, 0.25, 0.5: the median is 0.125, and q5 and q7 are kept with it.
    hard = curate.hard_subset([*EIGHT, rated("other", 0.0, 0.5, model="n")], models=["m"])
    assert hard == curate.Hard(("q4", "q5", "q6", "q7"), 8, 1, 0.5, 0.125)


def test_the_models_that_count():
    rows = [
        question("a", [("m", "x", 1.0), ("m", "y", 0.0), ("n", "z", 0.0)]),
        question("b", [("m", "x", 0.0), ("m", "y", 0.0), ("n", "z", 1.0), ("n", "u", 1.0)]),
    ]
    # Of m alone: means 0.5 and 0, so b is at or below the median of 0.25. Of both: 1/3 and 1/2, so it is a.
    assert curate.hard_subset(rows, models=["m"]).ids == ("b",)
    assert curate.hard_subset(rows, models=()).ids == ("a",)
    assert curate.hard_subset(rows).ids == () and curate.hard_subset(rows).unrated == 2
    published = [rated("a", 0.5, 0.0, model="qwen_coder_2.5"), rated("b", 1.0, model="llama3_instruct")]
    assert curate.hard_subset(published).ids == ("a",)


def test_equal_means_are_ties_however_they_were_added_up():
    rows = [rated("a", 1 / 3, 2 / 3), rated("b", 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9), rated("c", 1.0, 0.0)]
    hard = curate.hard_subset(rows, models=["m"])
    assert hard.median_mean == 0.5 and hard.ids == ("b", "c")  # deviations 1/6, 0.258..., 0.5


rates = st.integers(0, 19).map(lambda passed: passed / 19)
texts = st.sampled_from("abcdef")
rows = st.lists(st.lists(st.tuples(st.sampled_from(["m", "n"]), texts, rates), max_size=8), min_size=1, max_size=9).map(
    lambda many: [question(f"q{n}", programs) for n, programs in enumerate(many)]
)


def shuffled(data, rows):
    """The rows in another order, and the programs in each."""
    moved = [row | {"inferences": data.draw(st.permutations(row["inferences"]))} for row in rows]
    return data.draw(st.permutations(moved))


@settings(max_examples=200)
@given(rows=rows, data=st.data(), models=st.sampled_from([(), ("m",)]))
def test_hard_questions_depend_on_no_order(rows, data, models):
    hard = curate.hard_subset(rows, models=models)
    again = curate.hard_subset(shuffled(data, rows), models=models)
    assert str(again) == str(hard)  # NaN where nothing is rated
    assert len(hard.ids) >= hard.rated / 4


# ---- pairs


def pairs(rows, **knobs):
    return sorted((one.chosen, one.rejected) for one in curate.make_pairs(rows, **knobs))


OF_M = [("m", "P", 1.0), ("m", "Q", 0.8), ("m", "R", 0.6), ("m", "S", 0.4), ("m", "T", 0.0), ("m", "U", 0.75)]
ONE = question("one", [*OF_M, ("n", "V", 0.2), ("n", "W", 0.85), ("n", "X", 0.45)])


def test_pairs_by_hand():
    # At least 0.8: P and Q of m, W of n. Gaps: P-R 0.4, P-S 0.6, Q-S 0.4, W-X 0.4, W-V 0.65; P-U is 0.25, Q-R 0.2.
    # T passed nothing. P-V would be of two models. 1.0 - 0.6 and 0.85 - 0.45 are not quite 0.4 in floating point.
    assert pairs([ONE]) == [("P", "R"), ("P", "S"), ("Q", "S"), ("W", "V"), ("W", "X")]
    assert pairs([ONE], models=["m"]) == [("P", "R"), ("P", "S"), ("Q", "S")]
    assert pairs([ONE], models=["n"], min_gap=0.5) == [("W", "V")]
    assert pairs([ONE], models=["m"], min_best=0.7, min_gap=0.15) == [
        ("P", "Q"), ("P", "R"), ("P", "S"), ("P", "U"), ("Q", "R"), ("Q", "S"), ("U", "R"), ("U", "S"),
    ]  # fmt: skip
    assert pairs([ONE], models=["m"], above=-1.0) == [("P", "R"), ("P", "S"), ("P", "T"), ("Q", "S"), ("Q", "T")]
    assert pairs([ONE], models=["m"], above=0.4) == [("P", "R")]


def test_what_a_pair_says_of_itself():
    first, *_ = [pair for pair in curate.make_pairs([ONE]) if pair.chosen == "W" and pair.rejected == "X"]
    name = {"question_id": "one", "model_name": "n"}
    texts = {"chosen": "W", "rejected": "X", "chosen_score": 0.85, "rejected_score": 0.45}
    assert dataclasses.asdict(first) == {"id": first.id} | name | texts
    assert first.id.startswith("one|n|") and len({pair.id for pair in curate.make_pairs([ONE])}) == 5


def test_a_text_sampled_often_makes_one_pair_and_none_with_itself():
    # P was too slow once, R once passed nothing. Highest and lowest count: P 1.0, P 0.3 as a rejected one, R 0.5.
    row = question("q", [("m", "P", 1.0), ("m", "P", 0.3), ("m", "R", 0.5), ("m", "R", 0.0), ("m", "Q", 0.9)])
    found = list(curate.make_pairs([row]))
    assert sorted((one.chosen, one.rejected, one.chosen_score, one.rejected_score) for one in found) == [
        ("P", "R", 1.0, 0.5), ("Q", "P", 0.9, 0.3), ("Q", "R", 0.9, 0.5),
    ]  # fmt: skip


def test_questions_that_are_not_ascii_are_skipped():
    row = ONE | {"question": "Wie groß?"}
    assert pairs([row]) == [] and len(pairs([row], ascii_only=False)) == 5
    program = question("q", [("m", "# groß", 1.0), ("m", "R", 0.5)])  # a program may be
    assert pairs([program]) == [("# groß", "R")]


def test_pass_rates_over_the_kept_tests():
    # 16 of 20 tests are kept. 15 of them: 0.75 over all, 0.9375 over the kept. 6: 0.3 and 0.375. 10: 0.5 and 0.625.
    row = question("q", [("m", "P", 0.75), ("m", "R", 0.3), ("m", "S", 0.5)], n_tests_all=20)
    assert pairs([row]) == []
    kept = list(curate.make_pairs([row], over="kept"))
    assert [(one.chosen, one.rejected, one.chosen_score, one.rejected_score) for one in kept] == [
        ("P", "R", 0.9375, 0.375)
    ]
    with pytest.raises(ValueError, match="row 'one' does not say"):
        pairs([ONE], over="kept")
    with pytest.raises(ValueError, match="not 'some'"):
        pairs([ONE], over="some")


def test_a_cap_draws_from_all_pairs():
    row = question("q", [("m", f"good {n}", 1.0) for n in range(8)] + [("m", f"bad {n}", 0.1) for n in range(8)])
    assert len(pairs([row])) == 64
    few = pairs([row], max_pairs=8)
    assert len(few) == 8 and set(few) < set(pairs([row]))
    assert len({good for good, _ in few}) > 2 and len({bad for _, bad in few}) > 2
    assert pairs([row], max_pairs=100) == pairs([row])


@settings(max_examples=200)
@given(rows=rows, data=st.data(), cap=st.integers(0, 3))
def test_pairs_depend_on_no_order(rows, data, cap):
    found = sorted(curate.make_pairs(rows, max_pairs=cap), key=lambda pair: pair.id)
    assert sorted(curate.make_pairs(shuffled(data, rows), max_pairs=cap), key=lambda pair: pair.id) == found
    for pair in found:
        assert pair.chosen != pair.rejected and pair.chosen_score >= 0.8 and pair.rejected_score > 0
        assert pair.chosen_score - pair.rejected_score > 0.4 - 1e-9


def test_groups_hold_the_comparisons_of_the_pairs():
    rows = [ONE, ONE | {"id": "two", "question": "Ünïcode"}]
    pairs = {(p.question_id, p.chosen, p.rejected, p.chosen_score, p.rejected_score) for p in curate.make_pairs(rows)}
    groups = list(curate.make_groups(rows))
    found = [
        (group.question_id, group.texts[i], group.texts[j], *scores)
        for group in groups
        for (i, j), scores in zip(group.wins, group.scores, strict=True)
    ]
    assert set(found) == pairs and len(found) == len(pairs)
    assert all(set(range(len(group.texts))) == {i for win in group.wins for i in win} for group in groups)
    assert list(curate.make_groups(rows, min_best=1.5)) == []


def test_the_shares_of_a_group_are_of_all_ordered_pairs_of_its_samples():
    rates = {"a": 1.0, "b": 0.2, "c": 0.9}
    programs = [{"model_name": "m", "completion": text, "pass_rate": rates[text]} for text in "aabc"]
    row = {"id": "q", "question": "?", "test_cases": ["assert f()"], "inferences": programs}
    (group,) = curate.make_groups([row])
    assert (group.texts, group.wins) == (("a", "b", "c"), ((0, 1), (2, 1)))
    assert group.shares == (2 / 12, 1 / 12)  # two samples of a, one of b, one of c; 4 x 3 ordered pairs
