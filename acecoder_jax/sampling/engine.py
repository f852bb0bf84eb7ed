"""The decoding engine: a fixed number of slots, refilled between chunks of steps.

    engine = Engine(config, tokenizer, slots=64, max_prompt_tokens=512, max_new_tokens=512, seed=0)
    engine.update(params)
    for completion in engine.generate(requests, purpose="rollout"):   # as they finish
        ...
    with engine.start(purpose="serve") as decoding:                   # requests come and go while it runs
        decoding.add(request)                                         # from any thread; also cancel(request), close()
        for completion in decoding: ...

A prompt is prefilled once for all its samples, all its tokens but the last, a few tokens of several prompts at a time,
so that a long one does not keep others from decoding. Its keys and values are then copied into each slot that samples
from it, and the slot's first step reads the last prompt token. Shapes never change: one compiled prefill, one chunk.
Scheduling counts steps, never time, so a run repeats bit for bit.
"""

import functools
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from acecoder_jax.models.config import ModelConfig
from acecoder_jax.models.decoder import Model, Params
from acecoder_jax.models.sharding import named_shardings
from acecoder_jax.sampling import ends, forward, slot_state
from acecoder_jax.sampling.scheduler import Decoding, Layout, Programs, Request, failed
from acecoder_jax.types import Completion


class Engine:
    """Samples completions from the policy given by the last `update`.

    slots: rows that decode together, at least 2. max_prompt_tokens, max_new_tokens: limits of a request; they fix the
    cache's length. chunk: decode steps between visits of the scheduler. prefill_rows: prompts prefilled together, and
    prefill_width: tokens of each in one call. prefill_calls: such calls between two chunks while others decode.
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
        prefill_width: int = 64,
        prefill_calls: int = 2,
        mesh: jax.sharding.Mesh | None = None,
    ):
        if min(slots, max_prompt_tokens, max_new_tokens, chunk, prefill_rows, prefill_width, prefill_calls) < 1:
            raise ValueError("slots, limits, chunk and the prefill's numbers must be at least 1")
        self.config, self.tokenizer, self.mesh = config, tokenizer, mesh
        self.cache_dtype = cache_dtype or (jnp.float32 if jax.default_backend() == "cpu" else dtype)
        slots = max(slots, 2)  # a CPU's bfloat16 product of one row takes eight times as long as that of two
        self.layout = Layout(
            seed, slots, max_prompt_tokens, max_new_tokens, chunk, prefill_rows, prefill_width, prefill_calls
        )
        self._weights: forward.Weights | None = None
        self._to_weights = self._jit(
            functools.partial(forward.to_weights, config=config, dtype=dtype), Model(config).abstract_params
        )
        stops = ends.stop_ids(tokenizer)
        empty = functools.partial(slot_state.empty, config, slots, self.layout.cache_tokens, self.cache_dtype)
        blank = functools.partial(
            forward.empty_cache, config, prefill_rows, self.layout.prompt_tokens, self.cache_dtype
        )
        decode = functools.partial(slot_state.decode_chunk, config=config, chunk=chunk, stop_ids=stops)
        self._programs = Programs(
            empty=self._jit(empty),
            blank=self._jit(blank),
            prefill=jax.jit(functools.partial(forward.prefill, config=config), donate_argnames="cache"),
            insert=jax.jit(slot_state.insert, donate_argnums=0),
            decode=jax.jit(decode, donate_argnums=1, static_argnames="needs"),
            stop_ids=stops,
        )

    @property
    def token_bytes(self) -> int:
        """Bytes of one token's keys and values."""
        config, number_bytes = self.config, jnp.dtype(self.cache_dtype).itemsize
        return 2 * config.num_layers * config.num_kv_heads * config.head_dim * number_bytes

    @property
    def cache_bytes(self) -> int:
        """Bytes of keys and values: of all slots, and of the prompts that are being read."""
        layout = self.layout
        return self.token_bytes * (layout.slots * layout.cache_tokens + layout.prefill_rows * layout.prompt_tokens)

    def update(self, params: Params) -> None:
        """Takes new parameters: one jitted cast, unstack, fuse and reshard."""
        self._weights = self._to_weights(params)

    def start(self, purpose: str) -> Decoding:
        """A run that takes requests while it goes. purpose: a part of every sample's name."""
        if self._weights is None:
            raise RuntimeError("the engine has no weights yet: call update(params) first")
        return Decoding(self._programs, self._weights, self.layout, self.tokenizer, self.config.vocab_size, purpose)

    def generate(self, requests: Iterable[Request], purpose: str) -> Iterator[Completion]:
        """Yields a completion for each request as it finishes.

        A bad request gives one with finish_reason "error", no tokens and the reason in `error`; the others go on.
        """
        with self.start(purpose) as decoding:
            for request in requests:
                try:
                    decoding.add(request)
                except ValueError as error:
                    yield failed(request, str(error))
            decoding.close()
            yield from decoding

    def _jit(self, make: Any, *abstract: Any) -> Any:
        """Jits a maker of arrays, given what its arguments look like, so that the arrays come out in their shards."""
        if self.mesh is None:
            return jax.jit(make)
        return jax.jit(make, out_shardings=named_shardings(jax.eval_shape(make, *abstract), self.mesh))
