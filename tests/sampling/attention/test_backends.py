"""Attention over pages: the plain path against float64 arithmetic, and the kernels' paths against the plain one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.pallas import tpu as pltpu
from jax.experimental.pallas.ops.tpu import splash_attention as splash
from jax.experimental.pallas.ops.tpu.ragged_paged_attention import kernel

from acecoder_jax.sampling.attention import gpu, tpu, xla

C, PAGES, K, G = 16, 10, 2, 3  # a page's cells, a row's pages (two blocks of xla.py), KV heads, queries of each
TRASH = 30.0  # how large the numbers of the trash page are


def case(position_s, t, h=32, width=None, dtype=jnp.float32, seed=0):
    """Queries, pages and tables: the pages of a row lie anywhere, and every entry it does not need is page 0.

    Position None is an idle row: position 0 and no page at all.
    """
    rng = np.random.default_rng(seed)
    s = len(position_s)
    pages_pcjh = rng.normal(size=(s * PAGES + 1, C, 2 * K, width or h))
    pages_pcjh[0] *= TRASH
    table_si = (1 + rng.permutation(s * PAGES)).reshape(s, PAGES)
    for row, position in enumerate(position_s):
        table_si[row, 0 if position is None else -(-(position + t) // C) :] = 0
    q_stnh = rng.normal(size=(s, t, K * G, h))
    as_given = jnp.asarray(q_stnh, dtype), jnp.asarray(pages_pcjh, dtype)
    return *as_given, jnp.asarray(table_si, jnp.int32), jnp.asarray([p or 0 for p in position_s], jnp.int32)


def dense(q_stnh, pages_pcjh, table_si, position_s, *, scale, window):
    """The same attention with nothing clever in it, in float64."""
    q_stnh, pages_pcjh = np.asarray(q_stnh, np.float64), np.asarray(pages_pcjh, np.float64)
    out_stnh = np.zeros(q_stnh.shape)
    for s, t, n in np.ndindex(q_stnh.shape[:3]):
        kv_xjh = pages_pcjh[np.asarray(table_si)[s]].reshape(-1, *pages_pcjh.shape[2:])
        own = int(position_s[s]) + t
        seen = slice(0 if window is None else max(0, own - window + 1), own + 1)
        scores_x = kv_xjh[seen, n // G * 2] @ q_stnh[s, t, n] * scale
        weights_x = np.exp(scores_x - scores_x.max())
        out_stnh[s, t, n] = weights_x / weights_x.sum() @ kv_xjh[seen, n // G * 2 + 1]
    return out_stnh


def run(attend, inputs, window=None):
    out_stnh = jax.jit(lambda *arrays: attend(*arrays, scale=0.3, window=window))(*inputs)
    assert out_stnh.dtype == jnp.float32 and out_stnh.shape == inputs[0].shape
    return np.asarray(out_stnh)


@pytest.mark.parametrize("window", [None, 1, 20, 1000])
@pytest.mark.parametrize(("t", "position_s"), [(1, (0, 15, None, 127, 128, 159)), (9, (0, 3, 124, 151)), (160, (0,))])
def test_xla_is_attention(t, position_s, window):
    inputs = case(position_s, t)
    np.testing.assert_allclose(run(xla.attend, inputs, window), dense(*inputs, scale=0.3, window=window), atol=1e-5)


def test_xla_in_bfloat16():
    """Weights are rounded to 8 bits before they meet the values: half of 2^-8 of numbers up to about 4."""
    inputs = case((0, 17, 130), 5, dtype=jnp.bfloat16)
    np.testing.assert_allclose(run(xla.attend, inputs), dense(*inputs, scale=0.3, window=None), atol=8e-3)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize(("t", "window"), [(1, None), (1, 20), (7, None), (7, 20)])
def test_a_row_of_xla_does_not_depend_on_the_others(t, window, dtype):
    """To the last bit: short beside long rows, and with a wider table."""
    q_stnh, pages_pcjh, table_si, position_s = case((40, 60, 5), t, dtype=dtype)
    alone = run(xla.attend, (q_stnh, pages_pcjh, table_si, position_s), window)[0]
    long_s = position_s.at[1:].set(jnp.array([C * PAGES - t, 120]))
    other_stnh = q_stnh.at[1:].multiply(3)
    wide_si = jnp.pad(table_si, ((0, 0), (0, 7)))
    assert np.array_equal(run(xla.attend, (other_stnh, pages_pcjh, table_si, long_s), window)[0], alone)
    assert np.array_equal(run(xla.attend, (q_stnh, pages_pcjh, wide_si, position_s), window)[0], alone)


def test_xla_reads_no_block_beyond_the_longest_row():
    """A page of NaN spoils whatever reads it."""
    q_stnh, pages_pcjh, table_si, position_s = case((40, 0), 5)
    nan_pcjh = jnp.concatenate([pages_pcjh, jnp.full_like(pages_pcjh[:1], jnp.nan)])
    spoiled_si = table_si.at[:, xla.BLOCK // C :].set(len(pages_pcjh))
    read = run(xla.attend, (q_stnh, nan_pcjh, spoiled_si, position_s))
    assert np.array_equal(read, run(xla.attend, (q_stnh, pages_pcjh, table_si, position_s)))


def agrees(attend, inputs, window, atol):
    """With xla.py, which sees heads as wide as the queries'. What comes of an idle row is finite, no more."""
    q_stnh, pages_pcjh, table_si, position_s = inputs
    out_stnh = run(attend, inputs, window)
    plain_stnh = run(xla.attend, (q_stnh, pages_pcjh[..., : q_stnh.shape[-1]], table_si, position_s), window)
    busy_s = np.asarray(table_si).any(1)
    assert np.isfinite(out_stnh).all() and np.isfinite(plain_stnh).all()
    np.testing.assert_allclose(out_stnh[busy_s], plain_stnh[busy_s], atol=atol)


