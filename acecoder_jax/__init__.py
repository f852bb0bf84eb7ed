"""acecoder_jax: AceCoder's whole loop, from seed code to a trained code model, in JAX and Flax."""

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "RewardModel":  # imported when it is asked for: it takes JAX along
        from acecoder_jax.reward_models.scorer import RewardModel

        return RewardModel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
