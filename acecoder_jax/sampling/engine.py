"""The decoding engine: a fixed number of slots, refilled between chunks of steps.

    engine = Engine(config, tokenizer, slots=64, max_prompt_tokens=512, max_new_tokens=512, seed=0)
    engine.update(params)
    for completion in engine.generate(requests, purpose="rollout"):   # as they finish
        ...

A prompt is prefilled once for all its samples, all its tokens but the last; its keys and values are copied into each
slot that samples from it, and the slot's first step reads the last prompt token. Shapes never change: one compiled
chunk, one prefill for each prompt bucket. Scheduling counts steps, never time, so a run repeats bit for bit.
"""

import collections
import dataclasses
import functools
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from acecoder_jax.models.config import ModelConfig
from acecoder_jax.models.decoder import Model, Params
from acecoder_jax.models.sharding import named_shardings
from acecoder_jax.sampling import forward, noise, slot_state
from acecoder_jax.sampling.draw import Needs, SamplingParams
from acecoder_jax.tokenizer import END_OF_TEXT, TURN_END
from acecoder_jax.types import Completion


@dataclasses.dataclass(frozen=True)
class Request:
    """One sample to draw. Its name (problem, sample, rollout, turn) decides its noise."""

    problem_id: str
    prompt_tokens: tuple[int, ...]
    sampling: SamplingParams = dataclasses.field(default_factory=SamplingParams)
    sample: int = 0
    rollout: int = 0
    turn: int = 0


@dataclasses.dataclass
class _Running:
    """A request in a slot, with what it has written so far."""

    request: Request
    tokens: list[int] = dataclasses.field(default_factory=list)
    logps: list[float] = dataclasses.field(default_factory=list)
    sampling_logps: list[float] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class _Prefilled:
    """A batch of prompts with their cache, waiting for slots: (request, row of the cache)."""

    cache: forward.Cache
    waiting: collections.deque[tuple[Request, int]]


