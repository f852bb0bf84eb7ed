"""Every back end of the training attention against the reference, forward and backward, and over a mesh."""

import importlib
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acecoder_jax import parallel
from acecoder_jax.models import native
from acecoder_jax.models.attention import attend, check, choose, chunked, cudnn, splash
from acecoder_jax.models.attention import cpu as attention_cpu
from acecoder_jax.models.attention.dense import attention
from acecoder_jax.models.attention.places import NO_WINDOW, Places, mask
from acecoder_jax.models.config import ModelConfig

SCALE = 0.3


def operands(t: int = 128, n: int = 4, k: int = 2, h: int = 8, b: int = 2) -> tuple[np.ndarray, ...]:
    """Queries, keys, values and a cotangent of the result."""
    rng = np.random.default_rng(0)
    shapes = ((b, t, n, h), (b, t, k, h), (b, t, k, h), (b, t, n, h))
    return tuple(rng.normal(size=shape).astype(np.float32) for shape in shapes)


def packed_rows(branches: bool, t: int = 128) -> Places:
    """Two rows: a prompt of 30 with responses of 20, 25 and 3, then a sequence; and one sequence with padding."""
    segment_bt, position_bt, branch_bt = np.zeros((3, 2, t), np.int32)
    start = 0
    for branch, n in enumerate((30, 20, 25, 3)):
        segment_bt[0, start : start + n] = 1 if branches else 1 + branch
        position_bt[0, start : start + n] = np.arange(n) + (30 if branches and branch else 0)
        branch_bt[0, start : start + n] = branch
        start += n
    segment_bt[0, start:], position_bt[0, start:] = 9, np.arange(t - start)
    segment_bt[1, : t - 17], position_bt[1, : t - 17] = 1, np.arange(t - 17)
    return Places(*map(jnp.asarray, (segment_bt, position_bt)), jnp.asarray(branch_bt) if branches else None)


def reference(places: Places, window: Any = NO_WINDOW) -> Any:
    seen = mask(places, places, window)
    return lambda q, k, v: attention(q, k, v, seen, scale=SCALE, dtype=jnp.float32)


def assert_same(ours: Any, places: Places, window: Any = NO_WINDOW, arrays: Any = None, atol: float = 1e-5) -> None:
    """Results and derivatives agree wherever a token stands."""
    q, k, v, g = operands() if arrays is None else arrays
    used_bt11 = np.asarray(places.segment_bt > 0)[..., None, None]
    g = g * used_bt11
    for function, other in ((ours, reference(places, window)),):
        one, pull = jax.vjp(jax.jit(function), q, k, v)
        two, other_pull = jax.vjp(jax.jit(other), q, k, v)
        np.testing.assert_allclose(one * used_bt11, two * used_bt11, atol=atol)
        for derivative, other_derivative in zip(pull(jnp.asarray(g)), other_pull(jnp.asarray(g)), strict=True):
            np.testing.assert_allclose(derivative, other_derivative, atol=atol * 10)


@pytest.mark.parametrize("branches", [False, True])
@pytest.mark.parametrize("window", [NO_WINDOW, 11])
@pytest.mark.parametrize("chunk", [32, 50, 500])
def test_chunks(monkeypatch, branches, window, chunk):
    monkeypatch.setattr(chunked, "CHUNK", chunk)
    places = packed_rows(branches)
    assert_same(lambda q, k, v: chunked.attend(q, k, v, places, places, window, SCALE), places, window)


def test_chunks_of_some_queries_of_a_row(monkeypatch):
    monkeypatch.setattr(chunked, "CHUNK", 20)
    places = packed_rows(True)
    half = Places(*(array[:, 64:] for array in places))
    q, k, v, _ = operands()
    ours = jax.jit(lambda q, k, v: chunked.attend(q, k, v, half, places, NO_WINDOW, SCALE))(q[:, 64:], k, v)
    np.testing.assert_allclose(ours, reference(places)(q, k, v)[:, 64:], atol=1e-5)


def test_the_scores_of_a_row_never_exist_at_once(monkeypatch):
    monkeypatch.setattr(chunked, "CHUNK", 16)
    q, k, v, _ = operands()
    places = packed_rows(True)

    def largest(function: Any) -> int:
        jaxpr = jax.make_jaxpr(jax.grad(lambda q: jnp.sum(function(q))))(q)
        return max(int(np.prod(var.aval.shape)) for eqn in equations(jaxpr.jaxpr) for var in eqn.outvars)

    assert largest(lambda q: chunked.attend(q, k, v, places, places, NO_WINDOW, SCALE)) == 2 * 4 * 16 * 128
    assert largest(lambda q: reference(places)(q, k, v)) == 2 * 4 * 128 * 128


