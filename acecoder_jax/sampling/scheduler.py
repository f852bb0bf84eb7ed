"""One run of the engine: which prompt is read next, which sample gets which slot, who has finished.

The thread that iterates drives the devices; add, cancel and close may be called from any thread. What a slot is at is
kept here, on the host; only the pages of the cache live on the devices. Where the mesh spans processes, they go in
lock-step: before each step they agree on which one it is, and those with nothing to do take it with empty hands.
"""

import collections
import dataclasses
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

import numpy as np

from acecoder_jax.sampling import ends, forward, noise, steps
from acecoder_jax.sampling.draw import Needs
from acecoder_jax.sampling.page_pool import Pool
from acecoder_jax.sampling.request import Layout, Request, Tokens, check
from acecoder_jax.types import Completion


@dataclasses.dataclass(frozen=True)
class Programs:
    """The compiled functions, on arrays of this process's own rows, and the tokens that end an answer.

    agree: numbers summed over the processes that go in lock-step; alone: there is only this one.
    """

    empty: Callable[[], forward.Pages]
    prefill: Callable[[forward.Pages, dict[str, np.ndarray]], forward.Pages]
    copy: Callable[[forward.Pages, dict[str, np.ndarray]], forward.Pages]
    decode: Callable[[forward.Pages, dict[str, np.ndarray], Needs], tuple[forward.Pages, dict[str, np.ndarray]]]
    agree: Callable[[Mapping[str, float]], Mapping[str, float]]
    alone: bool
    stop_ids: tuple[int, ...]


@dataclasses.dataclass
class _Prompt:
    """A prompt whose tokens are being read, or have been, with the requests for samples of it that have no slot."""

    tokens: Tokens
    shard: int
    pages: list[int]
    read: int = 0
    requests: collections.deque[Request] = dataclasses.field(default_factory=collections.deque)

    @property
    def ready(self) -> bool:
        """All its tokens but the last are read: that one is left to the first step of each sample."""
        return self.read >= len(self.tokens) - 1


@dataclasses.dataclass
class _Row:
    """A request in a slot, with its pages and what it has written so far."""

    request: Request
    pages: list[int] = dataclasses.field(default_factory=list)
    tokens: list[int] = dataclasses.field(default_factory=list)
    logps: list[float] = dataclasses.field(default_factory=list)
    sampling_logps: list[float] = dataclasses.field(default_factory=list)