class Engine:
    """Samples completions from the policy given by the last `update`.

    slots: rows that decode together. max_prompt_tokens, max_new_tokens: limits of a request; with bucket they fix the
    cache's length. chunk: decode steps between visits of the scheduler. prefill_rows: prompts prefilled together.
    dtype: of the products and weights; cache_dtype: of keys and values, by default float32 on a CPU, where that is
    faster, else dtype. mesh: slots are split over (data, fsdp), heads, hidden units and vocabulary over tensor.
    """

    def __init__(
        self,
        config: ModelConfig,
        tokenizer: Any,
        *,
        slots: int,
        max_prompt_tokens: int,
        max_new_tokens: int,
        seed: int,
        dtype: Any = jnp.bfloat16,
        cache_dtype: Any = None,
        chunk: int = 16,
        prefill_rows: int = 8,
        bucket: int = 64,
        mesh: jax.sharding.Mesh | None = None,
    ):
        self.config, self.tokenizer, self.seed, self.dtype, self.mesh = config, tokenizer, seed, dtype, mesh
        self.slots, self.chunk, self.prefill_rows, self.bucket = slots, chunk, prefill_rows, bucket
        self.max_prompt_tokens, self.max_new_tokens = max_prompt_tokens, max_new_tokens
        self.cache_dtype = cache_dtype or (jnp.float32 if jax.default_backend() == "cpu" else dtype)
        self.cache_length = _round_up(_round_up(max_prompt_tokens, bucket) + max_new_tokens, bucket)
        self.stop_ids = _stop_ids(tokenizer)
        self._weights: forward.Weights | None = None
        to_weights = functools.partial(forward.to_weights, config=config, dtype=dtype)
        self._to_weights = self._jit(to_weights, Model(config).abstract_params)
        empty = functools.partial(slot_state.empty, config, slots, self.cache_length, self.cache_dtype)
        self._empty = self._jit(empty)
        self._prefill = jax.jit(functools.partial(forward.prefill, config=config, cache_dtype=self.cache_dtype))
        self._insert = jax.jit(slot_state.insert, donate_argnums=0)
        decode = functools.partial(slot_state.decode_chunk, config=config, chunk=chunk, stop_ids=self.stop_ids)
        self._decode = jax.jit(decode, donate_argnums=1, static_argnames="needs")

    def update(self, params: Params) -> None:
        """Takes new parameters: one jitted cast, unstack, fuse and reshard."""
        self._weights = self._to_weights(params)

    def generate(self, requests: Iterable[Request], purpose: str) -> Iterator[Completion]:
        """Yields a completion for each request as it finishes. A bad request is a ValueError that names it."""
        if self._weights is None:
            raise RuntimeError("the engine has no weights yet: call update(params) first")
        requests = list(requests)
        for request in requests:
            self._check(request)
        needs = Needs.of([request.sampling for request in requests])
        state, running = self._empty(), [None] * self.slots
        waiting, prefilled = _by_prompt(requests), collections.deque[_Prefilled]()
        while waiting or prefilled or any(running):
            state = self._fill(state, running, waiting, prefilled, purpose)
            state, emitted = self._decode(self._weights, state, needs=needs)
            yield from self._harvest(state, running, jax.device_get(emitted))

    def _jit(self, make: Any, *abstract: Any) -> Any:
        """Jits a maker of arrays, given what its arguments look like, so that the arrays come out in their shards."""
        if self.mesh is None:
            return jax.jit(make)
        return jax.jit(make, out_shardings=named_shardings(jax.eval_shape(make, *abstract), self.mesh))

    def _check(self, request: Request) -> None:
        name, n = f"request {request.problem_id!r} sample {request.sample}", len(request.prompt_tokens)
        if n == 0:
            raise ValueError(f"{name}: the prompt is empty")
        if n > self.max_prompt_tokens:
            raise ValueError(
                f"{name}: the prompt has {n} tokens, the limit max_prompt_tokens is {self.max_prompt_tokens}"
            )
        if request.sampling.max_new_tokens > self.max_new_tokens:
            raise ValueError(
                f"{name}: asks for {request.sampling.max_new_tokens} new tokens, the engine was made for at most "
                f"{self.max_new_tokens}"
            )
        if not 0 <= min(request.prompt_tokens) <= max(request.prompt_tokens) < self.config.vocab_size:
            raise ValueError(f"{name}: the prompt has token ids outside the vocabulary of {self.config.vocab_size}")

    def _fill(self, state, running, waiting, prefilled, purpose: str) -> dict[str, Any]:
        """Puts waiting samples into free slots, prefilling prompts when none is ready."""
        free = [slot for slot, row in enumerate(running) if row is None]
        while free and (waiting or prefilled):
            if not prefilled:
                prefilled.append(self._prefill_some(waiting))
            batch, taken = prefilled[0], []
            while free and batch.waiting:
                taken.append((free.pop(0), *batch.waiting.popleft()))
            if not batch.waiting:
                prefilled.popleft()
            for slot, request, _ in taken:
                running[slot] = _Running(request)
            state = self._insert(state, batch.cache, *self._rows(taken, purpose))
        return state

    def _prefill_some(self, waiting: collections.deque[list[Request]]) -> _Prefilled:
        """Prefills the next prompts, all tokens but each one's last."""
        groups = [waiting.popleft() for _ in range(min(self.prefill_rows, len(waiting)))]
        prompts = [group[0].prompt_tokens[:-1] for group in groups]
        width = _round_up(max(1, *map(len, prompts)), self.bucket)
        tokens_st = np.zeros((self.prefill_rows, width), np.int32)
        length_s = np.zeros(self.prefill_rows, np.int32)
        for row, prompt in enumerate(prompts):
            tokens_st[row, : len(prompt)], length_s[row] = prompt, len(prompt)
        cache = self._prefill(self._weights, tokens_st=tokens_st, length_s=length_s)
        return _Prefilled(cache, collections.deque((r, row) for row, group in enumerate(groups) for r in group))

    def _rows(self, taken: list[tuple[int, Request, int]], purpose: str) -> tuple[Any, ...]:
        """What `slot_state.insert` takes: slots, rows of the prompt cache, each slot's fields; padded to all slots."""
        slot_n = np.full(self.slots, self.slots, np.int32)  # out of range: dropped
        row_n = np.zeros(self.slots, np.int32)
        fields = slot_state.blank_fields(self.slots)
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
                self.seed, purpose, request.rollout, request.problem_id, request.sample, request.turn
            )
        return slot_n, row_n, fields

    def _harvest(self, state, running, out: dict[str, np.ndarray]) -> Iterator[Completion]:
        """Adds a chunk's tokens to the running requests and yields those that are done."""
        for slot, row in enumerate(running):
            if row is None:
                continue
            valid = out["valid"][:, slot]
            row.tokens += out["token"][valid, slot].tolist()
            row.logps += out["logp"][valid, slot].tolist()
            row.sampling_logps += out["sampling_logp"][valid, slot].tolist()
            completion = self._finish(row, still_active=bool(out["active"][slot]))
            if completion is not None:
                running[slot] = None
                state["active_s"] = state["active_s"].at[slot].set(False) if out["active"][slot] else state["active_s"]
                yield completion

    def _finish(self, row: _Running, still_active: bool) -> Completion | None:
        """The completion of a row that has stopped, by end token, stop string or length; None while it goes on."""
        tokens, request = row.tokens, row.request
        if still_active and not request.sampling.stop:
            return None
        ended = tokens[-1] in self.stop_ids
        text = self.tokenizer.decode(tokens[:-1] if ended else tokens, skip_special_tokens=False)
        reason = "stop" if ended else "length"
        if _first_stop(text, request.sampling.stop) is not None:
            tokens = tokens[: self._tokens_until(tokens, request.sampling.stop)]
            # looked for again: a string that begins earlier but was complete later has not ended the answer
            text = self.tokenizer.decode(tokens, skip_special_tokens=False)
            text, reason = text[: _first_stop(text, request.sampling.stop)], "stop"
        elif still_active:
            return None
        count = len(tokens)
        return Completion(
            problem_id=request.problem_id,
            sample=request.sample,
            rollout=request.rollout,
            turn=request.turn,
            prompt_tokens=tuple(request.prompt_tokens),
            tokens=tuple(tokens),
            logps=tuple(row.logps[:count]),
            sampling_logps=tuple(row.sampling_logps[:count]),
            policy_mask=(1,) * count,
            text=text,
            finish_reason=reason,
        )

    def _tokens_until(self, tokens: list[int], stops: tuple[str, ...]) -> int:
        """The smallest number of tokens whose text holds a stop string, which may span several tokens."""
        low, high = 1, len(tokens)
        while low < high:
            middle = (low + high) // 2
            text = self.tokenizer.decode(tokens[:middle], skip_special_tokens=False)
            low, high = (low, middle) if _first_stop(text, stops) is not None else (middle + 1, high)
        return low


def _by_prompt(requests: list[Request]) -> collections.deque[list[Request]]:
    """Requests grouped by prompt, in order of first arrival."""
    groups: dict[tuple[int, ...], list[Request]] = {}
    for request in requests:
        groups.setdefault(tuple(request.prompt_tokens), []).append(request)
    return collections.deque(groups.values())


def _first_stop(text: str, stops: tuple[str, ...]) -> int | None:
    """Where the earliest stop string begins; None without one."""
    found = [at for stop in stops if (at := text.find(stop)) >= 0]
    return min(found) if found else None


def _stop_ids(tokenizer: Any) -> tuple[int, ...]:
    """The tokens that end an answer: the tokenizer's own, end of turn (base models name another), end of text."""
    ends = {tokenizer.eos_token_id, *(tokenizer.convert_tokens_to_ids(token) for token in (TURN_END, END_OF_TEXT))}
    return tuple(sorted(token for token in ends if token is not None))


def _round_up(n: int, multiple: int) -> int:
    return -(-n // multiple) * multiple
