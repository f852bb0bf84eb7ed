"""One run of the engine: which prompt is read next, which sample gets which slot, who has finished.

The thread that iterates drives the devices; add, cancel and close may be called from any thread.
"""

import collections
import dataclasses
import math
import threading
from collections.abc import Callable, Iterator
from typing import Any, Self

import jax
import numpy as np

from acecoder_jax.sampling import ends, forward, noise, slot_state
from acecoder_jax.sampling.draw import Needs, SamplingParams
from acecoder_jax.types import Completion

INSERT_ROWS = 8  # slots that are filled by one call


@dataclasses.dataclass(frozen=True)
class Request:
    """One sample to draw. Its name (problem, sample, rollout, turn) decides its noise."""

    problem_id: str
    prompt_tokens: tuple[int, ...]
    sampling: SamplingParams = dataclasses.field(default_factory=SamplingParams)
    sample: int = 0
    rollout: int = 0
    turn: int = 0


@dataclasses.dataclass(frozen=True)
class Layout:
    """The engine's numbers: see Engine."""

    seed: int
    slots: int
    max_prompt_tokens: int
    max_new_tokens: int
    chunk: int
    prefill_rows: int
    prefill_width: int
    prefill_calls: int

    @property
    def prompt_tokens(self) -> int:
        """The length of a prompt's cache: all its tokens but the last, in whole calls of the prefill."""
        return _round_up(max(1, self.max_prompt_tokens - 1), self.prefill_width)

    @property
    def cache_tokens(self) -> int:
        """The length of a slot's cache."""
        return max(self.prompt_tokens, self.max_prompt_tokens + self.max_new_tokens)


@dataclasses.dataclass(frozen=True)
class Programs:
    """The compiled functions, and the tokens that end an answer."""

    empty: Callable[[], slot_state.State]
    blank: Callable[[], forward.Cache]
    prefill: Callable[..., forward.Cache]
    insert: Callable[..., slot_state.State]
    decode: Callable[..., tuple[slot_state.State, dict[str, jax.Array]]]
    stop_ids: tuple[int, ...]


@dataclasses.dataclass
class _Row:
    """A request in a slot, with what it has written so far."""

    request: Request
    tokens: list[int] = dataclasses.field(default_factory=list)
    logps: list[float] = dataclasses.field(default_factory=list)
    sampling_logps: list[float] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class _Batch:
    """Prompts that are read together: their tokens, as many calls' worth for each, and their cache."""

    prompts: list[tuple[int, ...]]
    tokens_st: np.ndarray
    cache: forward.Cache
    offset: int = 0

    @property
    def ready(self) -> bool:
        return self.offset >= self.tokens_st.shape[1]


