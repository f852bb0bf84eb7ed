"""The two jitted functions of the trainer: log-probs of given tokens, and one optimiser step over a mini-batch.

A mini-batch is [micro-batches, rows, row_tokens] (training/packing.py). A loop with as many turns as there are
micro-batches in use adds up gradients and metrics; then the optimiser moves once.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding, PartitionSpec

from acecoder_jax import parallel
from acecoder_jax.models import lora
from acecoder_jax.models.decoder import Model, Params, is_unrolled
from acecoder_jax.models.sharding import named_shardings
from acecoder_jax.training import offload
from acecoder_jax.training.loss import Loss, Metrics, token_logps
from acecoder_jax.training.packing import Batch, Packed, TokenSequence, micro_batch, pack
from acecoder_jax.training.state import TrainState

IN_PLACE = {"layers", "embed_vd", "head_dv"}  # parameters whose gradients are added up within the backward pass
MICRO_BATCHES = "micro_batches"  # the loop over them, by name: planning/ knows how often it turns
MODEL_INPUTS = ("tokens_mbt", "target_mbt", "wanted_mbt", "segment_mbt", "position_mbt", "branch_mbt")


def place(arrays: Batch, mesh: jax.sharding.Mesh | None) -> dict[str, Any]:
    """A packed batch on the devices, its rows split over the mesh's data and fsdp axes."""
    if mesh is None:
        return {name: jnp.asarray(array) for name, array in arrays.items()}
    where = named_shardings(arrays, mesh)
    # Every process has all rows and gives its devices theirs; device_put would first compare them over all processes.
    return {name: jax.make_array_from_callback(a.shape, where[name], a.__getitem__) for name, a in arrays.items()}


def placed(arrays: Batch, mesh: jax.sharding.Mesh) -> dict[str, jax.ShapeDtypeStruct]:
    """What `place` would give, as shapes with their shardings: for compiling where the devices are not there."""
    return jax.tree.map(
        lambda array, where: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=where),
        arrays, named_shardings(arrays, mesh),
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class PerToken:
    """The function (params, sequences) -> a number for each wanted target of each sequence, [n] each, in order.

    run: its jitted part. rows, row_tokens, share, allocate: as in `pack`.
    """

    run: Any
    rows: int
    row_tokens: int
    share: bool
    mesh: jax.sharding.Mesh | None
    allocate: int = 0

    def __call__(self, params: Params, sequences: list[TokenSequence]) -> list[np.ndarray]:
        """Packs, runs, and takes the numbers back out."""
        packed = self.pack(sequences)
        arrays = place(packed.arrays, self.mesh)
        with parallel.LAUNCHES:
            number_mbt = self.run(params, arrays, packed.micro_batches)
        return packed.unpack(jax.device_get(number_mbt))

    def pack(self, sequences: list[TokenSequence]) -> Packed:
        """The sequences in rows, with the arrays that a model reads and no others."""
        shards = 1 if self.mesh is None else parallel.row_shards(self.mesh)
        packed = pack(
            sequences, rows=self.rows, row_tokens=self.row_tokens, share=self.share, shards=shards,
            allocate=self.allocate,
        )  # fmt: skip
        arrays = {name: array for name, array in packed.arrays.items() if name in MODEL_INPUTS}
        return dataclasses.replace(packed, arrays=arrays)


@dataclasses.dataclass(frozen=True)
class Update:
    """The function (state, packed mini-batch, base) -> (state after one optimiser step, summed metrics).

    Takes the old state. base: with LoRA (`frozen`) the parameters whose adapter state.params is; they are not taken.
    run: its jitted part, on placed arrays and the number of micro-batches in use.
    """

    run: Any
    mesh: jax.sharding.Mesh | None
    frozen: bool

    def __call__(self, state: TrainState, packed: Packed, base: Params | None = None) -> tuple[TrainState, Metrics]:
        """ValueError where a base is missing, or given to a model that is trained itself."""
        if (base is not None) != self.frozen:
            raise ValueError("an update takes the frozen base beside the state with LoRA, and only then")
        arrays = place(packed.arrays, self.mesh)
        with parallel.LAUNCHES:
            return self.run(state, arrays, packed.micro_batches, base)


def make_logps(
    model: Model,
    *,
    rows: int,
    row_tokens: int,
    logit_chunk: int,
    share: bool = False,
    mesh: jax.sharding.Mesh | None = None,
) -> PerToken:
    """The function (params, sequences) -> log-prob of each wanted target of each sequence, [n] each, in order.

    share: sequences with the same prompt have one copy of it in a row.
    """

    def logps(params: Params, batch: dict[str, jax.Array]) -> jax.Array:
        return token_logps(model, params, batch, logit_chunk, with_entropy=False)[0]

    return per_token(logps, rows=rows, row_tokens=row_tokens, share=share, mesh=mesh)


