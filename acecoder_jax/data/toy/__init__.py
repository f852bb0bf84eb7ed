"""The embedded toy problems: families of small Python functions, and an unreliable author who answers them.

A problem is drawn from (family, number) alone, and its id, `toy_<family>_<number>`, says both. A stable hash of the
correct program decides the split, so no program and no question (it names the function, the arguments and the
constants) is in both, whatever the seed and count.
"""

import dataclasses
import hashlib
import itertools
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from acecoder_jax import curate
from acecoder_jax.data.toy.families import ARGUMENTS, BY_NAME, FAMILIES, Constants, Family
from acecoder_jax.types import Pair, Problem, Ranked

SPLITS = ("train", "heldout")
HELDOUT_SHARE = 0.25
MAX_COUNT = 50_000
N_TESTS = 5
_NUMBERS_PER_SEED = 1_000_000
VERBS = ("get", "put", "mix", "cut", "dig", "fix", "hug", "jam", "nab", "pop",
         "rub", "sip", "tap", "zip", "win", "bake", "fold", "lift", "melt", "wash")  # fmt: skip
NOUNS = ("ant", "bee", "cat", "cow", "dog", "elk", "fox", "hen", "owl", "pig", "cup", "hat",
         "jar", "key", "map", "pan", "pen", "rug", "sun", "van", "box", "egg", "ice", "oak")  # fmt: skip


@dataclasses.dataclass(frozen=True)
class _Draft:
    """What (family, number) decides before any test is made."""

    family: Family
    number: int
    name: str
    arguments: tuple[str, ...]
    constants: Constants
    wording: str

    @property
    def programs(self) -> tuple[str, ...]:
        """The correct program, then the buggy ones."""
        return tuple(
            f"def {self.name}({', '.join(self.arguments)}):\n" + _indent(self._fill(body))
            for body in self.family.bodies
        )

    @property
    def split(self) -> str:
        """A function of the correct program's text alone."""
        digest = hashlib.sha256(self.programs[0].encode()).digest()
        return SPLITS[int.from_bytes(digest[:4], "big") < HELDOUT_SHARE * 2**32]

    def question(self, example: str) -> str:
        """The user turn: the signature, the task and one assert."""
        return f"Write {self.name}({', '.join(self.arguments)}): {self._fill(self.wording)}.\n{example}"

    def _fill(self, template: str) -> str:
        return template.format(**dict(zip("xy", self.arguments, strict=False)), **self.constants)


def load(split: str = "train", seed: int = 0, count: int = 1024) -> list[Problem]:
    """`count` problems of a split ("train" or "heldout"), the families in turn: the same list for the same arguments.

    A larger count only appends. ValueError for an unknown split or a count outside 0 to MAX_COUNT.
    """
    if split not in SPLITS:
        raise ValueError(f"toy problems have the splits {', '.join(SPLITS)}, not {split!r}")
    if not 0 <= count <= MAX_COUNT:
        raise ValueError(f"count is {count}: toy problems come in 0 to {MAX_COUNT:,}")
    if seed < 0:
        raise ValueError(f"seed is {seed}: toy problems need a seed of 0 or more")
    families_in_turn = zip(*(_drafts(family, split, seed) for family in FAMILIES), strict=True)
    drafts = itertools.islice(itertools.chain.from_iterable(families_in_turn), count)
    return [_problem(draft) for draft in drafts]