class Decoding:
    """Requests in, completions out, as they finish. Made by Engine.start."""

    def __init__(
        self,
        programs: Programs,
        weights: forward.Weights,
        layout: Layout,
        tokenizer: Any,
        vocab_size: int,
        purpose: str,
    ):
        self.programs, self.weights, self.layout, self.tokenizer = programs, weights, layout, tokenizer
        self.vocab_size, self.purpose = vocab_size, purpose
        self._changed = threading.Condition()
        self._arrived: collections.deque[Request] = collections.deque()
        self._cancelled: set[Request] = set()
        self._closed = False
        self._waiting: dict[tuple[int, ...], collections.deque[Request]] = {}  # by prompt, in order of arrival
        self._batch: _Batch | None = None  # the prompts that are being read, or have been and fill slots
        self._rows: list[_Row | None] = [None] * layout.slots
        self._state: slot_state.State | None = None
        self._done: collections.deque[Completion] = collections.deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._closed = True
        self._state = None
        self._batch = None

    # ---- from any thread

    def add(self, request: Request) -> None:
        """Take in a request. Raises ValueError for one that cannot be met, and after close()."""
        check(request, self.layout, self.vocab_size)
        with self._changed:
            if self._closed:
                raise ValueError(f"{_name(request)}: this run takes no more requests")
            self._arrived.append(request)
            self._changed.notify()

    def cancel(self, request: Request) -> None:
        """End a request where it is: it gives a completion with finish_reason "cancelled" and what it has so far."""
        with self._changed:
            self._cancelled.add(request)

    def close(self) -> None:
        """No more requests will come: the iteration ends with the last completion."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    # ---- the driving thread

    def __iter__(self) -> Iterator[Completion]:
        while True:
            self._take_in()
            while self._done:
                yield self._done.popleft()
            if self._busy():
                self._fill()
                if any(self._rows):
                    self._decode()
            elif self._finished():
                return

    def _busy(self) -> bool:
        return bool(self._waiting or any(self._rows))

    def _finished(self) -> bool:
        """Waits for news when there is nothing to do. True when none can come."""
        with self._changed:
            while not (self._arrived or self._closed or self._done):
                self._changed.wait()
            return self._closed and not (self._arrived or self._done)

    def _take_in(self) -> None:
        with self._changed:
            arrived, self._arrived = self._arrived, collections.deque()
            cancelled, self._cancelled = self._cancelled, set()
        for request in arrived:
            self._waiting.setdefault(request.prompt_tokens, collections.deque()).append(request)
        if cancelled:
            self._drop(cancelled)

    def _drop(self, cancelled: set[Request]) -> None:
        for prompt, requests in list(self._waiting.items()):
            for request in [r for r in requests if r in cancelled]:
                requests.remove(request)
                self._done.append(completion(_Row(request), 0, "", "cancelled"))
            if not requests:
                del self._waiting[prompt]
        for slot, row in enumerate(self._rows):
            if row is not None and row.request in cancelled:
                text = self.tokenizer.decode(row.tokens, skip_special_tokens=False)
                self._release(slot, completion(row, len(row.tokens), text, "cancelled"), active=True)

    def _release(self, slot: int, done: Completion, active: bool) -> None:
        """Ends a row. active: it does not know yet, on the device."""
        assert self._state is not None
        self._rows[slot] = None
        if active:
            self._state["active_s"] = self._state["active_s"].at[slot].set(False)
        self._done.append(done)

    # ---- reading prompts

    def _fill(self) -> None:
        """Puts waiting samples into free slots; reads prompts, a few calls at a time while others decode."""
        calls = 0
        while (free := [slot for slot, row in enumerate(self._rows) if row is None]) and self._waiting:
            if self._batch is None:
                self._batch = self._next_batch()
            elif self._batch.ready:
                self._insert(self._batch, free)
            elif any(self._rows) and calls == self.layout.prefill_calls:
                return
            else:
                self._read(self._batch)
                calls += 1
        if not self._waiting:
            self._batch = None

    def _read(self, batch: _Batch) -> None:
        """The next tokens of each of its prompts."""
        end = batch.offset + self.layout.prefill_width
        tokens_st, offset = batch.tokens_st[:, batch.offset : end], np.int32(batch.offset)
        batch.cache = self.programs.prefill(self.weights, cache=batch.cache, tokens_st=tokens_st, offset=offset)
        batch.offset = end

    def _next_batch(self) -> _Batch:
        """The prompts that have waited longest, with others that take as many calls to read."""
        rows, width = self.layout.prefill_rows, self.layout.prefill_width
        prompts = iter(self._waiting)
        first = next(prompts)
        calls = _calls(first, width)
        chosen = [first]
        for prompt in prompts:
            if len(chosen) == rows:
                break
            if _calls(prompt, width) == calls:
                chosen.append(prompt)
        tokens_st = np.zeros((rows, calls * width), np.int32)
        for row, prompt in enumerate(chosen):
            tokens_st[row, : len(prompt) - 1] = prompt[:-1]
        return _Batch(chosen, tokens_st, self.programs.blank())

    def _insert(self, batch: _Batch, free: list[int]) -> None:
        """Starts samples of a batch that has been read, as many as one call takes."""
        taken: list[tuple[int, Request, int]] = []
        for row, prompt in enumerate(batch.prompts):
            requests = self._waiting.get(prompt)
            while requests and free and len(taken) < INSERT_ROWS:
                taken.append((free.pop(0), requests.popleft(), row))
            if requests is not None and not requests:
                del self._waiting[prompt]
        for slot, request, _ in taken:
            self._rows[slot] = _Row(request)
        if taken:
            state = self.programs.empty() if self._state is None else self._state
            self._state = self.programs.insert(state, batch.cache, *self._fields(taken))
        if not any(prompt in self._waiting for prompt in batch.prompts):
            self._batch = None

    def _fields(self, taken: list[tuple[int, Request, int]]) -> tuple[Any, ...]:
        """What `slot_state.insert` takes: slots, rows of the prompt cache, each slot's fields."""
        slot_n = np.full(INSERT_ROWS, self.layout.slots, np.int32)  # out of range: dropped
        row_n = np.zeros(INSERT_ROWS, np.int32)
        fields = slot_state.blank_fields(INSERT_ROWS)
        for n, (slot, request, row) in enumerate(taken):
            slot_n[n], row_n[n], sampling = slot, row, request.sampling
            fields["token_s"][n] = request.prompt_tokens[-1]
            fields["position_s"][n] = len(request.prompt_tokens) - 1
            fields["limit_s"][n] = sampling.max_new_tokens
            fields["active_s"][n] = True
            fields["temperature_s"][n] = sampling.temperature
            fields["top_p_s"][n] = sampling.top_p
            fields["top_k_s"][n] = sampling.top_k
            fields["key_se"][n] = noise.sample_key(
                self.layout.seed, self.purpose, request.rollout, request.problem_id, request.sample, request.turn
            )
        return slot_n, row_n, fields

    # ---- decoding

    def _decode(self) -> None:
        """One chunk of steps, and what has finished in it."""
        needs = Needs.of([row.request.sampling for row in self._rows if row is not None])
        self._state, emitted = self.programs.decode(self.weights, self._state, needs=needs)
        out = jax.device_get(emitted)
        for slot, row in enumerate(self._rows):
            if row is None:
                continue
            valid, active = out["valid"][:, slot], bool(out["active"][slot])
            row.tokens += out["token"][valid, slot].tolist()
            row.logps += out["logp"][valid, slot].tolist()
            row.sampling_logps += out["sampling_logp"][valid, slot].tolist()
            if not all(map(math.isfinite, row.logps[-len(valid) :])):
                error = f"{_name(row.request)}: the model's logits are not finite"
                self._release(slot, failed(row.request, error), active)
                continue
            end = ends.cut(self.tokenizer, row.tokens, row.request.sampling.stop, self.programs.stop_ids, active)
            if end is not None:
                self._release(slot, completion(row, *end), active)