def equations(jaxpr: Any) -> Any:
    """The equations of a jaxpr and of all that it calls."""
    for eqn in jaxpr.eqns:
        yield eqn
        for inner in jax.core.jaxprs_in_params(eqn.params):
            yield from equations(inner)


def narrow_operands(t: int, n: int, k: int, h: int) -> tuple[jax.Array, ...]:
    """Of bfloat16, so that the reference in float32 takes the very same numbers."""
    return tuple(jnp.asarray(x, jnp.bfloat16) for x in operands(t, n, k, h))


@pytest.mark.skipif(not native.available(), reason="no C++ compiler")
@pytest.mark.parametrize("branches", [False, True])
@pytest.mark.parametrize("window", [NO_WINDOW, 11])
@pytest.mark.parametrize(("t", "n", "k", "h"), [(128, 4, 2, 8), (301, 7, 1, 64), (150, 3, 3, 36)])
def test_the_cpu_kernel(branches, window, t, n, k, h):
    places = packed_rows(branches, t)
    q, keys, v, g = narrow_operands(t, n, k, h)
    used_bt11 = np.asarray(places.segment_bt > 0)[..., None, None]
    cotangent = g * used_bt11.astype(g.dtype)
    ours, pull = jax.vjp(
        jax.jit(lambda q, k, v: attention_cpu.attend(q, k, v, places, places, window, SCALE)), q, keys, v
    )
    wide = [x.astype(jnp.float32) for x in (q, keys, v)]
    other, other_pull = jax.vjp(jax.jit(reference(places, window)), *wide)
    assert ours.dtype == jnp.bfloat16
    np.testing.assert_allclose(ours.astype(jnp.float32) * used_bt11, other * used_bt11, atol=0.02)
    derivatives = zip(pull(cotangent), other_pull(cotangent.astype(jnp.float32)), strict=True)
    for derivative, other_derivative in derivatives:
        apart = np.linalg.norm(np.asarray(derivative, np.float32) - other_derivative)
        assert apart < 0.01 * np.linalg.norm(other_derivative)


@pytest.mark.skipif(not native.available(), reason="no C++ compiler")
def test_the_cpu_kernel_takes_some_queries_of_a_row_and_gives_zeros_for_padding():
    places = packed_rows(True)
    half = Places(*(array[:, 64:] for array in places))
    q, k, v, _ = narrow_operands(128, 4, 2, 8)
    whole = attention_cpu.attend(q, k, v, places, places, NO_WINDOW, SCALE)
    ours = attention_cpu.attend(q[:, 64:], k, v, half, places, NO_WINDOW, SCALE)
    np.testing.assert_array_equal(ours, whole[:, 64:])
    assert not np.asarray(ours[1, -17:]).any() and np.asarray(ours[1, :-17]).all()


@pytest.mark.parametrize("window", [NO_WINDOW, 11])
def test_splash(window):
    places = packed_rows(False)
    kernel = splash.make_kernel(128, 128, 4, window, interpret=True)

    def ours(q, k, v):
        return splash.attend(q, k, v, places, places, window, SCALE, kernel)

    assert_same(ours, places, window, atol=1e-4)


def test_splash_refuses_what_it_cannot_do():
    q, k, v, _ = operands()
    places = packed_rows(True)
    with pytest.raises(ValueError, match="knows no branches: pack without sharing"):
        splash.attend(q, k, v, places, places, NO_WINDOW, SCALE)
    with pytest.raises(ValueError, match=r"a multiple of 256 tokens here, not of 384: change trainer\.row_tokens"):
        splash.make_kernel(384, 384, 4, NO_WINDOW, shards=2)
    with pytest.raises(ValueError, match="one window for all layers"):
        splash.make_kernel(128, 128, 4, jnp.array(5))


@pytest.mark.parametrize("branches", [False, True])
def test_cudnn_by_jax_own_attention(monkeypatch, branches):
    monkeypatch.setattr(cudnn, "IMPLEMENTATION", "xla")
    places = packed_rows(branches)
    assert_same(lambda q, k, v: cudnn.attend(q, k, v, places, places, 11, SCALE), places, 11)


