"""Toy problems: tests that tell right from wrong, disjoint splits, the same everywhere, the author's shares."""

import ast
import collections
import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from acecoder_jax import data, prompts
from acecoder_jax.data import toy
from acecoder_jax.data.toy.families import FAMILIES

ROUND = len(FAMILIES)


def passes(program, test):
    """Runs one of our own programs and one of our own asserts."""
    namespace = {}
    exec(program, namespace)
    try:
        exec(test, namespace)
    except Exception:
        return False
    return True


def family_of(problem):
    return problem.id.split("_", 1)[1].rsplit("_", 1)[0]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_family_is_complete(family):
    assert len(family.wordings) >= 4 and len(set(family.wordings)) == len(family.wordings)
    assert len(family.bodies) == len(family.weights) == len(set(family.bodies)) == 3
    assert sum(family.weights) == 20
    # Every wording names every argument and constant, so the program can be written from it.
    names = ["x", "y"][: len(family.kinds)] + list(family.constants)
    assert all("{" + name + "}" in wording for wording in family.wordings for name in names)


def test_the_tests_tell_the_correct_program_from_the_buggy_ones():
    for problem in toy.load("train", seed=3, count=4 * ROUND):
        correct, *buggy = toy.programs(problem)
        assert correct == problem.solution
        assert 4 <= len(problem.tests) <= 6 and len(set(problem.tests)) == len(problem.tests)
        assert all(passes(correct, test) for test in problem.tests), problem.id
        for program in buggy:
            assert not all(passes(program, test) for test in problem.tests), (problem.id, program)


def test_no_constant_program_passes():
    for problem in toy.load("heldout", seed=1, count=4 * ROUND):
        expected = {ast.unparse(ast.parse(test).body[0].test.comparators[0]) for test in problem.tests}
        assert len(expected) > 1, problem.id


def test_the_problem_says_what_a_solver_needs():
    for problem in toy.load(count=ROUND):
        function = ast.parse(problem.solution).body[0]
        arguments = ", ".join(argument.arg for argument in function.args.args)
        assert problem.question.startswith(f"Write {problem.entry_point}({arguments}): ")
        assert problem.question.endswith("\n" + problem.tests[0])
        assert problem.source == "toy" and problem.question.count("{") == 0
        assert problem.tests[0] == min(problem.tests, key=len)


def test_splits_share_nothing():
    train = [p for seed in (0, 7) for p in toy.load("train", seed=seed, count=1500)]
    heldout = [p for seed in (0, 7) for p in toy.load("heldout", seed=seed, count=1500)]
    for field in ("id", "question", "solution", "tests"):
        left, right = ({getattr(p, field) for p in part} for part in (train, heldout))
        assert not left & right, field


def test_no_problem_twice_and_families_in_turn():
    problems = toy.load("train", count=1000)
    for field in ("id", "question", "solution"):
        assert len({getattr(p, field) for p in problems}) == 1000
    counts = collections.Counter(map(family_of, problems))
    assert len(counts) == ROUND and max(counts.values()) - min(counts.values()) <= 1


def test_a_seed_and_a_count():
    assert toy.load(seed=5, count=10) == toy.load(seed=5, count=40)[:10]
    assert toy.load(seed=5, count=10) != toy.load(seed=6, count=10)
    assert toy.load(count=0) == []


def test_one_fixed_problem():
    """A change of the generator changes every recorded toy result: this makes it a decision."""
    problem = toy.load("train", seed=0, count=1)[0]
    assert (problem.id, problem.entry_point) == ("toy_add_each_0", "nab_van_elk")
    assert problem.question == "Write nab_van_elk(nums): nums with each item 5 more.\nassert nab_van_elk([0,5])==[5,10]"
    assert problem.solution == "def nab_van_elk(nums):\n    return [v + 5 for v in nums]"


def test_same_problems_and_replies_in_another_process():
    program = (
        "from acecoder_jax.data import toy; p = toy.load('heldout', seed=2, count=64);"
        "print(p, toy.demonstrations(p, 9))"
    )
    problems = toy.load("heldout", seed=2, count=64)
    here = f"{problems} {toy.demonstrations(problems, 9)}"
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(Path(toy.__file__).parents[3])}
        there = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True)
        assert there.stdout.decode().strip() == here


def test_bad_arguments():
    with pytest.raises(ValueError, match="splits train, heldout, not 'test'"):
        toy.load("test")
    with pytest.raises(ValueError, match="count is -1"):
        toy.load(count=-1)
    with pytest.raises(ValueError, match="seed is -1"):
        toy.load(seed=-1)


