"""The CPU's own kernels (decode.cc, rows.cc): built once a machine with its C++ compiler, called from jitted code.

    if native.available():                       # a CPU without a compiler: False, and the log says why
        packed = native.pack(w_df)               # bfloat16, or int8 with its scales kept apart
        y_mf = native.matmul(x_md, packed, active_m)[:, :f]

They take the place of XLA's own where decoding on one CPU device spends its time, and in the attention of whole rows;
docs/results/decode.md and reward_model.md have the measurements. Letters: m rows, d depth, f outputs; attention's are
those of sampling/attention and models/attention.
"""

import ctypes
import functools
import hashlib
import logging
import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from acecoder_jax.models import cpu
from acecoder_jax.store import user_cache

SOURCES = [Path(__file__).with_name(name) for name in ("decode.cc", "rows.cc")]
HEADER = Path(__file__).with_name("kernels.h")
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fPIC", "-shared", "-w")
TARGETS = (
    *("acecoder_matmul", "acecoder_attend", "acecoder_copy_pages"),
    *("acecoder_attend_rows", "acecoder_attend_rows_backward"),
)
UNIT = 4  # a packed weight's depth is a multiple of it
_log = logging.getLogger(__name__)


@functools.cache
def _library() -> ctypes.CDLL | None:
    """The kernels, built and made known to XLA; None where JAX does not run on a CPU or nothing can build them."""
    if jax.default_backend() != "cpu":
        return None
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    if not compiler or shutil.which(compiler[0]) is None:
        _log.warning("no C++ compiler (c++, or CXX): decoding on this CPU uses XLA's own products, about half as fast")
        return None
    try:
        library = ctypes.CDLL(str(build(compiler)))
    except (subprocess.CalledProcessError, OSError) as error:
        reason = getattr(error, "stderr", None) or error
        _log.warning("%s cannot build the CPU's kernels; decoding uses XLA's products:\n%s", compiler[0], reason)
        return None
    for name in TARGETS:
        jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(getattr(library, name)), platform="cpu")
    return library


def available() -> bool:
    """Whether the kernels can be used here; where a CPU cannot, the log says why."""
    return _library() is not None


def panel() -> int:
    """How many outputs are computed together: weights are packed in panels of so many."""
    library = _library()
    assert library is not None
    return library.acecoder_panel()


def build(compiler: Sequence[str], flags: tuple[str, ...] = FLAGS) -> Path:
    """Compiles the kernels into the user's cache, unless they lie there already for this source and machine."""
    said = subprocess.run([*compiler, "--version"], capture_output=True, check=True, text=True).stdout
    names = (
        *(path.read_bytes() for path in (HEADER, *SOURCES)),
        said.encode(),
        " ".join(flags).encode(),
        jax.__version__.encode(),
        cpu.about().encode(),
    )
    library = user_cache() / "native" / f"{hashlib.sha256(b'|'.join(names)).hexdigest()[:16]}.so"
    if not library.exists():
        library.parent.mkdir(parents=True, exist_ok=True)
        unfinished = library.with_suffix(f".{os.getpid()}")
        command = [*compiler, *flags, "-isystem", jax.ffi.include_dir(), *map(str, SOURCES), "-o", str(unfinished)]
        subprocess.run(command, check=True, capture_output=True, text=True)
        unfinished.replace(library)
    return library