@pytest.mark.parametrize(("t", "s"), [(128, 128), (64, 256)])
def test_cudnn_is_lowered_to_its_fused_kernels(monkeypatch, t, s):
    """Forward and backward, a shared prompt's mask included; the checks of a card that is not there are passed over."""
    fused = importlib.import_module("jax._src.cudnn.fused_attention_stablehlo")
    monkeypatch.setattr(fused, "check_cudnn_version", lambda: 91000)
    monkeypatch.setattr(fused, "check_compute_capability", lambda _: True)
    monkeypatch.setattr(fused, "is_cuda_compute_capability_equal", lambda _: False)

    def shape(*sizes: int, dtype: Any = jnp.bfloat16) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(sizes, dtype)

    def total(q: Any, k: Any, v: Any, queries: Places, keys: Places) -> jax.Array:
        return cudnn.attend(q, k, v, queries, keys, NO_WINDOW, SCALE).astype(jnp.float32).sum()

    queries, keys = (Places(*[shape(2, n, dtype=jnp.int32)] * 3) for n in (t, s))
    traced = jax.jit(jax.grad(total, (0, 1, 2))).trace(shape(2, t, 4, 64), shape(2, s, 2, 64), shape(2, s, 2, 64),
                                                       queries, keys)  # fmt: skip
    text = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert re.findall(r"__cudnn\$fmhaScaleBias\w+", text) == [
        "__cudnn$fmhaScaleBiasSoftmax", "__cudnn$fmhaScaleBiasSoftmaxBackward"
    ]  # fmt: skip


MESHES = {"context4": (1, 2, 1, 4), "tensor4_with_2_kv_heads": (1, 2, 4, 1), "all": (1, 2, 2, 2)}


@pytest.mark.parametrize("mesh", MESHES)
def test_a_mesh(mesh):
    places = packed_rows(True)
    with jax.set_mesh(parallel.make_mesh(*MESHES[mesh])):
        assert_same(lambda q, k, v: attend(q, k, v, places, NO_WINDOW, backend="xla", scale=SCALE), places)


def test_splash_over_a_mesh(monkeypatch):
    interpreted = splash.make_kernel
    monkeypatch.setattr(splash, "make_kernel", lambda *a: interpreted(*a, interpret=True))
    places = packed_rows(False, t=256)
    with jax.set_mesh(parallel.make_mesh(1, 2, 2, 2)):
        assert_same(
            lambda q, k, v: attend(q, k, v, places, NO_WINDOW, backend="splash", scale=SCALE),
            places, arrays=operands(t=256), atol=1e-4,
        )  # fmt: skip


SIZES = {"vocab_size": 9, "hidden_size": 8, "intermediate_size": 8, "num_layers": 2, "num_heads": 2, "num_kv_heads": 1}


@pytest.mark.parametrize(
    ("backend", "head_dim", "row_tokens", "remat", "message"),
    [
        ("splash", 64, 192, "full", "a multiple of 256 tokens here, not of 192"),
        ("cudnn", 64, 130, "full", "an even number of tokens, not 65"),
        ("cudnn", 12, 128, "full", "heads of a multiple of 8 up to 128, not 12"),
        ("cudnn", 64, 128, "attention", "remat 'attention' keeps nothing of cuDNN's"),
    ],
)
def test_what_a_back_end_cannot_do_is_said_early(backend, head_dim, row_tokens, remat, message):
    with pytest.raises(ValueError, match=message):
        check(backend, ModelConfig(head_dim=head_dim, **SIZES), row_tokens, 2, remat)
    check(backend, ModelConfig(head_dim=64, **SIZES), 512, 2, "dots")


def test_the_back_end_is_chosen_by_platform_and_type():
    assert choose("auto", "tpu", jnp.bfloat16) == choose("auto", "tpu", jnp.float32) == "splash"
    assert choose("auto", "gpu", jnp.bfloat16) == "cudnn"
    assert choose("auto", "gpu", jnp.float32) == choose("auto", "cpu", jnp.float32) == "xla"
    assert choose("auto", "cpu", jnp.bfloat16) == ("cpu" if native.available() else "xla")
    assert choose("xla", "cpu", jnp.bfloat16) == "xla"
    assert choose("xla", "tpu", jnp.float32) == "xla"
    with pytest.raises(ValueError, match="'splash' does not run on cpu"):
        choose("splash", "cpu", jnp.bfloat16)
    with pytest.raises(ValueError, match=r"'cpu' does not run on cpu in float32; there are auto, xla$"):
        choose("cpu", "cpu", jnp.float32)
    with pytest.raises(ValueError, match="unknown attention 'flash'; there are auto, xla, cpu, splash, cudnn"):
        choose("flash", "cpu", jnp.bfloat16)
