"""The records that travel through the system, as frozen dataclasses that go to and from JSON.

    Seed (a program from elsewhere) -> Problem -> Completion (one sampled answer) -> Verdict (what the sandbox found)

Things are joined by `id`, never by the position of a row.
"""

import dataclasses
import enum
import typing
from collections.abc import Mapping
from typing import Any, Self


class Record:
    """A frozen dataclass with a JSON form. Tuples become lists on the way out and tuples again on the way in."""

    def to_json(self) -> dict[str, Any]:
        """The record as a dict of JSON values."""
        return {field.name: _plain(getattr(self, field.name)) for field in dataclasses.fields(self)}  # type: ignore[arg-type]

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        """The record from its JSON form. A missing or an unknown field is a ValueError that names it."""
        fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
        required = {name for name, f in fields.items() if f.default is f.default_factory is dataclasses.MISSING}
        if missing := required - row.keys():
            raise ValueError(f"{cls.__name__} {row.get('id', '')!r} lacks the fields {sorted(missing)}")
        if unknown := row.keys() - fields.keys():
            raise ValueError(f"{cls.__name__} {row.get('id', '')!r} has unknown fields {sorted(unknown)}")
        hints = typing.get_type_hints(cls)
        return cls(**{name: _revive(value, hints[name]) for name, value in row.items()})


def _plain(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.value
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _revive(value: Any, hint: Any) -> Any:
    if isinstance(value, list) and typing.get_origin(hint) is tuple:
        inner = typing.get_args(hint)[0]
        return tuple(_revive(item, inner) for item in value)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return hint(value)
    return value


class Status(enum.StrEnum):
    """What became of one test of one program."""

    PASS = "pass"
    FAIL = "fail"  # the assertion is false
    ERROR = "error"  # the program or the test raised something else
    TIMEOUT = "timeout"  # out of CPU or wall time, killed from outside
    CRASH = "crash"  # the process died: a signal, an exit, out of memory
    INFRA = "infra"  # the sandbox itself broke; says nothing about the program


@dataclasses.dataclass(frozen=True)
class Seed(Record):
    """A program that a question is made from.

    id: a function of where the program comes from, never of the order of rows: `evol_12`, `stdlib_textwrap.dedent`.
    source: the name that rows of a dataset carry: `evol`, `oss`, `bigcode_python_fns`, `stdlib`, or a package's name.
    instruction: what the program was written for, as its source words it; "" where there is none.
    licence: as the source names it; "" where it does not.
    """

    id: str
    source: str
    program: str
    instruction: str = ""
    licence: str = ""


@dataclasses.dataclass(frozen=True)
class Rejection(Record):
    """A row that was left out, and why.

    reason: one of a few words to count by, such as "short". detail: what is particular to this row; may be "".
    """

    id: str
    reason: str
    detail: str = ""


@dataclasses.dataclass(frozen=True)
class Problem(Record):
    """A question and the tests that judge an answer.

    question: the whole user turn, as the policy reads it.
    tests: statements of Python, asserts as a rule, each judged apart.
    entry_point: the function that the tests call, where it is known.
    setup: code that runs before each test (imports, helper values).
    solution: a reference program, where one is known.
    """

    id: str
    question: str
    tests: tuple[str, ...]
    entry_point: str | None = None
    setup: str = ""
    solution: str | None = None
    source: str = ""


@dataclasses.dataclass(frozen=True)
class Completion(Record):
    """One sampled answer. It holds every number that the trainer needs, so a rollout can be written and reused.

    tokens: the response, the end-of-turn token included when the model wrote one.
    logps: log-prob of each response token under the raw policy (temperature 1).
    sampling_logps: the same under the distribution it was drawn from (temperature, top-p, top-k).
    policy_mask: 1 where the policy wrote the token, 0 where something else did (a tool's reply, a prefix).
    finish_reason: "stop" (end token or stop string), "length" (cut at max_new_tokens), "cancelled", or "error": the
    request could not be met, and `error` says why.
    """

    problem_id: str
    sample: int
    rollout: int
    prompt_tokens: tuple[int, ...]
    tokens: tuple[int, ...]
    logps: tuple[float, ...]
    sampling_logps: tuple[float, ...]
    policy_mask: tuple[int, ...]
    text: str
    finish_reason: str
    turn: int = 0
    error: str = ""

    @property
    def id(self) -> str:
        """Unique within a rollout."""
        return f"{self.problem_id}/{self.sample}"

    @property
    def truncated(self) -> bool:
        """True when the answer was cut before its end token."""
        return self.finish_reason == "length"


@dataclasses.dataclass(frozen=True)
class Verdict(Record):
    """What the sandbox found: a status for every test, in the order of the problem's tests.

    mode: "values" (tests judged away from the program) or "inside" (tests ran beside the program: untrusted).
    messages: what went wrong, one a test, capped in length; "" for a pass.
    time_s: wall time that the program took in all. memory_bytes: the most that one of its processes had in memory.
    """

    id: str
    statuses: tuple[Status, ...]
    messages: tuple[str, ...] = ()
    mode: str = "values"
    time_s: float = 0.0
    memory_bytes: int = 0

    @property
    def pass_rate(self) -> float:
        """Passed tests over all tests; 0.0 where there are none."""
        return self.statuses.count(Status.PASS) / len(self.statuses) if self.statuses else 0.0

    @property
    def passed(self) -> bool:
        """True when there is a test and every test passed."""
        return bool(self.statuses) and all(status is Status.PASS for status in self.statuses)

    @property
    def infra(self) -> bool:
        """True when the sandbox broke on any test: the verdict must not be used as a reward."""
        return Status.INFRA in self.statuses


@dataclasses.dataclass(frozen=True)
class Pair(Record):
    """Two replies to one question, the chosen one clearly better than the rejected one.

    question: the whole user turn. chosen, rejected: the assistant's, as a rule a program in a markdown block.
    question_id, chosen_score, rejected_score: of the question, and the pass rates; "" and None where nobody told.
    """

    id: str
    question: str
    chosen: str
    rejected: str
    question_id: str = ""
    chosen_score: float | None = None
    rejected_score: float | None = None


@dataclasses.dataclass(frozen=True)
class Ranked(Record):
    """Replies to one question, each once, and which of them are better than which.

    wins: (better, worse), places in replies. scores: the pass rates of these two, in the order of wins: a reply that
    was sampled twice may have had two. shares: how much of the question each comparison is, in the same order; () where
    it is all there is to the question.
    """

    id: str
    question_id: str
    question: str
    replies: tuple[str, ...]
    wins: tuple[tuple[int, int], ...]
    scores: tuple[tuple[float, float], ...]
    shares: tuple[float, ...] = ()
