"""What filter and sample share: a model writes programs, and the sandbox judges them while it writes others."""

import ast
import collections
import contextlib
import dataclasses
import functools
import queue
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from acecoder_jax import prompts, writers
from acecoder_jax.cluster import Work
from acecoder_jax.sandbox import Job, Limits, Sandbox
from acecoder_jax.stages import _writing
from acecoder_jax.store import Row
from acecoder_jax.types import Verdict
from acecoder_jax.writers import Reply, Request, Writer, WriterError

COLUMNS: dict[str, type] = {"question": str, "test_cases": list}  # of the questions
INFRA = "infra"  # the reason of a program that the sandbox could not judge, though it tried several times
AGAIN = (*writers.FAILURES, INFRA)  # reasons that say nothing about a program
WINDOW = 256  # programs in the sandbox for each of its workers, beyond which the writer has to wait
_OWN_TESTS = re.compile(r"^(assert\b|if\s+__name__\b)", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Asking:
    """How a model is asked for programs. shown_tests: of each question. seed: of the noise; greedy has none."""

    temperature: float
    top_p: float
    max_tokens: int
    shown_tests: int
    seed: int

    def ask(self, row: Row, samples: Iterable[int], spent_usd: Mapping[int, float]) -> "Iterator[Asked]":
        """For programs of a question, by their numbers; with what earlier starts have spent on each in vain."""
        text = prompts.program_request(row["question"], row["test_cases"][: self.shown_tests])
        messages = ({"role": "user", "content": text},)
        for sample in samples:
            seed = _writing.request_seed(self.seed, "program", row["id"], sample)
            request = Request(
                key=f"{row['id']}|{sample}", messages=messages, temperature=self.temperature, top_p=self.top_p,
                max_tokens=self.max_tokens, seed=seed if self.temperature > 0 else None, prefix=prompts.PROGRAM_START,
            )  # fmt: skip
            yield Asked(request, row, sample, spent_usd.get(sample, 0.0))


@dataclasses.dataclass(frozen=True)
class Judged:
    """A reply and what the sandbox found of its program; no verdict where the writer gave no text.

    spent_usd: by earlier starts, for the same program in vain.
    """

    row: Row
    sample: int
    reply: Reply
    program: str = ""
    verdict: Verdict | None = None
    spent_usd: float = 0.0

    @property
    def cost_usd(self) -> float:
        """Of all starts."""
        return self.reply.cost_usd + self.spent_usd

    @property
    def reason(self) -> str:
        """Why there is nothing to tell of the program; "" where there is."""
        if self.verdict is None:
            return str(self.reply.error)
        return INFRA if self.verdict.infra else ""

    @property
    def detail(self) -> str:
        """What the reason was in this case."""
        if self.verdict is None:
            return self.reply.detail
        return next(filter(None, self.verdict.messages), "")


@dataclasses.dataclass(frozen=True)
class Asked:
    """A request for the sample-th program of a question. spent_usd: as of Judged."""

    request: Request
    row: Row
    sample: int
    spent_usd: float = 0.0


@contextlib.contextmanager
def work(
    writer: str,
    writer_args: Mapping[str, Any],
    sandbox_args: Mapping[str, Any],
    limits: Mapping[str, Any],
    ask: Callable[[Writer, Sandbox, Sequence[Row]], Iterator[Row]],
) -> Iterator[Work]:
    """Questions to result rows, by the stage's own `ask`, with a writer and a sandbox for the time of the work."""
    with (
        Sandbox(limits=Limits(**limits), **sandbox_args) as sandbox,
        writers.make(writer, **writer_args) as hand,
    ):
        yield functools.partial(ask, hand, sandbox)


def judge(writer: Writer, sandbox: Sandbox, asked: Iterable[Asked]) -> Iterator[Judged]:
    """What became of the requests, in the order in which it is known. Each program is judged as soon as it is written.

    A writer that has to stop (WriterError) does so when all programs that it wrote have been judged.
    """
    waiting: dict[str, Asked] = {}

    def requests() -> Iterator[Request]:
        for one in asked:
            waiting[one.request.key] = one
            yield one.request

    judged = queue.SimpleQueue[tuple[Asked, Reply, str, Future[Verdict]]]()
    under_way, most = 0, WINDOW * sandbox.workers
    replies = writer.write(requests())
    stopped: WriterError | None = None
    while True:
        try:
            reply = next(replies, None)
        except WriterError as error:
            stopped, reply = error, None
        if reply is not None:
            one, reply = waiting.pop(reply.key), whole(reply)
            if reply.error is None:
                program = program_of(reply.text)
                future = sandbox.submit(_job(one, program))
                future.add_done_callback(lambda done, which=(one, reply, program): judged.put((*which, done)))  # type: ignore[misc]
                under_way += 1
            else:
                yield Judged(one.row, one.sample, reply, spent_usd=one.spent_usd)
        while under_way and (reply is None or under_way >= most or not judged.empty()):
            one, its_reply, program, done = judged.get()
            under_way -= 1
            yield Judged(one.row, one.sample, its_reply, program, done.result(), one.spent_usd)
        if reply is None:
            break
    if stopped is not None:
        raise stopped


def whole(reply: Reply) -> Reply:
    """The reply; a failure where the connection was lost in the middle of it, for half a program says nothing."""
    if reply.finish != "cut":
        return reply
    return dataclasses.replace(reply, error="broken", detail="the connection was lost each time before the end")


def _job(one: Asked, program: str) -> Job:
    row = one.row
    return Job(one.request.key, program, tuple(row["test_cases"]), row.get("entry_point"), row.get("setup") or "")


def program_of(text: str) -> str:
    """The program in a reply, without the tests that it makes of itself.

    What stands at its outermost level as an assert, or under `if __name__`, is left out: models like to repeat the
    tests that they were shown, and where one of these is wrong it would take all others with it.
    """
    program = prompts.extract_started_code(text, prompts.PROGRAM_START)
    if "assert" not in program and "__name__" not in program:
        return program
    if not _OWN_TESTS.search(program) or "\r" in program:  # which would count as the end of a line below
        return program
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a program may hold "\d" in plain strings
            body = ast.parse(program).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return program  # it runs no more than it parses
    lines = program.split("\n")
    users = collections.Counter(number for node in body for number in _lines_of(node))
    for node in body:
        if _is_own_test(node) and all(users[number] == 1 for number in _lines_of(node)):
            for number in _lines_of(node):
                lines[number - 1] = ""
    return "\n".join(lines).rstrip("\n")


def _lines_of(node: ast.stmt) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def _is_own_test(node: ast.stmt) -> bool:
    if isinstance(node, ast.Assert):
        return True
    if not isinstance(node, ast.If) or not isinstance(node.test, ast.Compare):
        return False
    return isinstance(node.test.left, ast.Name) and node.test.left.id == "__name__"
