"""Reward models on the disk: published layouts in, AceCodeRM's out.

| head | layout |
| --- | --- |
| `v_head.summary.weight` [1, d], `v_head.summary.bias` [1] | AceCodeRM: the tensors of a Qwen2ForCausalLM beside them |
| `score.weight` or `value_head.weight` [1, d], no bias | OpenRLHF; `...ForSequenceClassification` of one label |

A checkpoint whose config.json asks for normalised scores (OpenRLHF's `normalize_reward`, `mean`, `std`) has that folded
into the head. Where the score is read is in config.json too, as `acecoder_read`, if it was trained here.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from acecoder_jax.models import huggingface
from acecoder_jax.models import safetensors_io as st
from acecoder_jax.models.config import ARCHITECTURES, ModelConfig
from acecoder_jax.models.decoder import Params
from acecoder_jax.models.reward_head import RewardModel
from acecoder_jax.reward_models.texts import READS

WEIGHT, BIAS = "v_head.summary.weight", "v_head.summary.bias"
HEADS = {WEIGHT: BIAS, "score.weight": "score.bias", "value_head.weight": "value_head.bias"}
READ, AUTO = "acecoder_read", "auto"
KNOWN = (
    *ARCHITECTURES, "Qwen2Model", "Qwen2ForSequenceClassification", "AceCodeRM", "Qwen2ForCausalRM", "RewardModel",
    "CriticModel",
)  # fmt: skip


def has_head(path_or_hub_id: str | os.PathLike[str]) -> bool:
    """Whether a checkpoint is a reward model's. Raises what `load` raises for files that cannot be read."""
    return any(name in HEADS for name in st.open_checkpoint(huggingface.find(path_or_hub_id)))


def load(
    path_or_hub_id: str | os.PathLike[str],
    *,
    shardings: Params | Callable[[Params], Params] | None = None,
    dtype: Any = jnp.float32,
) -> tuple[ModelConfig, Params]:
    """A reward model's config and parameters, the tree of `reward_head.RewardModel`; the decoder's of dtype, the head's
    float32. shardings: as in `huggingface.load_params`, for the whole tree.

    Raises what `huggingface.load_params` raises, and ValueError for a checkpoint with no head, with several, or with
    one of several labels.
    """
    directory = huggingface.find(path_or_hub_id)
    config = load_config(directory)
    head, beside = _read_head(directory, config)
    abstract = RewardModel.make(config, dtype).abstract_params
    where = shardings(abstract) if callable(shardings) else shardings
    inner = None if where is None else {name: leaf for name, leaf in where.items() if name not in head}
    _, params = huggingface.load_params(directory, config=config, beside=beside, shardings=inner, dtype=dtype)
    placed = {name: _place(array, None if where is None else where[name]) for name, array in head.items()}
    return config, params | placed


def load_config(path_or_hub_id: str | os.PathLike[str]) -> ModelConfig:
    """The config of a reward model's decoder: that of the checkpoint, without an output head."""
    return RewardModel.make(huggingface.load_config(path_or_hub_id, KNOWN)).model.config


def find_read(path_or_hub_id: str | os.PathLike[str], read: str = AUTO) -> str:
    """Where the score is read, one of `texts.READS`. read: one of them, or "auto": what the checkpoint says of itself,
    "last" where it says nothing.

    ValueError for another name, and for a place other than the one that the checkpoint was trained with.
    """
    if read not in (AUTO, *READS):
        raise ValueError(f"read is {read!r}: it is one of {', '.join((AUTO, *READS))}")
    directory = huggingface.find(path_or_hub_id)
    stored = st.read_json(directory / "config.json").get(READ)
    if stored not in (None, *READS):
        raise ValueError(f"{directory}/config.json: {READ} is {stored!r}, which is none of {', '.join(READS)}")
    if read == AUTO:
        return stored or READS[0]
    if stored not in (None, read):
        raise ValueError(
            f"read is {read!r}, but {directory} was trained with its score read at {stored!r}: leave read at {AUTO!r}"
        )
    return read


def save(
    params: Params,
    config: ModelConfig,
    directory: str | os.PathLike[str],
    *,
    dtype: Any = jnp.bfloat16,
    tokenizer: Any = None,
    overwrite: bool = False,
    read: str | None = None,
) -> None:
    """Writes AceCodeRM's layout, the decoder in dtype and the head in float32. read: where the score is, if that is to
    be told by `find_read`. The rest is as in `huggingface.export`.

    config.json says that the output head is the embedding: a reward model has none of its own.
    """
    decoder = {name: leaf for name, leaf in params.items() if name not in ("reward_da", "reward_bias_a")}
    head = {
        WEIGHT: huggingface.on_host(params["reward_da"]).astype(np.float32).T.copy(),
        BIAS: huggingface.on_host(params["reward_bias_a"]).astype(np.float32),
    }
    tied = RewardModel.make(config).model.config
    huggingface.export(
        decoder, tied, directory, dtype=dtype, beside=head, tokenizer=tokenizer, overwrite=overwrite,
        about=None if read is None else {READ: read},
    )  # fmt: skip


def _read_head(directory: Path, config: ModelConfig) -> tuple[dict[str, np.ndarray], set[str]]:
    """The head's leaves, and the names of its tensors."""
    stored = st.open_checkpoint(directory)
    found = [name for name in HEADS if name in stored]
    if not found:
        raise ValueError(
            f"{directory} is no reward model: it has none of the tensors {', '.join(HEADS)}. Train one from it with "
            "configs/rm.py, or name a reward model's directory"
        )
    if len(found) > 1:
        raise ValueError(f"{directory} has several heads: {', '.join(found)}")
    (name,) = found
    weight, d = stored[name], config.hidden_size
    if weight.shape != (1, d):
        raise ValueError(
            f"{weight.file}: the head {name!r} has shape {list(weight.shape)}, expected [1, {d}]: one score a text"
        )
    weight_d = weight.map().astype(np.float32)[0]
    bias, names = np.zeros(1, np.float32), {name}
    if HEADS[name] in stored:
        if stored[HEADS[name]].shape != (1,):
            raise ValueError(
                f"{weight.file}: {HEADS[name]!r} has shape {list(stored[HEADS[name]].shape)}, expected [1]"
            )
        bias, names = stored[HEADS[name]].map().astype(np.float32), {name, HEADS[name]}
    mean, std = _normalisation(st.read_json(directory / "config.json"), directory)
    names |= {"mean", "std"} & stored.keys()  # what config.json says, as buffers
    return {"reward_da": weight_d[:, None] / std, "reward_bias_a": (bias - mean) / std}, names


def _normalisation(hf: Mapping[str, Any], directory: Path) -> tuple[np.float32, np.float32]:
    if not hf.get("normalize_reward"):
        return np.float32(0), np.float32(1)
    if "mean" not in hf or not hf.get("std"):
        raise ValueError(f"{directory}/config.json has normalize_reward, but not both mean and a std above 0")
    return np.float32(hf["mean"]), np.float32(hf["std"])


def _place(array: np.ndarray, where: Any) -> jax.Array:
    if where is None:
        return jax.device_put(array, jax.local_devices()[0])
    return jax.make_array_from_callback(array.shape, where, array.__getitem__)