class Decoding:
    """Requests in, completions out, as they finish. Made by Engine.start."""

    def __init__(
        self, programs: Programs, layout: Layout, tokenizer: Any, vocab_size: int, purpose: str,
        check: Callable[[], None] = lambda: None,
    ):  # fmt: skip
        self.programs, self.layout, self.tokenizer = programs, layout, tokenizer
        self.vocab_size, self.purpose, self.check = vocab_size, purpose, check
        self._changed = threading.Condition()
        self._arrived: collections.deque[Request] = collections.deque()
        self._cancelled: set[Request] = set()
        self._closed = False
        self._unread: dict[Tokens, collections.deque[Request]] = {}  # by prompt, in order of arrival
        self._prompts: dict[Tokens, _Prompt] = {}  # in the order in which they are read; kept while pages are plenty
        self._pools = [Pool(layout.shard_pages) for _ in range(layout.shards)]
        self._rows: list[_Row | None] = [None] * layout.slots
        self._fields = steps.blank_fields(layout.slots, layout.row_pages)
        self._copies = {name: np.zeros(layout.slots, np.int32) for name in ("from_s", "to_s")}
        self._pages: forward.Pages | None = None
        self._reads = 0  # since the last chunk
        self._done: collections.deque[Completion] = collections.deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._closed = True
        self._pages = None

    # ---- from any thread

    def add(self, request: Request) -> None:
        """Take in a request. Raises ValueError for one that cannot be met, and after close()."""
        check(request, self.layout, self.vocab_size)
        with self._changed:
            if self._closed:
                raise ValueError(f"{request}: this run takes no more requests")
            self._arrived.append(request)
            self._changed.notify()

    def cancel(self, request: Request) -> None:
        """End a request where it is: it gives a completion with finish_reason "cancelled" and what it has so far."""
        with self._changed:
            self._cancelled.add(request)
            self._changed.notify()

    def close(self) -> None:
        """No more requests will come: the iteration ends with the last completion."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    # ---- the driving thread

    def __iter__(self) -> Iterator[Completion]:
        while True:
            self.check()
            self._take_in()
            while self._done:
                yield self._done.popleft()
            copies = self._admit()
            now = self._agree(copies)
            if now["copies"]:
                self._copy()
            if (
                now["unread"]
                and self._reads * max(now["held_up"], now["rows"] > 0) < self.layout.prefill_calls * now["slots"]
            ):
                self._read()
                self._reads += 1
            elif now["rows"]:
                self._decode(Needs(*(now[name] > 0 for name in Needs._fields)))
                self._reads = 0
            elif not now["open"]:
                return
            else:
                self._wait()

    def _agree(self, copies: bool) -> Mapping[str, float]:
        """What there is to do, here or in any process of the same mesh."""
        needs = Needs.of([row.request.sampling for row in self._rows if row is not None])
        with self._changed:
            is_open = not self._closed or bool(self._arrived or self._done)
        wanted = {
            "copies": copies,
            "unread": self._wants_to_read(),
            "rows": sum(row is not None for row in self._rows),
            "held_up": sum(row is not None and bool(row.tokens) for row in self._rows),  # by the reading
            "slots": self.layout.slots,
            "open": is_open or bool(self._unread) or any(prompt.requests for prompt in self._prompts.values()),
        }
        return self.programs.agree({name: float(value) for name, value in (wanted | needs._asdict()).items()})

    def _wait(self) -> None:
        """Waits for news when there is nothing to do; in a mesh over processes only a moment: others may have some."""
        with self._changed:
            if not (self._arrived or self._closed or self._cancelled):
                self._changed.wait(None if self.programs.alone else 0.02)

    def _take_in(self) -> None:
        with self._changed:
            arrived, self._arrived = self._arrived, collections.deque()
            cancelled, self._cancelled = self._cancelled, set()
        for request in arrived:
            if (prompt := self._prompts.get(request.prompt_tokens)) is not None:
                prompt.requests.append(request)
            else:
                self._unread.setdefault(request.prompt_tokens, collections.deque()).append(request)
        if cancelled:
            self._drop(cancelled)

    def _drop(self, cancelled: set[Request]) -> None:
        queues = [*self._unread.values(), *(prompt.requests for prompt in self._prompts.values())]
        for requests in queues:
            for request in [r for r in requests if r in cancelled]:
                requests.remove(request)
                self._done.append(completion(_Row(request), 0, "", "cancelled"))
        self._unread = {tokens: requests for tokens, requests in self._unread.items() if requests}
        for slot, row in enumerate(self._rows):
            if row is not None and row.request in cancelled:
                text = self.tokenizer.decode(row.tokens, skip_special_tokens=False)
                self._release(slot, completion(row, len(row.tokens), text, "cancelled"))

    def _release(self, slot: int, done: Completion) -> None:
        row = self._rows[slot]
        assert row is not None
        self._pools[self._shard_of(slot)].give_back(row.pages)
        self._rows[slot] = None
        for name in ("active_s", "position_s", "table_si"):  # at rest it costs nobody anything
            self._fields[name][slot] = 0
        self._done.append(done)

    def _shard_of(self, slot: int) -> int:
        return slot // (self.layout.slots // self.layout.shards)

    # ---- reading prompts

    def _wants_to_read(self) -> bool:
        """Whether a prompt should be read now: more slots are free, or will be soon, than there are samples ready."""
        per_shard = self.layout.slots // self.layout.shards
        missing = [max(1, per_shard // 8)] * self.layout.shards
        for slot, row in enumerate(self._rows):
            missing[self._shard_of(slot)] += row is None
        for prompt in self._prompts.values():
            missing[prompt.shard] -= len(prompt.requests) if prompt.ready else 0
        return any(missing[prompt.shard] > 0 for prompt in self._prompts.values() if not prompt.ready)

    def _start_reading(self) -> None:
        """Gives pages to prompts that wait, as many at a time as there are rows to read them in."""
        reading = sum(not prompt.ready for prompt in self._prompts.values())
        for tokens in list(self._unread):
            if reading >= self.layout.prefill_rows or not self._start(tokens):
                break
            reading += not self._prompts[tokens].ready

    def _start(self, tokens: Tokens) -> bool:
        """Gives a prompt its pages, where most are free; False where that would leave too few for its samples."""
        count = self.layout.pages_of(len(tokens) - 1)
        shard = max(range(self.layout.shards), key=lambda shard: self._pools[shard].free)
        if not self._make_room(shard, count + self.layout.row_pages):
            return False
        prompt = _Prompt(tokens, shard, self._pools[shard].take(count), requests=self._unread.pop(tokens))
        self._prompts[tokens] = prompt
        return True

    def _make_room(self, shard: int, count: int) -> bool:
        """Whether so many pages are free, once prompts that nobody waits for are forgotten, the oldest first."""
        pool = self._pools[shard]
        for tokens, prompt in list(self._prompts.items()):
            if pool.free >= count:
                break
            if prompt.shard == shard and prompt.ready and not prompt.requests:
                pool.give_back(self._prompts.pop(tokens).pages)
        return pool.free >= count

    def _read(self) -> None:
        """The next pieces of the prompts that are being read, the oldest first, as many as there are rows."""
        layout = self.layout
        rows, width = layout.prefill_rows, layout.prefill_width
        fields = steps.blank_pieces(rows, width, layout.row_pages)
        per_shard = rows // layout.shards
        used = [0] * layout.shards
        for prompt in self._prompts.values():
            while not prompt.ready and used[prompt.shard] < per_shard:
                row = prompt.shard * per_shard + used[prompt.shard]
                used[prompt.shard] += 1
                piece = prompt.tokens[:-1][prompt.read : prompt.read + width]
                fields["tokens_st"][row, : len(piece)] = piece
                fields["active_st"][row, : len(piece)] = True
                fields["position_s"][row] = prompt.read
                fields["table_si"][row, : len(prompt.pages)] = prompt.pages
                prompt.read += len(piece)
        self._pages = self.programs.prefill(self._pages_there(), fields)

    def _pages_there(self) -> forward.Pages:
        return self.programs.empty() if self._pages is None else self._pages

    # ---- filling slots

    def _admit(self) -> bool:
        """Puts samples of prompts that have been read into free slots; whether pages have to be copied for them."""
        self._start_reading()
        free: list[list[int]] = [[] for _ in range(self.layout.shards)]
        for slot, row in enumerate(self._rows):
            if row is None:
                free[self._shard_of(slot)].append(slot)
        copies = False
        for prompt in list(self._prompts.values()):
            while prompt.ready and prompt.requests and free[prompt.shard]:
                request = prompt.requests[0]
                cells = len(prompt.tokens) - 1 + request.sampling.max_new_tokens
                shared = prompt.pages[: (len(prompt.tokens) - 1) // self.layout.page]
                own = self.layout.pages_of(cells) - len(shared)
                if not self._make_room(prompt.shard, own):
                    free[prompt.shard] = []  # nobody overtakes it in its part of the mesh
                    break
                pool = self._pools[prompt.shard]
                pool.share(shared)
                pages = shared + pool.take(own)
                slot = free[prompt.shard].pop(0)
                self._rows[slot] = _Row(prompt.requests.popleft(), pages)
                self._set_fields(slot, request, pages)
                if len(shared) < len(prompt.pages):
                    self._copies["from_s"][slot], self._copies["to_s"][slot] = prompt.pages[-1], pages[len(shared)]
                    copies = True
        return copies

    def _copy(self) -> None:
        """The pages that prompts fill in part, for each sample that has just got its slot."""
        self._pages = self.programs.copy(self._pages_there(), self._copies)
        self._copies = {name: np.zeros_like(array) for name, array in self._copies.items()}

    def _key(self, request: Request) -> np.ndarray:
        return noise.sample_key(
            self.layout.seed, self.purpose, request.rollout, request.problem_id, request.sample, request.turn
        )

    def _set_fields(self, slot: int, request: Request, pages: list[int]) -> None:
        sampling = request.sampling
        values = {
            "token_s": request.prompt_tokens[-1],
            "position_s": len(request.prompt_tokens) - 1,
            "written_s": 0,
            "limit_s": sampling.max_new_tokens,
            "active_s": True,
            "key_se": self._key(request),
            "temperature_s": sampling.temperature,
            "top_p_s": sampling.top_p,
            "top_k_s": sampling.top_k,
        }
        for name, value in values.items():
            self._fields[name][slot] = value
        self._fields["table_si"][slot] = 0
        self._fields["table_si"][slot, : len(pages)] = pages

    # ---- decoding

    def _decode(self, needs: Needs) -> None:
        """One chunk of steps, and what has finished in it."""
        self._pages, out = self.programs.decode(self._pages_there(), self._fields, needs)
        for slot, row in enumerate(self._rows):
            if row is None:
                continue
            valid, active = out["valid_cs"][:, slot], bool(out["active_s"][slot])
            row.tokens += out["token_cs"][valid, slot].tolist()
            row.logps += out["logp_cs"][valid, slot].tolist()
            row.sampling_logps += out["sampling_logp_cs"][valid, slot].tolist()
            if not all(map(math.isfinite, row.logps[-len(valid) :])):
                error = f"{row.request}: the model's logits are not finite"
                self._release(slot, failed(row.request, error))
                continue
            end = ends.cut(self.tokenizer, row.tokens, row.request.sampling.stop, self.programs.stop_ids, active)
            if end is not None:
                self._release(slot, completion(row, *end))
                continue
            self._fields["token_s"][slot] = row.tokens[-1]
            self._fields["written_s"][slot] = len(row.tokens)
            self._fields["position_s"][slot] = len(row.request.prompt_tokens) - 1 + len(row.tokens)


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
