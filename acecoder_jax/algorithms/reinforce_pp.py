"""REINFORCE++ (Hu 2025, arXiv 2501.03262), as AceCoder trained with it.

The reward of token t of a response of T tokens with sequence reward R (clipped to +-reward_clip):

    r_t = -beta (log pi_old(t) - log pi_ref(t)) + [t = T] R             k1 estimate of the KL in the token reward
    G_t = r_t + r_{t+1} + ... + r_T                                      return-to-go, gamma 1
    A_t = (G_t - mean G) / (std G + eps)                                 over ALL response tokens of the rollout
    L   = -mean_t min(ratio_t A_t, clip(ratio_t, 1 - c, 1 + c) A_t)      ratio_t = pi(t) / pi_old(t)

No baseline from the group of samples; the standard deviation is the biased one. pi_old is the trainer's own policy
before the first update of the rollout, not the sampler's numbers. Departure: the token mean is over the mini-batch,
where the code AceCoder used took it over each packed micro-batch, so that micro-batches cannot change the loss.

With importance_cap > 0 each token's surrogate is multiplied by

    w_t = min(pi_old(t) / pi_behavior(t), importance_cap)                 Espeholt et al. 2018, arXiv 1802.01561

where pi_behavior is what the sampler said: it corrects for samples of an older policy, and for a sampler that rounds
otherwise than the trainer. The mean stays that over tokens, so it is not divided by the sum of the weights.
"""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from acecoder_jax.algorithms import Algorithm
from acecoder_jax.training.loss import Metrics
from acecoder_jax.training.packing import TokenSequence, align, response_mask
from acecoder_jax.types import Completion

EPS = 1e-8


def make(
    *, kl_coef: float = 0.01, clip_low: float = 0.2, clip_high: float = 0.2, reward_clip: float = 10.0,
    importance_cap: float = 0.0,
) -> Algorithm:  # fmt: skip
    """kl_coef is beta, clip_low and clip_high the c below and above a ratio of 1; importance_cap 0 weighs no token."""

    def prepare(
        completions: Sequence[Completion],
        rewards: Sequence[float | None],
        old_logps: Sequence[np.ndarray],
        ref_logps: Sequence[np.ndarray] | None,
    ) -> tuple[list[TokenSequence], dict[str, float]]:
        refs = ref_logps if ref_logps is not None else old_logps  # without a reference the penalty is zero
        rows = [
            (completion, reward, old_n, ref_n)
            for completion, reward, old_n, ref_n in zip(completions, rewards, old_logps, refs, strict=True)
            if reward is not None
        ]
        if not rows:
            return [], {}
        returns = [
            returns_to_go(float(np.clip(reward, -reward_clip, reward_clip)), old_n - ref_n, kl_coef)
            for _, reward, old_n, ref_n in rows
        ]
        advantages = whiten(returns, [np.asarray(completion.policy_mask) for completion, *_ in rows])
        sequences = [
            _sequence(completion, old_n, advantage_n, importance_cap)
            for (completion, _, old_n, _), advantage_n in zip(rows, advantages, strict=True)
        ]
        row = {"return_mean": float(np.mean(np.concatenate(returns)))}
        if importance_cap:
            weights_n = np.concatenate(
                [one.per_token["importance"][one.per_token["loss_weight"] > 0] for one in sequences]
            )
            row["importance_mean"] = float(np.mean(weights_n))
            row["importance_capped"] = float(np.mean(weights_n >= importance_cap))
        return sequences, row

    def loss(logp_bt: jax.Array, entropy_bt: jax.Array, batch: Mapping[str, jax.Array]) -> tuple[jax.Array, Metrics]:
        weight_bt, advantage_bt = batch["loss_weight_bt"], batch["advantage_bt"]
        ratio_bt = jnp.exp(jnp.where(weight_bt > 0, logp_bt - batch["old_logp_bt"], 0.0))
        clipped_bt = jnp.clip(ratio_bt, 1 - clip_low, 1 + clip_high)
        surrogate_bt = jnp.minimum(ratio_bt * advantage_bt, clipped_bt * advantage_bt)
        if importance_cap:
            surrogate_bt = surrogate_bt * batch["importance_bt"]
        is_clipped_bt = clipped_bt * advantage_bt < ratio_bt * advantage_bt
        total = -jnp.sum(weight_bt * surrogate_bt)
        return total, {
            "loss": total,
            "clip_fraction": jnp.sum(weight_bt * is_clipped_bt),
            "entropy": jnp.sum(weight_bt * entropy_bt),
            "ratio_mean": jnp.sum(weight_bt * ratio_bt),
        }

    return Algorithm(prepare, loss, needs_ref=kl_coef != 0)


def returns_to_go(reward: float, log_ratio_n: np.ndarray, kl_coef: float) -> np.ndarray:
    """G_t for one response: [n]. log_ratio_n: log pi_old - log pi_ref of its tokens.

    reward 1, log ratios [0.5, 0], kl_coef 0.1 -> token rewards [-0.05, 1] -> [0.95, 1].
    """
    token_reward_n = -kl_coef * np.asarray(log_ratio_n, np.float64)
    token_reward_n[-1] += reward
    return np.cumsum(token_reward_n[::-1])[::-1]


def whiten(values: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> list[np.ndarray]:
    """All values less their mean over their biased standard deviation, both over the tokens that masks keep."""
    flat_n, kept_n = np.concatenate(values), np.concatenate(masks).astype(bool)
    mean, std = flat_n[kept_n].mean(), flat_n[kept_n].std()
    return [(value_n - mean) / (std + EPS) for value_n in values]


def _sequence(
    completion: Completion, old_logp_n: np.ndarray, advantage_n: np.ndarray, importance_cap: float
) -> TokenSequence:
    prompt = len(completion.prompt_tokens)
    importance_n = np.minimum(np.exp(old_logp_n - np.asarray(completion.logps)), importance_cap)
    weighed = {"importance": align(prompt, importance_n)} if importance_cap else {}
    return TokenSequence(
        np.array(completion.prompt_tokens + completion.tokens, np.int32),
        {
            "old_logp": align(prompt, old_logp_n),
            "advantage": align(prompt, advantage_n),
            "loss_weight": response_mask(prompt, completion.policy_mask),
            **weighed,
        },
        prompt,
    )
