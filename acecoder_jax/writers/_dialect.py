"""How a request is put to an endpoint, and what is left out once it has said that it does not know it.

Endpoints differ in JSON schemas, JSON mode, usage in streams, the name of the limit of tokens, and how many stop
strings they take. The best is asked for; an error that names the part has it replaced by the next best, once for the
whole run, and the log says so. A request without messages is one for the completions API.
"""

import dataclasses
import logging
import re
import threading
from collections.abc import Mapping
from typing import Any

from acecoder_jax.writers import Request

_log = logging.getLogger(__name__)
# How a reply is held to be JSON: to its schema (as OpenAI and vLLM take it, or llama-cpp-python), to any object, or by
# the prompt alone.
JSON = ("schema", "object_schema", "object", "none")
PREFIX = ("message", "continue", "none")
STOPS = (1024, 4, 0)  # stop strings of a request; OpenAI takes four


@dataclasses.dataclass(frozen=True)
class Dialect:
    """json: of JSON. usage: ask a stream for its usage. limit: the field for the most tokens. stops: how many stop
    strings are sent; the text is cut at all of them when it has come.

    prefix: how a reply is begun for the model. "message": a last message of the assistant, which llama.cpp's server and
    others go on from; "continue": the same with the flags of vLLM and SGLang; "none": not at all.
    """

    json: str
    prefix: str
    usage: bool = True
    limit: str = "max_tokens"
    stops: int = STOPS[0]

    def __post_init__(self) -> None:
        for name, known in (("json", JSON), ("prefix", PREFIX)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is one of {', '.join(known)}, not {getattr(self, name)!r}")

    def body(self, request: Request, model: str, stream: bool = False) -> dict[str, Any]:
        """The request as keyword arguments of the client: with a "prompt" for its completions, else for its chats."""
        asked = (
            self._chat(request) if request.messages else {"prompt": request.prefix, "max_tokens": request.max_tokens}
        )
        body: dict[str, Any] = {"model": model, **asked, "temperature": request.temperature, "top_p": request.top_p}
        if request.seed is not None:
            body["seed"] = request.seed
        if stop := self.ends(request)[: self.stops]:
            body["stop"] = list(stop)
        if stream:
            body["stream"] = True
            if self.usage:
                body["stream_options"] = {"include_usage": True}
        return body

    def _chat(self, request: Request) -> dict[str, Any]:
        messages = [dict(message) for message in request.messages]
        asked: dict[str, Any] = {"messages": messages, self.limit: request.max_tokens}
        if request.prefix and self.prefix != "none":
            messages.append({"role": "assistant", "content": request.prefix})
            if self.prefix == "continue":
                asked["extra_body"] = {"add_generation_prompt": False, "continue_final_message": True}
        if request.schema is not None and self.json != "none":
            asked["response_format"] = self._format(dict(request.schema))
        return asked

    def _format(self, schema: dict[str, Any]) -> dict[str, Any]:
        if self.json == "schema":
            return {"type": "json_schema", "json_schema": {"name": "reply", "strict": True, "schema": schema}}
        return {"type": "json_object"} | ({"schema": schema} if self.json == "object_schema" else {})

    def begun(self, request: Request) -> str:
        """What the text of a reply has to begin with, since the model went on from it."""
        return request.prefix if self.prefix != "none" or not request.messages else ""

    def ends(self, request: Request) -> tuple[str, ...]:
        """What ends the text of a reply: not the request's stop strings where they are for a reply that was to be begun
        and is not, which may open with one of them.
        """
        return () if request.prefix and not self.begun(request) else request.stop

    def without(self, complaint: str, body: Mapping[str, Any]) -> "Dialect | None":
        """The next best after an error with this complaint; None where it is about something else."""
        names_format = any(word in complaint for word in ("response_format", "json_schema", "json_object"))
        if "response_format" in body and names_format:
            return dataclasses.replace(self, json=JSON[JSON.index(self.json) + 1])
        if "stream_options" in body and "stream_options" in complaint:
            return dataclasses.replace(self, usage=False)
        if "extra_body" in body and any(name in complaint for name in body["extra_body"]):
            return dataclasses.replace(self, prefix="none")
        if self.limit == "max_tokens" and "max_completion_tokens" in complaint:
            return dataclasses.replace(self, limit="max_completion_tokens")
        if "stop" in body and re.search(r"\bstop\b", complaint):
            return dataclasses.replace(self, stops=next(stops for stops in STOPS if stops < len(body["stop"])))
        return None


class Tongue:
    """The dialect of a run, for all its requests; from any thread."""

    def __init__(self, dialect: Dialect):
        self.dialect = dialect
        self._lock = threading.Lock()

    def learn(self, used: Dialect, body: Mapping[str, Any], complaint: str) -> bool:
        """Whether the request, put in the dialect `used` and refused, is worth putting again."""
        with self._lock:
            if self.dialect != used:  # another request has taught it since
                return True
            better = used.without(complaint, body)
            if better is None:
                return False
            changed = [name for name in vars(better) if getattr(better, name) != getattr(used, name)]
            told = ", ".join(f"{name}: {getattr(used, name)} -> {getattr(better, name)}" for name in changed)
            _log.warning("the endpoint does not know a part of the request, which goes on without it (%s)", told)
            self.dialect = better
            return True
