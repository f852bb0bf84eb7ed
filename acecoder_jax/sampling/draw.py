"""Drawing a token from logits: temperature, top-k, top-p, greedy, with the log-prob of what was drawn.

Sampling is by the inverse of the cumulative distribution, in two levels: a block of the vocabulary is chosen by the
first uniform number, a token within it by the second. That touches the vocabulary twice, where `random.categorical`
makes and compares a random number for each of its entries (37 ms a step for 32 x 152k on two cores). And a token
can change under rounding only where its uniform number lies that near a boundary.

Letters: s slots, v vocab, n blocks, c tokens of a block.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

BLOCK = 128


@dataclasses.dataclass(frozen=True)
class SamplingParams:
    """How to sample one completion.

    temperature: 0 is greedy. top_p: the smallest set of most likely tokens with at least this mass (Holtzman et al.
    2020, arXiv 1904.09751). top_k: the k most likely tokens, 0 for all. Tokens as likely as the last one kept are kept.
    stop: strings that end the answer; the text ends before the string, the tokens with the one that completes it.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_new_tokens: int = 1024
    stop: tuple[str, ...] = ()

    def __post_init__(self):
        if not self.temperature >= 0:
            raise ValueError(f"temperature must be at least 0, got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be in (0, 1], got {self.top_p}")
        if not 0 <= self.top_k < 2**31:
            raise ValueError(f"top_k must be at least 0 (0 keeps all tokens) and below 2**31, got {self.top_k}")
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be at least 1, got {self.max_new_tokens}")
        if not isinstance(self.stop, tuple):
            raise ValueError(f"stop must be a tuple of strings, got {self.stop!r}")
        if "" in self.stop:
            raise ValueError("an empty stop string would end every answer at once")


class Needs(NamedTuple):
    """What a batch of requests asks of the sampler, static under jit, so that nobody pays for what nobody asked."""

    draws: bool  # some row is not greedy
    tempers: bool  # some row has a temperature other than 1
    restricts: bool  # some row has top-k or top-p

    @classmethod
    def of(cls, params: list[SamplingParams]) -> "Needs":
        """The union of what the requests need."""
        drawn = [p for p in params if p.temperature > 0]
        return cls(bool(drawn), any(p.temperature != 1 for p in drawn), any(p.top_p < 1 or p.top_k > 0 for p in drawn))


class Drawn(NamedTuple):
    """token_s of int32; logp_s under the raw policy; sampling_logp_s under the distribution it was drawn from."""

    token_s: jax.Array
    logp_s: jax.Array
    sampling_logp_s: jax.Array


def draw(
    logits_sv: jax.Array,
    uniform_s2: jax.Array,
    temperature_s: jax.Array,
    top_p_s: jax.Array,
    top_k_s: jax.Array,
    needs: Needs,
) -> Drawn:
    """One token a row. A row of temperature 0 takes the most likely token, with sampling log-prob 0."""
    max_s = jnp.max(logits_sv, axis=-1)
    mass_sv = jnp.exp(logits_sv - max_s[:, None])
    raw_norm_s = jnp.log(jnp.sum(mass_sv, axis=-1))
    greedy_s = jnp.argmax(logits_sv, axis=-1).astype(jnp.int32)
    if not needs.draws:
        return Drawn(greedy_s, -raw_norm_s, jnp.zeros_like(raw_norm_s))
    if needs.tempers:
        safe_s = jnp.where(temperature_s > 0, temperature_s, 1.0)
        mass_sv = jnp.exp((logits_sv - max_s[:, None]) / safe_s[:, None])
    if needs.restricts:
        mass_sv = _restrict(mass_sv, top_p_s, top_k_s)
    token_s, total_s = _inverse_cdf(mass_sv, uniform_s2)
    picked_s = jnp.take_along_axis(mass_sv, token_s[:, None], axis=-1)[:, 0]
    token_s = jnp.where(temperature_s > 0, token_s, greedy_s)
    logit_s = jnp.take_along_axis(logits_sv, token_s[:, None], axis=-1)[:, 0]
    sampling_logp_s = jnp.where(temperature_s > 0, jnp.log(picked_s) - jnp.log(total_s), 0.0)
    return Drawn(token_s, logit_s - max_s - raw_norm_s, sampling_logp_s)


