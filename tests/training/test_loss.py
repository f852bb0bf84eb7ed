"""The supervised loss by hand."""

import jax.numpy as jnp

from acecoder_jax.training.loss import cross_entropy


def test_cross_entropy():
    logp_bt, entropy_bt = jnp.array([[-1.0, -2.0, -30.0]]), jnp.array([[0.5, 1.0, 7.0]])
    loss, metrics = cross_entropy(logp_bt, entropy_bt, {"loss_weight_bt": jnp.array([[0.25, 0.75, 0.0]])})
    assert loss == metrics["loss"] == 0.25 + 1.5
    assert metrics["entropy"] == 0.125 + 0.75
