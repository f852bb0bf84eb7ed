"""What this machine can do at most, measured through JAX and our own kernels: the ground of the rooflines."""

import time

import jax
import jax.numpy as jnp

from acecoder_jax.models import native


def rates() -> dict[str, float]:
    """Measured bytes a second of reading memory, and FLOPs a second of the fastest large product at hand."""
    big = jnp.ones((1 << 27,), jnp.float32)
    read = jax.jit(jnp.sum)
    a_md, w_df = jnp.ones((2048, 2048), jnp.bfloat16), jnp.ones((2048, 2048), jnp.bfloat16)
    multiply = jax.jit(lambda a, w: jnp.einsum("md,df->mf", a, w, preferred_element_type=jnp.float32))
    times = {
        "xla_bfloat16": _best(lambda: multiply(a_md, w_df)),
        "xla_float32": _best(lambda: multiply(a_md.astype(jnp.float32), w_df.astype(jnp.float32))),
    }
    if native.available():
        packed, active_m = native.pack(w_df), jnp.ones(2048, bool)
        kernel = jax.jit(native.matmul)
        times["native_bfloat16"] = _best(lambda: kernel(a_md, packed, active_m))
    found = {f"gflops_{name}": 2 * 2048**3 / seconds / 1e9 for name, seconds in times.items()}
    return {"bandwidth": big.nbytes / _best(lambda: read(big)), "flops": 1e9 * max(found.values())} | found


def _best(call: object) -> float:
    times = []
    for _ in range(5):
        start = time.perf_counter()
        jax.block_until_ready(call())  # type: ignore[operator]
        times.append(time.perf_counter() - start)
    return min(times)