def test_the_author_writes_each_body_in_its_share():
    """Twenty problems a family are one deck: the shares are exact."""
    problems = toy.load("train", seed=0, count=20 * ROUND)
    replies = toy.demonstrations(problems, seed=4)
    assert [problem for problem, _ in replies] == problems
    written = collections.defaultdict(collections.Counter)
    for problem, reply in replies:
        program = prompts.extract_code(reply)
        assert reply == f"```python\n{program}\n```"
        written[family_of(problem)][toy.programs(problem).index(program)] += 1
    for family in FAMILIES:
        assert [written[family.name][body] for body in range(3)] == list(family.weights)
    other = toy.demonstrations(problems, seed=5)
    assert other != replies and toy.demonstrations(problems, seed=4) == replies


def test_the_author_is_unreliable_but_not_hopeless():
    mostly_right = [family for family in FAMILIES if family.weights[0] == max(family.weights)]
    assert 0.35 <= len(mostly_right) / ROUND <= 0.40
    for family in FAMILIES:
        assert family.weights.count(max(family.weights)) == 1  # what greedy decoding would pick is no tie
        low, high = (0.45, 0.55) if family in mostly_right else (0.25, 0.35)
        assert low <= family.weights[0] / 20 <= high


@pytest.mark.parametrize("vocab_size", [640, 1024])
def test_the_likeliest_token_leads_to_the_likeliest_body(vocab_size):
    """Greedy decoding goes token by token: bodies that share a beginning must not outvote the likeliest body."""
    from acecoder_jax import tokenizer

    problems = toy.load("train", count=800)
    bpe = tokenizer.train_bpe(
        [text for p, reply in toy.demonstrations(problems) for text in (p.question, reply)], vocab_size
    )
    for problem, family in zip(problems[:ROUND], FAMILIES, strict=True):
        replies = [[*bpe.encode(toy.fenced(program)), bpe.eos_token_id] for program in toy.programs(problem)]
        alive = list(zip(replies, family.weights, strict=True))
        for at in range(max(map(len, replies))):
            votes = collections.Counter()
            for reply, weight in alive:
                votes[reply[at]] += weight
            best = votes.most_common(1)[0][0]
            alive = [(reply, weight) for reply, weight in alive if reply[at] == best]
            if len(alive) == 1:
                break
        assert alive[0][1] == max(family.weights), family.name


def test_prompts_and_replies_are_short():
    from acecoder_jax import tokenizer

    problems = toy.load("train", count=800)
    bpe = tokenizer.train_bpe([text for p, reply in toy.demonstrations(problems) for text in (p.question, reply)], 640)
    heldout = toy.load("heldout", count=4 * ROUND)
    lengths = [len(prompts.render_chat(bpe, prompts.chat(p.question), add_generation_prompt=True)) for p in heldout]
    assert 25 <= sum(lengths) / len(lengths) <= 45 and max(lengths) <= 64
    assert max(len(bpe.encode(toy.fenced(program))) for p in heldout for program in toy.programs(p)) <= 35


def test_demonstrations_of_a_foreign_problem():
    problem = toy.load(count=1)[0]
    with pytest.raises(ValueError, match="'mbpp_1' is not the id of a toy problem"):
        toy.demonstrations([dataclasses.replace(problem, id="mbpp_1")])
    with pytest.raises(ValueError, match="'toy_add_each_0' does not hold the solution"):
        toy.demonstrations([dataclasses.replace(problem, solution="pass")])


def test_rated_programs_fail_what_their_score_says():
    (problem,) = [one for one in toy.load(count=32) if one.id.startswith("toy_add_each_")]
    scores = toy.rated(problem)
    programs = list(scores)
    assert programs[: len(toy.programs(problem))] == list(toy.programs(problem))
    assert scores[problem.solution] == 1 and all(scores[wrong] < 1 for wrong in toy.programs(problem)[1:])
    assert scores == toy.rated(problem) and scores != toy.rated(problem, seed=1)
    assert len(programs) == 6 and scores[programs[-1]] == 0  # the last one was cut short


def test_pairs_and_ranked_programs():
    pairs = data.load_pairs("toy", count=64)
    assert len({pair.id for pair in pairs}) == len(pairs) > 4 * 64
    assert all(pair.chosen_score == 1 > pair.rejected_score and pair.chosen != pair.rejected for pair in pairs)
    assert len({pair.question_id for pair in pairs}) == 64
    ranked = data.load_ranked("toy", count=64, rules={"above": -1.0, "min_gap": 0.2})
    compared = {(one.question_id, one.replies[i], one.replies[j]) for one in ranked for i, j in one.wins}
    assert {(pair.question_id, pair.chosen, pair.rejected) for pair in pairs} <= compared
    assert [one.id for one in data.load_ranked("toy", count=64)] != [one.id for one in ranked]  # 0 passes: left out