# bfloat16: the kernels round scaled queries, weights or results at other places than xla.py does: a few times 2^-8
TOLERANCES = [(jnp.float32, 1e-4), (jnp.bfloat16, 3e-2)]


WIDTHS = pytest.mark.parametrize(("h", "window"), [(128, None), (128, 20), (64, None)])


@WIDTHS
def test_decoding_on_a_tpu(monkeypatch, h, window):
    """Interpreted. Nine rows are more than the kernel takes at once.

    Two faults of the interpreter of JAX 0.10.2 are stepped around. It cannot read through a reshaped view of memory:
    the kernel's pages are read first. (Not in bfloat16, where the kernel needs the view: test_tpu_compile.py shows that
    it takes bfloat16.) And it calls a masked write out of bounds if the first axis is longer than the next: few rows.
    """
    monkeypatch.setattr(tpu, "ROWS", 2)
    monkeypatch.setattr(tpu, "KEYS", 64)
    wait = kernel.MultiPageAsyncCopyDescriptor.wait
    monkeypatch.setattr(kernel.MultiPageAsyncCopyDescriptor, "wait", lambda copy: wait(copy)[...])
    with pltpu.force_tpu_interpret_mode():
        agrees(tpu.attend, case((15, 16, 3, 127, 128, None, 159, 80, 0), 1, h, tpu.HEAD_DIM), window, 1e-4)


@WIDTHS
@pytest.mark.parametrize(("dtype", "atol"), TOLERANCES)
def test_prefill_on_a_tpu(monkeypatch, h, window, dtype, atol):
    """Interpreted, by Pallas' older interpreter: the one for TPUs does not know rows that are mapped over."""
    monkeypatch.setattr(tpu, "KEYS", 128)  # two blocks
    interpreted = functools.partial(splash.make_splash_mha_single_device, interpret=True)
    monkeypatch.setattr(splash, "make_splash_mha_single_device", interpreted)
    agrees(tpu.attend, case((0, 48, None, 128), 32, h, tpu.HEAD_DIM, dtype), window, atol)


