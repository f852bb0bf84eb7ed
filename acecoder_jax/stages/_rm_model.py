"""What a run of train_rm begins with: tokenizer, decoder, head."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict

from acecoder_jax import tokenizer
from acecoder_jax.models import huggingface, lora, sharding
from acecoder_jax.models.config import ModelConfig
from acecoder_jax.models.decoder import Params
from acecoder_jax.models.fingerprint import fingerprint
from acecoder_jax.models.reward_head import RewardModel
from acecoder_jax.reward_models import checkpoint
from acecoder_jax.types import Ranked

HEADS = ("auto", "checkpoint", "new")
Load = Callable[..., Params]


def identify(config: ConfigDict) -> str:
    """The fingerprint of the model that the config begins with; "" for one made from scratch, which the config is."""
    return fingerprint(huggingface.find(config.model)) if config.model else ""


def open_model(config: ConfigDict, ranked: Sequence[Ranked], mesh: Mesh) -> tuple[Any, RewardModel, Load]:
    """The tokenizer, the model, and a function (dtype=float32) -> its parameters at the start, with head, on the mesh.

    ValueError for a checkpoint without a head where the config wants it to have one.
    """
    if config.init_head not in HEADS:
        raise ValueError(f"init_head is {config.init_head!r}: it is one of {', '.join(HEADS)}")
    knobs: dict[str, Any] = {"dtype": jnp.dtype(config.dtype), "remat": config.remat, "lora": lora.make(**config.lora)}
    if not config.model:
        replies = (f"{one.question}\n{reply}" for one in ranked for reply in one.replies)
        words = tokenizer.train_bpe(replies, config.vocab_size)
        model = RewardModel.make(ModelConfig(vocab_size=len(words), **config.architecture), **knobs)
        return words, model, _from_scratch(config.seed, model, mesh)
    words, headed = tokenizer.load(config.model), checkpoint.has_head(config.model)
    if config.init_head == "checkpoint" and not headed:
        raise ValueError(
            f"{config.model} has no reward head, and init_head is 'checkpoint': 'new' or 'auto' makes one, or name a "
            "reward model's directory"
        )
    new = config.init_head == "new" or not headed
    print(f"{config.model}: " + ("a new head, " + ("in place of its own" if headed else "for it has none") if new
                                 else "with the head of the checkpoint"))  # fmt: skip
    read = checkpoint.load_config if headed else huggingface.load_config
    model = RewardModel.make(read(config.model), **knobs)
    return words, model, _from_checkpoint(config, model, mesh, headed, new)


def _from_scratch(seed: int, model: RewardModel, mesh: Mesh) -> Load:
    def load(dtype: Any = jnp.float32) -> Params:
        decoder, head = jax.random.split(jax.random.key(seed))
        params = model.model.init(decoder, sharding.param_shardings(model.model.abstract_params, mesh))
        params = jax.tree.map(lambda leaf: leaf.astype(dtype), params)
        return params | _placed(model.new_head(head), mesh)

    return load


def _from_checkpoint(config: ConfigDict, model: RewardModel, mesh: Mesh, headed: bool, new: bool) -> Load:
    def where(abstract: Params) -> Params:
        return sharding.param_shardings(abstract, mesh)

    def load(dtype: Any = jnp.float32) -> Params:
        read = checkpoint.load if headed else huggingface.load_params
        _, params = read(config.model, shardings=where, dtype=dtype)
        if not new:
            return params
        _, head = jax.random.split(jax.random.key(config.seed))
        decoder = {name: params[name] for name in model.model.abstract_params}
        return decoder | _placed(model.new_head(head), mesh)

    return load


def _placed(head: Params, mesh: Mesh) -> Params:
    """A head, the same in every process, on the mesh."""
    return jax.device_put(head, sharding.param_shardings(head, mesh))
