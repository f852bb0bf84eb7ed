"""The loss of a reward model on pairs (Bradley and Terry 1952): -log sigmoid(r_chosen - r_rejected).

Both texts of a pair stand in one row (training/pairs.py). Where the chosen one's score is read, `other` is the place in
the row at which the rejected one's is, and `loss_weight` is the pair's weight; it is 0 everywhere else. So the loss is
a weighted sum over tokens like all others here, and neither packing nor micro-batches can change it.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from acecoder_jax.training.loss import Metrics


def bradley_terry(score_bt: jax.Array, batch: Mapping[str, jax.Array]) -> tuple[jax.Array, Metrics]:
    """The loss, and as metrics the share of pairs in the right order and the mean difference of their scores.

    Scores 2 and 1 of one pair of weight 1 -> log(1 + exp(-1)) = 0.3133, accuracy 1, margin 1.
    """
    weight_bt = batch["loss_weight_bt"]
    margin_bt = score_bt - jnp.take_along_axis(score_bt, batch["other_bt"], axis=1)
    loss = jnp.sum(weight_bt * jax.nn.softplus(-margin_bt))
    return loss, {
        "loss": loss,
        "accuracy": jnp.sum(weight_bt * (margin_bt > 0)),
        "margin": jnp.sum(weight_bt * margin_bt),
    }
