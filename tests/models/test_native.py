"""The CPU's own kernels against float64 arithmetic, for this CPU and ones with fewer lanes; and how they are built."""

import ctypes
import functools
import itertools
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acecoder_jax.models import cpu, native
from acecoder_jax.models.attention import cpu as attention_cpu
from acecoder_jax.models.attention.dense import attention
from acecoder_jax.models.attention.places import NO_WINDOW, Places, mask

pytestmark = pytest.mark.skipif(not native.available(), reason="no C++ compiler")
CPU = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
# Other widths of the same source: 8 lanes (AVX2), 4 lanes (SSE2; NEON has as many). Names of what the CPU has to have.
MACHINES = {"native": "", "haswell": " avx2 ", "x86-64": " sse2 "}


@functools.cache
def library(machine: str) -> ctypes.CDLL:
    """The kernels compiled for another machine, known to XLA under names of their own."""
    flags = tuple(flag.replace("-march=native", f"-march={machine}") for flag in native.FLAGS)
    built = ctypes.CDLL(str(native.build(shlex.split(os.environ.get("CXX", "c++")), flags)))
    for name in native.TARGETS:
        jax.ffi.register_ffi_target(f"{name}_{machine}", jax.ffi.pycapsule(getattr(built, name)), platform="cpu")
    return built


@pytest.fixture(params=MACHINES)
def machine(request, monkeypatch):
    """Puts the kernels of a machine in the place of this one's; its name."""
    name = request.param
    if name != "native":
        if platform.machine() != "x86_64" or MACHINES[name] not in CPU:
            pytest.skip(f"this CPU cannot run code for {name}")
        call = jax.ffi.ffi_call
        monkeypatch.setattr(jax.ffi, "ffi_call", lambda target, *args, **kw: call(f"{target}_{name}", *args, **kw))
        monkeypatch.setattr(native, "panel", library(name).acecoder_panel)
    return name


# ---- products


def operands(rows, depth, outputs, dtype, seed=0):
    """Rows of bfloat16 and weights of dtype."""
    rng = np.random.default_rng(seed)
    x_md = jnp.asarray(rng.normal(size=(rows, depth)), jnp.bfloat16)
    if dtype == jnp.int8:
        return x_md, jnp.asarray(rng.integers(-127, 128, (depth, outputs)), jnp.int8)
    return x_md, jnp.asarray(rng.normal(size=(depth, outputs)), dtype)


def multiply(x_md, w_df, active_m=None):
    active_m = np.ones(len(x_md), bool) if active_m is None else active_m
    return np.asarray(native.matmul(x_md, native.pack(w_df), jnp.asarray(active_m)))


def is_product(y_mf, x_md, w_df):
    """Products are exact in float32, sums round: each a little of what has been added so far. Padding gives zeros."""
    x_md, w_df = np.asarray(x_md, np.float64), np.asarray(w_df, np.float64)
    outputs = w_df.shape[1]
    assert y_mf.dtype == np.float32 and y_mf.shape[1] % native.panel() == 0
    assert not y_mf[:, outputs:].any()
    assert np.all(np.abs(y_mf[:, :outputs] - x_md @ w_df) <= 1e-6 * (np.abs(x_md) @ np.abs(w_df)))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.int8])
@pytest.mark.parametrize(
    ("rows", "depth", "outputs"),
    [(1, 1, 1), (3, 7, 33), (12, 512, 64), (13, 513, 31), (7, 1030, 100), (40, 130, 257), (25, 5000, 70)],
)
def test_products_of_odd_sizes(machine, rows, depth, outputs, dtype):
    x_md, w_df = operands(rows, depth, outputs, dtype)
    is_product(multiply(x_md, w_df), x_md, w_df)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.int8])
def test_any_number_of_rows(dtype):
    x_md, w_df = operands(40, 70, 90, dtype)
    for rows in range(1, 41):
        is_product(multiply(x_md[:rows], w_df), x_md[:rows], w_df)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.int8])
def test_a_row_does_not_depend_on_the_others(machine, dtype):
    """Nor on its place, nor on how many there are: to the last bit, whatever the size of the groups they go in."""
    x_md, w_df = operands(31, 1541, 70, dtype)
    alone_mf = np.concatenate([multiply(x_md[row : row + 1], w_df) for row in range(len(x_md))])
    for rows in (2, 5, 6, 7, 12, 13, 24, 31):
        order = np.random.default_rng(rows).permutation(31)[:rows]
        np.testing.assert_array_equal(multiply(x_md[order], w_df), alone_mf[order])


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.int8])
def test_rows_that_are_not_active_are_zeros_and_disturb_nobody(machine, dtype):
    x_md, w_df = operands(29, 75, 40, dtype)
    whole_mf = multiply(x_md, w_df)
    x_md = x_md.at[::3].set(jnp.nan)
    active_m = np.arange(29) % 3 > 0
    y_mf = multiply(x_md, w_df, active_m)
    np.testing.assert_array_equal(y_mf[active_m], whole_mf[active_m])
    assert not y_mf[~active_m].any()
    assert not multiply(x_md, w_df, np.zeros(29, bool)).any()


