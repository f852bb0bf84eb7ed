"""A writer writes texts while the sandbox judges the programs in those that it has written."""

import dataclasses
import functools
import queue
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any, Generic, Protocol, TypeVar

from acecoder_jax import writers
from acecoder_jax.sandbox import Job, Sandbox
from acecoder_jax.types import Verdict
from acecoder_jax.writers import Reply, Request, WriterError

INFRA = "infra"  # the reason of a program that the sandbox could not judge, though it tried several times
AGAIN = (*writers.FAILURES, INFRA)  # reasons that say nothing about a program
WINDOW = 256  # jobs in the sandbox for each of its workers, beyond which the writer has to wait
CHECK_S = 0.5  # between two calls of `check`
OPEN_BYTES = 1 << 28  # of the tests of those jobs, beyond which it has to wait too

T = TypeVar("T")


class Writes(Protocol):
    """Of a Writer, what is needed here."""

    def write(self, requests: Iterable[Request]) -> Iterator[Reply]:
        """See Writer."""
        ...


@dataclasses.dataclass(frozen=True)
class Judged(Generic[T]):
    """A reply to what was asked, its program, and what the sandbox found by part; {} where there was no text."""

    one: T
    reply: Reply
    program: str = ""
    verdicts: Mapping[str, Verdict] = dataclasses.field(default_factory=dict)

    @property
    def reason(self) -> str:
        """Why there is nothing to tell of the program; "" where there is."""
        if self.reply.error is not None:
            return self.reply.error
        return INFRA if any(verdict.infra for verdict in self.verdicts.values()) else ""

    @property
    def detail(self) -> str:
        """What the reason was in this case; else the first thing that went wrong with the program."""
        if self.reply.error is not None:
            return self.reply.detail
        return next((text for verdict in self.verdicts.values() for text in verdict.messages if text), "")


def judge(
    writer: Writes,
    sandbox: Sandbox,
    asked: Iterable[tuple[Request, T]],
    program: Callable[[T, str], str],
    jobs: Callable[[T, str], Mapping[str, Job]],
    check: Callable[[], None] = lambda: None,
) -> Iterator[Judged[T]]:
    """What became of the requests, in the order in which it is known. Each program is judged as soon as it is written.

    program: in the text of a reply. jobs: of that program, by part; at least one. check: called again and again while
    verdicts are waited for; what it raises ends the judging.
    A writer that has to stop (WriterError) does so when all programs that it wrote have been judged.
    """
    waiting: dict[str, T] = {}

    def requests() -> Iterator[Request]:
        for request, one in asked:
            waiting[request.key] = one
            yield request

    done = queue.SimpleQueue[tuple[str, str, int, Future[Verdict]]]()
    under_way: dict[str, tuple[Judged[T], dict[str, Verdict]]] = {}
    order: dict[str, tuple[str, ...]] = {}  # of the parts, however they end
    open_jobs, open_bytes, most = 0, 0, WINDOW * sandbox.workers
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
                text = program(one, reply.text)
                parts = jobs(one, text)
                under_way[reply.key] = Judged(one, reply, text), {}
                order[reply.key] = tuple(parts)
                open_jobs += len(parts)
                for part, job in parts.items():
                    size = sum(map(len, job.tests))
                    open_bytes += size
                    note = functools.partial(_note, done, reply.key, part, size)
                    sandbox.submit(job).add_done_callback(note)
            else:
                yield Judged(one, reply)
        while open_jobs and (reply is None or open_jobs >= most or open_bytes >= OPEN_BYTES or not done.empty()):
            key, part, size, future = _next(done, check)
            open_jobs -= 1
            open_bytes -= size
            judged, verdicts = under_way[key]
            verdicts[part] = future.result()
            if len(verdicts) == len(order[key]):
                del under_way[key]
                yield dataclasses.replace(judged, verdicts={name: verdicts[name] for name in order.pop(key)})
        if reply is None:
            break
    if stopped is not None:
        raise stopped


def whole(reply: Reply) -> Reply:
    """The reply; a failure where the connection was lost in the middle of it, for half a program says nothing."""
    if reply.finish != "cut":
        return reply
    return dataclasses.replace(reply, error="broken", detail="the connection was lost each time before the end")


def _next(done: "queue.SimpleQueue[Any]", check: Callable[[], None]) -> Any:
    while True:
        try:
            return done.get(timeout=CHECK_S)
        except queue.Empty:
            check()


def _note(
    done: "queue.SimpleQueue[tuple[str, str, int, Future[Verdict]]]",
    key: str,
    part: str,
    size: int,
    future: "Future[Verdict]",
) -> None:
    done.put((key, part, size, future))
