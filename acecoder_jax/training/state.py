"""The state of training: parameters, optimiser, counters. With the workdir it is all that a resume needs."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from acecoder_jax.models.decoder import Params
from acecoder_jax.models.sharding import param_shardings
from acecoder_jax.training import offload


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """params: what is trained, float32, stacked by layer: the model, or its adapter (models/lora.py).

    update: updates done, an int32 scalar. skipped: updates left out because loss or gradient was not finite; in_a_row:
    those since the last that was done.
    """

    params: Params
    opt_state: Any
    update: Any
    skipped: Any
    in_a_row: Any


def create(params: Params, optimizer: optax.GradientTransformation, shardings: Any = None) -> TrainState:
    """A fresh state around parameters; the optimiser's moments are made in the shards of `state_shardings`."""

    def rest(params: Params) -> Any:
        # three arrays, not one thrice: an update gives its old state up, each buffer once
        return optimizer.init(params), *(jnp.zeros((), jnp.int32) for _ in range(3))

    where = None if shardings is None else (shardings.opt_state, *[shardings.update] * 3)
    return TrainState(params, *jax.jit(rest, out_shardings=where)(params))


def abstract(abstract_params: Params, optimizer: optax.GradientTransformation) -> TrainState:
    """The state with a ShapeDtypeStruct for every leaf."""
    opt_state = jax.eval_shape(optimizer.init, abstract_params)
    return TrainState(abstract_params, opt_state, *[jax.ShapeDtypeStruct((), jnp.int32)] * 3)


def state_shardings(state: TrainState, mesh: Mesh, moments_on_host: bool = False) -> TrainState:
    """A sharding for every leaf: the moments lie as their parameters do, scalars everywhere.

    moments_on_host: in the host's pinned memory (training/offload.py).
    """
    whole = NamedSharding(mesh, PartitionSpec())
    params = param_shardings(state.params, mesh)
    structure: Any = jax.tree.structure(state.params)

    def is_params(node: Any) -> bool:
        return structure == jax.tree.structure(node)

    moments = offload.on_host(params) if moments_on_host else params
    opt_state = jax.tree.map(lambda n: moments if is_params(n) else whole, state.opt_state, is_leaf=is_params)
    return TrainState(params, opt_state, whole, whole, whole)
