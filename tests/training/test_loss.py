"""Log-probs and entropy in chunks against the whole log-softmax; what flows back and what does not."""

import functools
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acecoder_jax.models.decoder import Model, logits
from acecoder_jax.training.loss import cross_entropy, token_logps

CHUNKS = (3, 5, 10, 64)  # with padding, without, the whole row, more than the row


class Bare:
    """A model without layers: quick to compile, and the head is all that chunks concern."""

    def hidden(self, params: Any, tokens_bt: Any, segment_bt: Any, position_bt: Any) -> jax.Array:
        return jnp.sin(params["embed_vd"][tokens_bt] + position_bt[..., None])


@pytest.fixture(scope="module")
def params():
    rng = np.random.default_rng(0)
    shapes = {"embed_vd": (150, 16), "head_dv": (16, 150)}
    return {name: rng.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(1)
    return {
        "tokens_bt": rng.integers(0, 150, (2, 10)),
        "target_bt": rng.integers(0, 150, (2, 10)),
        "segment_bt": np.ones((2, 10), np.int32),
        "position_bt": np.tile(np.arange(10), (2, 1)),
        "loss_weight_bt": rng.random((2, 10)).astype(np.float32),
    }


def whole(params: Any, batch: Any) -> tuple[jax.Array, jax.Array]:
    """Log-probs and entropy from the whole [b, t, v]."""
    hidden_btd = Bare().hidden(params, batch["tokens_bt"], batch["segment_bt"], batch["position_bt"])
    logp_btv = jax.nn.log_softmax(logits(params, hidden_btd))
    logp_bt = jnp.take_along_axis(logp_btv, batch["target_bt"][..., None], -1)[..., 0]
    return logp_bt, -jnp.sum(jnp.exp(logp_btv) * logp_btv, -1)


def chunked(chunk: int, **kw: Any) -> Any:
    return functools.partial(token_logps, cast(Model, Bare()), logit_chunk=chunk, **kw)


def weighted(compute: Any, index: int) -> Any:
    """The weighted sum of the log-probs (0) or of the entropies (1), for its gradient."""
    return lambda params, batch: jnp.sum(batch["loss_weight_bt"] * compute(params, batch)[index])


@pytest.fixture(scope="module")
def computed(params, batch):
    """(log-probs, entropy), the gradient of each, by chunk size and for "whole": compiled as one program."""
    computes = {"whole": whole, **{str(chunk): chunked(chunk) for chunk in CHUNKS}}
    return jax.jit(
        lambda params, batch: {
            name: (compute(params, batch), *(jax.grad(weighted(compute, i))(params, batch) for i in (0, 1)))
            for name, compute in computes.items()
        }
    )(params, batch)


@pytest.mark.parametrize("chunk", CHUNKS)
def test_chunks_give_the_whole_log_softmax_and_its_gradient(computed, chunk):
    (logp_bt, entropy_bt), gradient, _ = computed[str(chunk)]
    (whole_logp_bt, whole_entropy_bt), whole_gradient, _ = computed["whole"]
    assert logp_bt.dtype == entropy_bt.dtype == jnp.float32
    np.testing.assert_allclose(logp_bt, whole_logp_bt, atol=1e-5)
    np.testing.assert_allclose(entropy_bt, whole_entropy_bt, atol=1e-5)
    jax.tree.map(
        lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5 * np.abs(other).max()),
        gradient, whole_gradient,
    )  # fmt: skip


@pytest.mark.parametrize("chunk", CHUNKS)
def test_no_gradient_flows_through_the_entropy(computed, chunk):
    _, _, gradient = computed[str(chunk)]
    assert all((np.asarray(leaf) == 0).all() for leaf in jax.tree.leaves(gradient))
    assert any((np.asarray(leaf) != 0).any() for leaf in jax.tree.leaves(computed["whole"][2]))


def test_the_entropy_can_be_left_out(computed, params, batch):
    logp_bt, entropy_bt = jax.jit(chunked(5, with_entropy=False))(params, batch)
    np.testing.assert_allclose(logp_bt, computed["5"][0][0], atol=1e-6)
    assert not np.asarray(entropy_bt).any()


def test_the_whole_logits_never_exist(params, batch):
    b, t, v = 2, 10, 150

    def largest(compute: Any) -> int:
        jaxpr = jax.make_jaxpr(jax.grad(weighted(compute, 0)))(params, batch).jaxpr
        shapes = (var.aval.shape for eqn in equations(jaxpr) for var in eqn.outvars)
        return max(int(np.prod(shape)) for shape in shapes if v in shape and len(shape) != 2)

    assert largest(whole) == b * t * v
    assert largest(chunked(5)) == b * 5 * v


def equations(jaxpr: Any) -> Any:
    """The equations of a jaxpr and of all that it calls."""
    for eqn in jaxpr.eqns:
        yield eqn
        for inner in jax.core.jaxprs_in_params(eqn.params):
            yield from equations(inner)


def test_cross_entropy():
    logp_bt, entropy_bt = jnp.array([[-1.0, -2.0, -30.0]]), jnp.array([[0.5, 1.0, 7.0]])
    loss, metrics = cross_entropy(logp_bt, entropy_bt, {"loss_weight_bt": jnp.array([[0.25, 0.75, 0.0]])})
    assert loss == metrics["loss"] == 0.25 + 1.5
    assert metrics["entropy"] == 0.125 + 0.75