def per_token(
    function: Callable[[Params, dict[str, jax.Array]], jax.Array],
    *,
    rows: int,
    row_tokens: int,
    share: bool = False,
    mesh: jax.sharding.Mesh | None = None,
    allocate: int = 0,
) -> PerToken:
    """A function (params, one micro-batch) -> [b, t] of float32, for any number of sequences."""

    def run(params: Params, arrays: dict[str, jax.Array], count: jax.Array) -> jax.Array:
        def body(m: jax.Array, out_mbt: jax.Array) -> jax.Array:
            return out_mbt.at[m].set(function(params, micro_batch(arrays, m)))

        with jax.named_scope(MICRO_BATCHES):
            return jax.lax.fori_loop(0, count, body, jnp.zeros(arrays["tokens_mbt"].shape, jnp.float32))

    # whole on every device, so that each process can read it
    jitted = jax.jit(run, out_shardings=None if mesh is None else NamedSharding(mesh, PartitionSpec()))
    return PerToken(jitted, rows, row_tokens, share, mesh, allocate)


def make_update(
    model: Model,
    loss: Loss,
    optimizer: optax.GradientTransformation,
    *,
    logit_chunk: int,
    mesh: jax.sharding.Mesh | None = None,
    shardings: TrainState | None = None,
) -> Update:
    """The update of a policy by a loss over its log-probs; the rest is as in `update_of`."""

    def objective(params: Params, batch: dict[str, jax.Array], sums: Params | None) -> tuple[jax.Array, Metrics]:
        logp_bt, entropy_bt = token_logps(model, params, batch, logit_chunk, sums=sums)
        return loss(logp_bt, entropy_bt, batch)

    return update_of(model, objective, optimizer, mesh=mesh, shardings=shardings)


def update_of(
    model: Model,
    objective: Callable[[Params, dict[str, jax.Array], Params | None], tuple[jax.Array, Metrics]],
    optimizer: optax.GradientTransformation,
    *,
    mesh: jax.sharding.Mesh | None = None,
    shardings: TrainState | None = None,
) -> Update:
    """The update by an objective, (params, one micro-batch, sums) -> (loss, metrics): they add up over micro-batches.

    model: the decoder in it. sums: gradients so far; the objective's derivatives by IN_PLACE are the new sums
    (`Model.hidden`, `Model.hidden_and_head`).

    shardings: where the new state lies; naming it keeps a second call from compiling again for other words of the same.
    Moments that lie on the host are brought to the devices for the optimiser's step and sent back.
    Metrics are the loss's own, and grad_norm: the global norm of the gradient before clipping, which the optimiser is
    given, too, so that no gradient is read twice for it.

    Where the loss or that norm is not finite the step is left out: parameters, moments and the optimiser's own counts
    (so its schedule too) stay as they are, and state.skipped counts it. Metrics `skipped` (0 or 1) and `in_a_row`.
    """

    optimise = optax.with_extra_args_support(optimizer).update

    def total(
        params: Params, base: Params | None, batch: dict[str, jax.Array], sums: Params | None
    ) -> tuple[jax.Array, Metrics]:
        return objective(params if base is None else lora.join(base, params), batch, sums)

    def run(
        state: TrainState, arrays: dict[str, jax.Array], count: jax.Array, base: Params | None
    ) -> tuple[TrainState, Metrics]:
        def gradient(m: Any, sums: Params | None) -> tuple[tuple[jax.Array, Metrics], Params]:
            return jax.value_and_grad(total, has_aux=True)(state.params, base, micro_batch(arrays, m), sums)

        def body(m: jax.Array, sums: Any) -> Any:
            numbers, grads = sums
            more, gradients = gradient(m, grads if in_place else None)
            if in_place:  # most are sums already
                summed = {name: jax.tree.map(jnp.add, grads[name], gradients[name]) for name in grads.keys() - IN_PLACE}
                gradients = gradients | summed
            else:
                gradients = jax.tree.map(jnp.add, grads, gradients)
            return jax.tree.map(jnp.add, numbers, more), gradients

        in_place = base is None and not is_unrolled(model.config, model.remat)
        first = jax.eval_shape(lambda: gradient(0, None))
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), first)
        with jax.named_scope(MICRO_BATCHES):
            (total_loss, metrics), grads = jax.lax.fori_loop(0, count, body, zeros)
        grad_norm = optax.global_norm(grads)
        before = state.opt_state if shardings is None else offload.fetch(state.opt_state, shardings.opt_state)
        finite = jnp.isfinite(total_loss) & jnp.isfinite(grad_norm)

        def moved(grads: Params, opt_state: Any, params: Params) -> tuple[Params, Any]:
            step, opt_state = optimise(grads, opt_state, params, grad_norm=grad_norm)
            return optax.apply_updates(params, step), opt_state

        # a branch, not a choice between two results: that would keep the old moments beside the new
        params, opt_state = jax.lax.cond(
            finite, moved, lambda grads, opt_state, params: (params, opt_state), grads, before, state.params
        )
        update, skipped = state.update + finite, state.skipped + ~finite
        if shardings is not None:
            opt_state = offload.park(opt_state, shardings.opt_state)
        in_a_row = jnp.where(finite, 0, state.in_a_row + 1)
        metrics = metrics | {"grad_norm": grad_norm, "skipped": 1 - finite.astype(jnp.int32), "in_a_row": in_a_row}
        return TrainState(params, opt_state, update, skipped, in_a_row), metrics

    jitted = jax.jit(run, donate_argnums=0, out_shardings=None if shardings is None else (shardings, None))

    return Update(jitted, mesh, model.lora is not None)
