"""What the engine keeps on the devices: a cache and a few numbers for each slot, and the steps that change them.

Letters: s slots, e the two words of a key, v vocab, n rows written at once.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from acecoder_jax.models.config import ModelConfig
from acecoder_jax.sampling import forward, noise
from acecoder_jax.sampling.draw import Needs, draw

State = dict[str, Any]

FIELDS: dict[str, tuple[tuple[int, ...], Any]] = {
    "token_s": ((), np.int32),  # the token that the next step reads
    "position_s": ((), np.int32),  # its position
    "written_s": ((), np.int32),  # tokens of the response so far
    "limit_s": ((), np.int32),  # and at most
    "active_s": ((), np.bool_),
    "key_se": ((2,), np.uint32),
    "temperature_s": ((), np.float32),
    "top_p_s": ((), np.float32),
    "top_k_s": ((), np.int32),
}


def blank_fields(slots: int) -> dict[str, np.ndarray]:
    """Every field of every slot, zero: a slot at rest."""
    return {name: np.zeros((slots, *shape), kind) for name, (shape, kind) in FIELDS.items()}


def empty(config: ModelConfig, slots: int, cache_length: int, cache_dtype: Any) -> State:
    """All slots at rest, and their empty cache."""
    fields = {name: jnp.asarray(field) for name, field in blank_fields(slots).items()}
    return fields | {"cache": forward.empty_cache(config, slots, cache_length, cache_dtype)}


def insert(state: State, prompts: forward.Cache, slot_n: jax.Array, row_n: jax.Array, fields: dict[str, Any]) -> State:
    """Starts samples: slot_n[i] gets row row_n[i] of the prompts' cache and the i-th of each field.

    An index past the last slot changes nothing.
    """
    cache = forward.insert(state["cache"], prompts, slot_n, row_n)
    written = {name: state[name].at[slot_n].set(value, mode="drop") for name, value in fields.items()}
    return state | written | {"cache": cache}


def decode_chunk(
    weights: forward.Weights,
    state: State,
    *,
    config: ModelConfig,
    chunk: int,
    stop_ids: tuple[int, ...],
    needs: Needs,
) -> tuple[State, dict[str, jax.Array]]:
    """Up to `chunk` steps of every slot, fewer when none is active any more.

    Returns the state, and what was written: token, logp, sampling_logp, each [chunk, s], with valid [chunk, s] saying
    which of them a sample owns; and active [s] at the end.
    """
    ends = jnp.array(stop_ids, jnp.int32)
    shape = (chunk, state["token_s"].shape[0])
    blank = {
        "token": jnp.zeros(shape, jnp.int32),
        "logp": jnp.zeros(shape, jnp.float32),
        "sampling_logp": jnp.zeros(shape, jnp.float32),
        "valid": jnp.zeros(shape, bool),
    }

    def goes_on(carry: Any) -> jax.Array:
        i, state, _ = carry
        return (i < chunk) & jnp.any(state["active_s"])

    def step(carry: Any) -> Any:
        i, state, out = carry
        logits_sv, cache = forward.decode_step(weights, config, state["cache"], state["token_s"], state["position_s"])
        uniform_s2 = noise.uniforms(state["key_se"], state["written_s"])
        drawn = draw(logits_sv, uniform_s2, state["temperature_s"], state["top_p_s"], state["top_k_s"], needs)
        active_s = state["active_s"]
        values = {
            "token": drawn.token_s,
            "logp": drawn.logp_s,
            "sampling_logp": drawn.sampling_logp_s,
            "valid": active_s,
        }
        written_s = state["written_s"] + active_s
        stopped_s = jnp.isin(drawn.token_s, ends) | (written_s >= state["limit_s"])
        state = state | {
            "cache": cache,
            "token_s": jnp.where(active_s, drawn.token_s, state["token_s"]),
            "position_s": state["position_s"] + active_s,
            "written_s": written_s,
            "active_s": active_s & ~stopped_s,
        }
        return i + 1, state, {name: out[name].at[i].set(value) for name, value in values.items()}

    _, state, out = jax.lax.while_loop(goes_on, step, (jnp.int32(0), state, blank))
    return state, out | {"active": state["active_s"]}
