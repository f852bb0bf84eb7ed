"""A decoder with a linear head of one output, as AceCodeRM has it: Linear(hidden, 1) with bias after the final norm.

The score of a conversation is read at one position of it (its last token, in AceCoder); here every position has one.
Parameters are the decoder's without an output head of its own, with `reward_da` [hidden, 1] and `reward_bias_a` [1]:
v_head.summary.weight, transposed, and v_head.summary.bias of the published checkpoints.
With LoRA the decoder is frozen; an adapter and the head are trained.
In training the hidden state that the head reads has dropout (`Dropout`): never when a model scores.
Letters: b row, t time, d embed, a score (one).
"""

import dataclasses
from typing import Any, Self

import jax
import jax.numpy as jnp

from acecoder_jax.models import lora
from acecoder_jax.models.config import ModelConfig
from acecoder_jax.models.decoder import Model, Params
from acecoder_jax.models.lora import Lora


@dataclasses.dataclass(frozen=True)
class Dropout:
    """Noise of training on the hidden states before the head: zeroed at this rate, the others scaled by 1 / (1 - rate).

    noise_bt: uint32; what is zeroed at a place is a function of its number there alone, so not of rows or devices.
    """

    rate: float
    noise_bt: jax.Array

    def __call__(self, hidden_btd: jax.Array) -> jax.Array:
        """The hidden states with their noise, in float32."""

        def kept(noise: jax.Array) -> jax.Array:
            key = jax.random.key(noise, impl="threefry2x32")
            return jax.random.bernoulli(key, 1 - self.rate, hidden_btd.shape[2:])

        kept_btd = jax.vmap(jax.vmap(kept))(self.noise_bt)
        return jnp.where(kept_btd, hidden_btd.astype(jnp.float32) / (1 - self.rate), 0.0)


@dataclasses.dataclass(frozen=True)
class RewardModel:
    """A reward model as pure functions over a parameter tree. model: the decoder, whose embedding is tied: no head."""

    model: Model

    @classmethod
    def make(
        cls, config: ModelConfig, dtype: Any = jnp.bfloat16, remat: str = "full", attention: str = "xla",
        lora: Lora | None = None,
    ) -> Self:  # fmt: skip
        """On the decoder of a config, whatever output head that has."""
        return cls(Model(dataclasses.replace(config, tie_word_embeddings=True), dtype, remat, attention, lora))

    @property
    def abstract_params(self) -> Params:
        """The parameter tree with a ShapeDtypeStruct for every leaf."""
        return self.model.abstract_params | self._abstract_head

    @property
    def abstract_trained(self) -> Params:
        """What an update moves: all parameters; with LoRA the adapter and the head."""
        if self.model.lora is None:
            return self.abstract_params
        return lora.abstract(self.model.lora, self.model.config) | self._abstract_head

    @property
    def _abstract_head(self) -> Params:
        return {
            "reward_da": jax.ShapeDtypeStruct((self.model.config.hidden_size, 1), jnp.float32),
            "reward_bias_a": jax.ShapeDtypeStruct((1,), jnp.float32),
        }

    def new_head(self, key: jax.Array) -> Params:
        """Normal weights, bias 0."""
        scale, d = self.model.config.initializer_range, self.model.config.hidden_size
        return {"reward_da": scale * jax.random.normal(key, (d, 1)), "reward_bias_a": jnp.zeros(1)}

    def with_head(self, decoder: Params, key: jax.Array) -> Params:
        """A decoder's parameters (an output head among them is left out) with a new head."""
        return {name: decoder[name] for name in self.model.abstract_params} | self.new_head(key)

    def merged(self, base: Params, trained: Params, dtype: Any = None) -> Params:
        """With LoRA: the parameters of a plain reward model, of a frozen decoder and what was trained beside it.

        dtype: of the decoder's, by default the base's; the head stays float32.
        """
        assert self.model.lora is not None
        head = {name: trained[name] for name in self._abstract_head}
        return lora.merge(base, trained, self.model.lora, dtype) | head

    def scores(
        self, params: Params, tokens_bt: jax.Array, segment_bt: jax.Array, position_bt: jax.Array,
        branch_bt: jax.Array | None = None, sums: Params | None = None, dropout: Dropout | None = None,
    ) -> jax.Array:  # fmt: skip
        """The score of each conversation up to each token: [b, t] of float32. Other arguments as of `Model.hidden`."""
        decoder = {name: params[name] for name in self.model.abstract_params}
        hidden_btd = self.model.hidden(decoder, tokens_bt, segment_bt, position_bt, branch_bt, sums)
        hidden_btd = hidden_btd.astype(jnp.float32) if dropout is None else dropout(hidden_btd)
        # a sum in float32: a product of bfloat16 would round a score, which the loss compares with another
        score_bta = jnp.einsum("btd,da->bta", hidden_btd, params["reward_da"], precision=jax.lax.Precision.HIGHEST)
        return score_bta[..., 0] + params["reward_bias_a"][0]
