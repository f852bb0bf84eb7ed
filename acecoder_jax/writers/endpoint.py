"""Any OpenAI-compatible endpoint, by the `openai` client: many requests at a time, each tried until it gives a text.

An attempt that meets a fault is made again after a wait that doubles (with chance in it), or after what the endpoint
asks for. A wrong key, a model that is not there, an account without credit, an endpoint that stays down or that fails
one request after another end the run (WriterError), once the requests under way have ended.
"""

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import logging
import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any, Self

import openai

from acecoder_jax import prompts
from acecoder_jax.writers import BudgetSpent, Reply, Request, WriterError, _faults
from acecoder_jax.writers._account import Account, estimate
from acecoder_jax.writers._cache import Cache, digest
from acecoder_jax.writers._client import Access
from acecoder_jax.writers._dialect import Dialect, Tongue
from acecoder_jax.writers._gate import Gate
from acecoder_jax.writers._heard import Heard

_log = logging.getLogger(__name__)
MOST_CONNECTIONS = 1000  # that the client opens
STOPPED = _faults.Fault("stopped", "the run ended before this request was sent", again=True)
Future = concurrent.futures.Future[tuple[Reply, WriterError | None]]
Done = tuple[Request, str, Future]


class Endpoint:
    """A Writer. base_url, model; key_env: the environment variable with the key, "" where the endpoint asks for none.

    concurrency: requests under way at most. timeout_s: of an attempt in all. stall_s: of silence in a stream, its
    beginning included. stream: take replies piece by piece, so that a lost connection loses only what had not come.
    attempts: at most, of a request. backoff_s: before the second, doubled up to backoff_cap_s. patience_s: how long a
    request waits in all for a rate limit. failures_in_a_row: so many requests without a text end the run.
    json, prefix: see _dialect. price_in_usd, price_out_usd: of a million tokens. budget_usd: 0 is none; spent_usd: of
    it, before. cache: a folder for replies, "" for none.
    """

    def __init__(
        self,
        *,
        base_url: str,
        model: str,
        key_env: str = "OPENAI_API_KEY",
        concurrency: int = 16,
        timeout_s: float = 900.0,
        stall_s: float = 120.0,
        stream: bool = True,
        attempts: int = 8,
        backoff_s: float = 1.0,
        backoff_cap_s: float = 60.0,
        patience_s: float = 900.0,
        failures_in_a_row: int = 20,
        json: str = "schema",
        prefix: str = "none",
        price_in_usd: float = 0.0,
        price_out_usd: float = 0.0,
        budget_usd: float = 0.0,
        spent_usd: float = 0.0,
        cache: str = "",
    ):
        if min(attempts, concurrency, failures_in_a_row) < 1 or concurrency > MOST_CONNECTIONS:
            raise ValueError(
                "attempts, failures_in_a_row and concurrency must be at least 1, concurrency at most "
                f"{MOST_CONNECTIONS}"
            )
        if min(timeout_s, stall_s, backoff_s, backoff_cap_s) <= 0 or patience_s < 0:
            raise ValueError("timeout_s, stall_s, backoff_s and backoff_cap_s must be above 0, patience_s at least 0")
        self.model = model
        self.account = Account(price_in_usd, price_out_usd, budget_usd, spent_usd)
        self._access = Access(base_url, model, key_env)
        self._tongue, self._gate, self._cache = Tongue(Dialect(json, prefix)), Gate(), Cache(cache)
        self._concurrency, self._attempts, self._in_a_row = concurrency, attempts, failures_in_a_row
        self._timeout_s, self._stream, self._patience_s = timeout_s, stream, patience_s
        self._backoff = (backoff_s, backoff_cap_s)
        self._failed = 0  # requests in a row
        self._stopped: WriterError | None = None
        self._estimated = False
        self._client = self._access.asynchronous(stall_s if stream else timeout_s)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="endpoint", daemon=True)
        self._thread.start()

    def write(self, requests: Iterable[Request]) -> Iterator[Reply]:
        """See Writer. At most `concurrency` requests are taken before the first of them has its reply."""
        source, ended = iter(requests), queue.SimpleQueue[Done]()
        under_way: set[Future] = set()
        more = True
        try:
            while True:
                while more and len(under_way) < self._concurrency and self._may_go_on(len(under_way)):
                    request = next(source, None)
                    if request is None:
                        more = False
                        break
                    name = digest(request, base_url=self._access.base_url, model=self.model)
                    if (cached := self._cache.get(name, request.key)) is not None:
                        yield cached
                    else:
                        under_way.add(self._send(request, name, ended))
                if not under_way:
                    break
                request, name, future = ended.get()
                under_way.remove(future)
                reply, stop = future.result()
                self._cache.put(name, reply, {"model": self.model})
                self._count(reply, stop)
                yield reply
        finally:
            for future in under_way:
                future.cancel()
        if self._stopped is not None:
            raise self._stopped

    def close(self) -> None:
        """Ends what is under way, the connections and the thread."""
        if self._loop.is_closed():
            return
        with contextlib.suppress(concurrent.futures.TimeoutError, openai.OpenAIError):
            asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(timeout=10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # ---- the calling thread

    def _may_go_on(self, under_way: int) -> bool:
        try:
            self.account.check(under_way)
        except BudgetSpent as spent:
            self._stopped = self._stopped or spent
        return self._stopped is None

    def _send(self, request: Request, name: str, ended: "queue.SimpleQueue[Done]") -> Future:
        future = asyncio.run_coroutine_threadsafe(self._written(request), self._loop)
        future.add_done_callback(lambda done: ended.put((request, name, done)))
        return future

    def _count(self, reply: Reply, stop: WriterError | None) -> None:
        """Pays for a reply, and sees whether the run has to end."""
        self.account.pay(reply.cost_usd)
        self._failed = self._failed + 1 if reply.error else 0
        if stop is None and self._failed >= self._in_a_row:
            stop = WriterError(
                f"{self._failed} requests in a row have failed at {self._access.base_url}, the last one with "
                f"{reply.error}: {reply.detail}. Once that is mended the same command goes on"
            )
        if stop is not None and not self._gate.ended:
            self._stopped = stop
            self._loop.call_soon_threadsafe(self._gate.end)

    # ---- the loop's thread

    async def _written(self, request: Request) -> tuple[Reply, WriterError | None]:
        """Attempts until there is a text, or none is to be had; and why the run has to end, where it has."""
        tried = _Tried()
        while True:
            await self._gate.passed()
            if self._gate.ended:
                return self._failure(request, tried), None
            used = self._tongue.dialect
            heard = Heard(begun=used.begun(request), ends=used.ends(request))
            body = used.body(request, self.model, self._stream)
            tried.sent += 1
            fault = await self._fault_of(body, heard)
            if fault is None:
                return self._text(request, heard, heard.finish, tried), None
            if fault.status in _faults.OF_THE_REQUEST and self._tongue.learn(used, body, fault.detail):
                continue
            if heard.text:
                tried.cost_usd += self.account.cost(*self._tokens(request, heard))
            wait_s = tried.note(fault, heard, self._backoff)
            if fault.reason == "refused" or (fault.wait_s or 0.0) > self._patience_s:
                return self._failure(request, tried), self._access.stop(fault)
            if not fault.again or tried.faults >= self._attempts or tried.waited_s > self._patience_s:
                stop = self._access.stop(fault) if fault.reason == "unreachable" else None
                return self._failure(request, tried), stop
            _log.info("%s, sent %d times: %s; again in %.1f s", request.key, tried.sent, fault.reason, wait_s)
            if fault.wait_s is not None:
                self._gate.close_for(wait_s)  # for everybody
            else:
                await self._gate.rest(wait_s)

    async def _fault_of(self, body: dict[str, Any], heard: Heard) -> _faults.Fault | None:
        """One attempt: what it met, or None once `heard` is whole."""
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._attempt(body, heard)
        except Exception as error:
            fault = _faults.of(error)
            if fault is None:
                raise
            return fault
        return None

    async def _attempt(self, body: dict[str, Any], heard: Heard) -> None:
        api: Any = self._client.completions if "prompt" in body else self._client.chat.completions
        response = await api.with_raw_response.create(**body)
        if (wait_s := _faults.used_up(response.headers)) is not None:
            self._gate.close_for(min(wait_s, self._patience_s))
        parsed: Any = response.parse()
        if not self._stream:
            heard.whole(parsed)
            return
        if not isinstance(parsed, openai.AsyncStream):
            raise _faults.BadReply(f"no stream: {parsed!r:.200}")
        async with parsed:
            async for chunk in parsed:
                heard.piece(chunk)
        heard.check_end()

    def _text(self, request: Request, heard: Heard, finish: str, tried: "_Tried") -> Reply:
        prompt, written = self._tokens(request, heard)
        cost = tried.cost_usd + (self.account.cost(prompt, written) if finish != "cut" else 0.0)
        finish = "stop" if heard.cut() else finish
        text = prompts.encodable(heard.begun + heard.text)
        return Reply(request.key, text, finish, prompt, written, cost, attempts=tried.sent)

    def _failure(self, request: Request, tried: "_Tried") -> Reply:
        """The longest text that came before a connection was lost, or else the last fault."""
        if tried.longest.text:
            return self._text(request, tried.longest, "cut", tried)
        fault = tried.last
        detail = self._access.tell(fault.detail)
        return Reply(request.key, cost_usd=tried.cost_usd, attempts=tried.sent, error=fault.reason, detail=detail)

    def _tokens(self, request: Request, heard: Heard) -> tuple[int, int]:
        if heard.usage is not None:
            return heard.usage
        if heard.finish and not self._estimated:
            self._estimated = True
            _log.warning("the endpoint does not tell tokens: they are estimated at 4 characters each")
        return estimate(request, heard.text)

    async def _end(self) -> None:
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.close()


@dataclasses.dataclass
class _Tried:
    """What the attempts of a request have met. faults: those that count; a rate limit has its patience instead."""

    sent: int = 0
    faults: int = 0
    limits: int = 0
    waited_s: float = 0.0
    cost_usd: float = 0.0
    longest: Heard = dataclasses.field(default_factory=Heard)
    last: _faults.Fault = STOPPED

    def note(self, fault: _faults.Fault, heard: Heard, backoff: tuple[float, float]) -> float:
        """Takes in a fault; seconds to wait before another attempt."""
        self.last = fault
        if len(heard.text) > len(self.longest.text):
            self.longest = heard
        limited = fault.reason == "rate_limited"
        self.limits, self.faults = self.limits + limited, self.faults + (not limited)
        if fault.wait_s is None:
            wait_s = _faults.backoff(self.limits if limited else self.faults, *backoff)
        else:  # not at once, whatever the endpoint says: some say 0 for ever
            wait_s = max(fault.wait_s, _faults.backoff(1, *backoff))
        self.waited_s += wait_s if limited else 0.0
        return wait_s


make = Endpoint
