"""What a model has imagined: a question and tests for it, read from its reply and checked on arrival.

    question = imagined.read(reply_text, min_tests=5)    # Question, or Rejected

A test that is kept is one assert that calls the entry point once, with constant arguments, and compares what comes back
with constants. Everything that was mended and everything that was refused is counted by what it was.
"""

import collections
import dataclasses
from collections.abc import Mapping

from acecoder_jax.imagined import asserts, entry, replies


@dataclasses.dataclass(frozen=True)
class Question:
    """repaired, refused: how often what was mended in the reply and its tests, and why tests were left out."""

    question: str
    tests: tuple[str, ...]
    entry_point: str
    repaired: Mapping[str, int]
    refused: Mapping[str, int]


class Rejected(Exception):  # noqa: N818 - it reads as what happened
    """A reply that no question comes of.

    reason: empty_reply, not_json, wrong_schema, no_question, no_entry_point, class (the tests build one: the question
    wants a function) or too_few_tests.
    """

    def __init__(
        self, reason: str, detail: str, repaired: Mapping[str, int] | None = None,
        refused: Mapping[str, int] | None = None,
    ):  # fmt: skip
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail
        self.repaired, self.refused = dict(repaired or {}), dict(refused or {})


def read(text: str, min_tests: int) -> Question:
    """The question and its valid tests, each once, in the order of the reply. Rejected."""
    try:
        reply = replies.read(text)
    except replies.Unreadable as problem:
        raise Rejected(problem.reason, problem.detail) from None
    repaired, refused = collections.Counter(reply.repaired), collections.Counter(reply.refused)
    found: list[asserts.Assert] = []
    for test in reply.tests:
        try:
            mended = asserts.parse(test)
        except asserts.Refused as problem:
            refused[problem.reason] += 1
            continue
        repaired.update(mended.repaired)
        found += mended.asserts
    name = entry.entry_point(found)
    if name is None:
        raise Rejected("no_entry_point", f"none of {len(reply.tests)} tests calls a function", repaired, refused)
    if entry.is_class(name):
        raise Rejected("class", f"the tests build a {name}", repaired, refused)
    tests: dict[str, None] = {}  # in order, each once
    for one in found:
        wrong = entry.problem(one, name) or ("repeated" if one.source in tests else "")
        if wrong:
            refused[wrong] += 1
        else:
            tests[one.source] = None
    if len(tests) < min_tests:
        detail = f"{len(tests)} valid tests of {len(reply.tests)}, at least {min_tests} are wanted"
        raise Rejected("too_few_tests", detail, repaired, refused)
    return Question(reply.question, tuple(tests), name, dict(repaired), dict(refused))
