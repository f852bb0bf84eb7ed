"""Attention of the training forward over packed rows, by back end: `chunked` is plain XLA, `cpu` the CPU's own kernel,
`splash` a TPU's, `cudnn` an NVIDIA GPU's; `dense` is the reference that all are tested against.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from acecoder_jax.models import native, sharding
from acecoder_jax.models.attention import chunked, cpu, cudnn, splash
from acecoder_jax.models.attention.places import NO_WINDOW, Places
from acecoder_jax.models.config import ModelConfig

BACKENDS: dict[str, Any] = {"xla": chunked.attend, "cpu": cpu.attend, "splash": splash.attend, "cudnn": cudnn.attend}
SHARES_PROMPTS = ("xla", "cpu", "cudnn")  # back ends that let responses branch off from one prompt


def choose(name: str, platform: str, dtype: Any) -> str:
    """The back end of a name; "auto" is the fused kernel of the platform where it has one for the type, else "xla".

    ValueError for an unknown name, and for a kernel that is not this platform's.
    """
    fused = {"tpu": "splash", "gpu": "cudnn", "cpu": "cpu"}.get(platform, "xla")
    if (fused == "cudnn" and jnp.dtype(dtype).itemsize != 2) or (fused == "cpu" and not _has_kernel(dtype)):
        fused = "xla"
    if name not in ("auto", *BACKENDS):
        raise ValueError(f"unknown attention {name!r}; there are auto, {', '.join(BACKENDS)}")
    if name not in (there := dict.fromkeys(("auto", "xla", fused))):
        raise ValueError(
            f"attention {name!r} does not run on {platform} in {jnp.dtype(dtype)}; there are {', '.join(there)}"
        )
    return fused if name == "auto" else name


def _has_kernel(dtype: Any) -> bool:
    return jnp.dtype(dtype) == jnp.bfloat16 and native.available()


def check(backend: str, config: ModelConfig, row_tokens: int, context: int, remat: str) -> None:
    """ValueError for rows, heads or a remat policy that a back end cannot do, before anything is compiled."""
    if backend == "splash":
        windows = {window or NO_WINDOW for window in config.windows}
        splash.check(row_tokens, row_tokens, windows.pop() if len(windows) == 1 else None, context)
    if backend == "cudnn":
        if (row_tokens // context) % 2:
            raise ValueError(
                f"cuDNN's attention takes an even number of tokens, not {row_tokens // context} (trainer.row_tokens "
                f"{row_tokens} over context {context}): change it, or use trainer.attention='xla'"
            )
        if config.head_dim % 8 or config.head_dim > 128:
            raise ValueError(
                f"cuDNN's attention takes heads of a multiple of 8 up to 128, not {config.head_dim}: "
                "use trainer.attention='xla'"
            )
        if remat == "attention":
            raise ValueError("remat 'attention' keeps nothing of cuDNN's attention: use 'dots' or 'full'")


def attend(
    q_btnh: jax.Array, k_btkh: jax.Array, v_btkh: jax.Array, places: Places, window: jax.Array | int, *, backend: str,
    scale: float,
) -> jax.Array:  # fmt: skip
    """Attention within packed rows: [b, t, n, h] of the queries' type.

    In a mesh set by `jax.set_mesh` every device works on its own rows and heads; over the context axis it has a part of
    the queries, and the keys of whole rows are gathered. KV heads fewer than tensor devices are repeated for them.
    """
    function = BACKENDS[backend]
    if (mesh := sharding.split_mesh()) is None:
        return function(q_btnh, k_btkh, v_btkh, places, places, window, scale)
    n, k, tensor = q_btnh.shape[2], k_btkh.shape[2], mesh.shape["tensor"]
    if k % tensor and tensor % k == 0 and n % tensor == 0:
        k_btkh, v_btkh = (jnp.repeat(x, tensor // k, axis=2) for x in (k_btkh, v_btkh))
    q_spec = sharding.activation_spec("btnh", (*q_btnh.shape[:2], k_btkh.shape[2], q_btnh.shape[3]), mesh)
    rows, time, heads = q_spec[0], q_spec[1], q_spec[2]
    kv_spec = PartitionSpec(rows, None, heads)
    q_places, kv_places = PartitionSpec(rows, time), PartitionSpec(rows)
    extra: tuple[Any, ...] = ()
    extra_specs: tuple[Any, ...] = ()
    if backend == "splash":
        local = n // (tensor if heads else 1)
        shards = mesh.shape["context"] if time else 1
        kernel = splash.make_kernel(q_btnh.shape[1], k_btkh.shape[1], local, window, shards)
        extra, extra_specs = (kernel,), (kernel.manual_sharding_spec(NamedSharding(mesh, PartitionSpec(None, time))),)
        window = 0  # it is a part of the kernel
    mapped = jax.shard_map(
        functools.partial(_positional, function, scale),
        in_specs=(q_spec, kv_spec, kv_spec, q_places, kv_places, PartitionSpec(), *extra_specs),
        out_specs=q_spec, check_vma=False,
    )  # fmt: skip
    return mapped(q_btnh, k_btkh, v_btkh, places, places, jnp.asarray(window), *extra)


def _positional(function: Any, scale: float, q, k, v, queries: Places, keys: Places, window, *extra: Any) -> jax.Array:
    return function(q, k, v, queries, keys, window, scale, *extra)
