"""The steps of the device: a piece of some prompts read, or a chunk of tokens written by every slot.

Only the cache's pages stay on the devices. What a slot is at (its fields) comes from the host with every chunk.
Letters: s slots, e the two words of a key, v vocab, i pages of a row.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from acecoder_jax.sampling import forward, noise
from acecoder_jax.sampling.draw import Needs, draw

DECODE_STEPS = "decode_steps"  # the loop over them, by name: planning/ knows how often it turns
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


def blank_fields(slots: int, row_pages: int) -> dict[str, np.ndarray]:
    """Every field of every slot, zero: a slot at rest. With them the table of each slot's pages."""
    fields = {name: np.zeros((slots, *shape), kind) for name, (shape, kind) in FIELDS.items()}
    return fields | {"table_si": np.zeros((slots, row_pages), np.int32)}


def blank_pieces(rows: int, width: int, row_pages: int) -> dict[str, np.ndarray]:
    """What `prefill` reads, `rows` pieces of prompts of `width` tokens, zero: nothing to read."""
    return {
        "tokens_st": np.zeros((rows, width), np.int32),
        "position_s": np.zeros(rows, np.int32),
        "active_st": np.zeros((rows, width), bool),
        "table_si": np.zeros((rows, row_pages), np.int32),
    }


def prefill(
    weights: forward.Weights, pages: forward.Pages, fields: dict[str, jax.Array], *, model: forward.Forward
) -> forward.Pages:
    """Reads pieces of prompts: tokens_st from position_s on, of which active_st are there; their table is table_si.

    Rows may be pieces of one prompt: every piece is written before any is attended to.
    """
    _, pages = model.hidden(
        weights, pages, fields["tokens_st"], fields["table_si"], fields["position_s"], fields["active_st"]
    )
    return pages


def decode_chunk(
    weights: forward.Weights,
    pages: forward.Pages,
    fields: dict[str, jax.Array],
    *,
    model: forward.Forward,
    chunk: int,
    stop_ids: tuple[int, ...],
    needs: Needs,
) -> tuple[forward.Pages, dict[str, jax.Array]]:
    """Up to `chunk` steps of every slot, fewer when none is active any more.

    Returns the pages, and what was written: token, logp, sampling_logp, each [chunk, s], with valid [chunk, s] saying
    which of them a sample owns; and active [s] at the end.
    """
    ends = jnp.array(stop_ids, jnp.int32)
    shape = (chunk, fields["token_s"].shape[0])
    blank = {
        "token_cs": jnp.zeros(shape, jnp.int32),
        "logp_cs": jnp.zeros(shape, jnp.float32),
        "sampling_logp_cs": jnp.zeros(shape, jnp.float32),
        "valid_cs": jnp.zeros(shape, bool),
    }
    moving = {name: fields[name] for name in ("token_s", "position_s", "written_s", "active_s")}

    def goes_on(carry: Any) -> jax.Array:
        i, _, now, _ = carry
        return (i < chunk) & jnp.any(now["active_s"])

    def step(carry: Any) -> Any:
        i, pages, now, out = carry
        active_s = now["active_s"]
        hidden_std, pages = model.hidden(
            weights, pages, now["token_s"][:, None], fields["table_si"], now["position_s"], active_s[:, None]
        )
        logits_sv = model.logits(weights, hidden_std[:, 0], active_s)
        uniform_s2 = noise.uniforms(fields["key_se"], now["written_s"])
        drawn = draw(logits_sv, uniform_s2, fields["temperature_s"], fields["top_p_s"], fields["top_k_s"], needs)
        values = {
            "token_cs": drawn.token_s,
            "logp_cs": drawn.logp_s,
            "sampling_logp_cs": drawn.sampling_logp_s,
            "valid_cs": active_s,
        }
        written_s = now["written_s"] + active_s
        stopped_s = jnp.isin(drawn.token_s, ends) | (written_s >= fields["limit_s"])
        now = {
            "token_s": jnp.where(active_s, drawn.token_s, now["token_s"]),
            "position_s": now["position_s"] + active_s,
            "written_s": written_s,
            "active_s": active_s & ~stopped_s,
        }
        return i + 1, pages, now, {name: out[name].at[i].set(value) for name, value in values.items()}

    with jax.named_scope(DECODE_STEPS):
        _, pages, now, out = jax.lax.while_loop(goes_on, step, (jnp.int32(0), pages, moving, blank))
    return pages, out | {"active_s": now["active_s"]}