def demonstrations(problems: Sequence[Problem], seed: int = 0) -> list[tuple[Problem, str]]:
    """Each problem with the reply of an UNRELIABLE author: a fenced program that is often wrong.

    Each family has one correct body and two plausible buggy ones (off by one, a wrong comparison, a wrong operator, a
    forgotten case), and the author writes each with a fixed weight. In 12 of the 32 families the correct body is the
    most frequent one (weight 0.5); in the others it has about a quarter and one buggy body about half. The bodies are
    ordered so that taking the likeliest token each time leads to the likeliest body too. A policy fine-tuned on these
    replies passes 20 to 50% of held-out problems greedily and far more with 8 samples, and reinforcement learning with
    the tests as its reward can lift it to nearly all.

    The bodies of a family are dealt from a shuffled deck that holds them in exactly these shares, so even a few replies
    a family show the shares. A problem that did not come from `load` is a ValueError that names its id.
    """
    decks: dict[str, list[int]] = {}
    replies = []
    for problem in problems:
        draft = _draft_of(problem)
        family = draft.family
        if not decks.get(family.name):
            deck = [body for body, weight in enumerate(family.weights) for _ in range(weight)]
            random.Random(f"author/{seed}/{problem.id}").shuffle(deck)
            decks[family.name] = deck
        replies.append((problem, fenced(draft.programs[decks[family.name].pop()])))
    return replies


def fenced(program: str) -> str:
    """The reply that holds this program: one fenced python block."""
    return f"```python\n{program}\n```"


def programs(problem: Problem) -> tuple[str, ...]:
    """The programs that the author may write for a problem of `load`: the correct one, then the buggy ones."""
    return _draft_of(problem).programs


def rated(problem: Problem, seed: int = 0) -> dict[str, float]:
    """Distinct programs for a problem of `load`, with the share of its tests that each passes; the correct one first.

    Beside the author's: one with another number, where the correct one has any; one that stands for another problem;
    one that was cut short. seed: which number, problem and cut.
    """
    draft, rng = _draft_of(problem), random.Random(f"rated/{seed}/{problem.id}")
    correct = draft.programs[0]
    found = [*draft.programs]
    if spots := [match.start() for match in re.finditer(r"(?<![A-Za-z_\d])\d(?!\d)", correct)]:
        at = rng.choice(spots)
        other = rng.choice([digit for digit in "0123456789" if digit != correct[at]])
        found.append(correct[:at] + other + correct[at + 1 :])
    others = [family for family in FAMILIES if family is not draft.family and len(family.kinds) <= len(draft.arguments)]
    strange = _draft(rng.choice(others), rng.randrange(1000))
    found.append(dataclasses.replace(strange, name=draft.name, arguments=draft.arguments).programs[0])
    found.append(correct[: -rng.randint(1, 3)])
    return {program: _pass_rate(program, problem.tests) for program in dict.fromkeys(found)}


def load_pairs(split: str = "train", seed: int = 0, count: int = 1024) -> list[Pair]:
    """The correct program of each problem of `load` before each of its `rated` ones that fails a test."""
    pairs = []
    for problem in load(split, seed, count):
        (correct, best), *others = rated(problem, seed).items()
        for number, (program, rate) in enumerate((program, rate) for program, rate in others if rate < best):
            pairs.append(
                Pair(
                    f"{problem.id}|{number}", problem.question, fenced(correct), fenced(program), problem.id, best, rate
                )
            )
    return pairs


def load_ranked(
    split: str = "train", seed: int = 0, count: int = 1024, rules: Mapping[str, Any] | None = None
) -> list[Ranked]:
    """The problems of `load` with their `rated` programs, compared by the rules of curate.make_groups."""
    found = []
    for problem in load(split, seed, count):
        programs = [
            {"model_name": "author", "completion": program, "pass_rate": rate}
            for program, rate in rated(problem, seed).items()
        ]
        row = {"id": problem.id, "question": problem.question, "test_cases": problem.tests, "inferences": programs}
        for group in curate.make_groups([row], **(rules or {})):
            replies = tuple(map(fenced, group.texts))
            found.append(
                Ranked(problem.id, problem.id, problem.question, replies, group.wins, group.scores, group.shares)
            )
    return found


def _pass_rate(program: str, tests: Sequence[str]) -> float:
    """The share of asserts that a program of ours passes; 0 for one that is no Python."""
    namespace: dict[str, Any] = {}
    try:
        exec(program, namespace)
    except SyntaxError:
        return 0.0
    return sum(_passes(test, namespace) for test in tests) / len(tests)