def check(request: Request, layout: Layout, vocab_size: int) -> None:
    """Raises ValueError for a request that the engine cannot meet."""
    name, n = _name(request), len(request.prompt_tokens)
    if n == 0:
        raise ValueError(f"{name}: the prompt is empty")
    if n > layout.max_prompt_tokens:
        raise ValueError(
            f"{name}: the prompt has {n} tokens, the limit max_prompt_tokens is {layout.max_prompt_tokens}"
        )
    if request.sampling.max_new_tokens > layout.max_new_tokens:
        raise ValueError(
            f"{name}: asks for {request.sampling.max_new_tokens} new tokens, the engine was made for at most "
            f"{layout.max_new_tokens}"
        )
    if not 0 <= min(request.prompt_tokens) <= max(request.prompt_tokens) < vocab_size:
        raise ValueError(f"{name}: the prompt has token ids outside the vocabulary of {vocab_size}")


def completion(row: _Row, count: int, text: str, reason: str, error: str = "") -> Completion:
    """The completion of a row, with the first `count` of its tokens."""
    request = row.request
    return Completion(
        problem_id=request.problem_id,
        sample=request.sample,
        rollout=request.rollout,
        turn=request.turn,
        prompt_tokens=tuple(request.prompt_tokens),
        tokens=tuple(row.tokens[:count]),
        logps=tuple(row.logps[:count]),
        sampling_logps=tuple(row.sampling_logps[:count]),
        policy_mask=(1,) * count,
        text=text,
        finish_reason=reason,
        error=error,
    )


def failed(request: Request, error: str) -> Completion:
    """The completion of a request that could not be met."""
    return completion(_Row(request), 0, "", "error", error)


def _name(request: Request) -> str:
    return f"request {request.problem_id!r} sample {request.sample}"


def _calls(prompt: tuple[int, ...], width: int) -> int:
    """Calls of the prefill that reading a prompt takes; none for a prompt of one token."""
    return -(-(len(prompt) - 1) // width)


def _round_up(n: int, multiple: int) -> int:
    return -(-n // multiple) * multiple
