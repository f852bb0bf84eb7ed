"""The decoding engine: a fixed number of slots, refilled between chunks of steps.

    engine = Engine(config, tokenizer, slots=64, max_prompt_tokens=512, max_new_tokens=512, seed=0)
    engine.update(params)
    for completion in engine.generate(requests, purpose="rollout"):   # as they finish
        ...
    with engine.start(purpose="serve") as decoding:                   # requests come and go while it runs
        decoding.add(request)                                         # from any thread; also cancel(request), close()
        for completion in decoding: ...

A prompt is read once for all its samples, all its tokens but the last, in pieces, several at a time, so that a long one
does not keep others from decoding. Samples share its pages of the cache (sampling/attention says how); a sample's
first step reads the last prompt token. Shapes never change, whatever the lengths: one compiled prefill, one copy of
pages, and a decode chunk for each combination of what requests ask of the sampler (greedy or not, temperature, top-k
or top-p). On a GPU, where attention costs what a row may hold and not what it holds, the table of pages is cut to the
power of two that the longest row needs. `compilations` has every compiled function; each is logged.
Scheduling counts steps, never time, so a run repeats bit for bit.

Over several processes each has an engine of its own by default, on a mesh of its own devices, and schedules its own
requests. An engine whose mesh spans them all (a model too large for one) runs in lock-step: see sampling/scheduler.
"""

import dataclasses
import functools
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding

from acecoder_jax import parallel
from acecoder_jax.models.config import ModelConfig
from acecoder_jax.models.decoder import Model, Params
from acecoder_jax.models.sharding import named_shardings, sharding
from acecoder_jax.sampling import attention, ends, forward, steps
from acecoder_jax.sampling.draw import Needs
from acecoder_jax.sampling.request import Layout, Request
from acecoder_jax.sampling.reshard import Resharder
from acecoder_jax.sampling.scheduler import Decoding, Programs, failed
from acecoder_jax.types import Completion

_log = logging.getLogger(__name__)


