"""The loss of a reward model on comparisons (Bradley and Terry 1952): -log sigmoid(r_better - r_worse).

    L = sum over comparisons of w [ -log sigmoid(r_i - r_j - margin (s_i - s_j)) + centering (r_i + r_j)^2 ]

r: scores; s: what the two are worth, their pass rates. With one comparison a group this is the loss on pairs, of
AceCodeRM's training; with all comparisons of a question, each of the weight 1 / (n (n - 1)) for n programs, it is
equation 1 of arXiv 2502.01718.
margin: a term as in Llama 2 (arXiv 2307.09288), by the gap of pass rates. centering: a comparison says nothing of
the sum of its scores; this draws it to 0 (Eisenstein et al. 2023, arXiv 2312.09244).

Both texts of a comparison stand in one row (training/comparisons.py). So the loss is a weighted sum over places like
all others here, and neither packing nor micro-batches can change it.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from acecoder_jax.training.loss import Metrics


def bradley_terry(
    score_bt: jax.Array, batch: Mapping[str, jax.Array], *, margin: float = 0.0, centering: float = 0.0
) -> tuple[jax.Array, Metrics]:
    """The loss, and as metrics the share of comparisons in the right order and the mean difference of their scores,
    each comparison as heavy as in the loss.

    Scores 2 and 1 of one comparison of weight 1 -> log(1 + exp(-1)) = 0.3133, accuracy 1, margin 1.
    """
    weight_bt = batch["loss_weight_bt"]
    better_bt, worse_bt = (jnp.take_along_axis(score_bt, batch[f"{name}_bt"], axis=1) for name in ("better", "worse"))
    margin_bt = better_bt - worse_bt
    loss_bt = jax.nn.softplus(margin * batch["gap_bt"] - margin_bt)
    if centering:
        loss_bt += centering * (better_bt + worse_bt) ** 2
    loss = jnp.sum(weight_bt * loss_bt)
    return loss, {
        "loss": loss,
        "accuracy": jnp.sum(batch["share_bt"] * (margin_bt > 0)),
        "margin": jnp.sum(batch["share_bt"] * margin_bt),
    }