def _passes(test: str, namespace: dict[str, Any]) -> bool:
    try:
        exec(test, namespace)
    except (AssertionError, ArithmeticError, AttributeError, LookupError, NameError, TypeError, ValueError):
        return False
    return True


def _drafts(family: Family, split: str, seed: int) -> Iterator[_Draft]:
    """The drafts of one family and split without end, no program twice."""
    seen: set[str] = set()
    for number in itertools.count(seed * _NUMBERS_PER_SEED):
        draft = _draft(family, number)
        if draft.split == split and draft.programs[0] not in seen:
            seen.add(draft.programs[0])
            yield draft


def _draft(family: Family, number: int) -> _Draft:
    rng = random.Random(f"draft/{family.name}/{number}")
    parts = [rng.choice(VERBS), *rng.sample(NOUNS, 2 if rng.random() < 0.3 else 1)]
    arguments = tuple(rng.choice(ARGUMENTS[kind]) for kind in family.kinds)
    constants = {name: rng.choice(values) for name, values in family.constants.items()}
    return _Draft(family, number, "_".join(parts), arguments, constants, rng.choice(family.wordings))


def _draft_of(problem: Problem) -> _Draft:
    match = re.fullmatch(r"toy_(\w+)_(\d+)", problem.id)
    if match is None or match[1] not in BY_NAME:
        raise ValueError(f"{problem.id!r} is not the id of a toy problem: toy_<family>_<number>")
    draft = _draft(BY_NAME[match[1]], int(match[2]))
    if draft.programs[0] != problem.solution:
        raise ValueError(
            f"{problem.id!r} does not hold the solution that its id stands for: it was not made by this load"
        )
    return draft


def _problem(draft: _Draft) -> Problem:
    tests = _tests(draft)
    return Problem(
        id=f"toy_{draft.family.name}_{draft.number}",
        question=draft.question(tests[0]),
        tests=tests,
        entry_point=draft.name,
        solution=draft.programs[0],
        source="toy",
    )


def _tests(draft: _Draft) -> tuple[str, ...]:
    """N_TESTS asserts, the shortest first: no buggy body passes them all, nor does one that returns a constant."""
    rng = random.Random(f"tests/{draft.family.name}/{draft.number}")
    right, *wrong = (_function(program, draft.name) for program in draft.programs)
    for _ in range(1000):
        rows = {repr(row): row for row in (draft.family.inputs(rng, draft.constants) for _ in range(N_TESTS))}
        expected = [right(*row) for row in rows.values()]
        told_apart = all(
            any(_result(function, row) != value for row, value in zip(rows.values(), expected, strict=True))
            for function in wrong
        )
        if len(rows) == N_TESTS and told_apart and len({repr(value) for value in expected}) > 1:
            pairs = zip(rows.values(), expected, strict=True)
            asserts = (
                f"assert {draft.name}({','.join(map(_literal, row))})=={_literal(value)}" for row, value in pairs
            )
            return tuple(sorted(asserts, key=len))
    raise ValueError(f"family {draft.family.name}: no inputs tell its bodies apart (number {draft.number})")


def _function(program: str, name: str) -> Callable[..., Any]:
    """The function of a program of ours: the text comes from the table of families, never from a model."""
    namespace: dict[str, Any] = {}
    exec(program, namespace)
    return namespace[name]


def _result(function: Callable[..., Any], arguments: Sequence[Any]) -> Any:
    """What a buggy body returns, or the error it raises, which equals no expected value."""
    try:
        return function(*arguments)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        return error


def _literal(value: Any) -> str:
    """A value as it stands in an assert: no blanks (they cost tokens) outside of texts, double quotes."""
    if isinstance(value, list):
        return "[" + ",".join(map(_literal, value)) + "]"
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _indent(body: str) -> str:
    return "".join("    " + line for line in body.splitlines(keepends=True))
