"""Attention of new tokens over a paged cache: one function, four back ends.

A layer's keys and values live in pages of a few tokens each; a table says which pages hold a row's tokens. A prompt is
read once, and the samples of its group point at its pages. Only the page that a prompt fills in part is copied for each
sample: there they diverge. Measured against a cache of whole rows (docs/results/decode.md): a group's prompt is held
and read into the cache once, slots need no copy of it, and a row costs what it holds, not what it may come to hold.

    cpu   models/native: a kernel that reads the pages in place
    tpu   the Pallas kernels that ship with JAX: ragged paged attention for decoding, splash attention for prompts
    gpu   pages gathered, then cuDNN through jax.nn.dot_product_attention
    xla   plain XLA, anywhere: the reference that the others are tested against

Letters: s rows (slots, or pieces of prompts), t new tokens of each, n query heads, h head dim, p pages, c cells of a
page (a token each), j keys and values of all KV heads in turn (K0, V0, K1, V1, ...), i pages of a row. Page 0 holds
what belongs to nobody: unused entries of a table are 0.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from acecoder_jax.models import native
from acecoder_jax.models.attention.places import NO_WINDOW
from acecoder_jax.models.sharding import by_shard
from acecoder_jax.sampling.attention import gpu, tpu, xla

BACKENDS: dict[str, Any] = {"xla": xla, "tpu": tpu, "gpu": gpu}


def choose(backend: str, platform: str | None = None) -> str:
    """The back end that a name stands for; "auto" is the best one of the platform, by default this process's.

    ValueError for a name that is none, and for "cpu" where the kernels cannot be built.
    """
    if backend == "auto":
        platform = jax.default_backend() if platform is None else platform
        if platform == "cpu" and native.available():
            return "cpu"
        return platform if platform in BACKENDS else "xla"
    if backend not in ("cpu", *BACKENDS):
        raise ValueError(f"unknown back end {backend!r}; there are auto, cpu, {', '.join(BACKENDS)}")
    if backend == "cpu" and not native.available():
        raise ValueError("the back end cpu needs JAX on a CPU and a C++ compiler (c++, or the one that CXX names)")
    return backend


def attend(
    backend: str,
    q_stnh: jax.Array,
    kv_stjh: jax.Array,
    pages_pcjh: jax.Array,
    table_si: jax.Array,
    position_s: jax.Array,
    active_st: jax.Array,
    *,
    scale: float,
    window: int | None,
) -> tuple[jax.Array, jax.Array]:
    """Writes the active tokens' keys and values to their pages and attends: [s, t, n, h] of float32, and the pages.

    Token t of row s stands at position_s + t and sees the keys of its row up to itself, no further back than the
    window. What comes back for tokens that are not active means nothing. In a mesh, rows and pages are split over
    (data, fsdp), a table counts the pages of its own part, and heads are split over tensor.
    """
    local = functools.partial(_local, backend, scale=scale, window=window)
    kv_heads = kv_stjh.shape[2] // 2  # a group of queries goes where its keys and values are
    run = by_shard(local, ("stnh", "stjh", "pcjh", "si", "s", "st"), ("stnh", "pcjh"), n=kv_heads, j=kv_heads)
    return run(q_stnh, kv_stjh, pages_pcjh, table_si, position_s, active_st)


def _local(
    backend: str, q_stnh: jax.Array, kv_stjh: jax.Array, pages_pcjh: jax.Array, table_si: jax.Array,
    position_s: jax.Array, active_st: jax.Array, *, scale: float, window: int | None,
) -> tuple[jax.Array, jax.Array]:  # fmt: skip
    if backend == "cpu":
        return native.attend(
            q_stnh, kv_stjh, pages_pcjh, table_si, position_s, active_st, scale=scale, window=window or NO_WINDOW
        )
    pages_pcjh = write(kv_stjh, pages_pcjh, table_si, position_s, active_st)
    return BACKENDS[backend].attend(q_stnh, pages_pcjh, table_si, position_s, scale=scale, window=window), pages_pcjh


def write(
    kv_stjh: jax.Array, pages_pcjh: jax.Array, table_si: jax.Array, position_s: jax.Array, active_st: jax.Array
) -> jax.Array:
    """The pages with the active tokens' keys and values; those of the others go to page 0."""
    cells = pages_pcjh.shape[1]
    position_st = position_s[:, None] + jnp.arange(kv_stjh.shape[1])
    page_st = jnp.take_along_axis(table_si, position_st // cells, axis=1, mode="clip")
    page_st = jnp.where(active_st, page_st, 0)
    kv_stjh = kv_stjh.astype(pages_pcjh.dtype)
    return pages_pcjh.at[page_st, position_st % cells, :, : kv_stjh.shape[-1]].set(kv_stjh)
