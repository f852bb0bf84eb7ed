"""The output head in chunks and blocks against the whole log-softmax; what is left out, what flows back, meshes."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acecoder_jax import parallel
from acecoder_jax.models.decoder import logits
from acecoder_jax.models.sharding import param_shardings
from acecoder_jax.training import head
from acecoder_jax.training.head import head_scores

CHUNKS = (3, 8, 20, 64)  # with padding, without, all tokens at once, more than there are
VOCAB = 150


@pytest.fixture(scope="module", params=["untied", "tied"])
def params(request):
    rng = np.random.default_rng(0)
    shapes = {"embed_vd": (VOCAB, 16)} | ({"head_dv": (16, VOCAB)} if request.param == "untied" else {})
    return {name: rng.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def rows():
    """Hidden states [4, 6, 16], targets, which of them are wanted, and a cotangent of the log-probs."""
    rng = np.random.default_rng(1)
    wanted_bt = rng.random((4, 6)) < 0.6
    wanted_bt[2] = False
    hidden_btd = rng.normal(size=(4, 6, 16)).astype(np.float32)
    return hidden_btd, rng.integers(0, VOCAB, (4, 6)), wanted_bt, rng.normal(size=(4, 6)).astype(np.float32)


def whole(params: Any, hidden_btd: Any, target_bt: Any, wanted_bt: Any) -> tuple[jax.Array, jax.Array]:
    """Log-probs and entropy from the whole [b, t, v]."""
    logp_btv = jax.nn.log_softmax(logits(params, hidden_btd))
    logp_bt = jnp.take_along_axis(logp_btv, target_bt[..., None], -1)[..., 0]
    return logp_bt * wanted_bt, -jnp.sum(jnp.exp(logp_btv) * logp_btv, -1) * wanted_bt


def all_of(compute: Any, params: Any, rows: Any) -> Any:
    """Both results, and the derivatives of the weighted sum of each by the hidden states and the parameters."""
    hidden_btd, target_bt, wanted_bt, g_bt = rows

    def weighted(params: Any, hidden_btd: Any, index: int) -> jax.Array:
        return jnp.sum(g_bt * compute(params, hidden_btd, target_bt, wanted_bt)[index])

    @jax.jit
    def run(params: Any, hidden_btd: Any) -> Any:
        gradients = [jax.grad(weighted, (0, 1))(params, hidden_btd, i) for i in (0, 1)]
        return compute(params, hidden_btd, target_bt, wanted_bt), *gradients

    return run(params, hidden_btd)


def assert_same(ours: Any, expected: Any) -> None:
    jax.tree.map(
        lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5 * max(np.abs(other).max(), 1)),
        ours, expected,
    )  # fmt: skip


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("block", [40, VOCAB])
def test_chunks_give_the_whole_log_softmax_and_its_gradient(monkeypatch, params, rows, chunk, block):
    monkeypatch.setattr(head, "VOCAB_BLOCK", block)
    monkeypatch.setattr(head, "LANES", 4)
    results, by_logp, by_entropy = all_of(functools.partial(head_scores, chunk=chunk), params, rows)
    expected, expected_by_logp, _ = all_of(whole, params, rows)
    assert_same((results, by_logp), (expected, expected_by_logp))
    assert all((np.asarray(leaf) == 0).all() for leaf in jax.tree.leaves(by_entropy))  # nothing flows through it


def test_the_entropy_can_be_left_out(params, rows):
    results, *_ = all_of(functools.partial(head_scores, chunk=5, entropy=False), params, rows)
    assert_same(results[0], all_of(whole, params, rows)[0][0])
    assert not np.asarray(results[1]).any()


def test_what_nobody_wants_is_not_looked_at(params, rows):
    hidden_btd, target_bt, wanted_bt, g_bt = rows
    spoilt_btd = np.where(wanted_bt[..., None], hidden_btd, np.nan)
    results = all_of(functools.partial(head_scores, chunk=4), params, (spoilt_btd, target_bt, wanted_bt, g_bt))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(results))


@pytest.mark.parametrize("mesh", [(2, 2, 2, 1), (1, 2, 4, 1), (1, 2, 2, 2), (1, 1, 4, 2)])
def test_every_device_does_its_own_tokens_and_words(monkeypatch, params, rows, mesh):
    monkeypatch.setattr(head, "VOCAB_BLOCK", 40)
    monkeypatch.setattr(head, "LANES", 4)
    expected, expected_by_logp, _ = all_of(whole, params, rows)
    mesh = parallel.make_mesh(*mesh)
    with jax.set_mesh(mesh):
        placed = jax.device_put(params, param_shardings(params, mesh))
        results, by_logp, _ = all_of(functools.partial(head_scores, chunk=3), placed, rows)
    assert_same((results, by_logp), (expected, expected_by_logp))


def test_bfloat16_hidden_states_give_float32_results_and_gradients(params, rows):
    hidden_btd, *rest = rows
    short = (jnp.asarray(hidden_btd, jnp.bfloat16), *rest)
    results, by_logp, _ = all_of(functools.partial(head_scores, chunk=8), params, short)
    assert {leaf.dtype for leaf in results} == {jnp.dtype(jnp.float32)}
    expected, expected_by_logp, _ = all_of(whole, params, short)
    np.testing.assert_allclose(results[0], expected[0], atol=1e-4)
    for one, other in zip(jax.tree.leaves(by_logp), jax.tree.leaves(expected_by_logp), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one.astype(np.float32), other.astype(np.float32), atol=0.03)


def test_the_whole_logits_never_exist(monkeypatch, params, rows):
    monkeypatch.setattr(head, "VOCAB_BLOCK", 40)
    monkeypatch.setattr(head, "LANES", 4)
    hidden_btd, target_bt, wanted_bt, _ = rows

    def largest(compute: Any) -> int:
        gradient = jax.grad(lambda hidden_btd: jnp.sum(compute(params, hidden_btd, target_bt, wanted_bt)[0]))
        jaxpr = jax.make_jaxpr(gradient)(hidden_btd).jaxpr
        weights = {(VOCAB, 16), (16, VOCAB), (40, 16), (16, 40), (30, 16), (16, 30)}
        shapes = (var.aval.shape for eqn in equations(jaxpr) for var in eqn.outvars)
        return max(int(np.prod(shape)) for shape in shapes if shape not in weights)

    assert largest(whole) == 4 * 6 * VOCAB
    assert largest(functools.partial(head_scores, chunk=10)) == 10 * 40


def equations(jaxpr: Any) -> Any:
    """The equations of a jaxpr and of all that it calls."""
    for eqn in jaxpr.eqns:
        yield eqn
        for inner in jax.core.jaxprs_in_params(eqn.params):
            yield from equations(inner)
