"""Adam with a warm-up, a decay and clipping by the global norm."""

from typing import Any

import jax
import jax.numpy as jnp
import optax


def make_optimizer(
    *,
    learning_rate: float,
    updates: int,
    warmup_ratio: float = 0.03,
    final_ratio: float = 0.1,
    beta1: float = 0.9,
    beta2: float = 0.95,
    weight_decay: float = 0.0,
    clip_norm: float = 1.0,
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """The optimiser and its schedule: linear warm-up over warmup_ratio of all updates, then a cosine that would reach
    final_ratio x learning_rate one update after the last.

    Its update takes the gradient's global norm as `grad_norm`, and computes it where it is not given. Weight decay is
    decoupled (Loshchilov and Hutter, arXiv 1711.05101).
    """
    warmup = round(warmup_ratio * updates)
    schedule = optax.warmup_cosine_decay_schedule(
        # the first update of a warm-up moves too: it has the first step of the ramp, not a rate of zero
        init_value=learning_rate / (warmup + 1),
        peak_value=learning_rate,
        warmup_steps=warmup,
        decay_steps=max(updates, warmup + 1),
        end_value=final_ratio * learning_rate,
    )
    adam = optax.adamw(schedule, b1=beta1, b2=beta2, weight_decay=weight_decay)
    return optax.chain(_clip(clip_norm), adam), schedule


def _clip(max_norm: float) -> optax.GradientTransformationExtraArgs:
    """`optax.clip_by_global_norm` by one factor for all leaves: XLA joins a product with Adam's own arithmetic, but
    makes a second gradient of optax's quotient. grad_norm: the global norm, of whoever has taken it already.
    """

    def clipped(
        grads: optax.Updates, opt_state: Any, params: Any = None, *, grad_norm: jax.Array | None = None, **others: Any
    ) -> tuple[optax.Updates, Any]:
        norm = optax.global_norm(grads) if grad_norm is None else grad_norm
        factor = max_norm / jnp.maximum(norm, max_norm)
        return jax.tree.map(lambda leaf: leaf * factor.astype(leaf.dtype), grads), opt_state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), clipped)