def test_weights_packed_for_another_depth_are_refused():
    x_md, w_df = operands(2, 12, 5, jnp.bfloat16)
    with pytest.raises(Exception, match="packed for another depth"):
        multiply(x_md[:, :8], w_df)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.int8])
def test_packing_is_in_panels_and_undone_column_by_column(machine, dtype):
    _, w_df = operands(1, 10, 77, dtype)
    packed = native.pack(w_df)
    together, panel = (2, 4)[dtype == jnp.int8], native.panel()
    assert panel == {"haswell": 16, "x86-64": 8}.get(machine, panel)
    assert packed.shape == (-(-77 // panel), 12 // together, panel, together)
    assert packed[1, 2, 3, 1] == w_df[2 * together + 1, panel + 3]
    columns = jnp.array([76, 0, 31, 32, 0])
    np.testing.assert_array_equal(native.unpack_columns(packed, columns, 10), w_df.T[columns])


@pytest.mark.skipif("avx512_bf16" not in CPU, reason="the CPU has no such instruction")
def test_products_by_the_instruction_for_bfloat16(monkeypatch):
    """Whether this CPU would choose it or not. Its sums of two round in another order."""
    monkeypatch.setattr(cpu, "has_fast_dot", lambda: True)
    for rows, depth, outputs in [(1, 7, 33), (13, 514, 64), (40, 5000, 70)]:
        x_md, w_df = operands(rows, depth, outputs, jnp.bfloat16)
        y_mf = multiply(x_md, w_df)
        is_product(y_mf, x_md, w_df)
        np.testing.assert_array_equal(multiply(x_md[rows // 2 :], w_df), y_mf[rows // 2 :])
    with monkeypatch.context() as patch:
        patch.setattr(cpu, "has_fast_dot", lambda: False)
        assert np.any(multiply(x_md, w_df) != y_mf)  # it was another kernel


# ---- attention

CELLS = 4


def case(group, head_dim, dtype, position_s, tokens, heads=2, seed=0):
    """Random queries, keys and values, full pages, and tables that name them in any order; every token is active."""
    rng = np.random.default_rng(seed)
    s, row_pages = len(position_s), (max(position_s) + tokens + CELLS - 1) // CELLS
    table_si = 1 + rng.permutation(s * row_pages).reshape(s, row_pages)
    return {
        "q_stnh": rng.normal(size=(s, tokens, heads * group, head_dim)).astype(np.float32),
        "kv_stjh": np.asarray(rng.normal(size=(s, tokens, 2 * heads, head_dim)), dtype),
        "pages_pcjh": np.asarray(rng.normal(size=(1 + s * row_pages, CELLS, 2 * heads, head_dim)), dtype),
        "table_si": table_si.astype(np.int32),
        "position_s": np.array(position_s, np.int32),
        "active_st": np.ones((s, tokens), bool),
    }


def restated(q_stnh, kv_stjh, pages_pcjh, table_si, position_s, active_st, *, scale, window):
    """All active tokens written, then the attention of each in float64."""
    pages_pcjh, out_stnh = np.array(pages_pcjh), np.zeros(q_stnh.shape)
    tokens = list(zip(*np.nonzero(active_st), strict=True))
    for s, t in tokens:
        page, cell = divmod(position_s[s] + t, CELLS)
        pages_pcjh[table_si[s, page], cell] = kv_stjh[s, t]
    group = q_stnh.shape[2] // (kv_stjh.shape[2] // 2)
    for (s, t), n in itertools.product(tokens, range(q_stnh.shape[2])):
        last = position_s[s] + t
        seen = slice(max(0, last - window + 1), last + 1)
        kv_cjh = pages_pcjh[table_si[s]].reshape(-1, *pages_pcjh.shape[2:])[seen].astype(np.float64)
        score_c = kv_cjh[:, n // group * 2] @ q_stnh[s, t, n] * scale
        weight_c = np.exp(score_c - score_c.max())
        out_stnh[s, t, n] = weight_c / weight_c.sum() @ kv_cjh[:, n // group * 2 + 1]
    return out_stnh, pages_pcjh


def agrees(inputs, window=NO_WINDOW, scale=None):
    """Kernel and restatement: what active tokens see, and every page. The pages given are left as they were."""
    scale = inputs["q_stnh"].shape[-1] ** -0.5 if scale is None else scale
    given = jax.tree.map(jnp.asarray, inputs)
    out_stnh, pages_pcjh = native.attend(**given, scale=scale, window=window)
    expected_stnh, expected_pcjh = restated(**inputs, scale=scale, window=window)
    active_st = inputs["active_st"]
    assert out_stnh.dtype == jnp.float32
    np.testing.assert_allclose(np.asarray(out_stnh)[active_st], expected_stnh[active_st], rtol=0, atol=3e-6)
    assert np.isfinite(out_stnh).all()
    np.testing.assert_array_equal(pages_pcjh, expected_pcjh)
    np.testing.assert_array_equal(given["pages_pcjh"], inputs["pages_pcjh"])


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
@pytest.mark.parametrize("head_dim", [6, 8, 64, 128])
@pytest.mark.parametrize("group", [1, 2, 7, 16, 20])
def test_decoding(group, head_dim, dtype):
    agrees(case(group, head_dim, dtype, [0, 3, 4, 21, 130], 1))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
@pytest.mark.parametrize(("group", "head_dim"), [(7, 64), (20, 6)])
def test_attention_of_other_machines(machine, group, head_dim, dtype):
    agrees(case(group, head_dim, dtype, [5, 0, 34], 3), window=9)


@pytest.mark.parametrize("window", [1, 2, 5, 1000])
@pytest.mark.parametrize("tokens", [1, 9])
def test_windows(tokens, window):
    agrees(case(3, 8, jnp.float32, [0, 3, 17], tokens), window)


def test_scores_far_apart_and_far_from_zero():
    """Scores of hundreds, exact for they are whole numbers: small weights become nothing, and nothing overflows."""
    inputs = case(2, 8, jnp.float32, [9, 30], 1)
    inputs["q_stnh"] = np.rint(2 * inputs["q_stnh"])
    inputs["pages_pcjh"][:, :, ::2] = np.rint(inputs["pages_pcjh"][:, :, ::2]) * 30
    agrees(inputs, scale=1.0)


def test_pieces_of_one_prompt_in_one_call():
    """Three rows are one prompt's tokens 0 to 22: each sees what the rows before it write in the same call."""
    inputs = case(3, 8, jnp.float32, [16, 0, 8], 8)
    inputs["table_si"][:] = inputs["table_si"][0]
    inputs["active_st"][0, 7] = False
    agrees(inputs)
    whole = case(3, 8, jnp.float32, [0], 24)
    order = [1, 2, 0]  # of the pieces in the prompt
    whole["q_stnh"], whole["kv_stjh"] = (np.concatenate(inputs[name][order])[None] for name in ("q_stnh", "kv_stjh"))
    pieces, one = (
        native.attend(**jax.tree.map(jnp.asarray, x), scale=0.3, window=NO_WINDOW)[0] for x in (inputs, whole)
    )
    np.testing.assert_array_equal(np.concatenate(np.asarray(pieces)[order])[:23], one[0, :23])


def test_tokens_that_are_not_active_are_neither_written_nor_checked():
    inputs = case(3, 8, jnp.bfloat16, [2, 6, 0], 5)
    inputs["active_st"][0, 3:] = inputs["active_st"][2] = False
    inputs["position_s"][2] = 10**6  # a slot at rest may be anywhere
    agrees(inputs)


@pytest.mark.parametrize("position", [-1, 8, 2**31 - 1])
def test_a_position_outside_of_the_table_is_an_error(position):
    inputs = case(3, 8, jnp.float32, [2, 7], 1)  # two pages of four
    inputs["position_s"][1] = position
    with pytest.raises(Exception, match=f"outside of its row's pages: row 1, position {position}"):
        jax.block_until_ready(native.attend(**jax.tree.map(jnp.asarray, inputs), scale=1.0, window=NO_WINDOW))


@pytest.mark.parametrize("page", [-1, 99])
def test_a_page_that_is_not_there_is_an_error(page):
    inputs = case(3, 8, jnp.float32, [2, 7], 1)
    inputs["table_si"][1, 1] = page
    with pytest.raises(Exception, match=f"a page that is not there: row 1, page {page}"):
        jax.block_until_ready(native.attend(**jax.tree.map(jnp.asarray, inputs), scale=1.0, window=NO_WINDOW))


def test_a_cache_of_another_type_is_an_error():
    inputs = case(1, 8, jnp.float16, [2], 1)
    with pytest.raises(Exception, match="bfloat16 or float32"):
        jax.block_until_ready(native.attend(**jax.tree.map(jnp.asarray, inputs), scale=1.0, window=NO_WINDOW))


# ---- building


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


COMPILER = """
if [ "$1" = --version ]; then echo {version}; exit; fi
while [ "$1" != -o ]; do shift; done
echo once more >> {log}
echo library > "$2"
"""


def test_kernels_are_built_once_for_a_compiler_its_flags_and_the_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    log = tmp_path / "log"
    old, new = ([script(tmp_path / str(v), COMPILER.format(version=v, log=log))] for v in (12, 13))
    library = native.build(old)
    assert library.read_text() == "library\n"
    assert library.is_relative_to(tmp_path / "cache" / "acecoder_jax")
    assert native.build(old) == library
    assert log.read_text() == "once more\n"
    others = [native.build(new), native.build(old, ("-O1",))]
    monkeypatch.setattr(cpu, "about", lambda: "another machine on the same home")
    others.append(native.build(old))
    assert len({library, *others}) == 4
    assert sorted(library.parent.iterdir()) == sorted([library, *others])  # nothing unfinished is left


WITHOUT = """
import logging
logging.basicConfig(level=logging.WARNING, format="%(name)s %(message)s")
from acecoder_jax.models import cpu, native
from acecoder_jax.sampling import attention
assert native.available() is False
assert native.available() is False  # and says it once
assert attention.choose("auto") == "xla"
"""


@pytest.mark.parametrize(
    ("compiler", "said"),
    [
        ("nowhere", "no C++ compiler"),
        ("/bin/false", "/bin/false cannot build the CPU's kernels"),
        ("/bin/false -O2", "/bin/false cannot build the CPU's kernels"),
        ("/dev/null", "no C++ compiler"),
        ("old", "error: bad value 'native'"),
    ],
)
def test_without_a_compiler_that_works_there_is_a_warning_and_no_kernel(tmp_path, compiler, said):
    if compiler == "old":
        compiler = script(
            tmp_path / "old", '[ "$1" = --version ] && exit\necho "error: bad value \'native\'" >&2\nexit 1'
        )
    env = os.environ | {"CXX": compiler, "XDG_CACHE_HOME": str(tmp_path), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", WITHOUT], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("acecoder_jax.models.native") == 1
    assert said in done.stderr
    assert not list(tmp_path.rglob("*.so"))


# ---- attention over whole rows


@pytest.mark.parametrize("window", [NO_WINDOW, 40])
def test_attention_over_rows(machine, window):
    """A prompt with two branches, another sequence, padding: as the reference has it, and so the derivatives."""
    lengths, (t, n, k, h) = (70, 40, 60, 90), (300, 6, 2, 20)
    starts = np.cumsum((0, *lengths))
    segment, position, branch = np.zeros((3, 1, t), np.int32)
    for i, (start, length) in enumerate(zip(starts, lengths, strict=False)):
        here = slice(start, start + length)
        segment[0, here], branch[0, here] = (1, i) if i < 3 else (2, 0)
        position[0, here] = np.arange(length) + (lengths[0] if i in (1, 2) else 0)
    places, used = Places(*map(jnp.asarray, (segment, position, branch))), segment[0] > 0
    rng = np.random.default_rng(0)
    shapes = [(1, t, heads, h) for heads in (n, k, k, n)]
    q, keys, v, g = (jnp.asarray(rng.normal(size=shape), jnp.bfloat16) for shape in shapes)
    seen = mask(places, places, window)

    def reference(q, k, v):
        return attention(q, k, v, seen, scale=0.2, dtype=jnp.float32)

    ours, pull = jax.vjp(lambda q, k, v: attention_cpu.attend(q, k, v, places, places, window, 0.2), q, keys, v)
    other, other_pull = jax.vjp(reference, *(x.astype(jnp.float32) for x in (q, keys, v)))
    np.testing.assert_allclose(ours[:, used].astype(jnp.float32), other[:, used], atol=0.02)
    assert not np.asarray(ours[:, ~used], np.float32).any()
    g = g * jnp.asarray(used, g.dtype)[None, :, None, None]
    for derivative, exact in zip(pull(g), other_pull(g.astype(jnp.float32)), strict=True):
        assert np.linalg.norm(np.asarray(derivative, np.float32) - exact) < 0.01 * np.linalg.norm(exact)
        assert not np.asarray(derivative[:, ~used], np.float32).any()


def test_attention_over_rows_is_the_same_every_time_and_passes_nan_on():
    places = Places(jnp.ones((1, 200), jnp.int32), jnp.arange(200)[None])
    rng = np.random.default_rng(0)
    q, k, v = (jnp.asarray(rng.normal(size=(1, 200, heads, 16)), jnp.bfloat16) for heads in (4, 2, 2))
    function = jax.jit(lambda q: attention_cpu.attend(q, k, v, places, places, NO_WINDOW, 0.2))
    derivative = jax.jit(jax.grad(lambda q: function(q).astype(jnp.float32).sum()))
    np.testing.assert_array_equal(function(q), function(q))
    np.testing.assert_array_equal(derivative(q), derivative(q))
    broken = function(q.at[0, 50, 1, 0].set(jnp.nan))
    assert np.isnan(np.asarray(broken[0, 50, 1], np.float32)).all()
    assert np.isfinite(np.asarray(broken.at[0, 50, 1].set(0), np.float32)).all()