class Engine:
    """Samples completions from the policy given by the last `update`.

    slots: rows that decode together. max_prompt_tokens, max_new_tokens: limits of a request. chunk: decode steps
    between visits of the scheduler. prefill_rows: pieces of prompts read by one call, each of prefill_width tokens.
    prefill_calls: such calls between two chunks while all slots decode; in proportion more while fewer do. page: tokens
    of a page of the cache; None is 16 (128 on a TPU), or what divides prefill_width. cache_tokens: what the cache
    holds, in tokens; 0 is enough for every slot to be full. A smaller one suits groups that share long prompts: a
    sample then waits until there are pages for it. dtype: of products and weights. cache_dtype: of keys and values;
    None is dtype, but float32 for plain XLA on a CPU. int8: hold the matrices as 8-bit whole numbers with a scale an
    output. backend: of the attention, and on a CPU of the products too: see sampling/attention. mesh: by default the
    first device of this process; slots and pages are split over (data, fsdp), heads, hidden units and vocabulary over
    tensor.
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
        page: int | None = None,
        cache_tokens: int = 0,
        int8: bool = False,
        backend: str = "auto",
        mesh: Mesh | None = None,
    ):
        dtype = jnp.dtype(dtype)
        self.mesh = parallel.make_mesh(devices=jax.local_devices()[:1]) if mesh is None else mesh
        # of its own devices, not of this process: a plan is for devices that are not there
        platform = self.mesh.devices.flat[0].platform
        backend = attention.choose(backend, platform)
        page = math.gcd(prefill_width, 128 if backend == "tpu" else 16) if page is None else page
        numbers = (slots, max_prompt_tokens, max_new_tokens, chunk, prefill_rows, prefill_width, prefill_calls, page)
        if min(numbers) < 1:
            raise ValueError("slots, limits, chunk, page and the prefill's numbers must be at least 1")
        if prefill_width % page:
            raise ValueError(f"prefill_width must be a multiple of page, got {prefill_width} and {page}")
        self.config, self.tokenizer = config, tokenizer
        on_cpu = platform == "cpu"
        # XLA on a CPU makes a bfloat16 pool float32 at every call: the cost of all of it, not of what is read.
        narrow = jnp.float32 if backend == "xla" and on_cpu else dtype
        self.cache_dtype = narrow if cache_dtype is None else cache_dtype
        packed = backend == "cpu" and dtype == jnp.bfloat16 and self.mesh.size == 1
        if on_cpu and dtype == jnp.bfloat16 and not packed:
            slots = max(slots, 2)  # XLA's bfloat16 product of one row takes eight times as long as that of two
        self._parts = _parts(self.mesh)
        here, parts = self._parts.count(jax.process_index()), len(self._parts)
        layout = Layout(
            seed=seed, slots=-(-slots // parts) * here, max_prompt_tokens=max_prompt_tokens,
            max_new_tokens=max_new_tokens, chunk=chunk, prefill_rows=-(-prefill_rows // parts) * here,
            prefill_width=prefill_width, prefill_calls=prefill_calls, page=page, shard_pages=0, shards=here,
        )  # fmt: skip
        self.layout = dataclasses.replace(layout, shard_pages=_shard_pages(layout, cache_tokens, parts))
        self.forward = forward.Forward(config, dtype, backend, packed, int8)
        self.stop_ids = ends.stop_ids(tokenizer)
        self.compilations: dict[str, float] = {}  # seconds of the first call of each compiled function
        self._weights: forward.Weights | None = None
        self._make_functions()

    @property
    def token_bytes(self) -> int:
        """Bytes of one token's keys and values."""
        config, number_bytes = self.config, jnp.dtype(self.cache_dtype).itemsize
        return 2 * config.num_layers * config.num_kv_heads * self.forward.page_head_dim * number_bytes

    @property
    def cache_bytes(self) -> int:
        """Bytes of keys and values on all devices of the mesh together, counting a page once."""
        return self.token_bytes * self.layout.page * self.layout.shard_pages * len(self._parts)

    def update(self, params: Params) -> None:
        """Takes new parameters: one jitted cast, unstack, fuse and reshard, from whatever mesh they are on."""
        self._weights = self._to_weights(params)

    def start(self, purpose: str, check: Callable[[], None] = lambda: None) -> Decoding:
        """A run that takes requests while it goes. purpose: a part of every sample's name.

        check: called between two calls of the devices; what it raises ends the run. Where the mesh spans processes it
        has to raise in all of them.
        """
        if self._weights is None:
            raise RuntimeError("the engine has no weights yet: call update(params) first")
        return Decoding(
            self._programs(self._weights), self.layout, self.tokenizer, self.config.vocab_size, purpose, check
        )

    def generate(
        self, requests: Iterable[Request], purpose: str, check: Callable[[], None] = lambda: None
    ) -> Iterator[Completion]:
        """Yields a completion for each request as it finishes. check: see `start`.

        A bad request gives one with finish_reason "error", no tokens and the reason in `error`; the others go on. Where
        the mesh spans processes, each of them has to take all of its completions: the others wait for it.
        """
        with self.start(purpose, check) as decoding:
            for request in requests:
                try:
                    decoding.add(request)
                except ValueError as error:
                    yield failed(request, str(error))
            decoding.close()
            yield from decoding

    @property
    def abstract(self) -> tuple[forward.Weights, forward.Pages]:
        """Its weights and the pages of its cache as shapes with shardings."""
        weights = jax.eval_shape(self.forward.to_weights, Model(self.config).abstract_params)
        pages = jax.eval_shape(self._empty)
        return _placed(weights, named_shardings(weights, self.mesh)), _placed(pages, named_shardings(pages, self.mesh))

    def trace(self, needs: Needs) -> dict[str, Any]:
        """Its prefill and its decode chunk as they are run, traced over arrays that are not there: for planning/.

        A decode chunk has samples that need this of the sampler, and tables as wide as the longest row.
        """
        layout, (weights, pages) = self.layout, self.abstract
        pieces = steps.blank_pieces(layout.prefill_rows, layout.prefill_width, layout.row_pages)
        slots = steps.blank_fields(layout.slots, layout.row_pages)

        def whole(fields: dict[str, np.ndarray]) -> dict[str, Any]:
            places = {name: self._place_of(name, array) for name, array in fields.items()}
            return {
                name: jax.ShapeDtypeStruct(shape, fields[name].dtype, sharding=where)
                for name, (shape, where) in places.items()
            }

        with jax.set_mesh(self.mesh):
            return {
                "prefill": self._prefill.trace(weights, pages, whole(pieces)),
                "decode": self._decode.trace(weights, pages, whole(slots), needs=needs),
            }

    def _make_functions(self) -> None:
        """What is jitted, and where its results lie."""
        model, layout = self.forward, self.layout
        count = layout.shard_pages * len(self._parts)
        empty = functools.partial(model.empty_pages, count, layout.page, self.cache_dtype)
        pages = named_shardings(jax.eval_shape(empty), self.mesh)
        slots = layout.slots // layout.shards * len(self._parts)
        rows = sharding((layout.chunk, slots), "cs", self.mesh)
        out = {"token_cs": rows, "logp_cs": rows, "sampling_logp_cs": rows, "valid_cs": rows}
        out["active_s"] = sharding((slots,), "s", self.mesh)
        decode = functools.partial(steps.decode_chunk, model=model, chunk=layout.chunk, stop_ids=self.stop_ids)
        abstract = jax.eval_shape(model.to_weights, Model(self.config).abstract_params)
        self._to_weights = Resharder(model.to_weights, named_shardings(abstract, self.mesh))
        self._empty = jax.jit(empty, out_shardings=pages)
        self._prefill = jax.jit(functools.partial(steps.prefill, model=model), donate_argnums=1, out_shardings=pages)
        self._copy = jax.jit(model.copy_pages, donate_argnums=0, out_shardings=pages)
        self._decode = jax.jit(decode, donate_argnums=1, static_argnames="needs", out_shardings=(pages, out))

    def _programs(self, weights: forward.Weights) -> Programs:
        """The functions on these weights, as the scheduler calls them: numpy in and out, this process's rows."""

        def decode(
            pages: forward.Pages, fields: dict[str, np.ndarray], needs: Needs
        ) -> tuple[forward.Pages, dict[str, np.ndarray]]:
            asked = ", ".join(name for name, value in needs._asdict().items() if value) or "greedy"
            last = fields["position_s"] + fields["active_s"] * (self.layout.chunk - 1)
            name, fields = self._cut_table(f"decode ({asked})", fields, int(last.max()))
            pages, out = self._call(name, self._decode, weights, pages, self._place(fields), needs=needs)
            return pages, {name: parallel.local_part(array) for name, array in out.items()}

        def prefill(pages: forward.Pages, fields: dict[str, np.ndarray]) -> forward.Pages:
            last = fields["position_s"] + self.layout.prefill_width - 1
            name, fields = self._cut_table("prefill", fields, int(last.max()))
            return self._call(name, self._prefill, weights, pages, self._place(fields))

        return Programs(
            empty=lambda: self._call("empty", self._empty),
            prefill=prefill,
            copy=lambda pages, fields: self._call("copy", self._copy, pages, **self._place(fields)),
            decode=decode,
            agree=(lambda numbers: numbers) if self._alone else parallel.host_sum,
            alone=self._alone,
            stop_ids=self.stop_ids,
        )

    @property
    def _alone(self) -> bool:
        """Whether all devices of the mesh belong to this process."""
        return set(self._parts) == {jax.process_index()}

    def _cut_table(self, name: str, fields: dict[str, np.ndarray], last: int) -> tuple[str, dict[str, np.ndarray]]:
        """The fields with no more pages a row than the last position needs, in powers of two, where that saves time."""
        if not self._alone or self.forward.backend != "gpu":
            return name, fields
        pages = min(self.layout.row_pages, 1 << (last // self.layout.page).bit_length())
        return f"{name}, {pages} pages a row", fields | {"table_si": fields["table_si"][:, :pages]}

    def _place(self, fields: dict[str, np.ndarray]) -> dict[str, Any]:
        """This process's rows as arrays of the whole mesh."""
        if self.mesh.size == 1:
            return dict(fields)
        placed = {}
        for name, array in fields.items():
            shape, where = self._place_of(name, array)
            placed[name] = jax.make_array_from_process_local_data(where, array, shape)
        return placed

    def _place_of(self, name: str, array: np.ndarray) -> tuple[tuple[int, ...], NamedSharding]:
        """The shape over the whole mesh of an array of this process's rows, and where it lies."""
        shape = (len(array) // self.layout.shards * len(self._parts), *array.shape[1:])
        return shape, sharding(shape, name.rsplit("_", 1)[-1], self.mesh)

    def _call(self, name: str, function: Callable[..., Any], *args: Any, **kw: Any) -> Any:
        """Calls a jitted function in the engine's mesh; the first time says how long it took to compile."""
        start = time.perf_counter()
        with parallel.LAUNCHES, jax.set_mesh(self.mesh):
            out = function(*args, **kw)
        if name not in self.compilations:
            self.compilations[name] = time.perf_counter() - start
            _log.info("compiled %s in %.1f s (%d so far)", name, self.compilations[name], len(self.compilations))
        return out


def _placed(tree: Any, shardings: Any) -> Any:
    """Shapes with their shardings."""
    return jax.tree.map(
        lambda leaf, where: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where), tree, shardings
    )


def _parts(mesh: Mesh) -> list[int]:
    """The process that schedules each part of the slots: a part is the devices along the tensor axis.

    ValueError where a part spans processes, or the mesh some processes but not all.
    """
    parts = [{device.process_index for device in part} for part in mesh.devices.reshape(-1, mesh.shape["tensor"])]
    if any(len(processes) > 1 for processes in parts):
        raise ValueError("a decode mesh's tensor axis must lie within one process: make it smaller, or data larger")
    owners = [processes.pop() for processes in parts]
    if jax.process_index() not in owners or len(set(owners)) not in (1, jax.process_count()):
        raise ValueError(
            f"a decode mesh has the devices of one process or of all {jax.process_count()}; this one has those of "
            f"{sorted(set(owners))}, and this is process {jax.process_index()}"
        )
    return owners


def _shard_pages(layout: Layout, cache_tokens: int, parts: int) -> int:
    """The pages of one shard, with the one that belongs to nobody. 0 tokens: enough for every slot to be full."""
    longest = layout.pages_of(layout.max_prompt_tokens - 1) + layout.row_pages
    if not cache_tokens:
        slots, rows = layout.slots // layout.shards, layout.prefill_rows // layout.shards
        return 1 + slots * layout.row_pages + rows * layout.pages_of(layout.max_prompt_tokens - 1) + layout.row_pages
    pages = cache_tokens // parts // layout.page
    if pages < longest:
        raise ValueError(
            f"cache_tokens is too small: one prompt of {layout.max_prompt_tokens} and its answer of "
            f"{layout.max_new_tokens} take {longest * layout.page} tokens' pages in each part of the mesh"
        )
    return 1 + pages