@pytest.mark.parametrize("backend", ["tpu", "gpu"])
def test_a_piece_that_reaches_past_its_table(monkeypatch, backend):
    """A prompt of 40 tokens has three pages; its piece of 32 cells from 32 on ends at 64. Eight of them are tokens."""
    monkeypatch.setattr(gpu, "IMPLEMENTATION", "xla")
    interpreted = functools.partial(splash.make_splash_mha_single_device, interpret=True)
    monkeypatch.setattr(splash, "make_splash_mha_single_device", interpreted)
    q_stnh, pages_pcjh, table_si, position_s = case((32, 0), 32, 128, tpu.HEAD_DIM)
    inputs = (q_stnh, pages_pcjh, table_si[:, :3], position_s)
    attend = tpu.attend if backend == "tpu" else gpu.fused_attend
    ours, plain = (run(one, inputs)[:, :8] for one in (attend, xla.attend))
    np.testing.assert_allclose(ours, plain, atol=1e-4)


@pytest.mark.parametrize(
    ("h", "width", "k", "c", "complaint"),
    [
        (256, 256, 2, 16, "heads of up to 128, not of 256"),
        (64, 64, 2, 16, "pages with heads of 128, not of 64"),
        (128, 128, 3, 16, "cannot tile 3 KV heads"),
        (128, 128, 2, 8, "pages of 16, 32, 64, 128, 256 or 512 tokens, not of 8"),
    ],
)
def test_what_a_tpu_cannot_do_is_said(h, width, k, c, complaint):
    shapes = (1, 1, 2 * k, h), (3, c, 2 * k, width)
    with pytest.raises(ValueError, match=complaint):
        tpu.attend(*map(jnp.zeros, shapes), jnp.zeros((1, 2), int), jnp.zeros(1, int), scale=1.0, window=None)


@pytest.mark.parametrize(("dtype", "atol"), TOLERANCES)
@pytest.mark.parametrize("window", [None, 20])
@pytest.mark.parametrize(("t", "position_s"), [(1, (15, 16, None, 159, 0)), (9, (3, None, 124, 151))])
def test_what_a_gpu_gives_to_the_fused_kernel(monkeypatch, t, position_s, window, dtype, atol):
    """JAX's own plain implementation of the public function stands in for cuDNN."""
    monkeypatch.setattr(gpu, "IMPLEMENTATION", "xla")
    agrees(gpu.fused_attend, case(position_s, t, dtype=dtype), window, atol)


@pytest.mark.parametrize(
    ("t", "window", "call"),
    [(1, None, "__cudnn$fmhaSoftmax("), (1, 20, "__cudnn$fmhaScaleBiasSoftmax("), (9, None, "ScaleBiasSoftmax(")],
)
def test_what_is_lowered_for_a_gpu_calls_the_fused_kernel(monkeypatch, t, window, call):
    """Lowered without a GPU and without cuDNN, whose version JAX asks for. What XLA makes of it is not seen here."""
    monkeypatch.setattr("jax._src.cudnn.fused_attention_stablehlo.check_cudnn_version", lambda: 91000)
    assert call in lowered_for_cuda(case((15, 16), t, dtype=jnp.bfloat16), window)


@pytest.mark.parametrize(("h", "dtype"), [(32, jnp.float32), (12, jnp.bfloat16), (256, jnp.bfloat16)])
def test_what_cudnn_does_not_take_is_plain_on_a_gpu(h, dtype):
    assert "cudnn" not in lowered_for_cuda(case((15, 16), 1, h, dtype=dtype))


def lowered_for_cuda(inputs, window=None):
    traced = jax.jit(lambda *arrays: gpu.attend(*arrays, scale=0.3, window=window)).trace(*inputs)
    return traced.lower(lowering_platforms=("cuda",)).as_text()


@pytest.mark.parametrize("attend", [xla.attend, gpu.fused_attend], ids=["xla", "gpu"])
def test_what_an_earlier_holder_left_in_a_page_counts_for_nothing(monkeypatch, attend):
    monkeypatch.setattr(gpu, "IMPLEMENTATION", "xla")
    q_stnh, pages_pcjh, table_si, position_s = case((3, 20), 2)
    table_si = jnp.where(table_si == 0, table_si[:, :1], table_si)  # no page of a row but its own
    spoilt = pages_pcjh.at[table_si[0, 0], 5:].set(jnp.nan).at[table_si[1, 1], 22 - C :].set(jnp.nan)
    np.testing.assert_array_equal(
        run(attend, (q_stnh, spoilt, table_si[:, :2], position_s)),
        run(attend, (q_stnh, pages_pcjh, table_si[:, :2], position_s)),
    )