def pack(w_df: jax.Array) -> jax.Array:
    """Weights in the order in which the kernel reads them: [panel, depth / 2, output, 2] of bfloat16, 4s of int8."""
    d, f = w_df.shape
    together = 4 // w_df.dtype.itemsize
    w_df = jnp.pad(w_df, ((0, -d % UNIT), (0, -f % panel())))
    return w_df.reshape(w_df.shape[0] // together, together, -1, panel()).transpose(2, 0, 3, 1)


def unpack_columns(packed: jax.Array, column_m: jax.Array, depth: int) -> jax.Array:
    """Columns of the matrix that was packed, as rows: [m, depth]. A tied embedding is read so."""
    panel_m, output_m = column_m // panel(), column_m % panel()
    return packed[panel_m, :, output_m].reshape(len(column_m), -1)[:, :depth]


def matmul(x_md: jax.Array, packed: jax.Array, active_m: jax.Array) -> jax.Array:
    """x W in float32, [m, f rounded up to a whole panel]; x bfloat16. Rows that are not active come back as zeros.

    A row's result does not depend on the others, bit for bit.
    """
    out = jax.ShapeDtypeStruct((x_md.shape[0], packed.shape[0] * panel()), jnp.float32)
    call = jax.ffi.ffi_call("acecoder_matmul", out)
    return call(x_md.astype(jnp.bfloat16), packed, active_m, dot=cpu.has_fast_dot())


def attend(
    q_stnh: jax.Array, kv_stjh: jax.Array, pages_pcjh: jax.Array, table_si: jax.Array, position_s: jax.Array,
    active_st: jax.Array, *, scale: float, window: int,
) -> tuple[jax.Array, jax.Array]:  # fmt: skip
    """Writes the active tokens' keys and values to their pages, and attends: ([s, t, n, h] of float32, the pages)."""
    out = jax.ShapeDtypeStruct(q_stnh.shape, jnp.float32)
    pages = jax.ShapeDtypeStruct(pages_pcjh.shape, pages_pcjh.dtype)
    call = jax.ffi.ffi_call("acecoder_attend", (out, pages), input_output_aliases={2: 1})
    out_stnh, pages_pcjh = call(
        q_stnh.astype(jnp.float32), kv_stjh.astype(pages_pcjh.dtype), pages_pcjh, table_si, position_s, active_st,
        scale=np.float32(scale), window=np.int64(window),
    )  # fmt: skip
    return out_stnh, pages_pcjh


def copy_pages(pages_pcjh: jax.Array, from_s: jax.Array, to_s: jax.Array) -> jax.Array:
    """The pages with those at to_s as those at from_s were; XLA on a CPU would copy the whole pool."""
    out = jax.ShapeDtypeStruct(pages_pcjh.shape, pages_pcjh.dtype)
    return jax.ffi.ffi_call("acecoder_copy_pages", out, input_output_aliases={0: 0})(pages_pcjh, from_s, to_s)


def attend_rows(
    q_btnh: jax.Array, k_bskh: jax.Array, v_bskh: jax.Array, queries_3bt: jax.Array, keys_3bs: jax.Array,
    window: jax.Array | int, *, scale: float,
) -> tuple[jax.Array, jax.Array]:  # fmt: skip
    """Attention of whole rows in bfloat16: [b, t, n, h], and the log of each softmax's sum, [b, t, n] of float32.

    queries_3bt, keys_3bs: segments, positions and branches of int32, as models/attention/places.py has them. Blocks of
    keys that no query of a tile sees cost next to nothing. Zeros for a query that sees no key.
    """
    out = jax.ShapeDtypeStruct(q_btnh.shape, jnp.bfloat16), jax.ShapeDtypeStruct(q_btnh.shape[:3], jnp.float32)
    call = jax.ffi.ffi_call("acecoder_attend_rows", out)
    out_btnh, norm_btn = call(
        q_btnh, k_bskh, v_bskh, queries_3bt, keys_3bs, jnp.asarray(window, jnp.int32), scale=np.float32(scale),
        dot=cpu.has_fast_dot(),
    )  # fmt: skip
    return out_btnh, norm_btn


def attend_rows_backward(operands: Sequence[jax.Array], *, scale: float) -> Sequence[jax.Array]:
    """The derivatives of `attend_rows` by q, k and v. operands: its own, what it gave, and the derivative by its first
    result, bfloat16.
    """
    q_btnh, k_bskh, v_bskh, queries_3bt, keys_3bs, window, *rest = operands
    like = [jax.ShapeDtypeStruct(x.shape, jnp.bfloat16) for x in (q_btnh, k_bskh, v_bskh)]
    call = jax.ffi.ffi_call("acecoder_attend_rows_backward", like)
    return call(
        q_btnh, k_bskh, v_bskh, queries_3bt, keys_3bs, jnp.asarray(window, jnp.int32), *rest, scale=np.float32(scale),
        dot=cpu.has_fast_dot(),
    )  # fmt: skip
