"""Log-probs and entropy of given tokens, without a whole [batch, time, vocabulary]; the supervised loss.

A loss is a function (logp_bt, entropy_bt, batch) -> (scalar, metrics). It is a weighted SUM over tokens: the weights
in the batch carry masks and normalisation, so packing, micro-batches and meshes cannot change it. Metrics are sums
of the same kind, to be added up over micro-batches.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from acecoder_jax.models.decoder import Model, Params, logits

Metrics = dict[str, jax.Array]
Loss = Callable[[jax.Array, jax.Array, Mapping[str, jax.Array]], tuple[jax.Array, Metrics]]


def token_logps(
    model: Model, params: Params, batch: Mapping[str, Any], logit_chunk: int, with_entropy: bool = True
) -> tuple[jax.Array, jax.Array]:
    """Log-prob of each target and entropy of each prediction at temperature 1: two [b, t] of float32.

    The entropy takes as long again as the log-prob; without it the second array is zero.

    The logits of logit_chunk time steps exist at once, forward and backward. No gradient flows through the entropy.
    """
    hidden_btd = model.hidden(params, batch["tokens_bt"], batch["segment_bt"], batch["position_bt"])
    b, t, d = hidden_btd.shape
    chunk = min(logit_chunk, t)
    padding = -t % chunk
    hidden_btd = jnp.pad(hidden_btd, ((0, 0), (0, padding), (0, 0)))
    target_bt = jnp.pad(batch["target_bt"], ((0, 0), (0, padding)))

    @jax.checkpoint
    def one(hidden_bcd: jax.Array, target_bc: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits_bcv = logits(params, hidden_bcd)
        norm_bc = jax.nn.logsumexp(logits_bcv, axis=-1)
        chosen_bc = jnp.take_along_axis(logits_bcv, target_bc[..., None], axis=-1)[..., 0]
        if not with_entropy:
            return chosen_bc - norm_bc, jnp.zeros_like(norm_bc)
        fixed_bcv = jax.lax.stop_gradient(logits_bcv)
        fixed_norm_bc = jax.lax.stop_gradient(norm_bc)
        mean_bc = jnp.sum(jnp.exp(fixed_bcv - fixed_norm_bc[..., None]) * fixed_bcv, axis=-1)
        return chosen_bc - norm_bc, fixed_norm_bc - mean_bc

    chunks_h = hidden_btd.reshape(b, -1, chunk, d).swapaxes(0, 1)
    chunks_t = target_bt.reshape(b, -1, chunk).swapaxes(0, 1)
    logp, entropy = jax.lax.map(lambda pair: one(*pair), (chunks_h, chunks_t))
    return tuple(x.swapaxes(0, 1).reshape(b, -1)[:, :t] for x in (logp, entropy))  # type: ignore[return-value]


def cross_entropy(
    logp_bt: jax.Array, entropy_bt: jax.Array, batch: Mapping[str, jax.Array]
) -> tuple[jax.Array, Metrics]:
    """The supervised loss: minus the weighted sum of the targets' log-probs."""
    weight_bt = batch["loss_weight_bt"]
    loss = -jnp.sum(weight_bt * logp_bt)
    return loss, {"loss": loss, "entropy": jnp.sum(weight_bt * entropy_bt)}