def _inverse_cdf(mass_sv: jax.Array, uniform_s2: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A token a row in proportion to its mass, and the row's total mass."""
    s, v = mass_sv.shape
    mass_snc = jnp.pad(mass_sv, ((0, 0), (0, -v % BLOCK))).reshape(s, -1, BLOCK)
    block_s, total_s = _first_above(jnp.sum(mass_snc, axis=-1), uniform_s2[:, 0])
    mass_sc = jnp.take_along_axis(mass_snc, block_s[:, None, None], axis=1)[:, 0]
    within_s, _ = _first_above(mass_sc, uniform_s2[:, 1])
    return block_s * BLOCK + within_s, total_s


def _first_above(mass_sn: jax.Array, uniform_s: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The first index with mass whose cumulative mass is above uniform x total, and the total.

    The sums of a parallel scan differ in their rounding, so they can step up where there is no mass: such an index is
    passed over. Where no index is left (the number fell into the last step's rounding), the last one with mass wins.
    """
    cumulative_sn = jnp.cumsum(mass_sn, axis=-1)
    total_s, has_mass_sn = cumulative_sn[:, -1], mass_sn > 0
    above_sn = has_mass_sn & (cumulative_sn > (uniform_s * total_s)[:, None])
    last_s = mass_sn.shape[-1] - 1 - jnp.argmax(has_mass_sn[:, ::-1], axis=-1)
    index_s = jnp.where(jnp.any(above_sn, axis=-1), jnp.argmax(above_sn, axis=-1), last_s)
    return index_s.astype(jnp.int32), total_s


def _restrict(mass_sv: jax.Array, top_p_s: jax.Array, top_k_s: jax.Array) -> jax.Array:
    """Mass outside the top k, then outside the top p of what is left, set to zero (the order that transformers has)."""
    v = mass_sv.shape[-1]
    wanted_s = jnp.where(top_k_s > 0, jnp.minimum(top_k_s, v), v).astype(jnp.float32)
    floor_s = _threshold(mass_sv, jnp.ones_like(mass_sv), wanted_s)
    mass_sv = jnp.where(mass_sv >= floor_s[:, None], mass_sv, 0.0)
    floor_s = _threshold(mass_sv, mass_sv, top_p_s * jnp.sum(mass_sv, axis=-1))
    kept_sv = jnp.where(mass_sv >= floor_s[:, None], mass_sv, 0.0)
    return jnp.where((top_p_s < 1)[:, None], kept_sv, mass_sv)


def _threshold(value_sv: jax.Array, weight_sv: jax.Array, wanted_s: jax.Array) -> jax.Array:
    """The largest t such that the entries with value >= t weigh at least wanted in sum: [s] of float32.

    Floats that are not negative are ordered as their bits, so a binary search over the bits is exact in 31 passes over
    the row; sorting 152k entries costs many times that.
    """

    def halve(_, bounds):
        low_s, high_s = bounds
        middle_s = low_s + (high_s - low_s) // 2
        t_s = jax.lax.bitcast_convert_type(middle_s, jnp.float32)
        enough_s = jnp.sum(jnp.where(value_sv >= t_s[:, None], weight_sv, 0.0), axis=-1) >= wanted_s
        return jnp.where(enough_s, middle_s, low_s), jnp.where(enough_s, high_s, middle_s)

    low_s = jnp.zeros(value_sv.shape[:1], jnp.int32)
    high_s = jnp.full_like(low_s, 0x7F800000)  # infinity: above every mass
    low_s, _ = jax.lax.fori_loop(0, 31, halve, (low_s, high_s))
    return jax.lax.bitcast_convert_type(low_s, jnp.float32)
