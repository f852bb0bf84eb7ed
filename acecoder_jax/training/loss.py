"""Log-probs and entropy of given tokens; what a loss is; the supervised loss.

A loss is a function (logp_bt, entropy_bt, batch) -> (scalar, metrics). It is a weighted SUM over tokens: the weights
in the batch carry masks and normalisation, so packing, micro-batches and meshes cannot change it. Metrics are sums
of the same kind, to be added up over micro-batches.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from acecoder_jax.models.decoder import Model, Params
from acecoder_jax.training.head import head_scores

Metrics = dict[str, jax.Array]
Loss = Callable[[jax.Array, jax.Array, Mapping[str, jax.Array]], tuple[jax.Array, Metrics]]


def token_logps(
    model: Model, params: Params, batch: Mapping[str, Any], logit_chunk: int, with_entropy: bool = True,
    sums: Params | None = None,
) -> tuple[jax.Array, jax.Array]:  # fmt: skip
    """Log-prob of each wanted target and entropy of its prediction at temperature 1: two [b, t] of float32.

    batch: tokens, target, wanted, segment, position and, where prompts are shared, branch, each [b, t]. Both results
    are 0 where a target is not wanted, and the second everywhere without `with_entropy`. logit_chunk: tokens of a
    device whose logits exist at once. No gradient flows through the entropy. sums: as in `Model.hidden_and_head`.
    """
    hidden_btd, head = model.hidden_and_head(
        params, batch["tokens_bt"], batch["segment_bt"], batch["position_bt"], batch.get("branch_bt"), sums
    )
    frozen = model.lora is not None
    return head_scores(
        head, hidden_btd, batch["target_bt"], batch["wanted_bt"], logit_chunk, with_entropy, frozen, sums
    )


def cross_entropy(
    logp_bt: jax.Array, entropy_bt: jax.Array, batch: Mapping[str, jax.Array]
) -> tuple[jax.Array, Metrics]:
    """The supervised loss: minus the weighted sum of the targets' log-probs."""
    weight_bt = batch["loss_weight_bt"]
    loss = -jnp.sum(weight_bt * logp_bt)
    return loss, {"loss": loss, "entropy": jnp.sum(weight_bt * entropy_bt)}
