"""Who writes text: an endpoint, an endpoint's batches, or a local model. One module each, looked up by name.

    with writers.make("endpoint", base_url="http://127.0.0.1:8000/v1", model="m", key_env="") as writer:
        for reply in writer.write(requests):   # as they finish, in any order
            ...

A writer's file has make(**knobs) -> Writer. Each request gives one reply, be it with an error: none is lost. What must
stop the whole run (a wrong key, an endpoint that is down, a budget that is spent) is a WriterError, raised once the
requests that were under way have given theirs.
"""

import dataclasses
import importlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol, Self

from acecoder_jax import plugins

# Errors of a reply. They say nothing about what was asked: a later start may send the request again. ENDS: "refused"
# (the key, the model, the credit), "unreachable": what ended the run; "stopped": it ended before the request had its
# reply.
ENDS = ("refused", "unreachable", "stopped")
FAILURES = ("timeout", "rate_limited", "server_error", "broken", "bad_reply", "bad_request", "expired", *ENDS)


class WriterError(RuntimeError):
    """The run cannot go on as it is; the message says why and what to do."""


class BudgetSpent(WriterError):  # noqa: N818 - it reads as what happened
    """There is no money left for another request."""


@dataclasses.dataclass(frozen=True)
class Request:
    """One text to write.

    key: names the request among those of a run; the reply carries it. messages: of {"role", "content"}; () for a model
    that goes on from the bare text of `prefix`, without a chat's format.
    seed: of the noise, so that samples of one prompt differ; None leaves it to the writer.
    schema: the JSON schema that the text should meet, where the writer can see to it.
    prefix: how the text shall begin; see the writer for what it makes of it. stop: strings that end the text, which
    ends before them; they are looked for in what the model writes, not in the prefix. Beside a prefix they are for a
    reply that begins with it: a chat that cannot be begun so has its whole text.
    """

    key: str
    messages: tuple[Mapping[str, str], ...]
    temperature: float = 0.7
    top_p: float = 1.0
    max_tokens: int = 1024
    seed: int | None = None
    schema: Mapping[str, Any] | None = None
    prefix: str = ""
    stop: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Reply:
    """What became of a request.

    text: with the request's prefix, where the model went on from it. finish: "stop", "length" (cut at max_tokens),
    "content_filter", "cut" (the connection was lost each time; what had come is here), or "" with an error.
    cost_usd: of all attempts. cached: taken from the disk, for nothing. attempts: requests that were sent for it.
    error: one of FAILURES, with the `detail`; None for a text.
    """

    key: str
    text: str = ""
    finish: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0
    cached: bool = False
    attempts: int = 1
    error: str | None = None
    detail: str = ""

    @property
    def usage(self) -> dict[str, Any]:
        """For the row that is made of the text."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "attempts": self.attempts,
            "cached": self.cached,
        }


class Writer(Protocol):
    """Writes texts; holds what it needs for that until it is closed. model: the name that rows give their author."""

    model: str

    def write(self, requests: Iterable[Request]) -> Iterator[Reply]:
        """A reply for each request as it finishes; requests are taken as there is room for them. WriterError."""
        ...

    def close(self) -> None:
        """Gives back what the writer holds."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...


def make(name: str, **knobs: Any) -> Writer:
    """The writer of a name. ValueError for an unknown name or knob; it lists those that exist."""
    if name not in (names := plugins.names(__path__)):
        raise ValueError(f"unknown writer {name!r}; acecoder_jax/writers has {', '.join(names)}")
    module = importlib.import_module(f"{__name__}.{name}")
    return plugins.call(f"the writer {name!r}", module.make, knobs)
