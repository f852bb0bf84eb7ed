"""The Batch API of an OpenAI-compatible endpoint: cheaper, and done within a day.

FOLDER has what a later start needs to go on: NAME.jsonl (the requests of a batch), NAME.json (how far it is) and
NAME.out.jsonl (what came back). A batch's name is a hash of its requests and goes to the endpoint with it: after a kill
between sending a batch and noting so, the next start finds it there and does not send it twice. Replies that are in the
folder are not asked for again. A folder is of one run.
"""

import json as jsonlib
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import openai
from openai.types import Batch

from acecoder_jax import prompts
from acecoder_jax.writers import Reply, Request, WriterError, _faults
from acecoder_jax.writers._account import Account, estimate
from acecoder_jax.writers._cache import digest
from acecoder_jax.writers._client import Access
from acecoder_jax.writers._dialect import STOPS, Dialect
from acecoder_jax.writers._heard import Heard
from acecoder_jax.writers._records import Record, Records

URL: Literal["/v1/chat/completions"] = "/v1/chat/completions"
MOST = 50_000  # requests that the API takes in a batch
GONE = ("expired", "cancelled")  # what is done of such a batch has its replies
T = TypeVar("T")


class Batches:
    """A Writer. The requests are all taken before the first is sent.

    base_url, model, key_env, json, prices, budget_usd, spent_usd: as of the endpoint; the budget is looked at before
    each batch. attempts, backoff_s, backoff_cap_s: of a call. batch_requests: of one batch; open_batches: at a time.
    poll_s: between looks at them. folder: see above.
    """

    def __init__(
        self,
        *,
        base_url: str,
        model: str,
        folder: str,
        key_env: str = "OPENAI_API_KEY",
        json: str = "schema",
        attempts: int = 8,
        backoff_s: float = 1.0,
        backoff_cap_s: float = 60.0,
        timeout_s: float = 300.0,
        batch_requests: int = 20_000,
        open_batches: int = 4,
        poll_s: float = 30.0,
        price_in_usd: float = 0.0,
        price_out_usd: float = 0.0,
        budget_usd: float = 0.0,
        spent_usd: float = 0.0,
    ):
        if not 1 <= batch_requests <= MOST or min(open_batches, attempts) < 1:
            raise ValueError(f"batch_requests goes from 1 to {MOST}; open_batches and attempts are at least 1")
        if not folder:
            raise ValueError("folder is empty: batches need one, or a later start would send them again")
        self.model = model
        self.account = Account(price_in_usd, price_out_usd, budget_usd, spent_usd)
        self._access = Access(base_url, model, key_env)
        self._dialect, self._records = Dialect(json, "none", stops=STOPS[1]), Records(Path(folder))
        self._attempts, self._backoff, self._poll_s = attempts, (backoff_s, backoff_cap_s), poll_s
        self._size, self._open = batch_requests, open_batches
        self._client = self._access.plain(timeout_s)

    def write(self, requests: Iterable[Request]) -> Iterator[Reply]:
        """See Writer. ValueError for a request without messages: a batch holds chats."""
        requests = list(requests)
        if bare := [one.key for one in requests if not one.messages]:
            raise ValueError(f"a batch holds chats, and {bare[0]!r} has no messages: write bare texts with an endpoint")
        wanted = {digest(one, base_url=self._access.base_url, model=self.model): one for one in requests}
        for name, line in self._records.collected(wanted):
            reply = self._reply(wanted[name], line)
            if reply.error is None:
                del wanted[name]
                self.account.pay(reply.cost_usd)  # it came back to a start that was killed before it could say so
                yield reply
        waiting = self._records.open(wanted)
        known = {name for record in waiting for name in record.names}
        rest = [name for name in wanted if name not in known]
        for start in range(0, len(rest), self._size):
            bodies = {name: self._dialect.body(wanted[name], self.model) for name in rest[start : start + self._size]}
            waiting.append(self._records.new(bodies))
        yield from self._work_off(waiting, wanted)

    def close(self) -> None:
        """Closes the connections; batches that are open stay so."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _work_off(self, waiting: list[Record], wanted: dict[str, Request]) -> Iterator[Reply]:
        """Sends batches while there is room for them, and looks at the open ones until none is left."""
        under_way = [record for record in waiting if record.batch_id]
        unsent = [record for record in waiting if not record.batch_id]
        stopped: WriterError | None = None
        while under_way or (unsent and stopped is None):
            while unsent and len(under_way) < self._open and stopped is None:
                try:
                    self.account.check()
                except WriterError as spent:
                    stopped = spent
                    break
                self._send(unsent[0])
                under_way.append(unsent.pop(0))
            for record in list(under_way):
                if self._is_done(record):
                    under_way.remove(record)
                    yield from self._collect(record, wanted)
            if under_way:
                time.sleep(self._poll_s)
        if stopped is not None:
            raise stopped

    def _send(self, record: Record) -> None:
        """Sends a batch, or finds it at the endpoint, where an earlier start has sent it and could not say so."""
        if record.seen_before:
            record.batch_id = self._found_batch(record) or ""
        if not record.batch_id:
            path = self._records.requests_path(record)
            file = self._call(lambda: self._client.files.create(file=path, purpose="batch"))
            batch = self._call(
                lambda: self._client.batches.create(
                    input_file_id=file.id, endpoint=URL, completion_window="24h", metadata={"name": record.name}
                ),
                again=lambda: self._found_batch(record),
            )
            record.batch_id = batch if isinstance(batch, str) else batch.id
        self._records.save(record)
        print(f"batch {record.name}: {len(record.names):,} requests sent as {record.batch_id}", flush=True)

    def _found_batch(self, record: Record) -> str | None:
        """The id of the endpoint's batch of this name that is alive or done."""
        batches = self._call(lambda: list(self._client.batches.list(limit=100)))
        for batch in batches:
            if (batch.metadata or {}).get("name") == record.name and batch.status not in ("failed", *GONE):
                return batch.id
        return None

    def _is_done(self, record: Record) -> bool:
        """Looks at a batch; takes what came of it into the folder. WriterError where the endpoint refused it whole."""
        batch: Batch = self._call(lambda: self._client.batches.retrieve(record.batch_id))
        counts = batch.request_counts
        told = f"{batch.status}, {counts.completed:,} done, {counts.failed:,} failed" if counts else batch.status
        if told != record.told:
            record.told = told
            print(f"batch {record.name}: {told}", flush=True)
        if batch.status == "failed":
            self._records.fail(record)
            errors = "; ".join(f"{one.code}: {one.message}" for one in (batch.errors and batch.errors.data) or [])
            raise WriterError(
                f"the endpoint refused the batch {record.name}: {self._access.tell(errors) or 'it does not say why'}. "
                "Nothing of it was done; the same command sends its requests again"
            )
        if batch.status not in ("completed", *GONE):
            return False
        lines = []
        for file in (batch.output_file_id, batch.error_file_id):
            if file:
                content = self._call(lambda file=file: self._client.files.content(file).read())  # type: ignore[misc]
                lines += content.splitlines()
        self._records.collect(record, lines)
        return True

    def _collect(self, record: Record, wanted: dict[str, Request]) -> Iterator[Reply]:
        """The replies of a batch to what is wanted; those that it has none for have expired."""
        lines = dict(self._records.lines(record))
        for name in record.names:
            if name in wanted:
                reply = self._reply(wanted.pop(name), lines.get(name))
                self.account.pay(reply.cost_usd)
                yield reply

    def _reply(self, request: Request, line: Any) -> Reply:
        if line is None:
            return Reply(request.key, error="expired", detail="the batch ended without an answer to this request")
        response = line.get("response") or {}
        status, body = response.get("status_code"), response.get("body")
        if status != 200:
            told = self._access.tell(jsonlib.dumps(body if body else line.get("error")))[:500]
            known = isinstance(status, int) and 400 <= status < 500
            reason = "rate_limited" if status == 429 else "bad_request" if known else "server_error"
            return Reply(request.key, error=reason, detail=f"{status}: {told}")
        heard = Heard(ends=self._dialect.ends(request))
        try:
            heard.whole(openai.types.chat.ChatCompletion.construct(**(body or {})))
        except (_faults.BadReply, TypeError) as error:
            return Reply(request.key, error="bad_reply", detail=str(error))
        prompt, written = heard.usage or estimate(request, heard.text)
        heard.cut()
        text = prompts.encodable(heard.text)
        return Reply(request.key, text, heard.finish, prompt, written, self.account.cost(prompt, written))

    def _call(self, call: Callable[[], T], again: Callable[[], Any] | None = None) -> T:
        """What a call gives, tried several times. again: what to ask before another attempt, which may be needless."""
        for attempt in range(1, self._attempts + 1):
            try:
                return call()
            except Exception as error:
                fault = _faults.of(error)
                if fault is None:
                    raise
                if fault.reason == "refused" or not fault.again or attempt == self._attempts:
                    raise self._stop(fault) from error
                wait_s = fault.wait_s
            time.sleep(_faults.backoff(attempt, *self._backoff) if wait_s is None else wait_s)
            if again is not None and (found := again()) is not None:
                return found
        raise AssertionError("unreachable")

    def _stop(self, fault: _faults.Fault) -> WriterError:
        if fault.reason in ("refused", "unreachable"):
            return self._access.stop(fault)
        return WriterError(
            f"the endpoint {self._access.base_url} fails: {fault.reason}, {self._access.tell(fault.detail)}. Once that "
            "is mended the same command goes on"
        )


make = Batches
