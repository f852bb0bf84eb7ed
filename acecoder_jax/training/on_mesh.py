"""What a mesh makes of a micro-batch and of a model: the same for every kind of training."""

import dataclasses
import logging

from jax.sharding import Mesh

from acecoder_jax import parallel
from acecoder_jax.models.attention import check, choose
from acecoder_jax.models.decoder import Model

_log = logging.getLogger(__name__)


def fit_rows(mesh: Mesh, rows: int, row_tokens: int, of: str = "trainer.") -> int:
    """The rows of a micro-batch; 0 is one for each shard (data x fsdp). of: what the knobs' names begin with in errors.

    ValueError where a micro-batch cannot be split evenly over the mesh: each device would do all of it.
    """
    shards, context = parallel.row_shards(mesh), mesh.shape["context"]
    if rows % shards:
        raise ValueError(f"{of}rows is {rows}: not a multiple of the {shards} shards (data x fsdp) of the mesh")
    if row_tokens % context:
        raise ValueError(f"{of}row_tokens is {row_tokens}: not a multiple of the mesh's context axis, {context}")
    return rows or shards


def fit_model(model: Model, mesh: Mesh, row_tokens: int, attention: str) -> Model:
    """The model with the attention of a name, or "auto", for the devices of a mesh.

    ValueError for what that attention cannot do. Heads that the tensor axis does not divide are said in a warning.
    """
    backend = choose(attention, mesh.devices.flat[0].platform, model.dtype)
    check(backend, model.config, row_tokens, mesh.shape["context"], model.remat)
    tensor, heads, kv_heads = mesh.shape["tensor"], model.config.num_heads, model.config.num_kv_heads
    if heads % tensor or (kv_heads % tensor and tensor % kv_heads):
        _log.warning("mesh.tensor=%d does not divide %d heads (%d KV heads): every device does the attention of all "
                     "heads", tensor, heads, kv_heads)  # fmt: skip
    return dataclasses.replace(model, attention=backend)
