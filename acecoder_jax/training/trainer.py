"""A model with its optimiser, its two jitted functions and the place of every array: what a training stage holds."""

import dataclasses
import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from acecoder_jax import parallel
from acecoder_jax.models import flops, lora
from acecoder_jax.models.attention import SHARES_PROMPTS
from acecoder_jax.models.decoder import Model, Params
from acecoder_jax.models.sharding import param_shardings
from acecoder_jax.stops import Stop
from acecoder_jax.training import offload as offloading
from acecoder_jax.training import packing, state
from acecoder_jax.training.checkpoint import Checkpoints, Position
from acecoder_jax.training.loss import Loss
from acecoder_jax.training.on_mesh import fit_model, fit_rows
from acecoder_jax.training.optimizer import make_optimizer
from acecoder_jax.training.packing import Packed, TokenSequence
from acecoder_jax.training.state import TrainState
from acecoder_jax.training.update import PerToken, Update, make_logps, make_update


@dataclasses.dataclass(frozen=True)
class Trainer:
    """update: (state, packed mini-batch, base) -> (state, metrics). logps: (params, sequences) -> log-probs a sequence.

    base: with LoRA the frozen model, and state.params is the adapter; None without.
    abstract, shardings: the state's shapes and where each leaf lies. model_shardings: where a whole model's parameters
    lie; ref_shardings: those of a reference between its passes. rows, row_tokens: the shape of a micro-batch.
    share: whether the responses of a micro-batch share one copy of their prompt.
    """

    model: Model
    optimizer: optax.GradientTransformation
    schedule: optax.Schedule
    update: Update
    logps: PerToken
    abstract: TrainState
    shardings: TrainState
    model_shardings: Params
    ref_shardings: Params
    rows: int
    row_tokens: int
    share: bool

    @property
    def mesh(self) -> Mesh:
        """Where all of it lies."""
        return self.shardings.update.mesh

    @property
    def shards(self) -> int:
        """The parts of the mesh (data x fsdp) that rows are dealt out to."""
        return parallel.row_shards(self.mesh)

    def pack(self, sequences: Sequence[TokenSequence], allocate: int = 0) -> Packed:
        """A mini-batch in the trainer's shape, with loss weights divided by their sum: a mean over its tokens.

        allocate: how many sequences a mini-batch has at most; another number of micro-batches is another compilation.
        """
        total = sum(float(np.sum(sequence.per_token["loss_weight"])) for sequence in sequences)
        scaled = [sequence.scaled("loss_weight", 1 / total) for sequence in sequences]
        return packing.pack(
            scaled, rows=self.rows, row_tokens=self.row_tokens, share=self.share, shards=self.shards, allocate=allocate
        )

    @property
    def about(self) -> str:
        """What was decided about the micro-batch, in words."""
        prompts = "shared" if self.share else "not shared"
        return (
            f"micro-batches of {self.rows} x {self.row_tokens} tokens, prompts {prompts}, "
            f"attention {self.model.attention}, remat {self.model.remat}"
        )

    def update_flops(self, packed: Packed) -> float:
        """Operations of an update on a mini-batch, by formula."""
        used = packed.arrays["segment_mbt"] > 0
        predicted = int(packed.arrays["wanted_mbt"].sum())
        return flops.update(self.model.config, packed.arrays["position_mbt"][used], predicted, self.model.lora)

    def adapter(self, seed: int) -> Params:
        """A fresh adapter, under which the model is its base's equal."""
        assert self.model.lora is not None
        return lora.init(jax.random.key(seed), self.model.lora, self.model.config, self.shardings.params)

    def whole(self, params: Params, base: Params | None) -> Params:
        """What `logps` takes, of what is trained: the adapter beside its base. No array is copied."""
        return params if base is None else lora.join(base, params)

    def merged(self, params: Params, base: Params | None, dtype: Any = None) -> Params:
        """The parameters of a plain model, to decode with or to export. dtype: of a merge, by default the base's."""
        if base is None or self.model.lora is None:
            return params
        return lora.merge(base, params, self.model.lora, dtype)

    def parked(self, ref_params: Params) -> Params:
        """A reference as it is kept between its passes: on the host where it is offloaded."""
        return offloading.park(ref_params, self.ref_shardings)

    def ref_logps(self, ref_params: Params, sequences: list[TokenSequence]) -> list[np.ndarray]:
        """`logps` under a parked reference, which is on the devices for the time of the call."""
        return self.logps(offloading.fetch(ref_params, self.ref_shardings), sequences)

    def start(
        self,
        params: Callable[[], Params],
        checkpoints: Checkpoints,
        usable: Callable[[Position], str] = lambda _: "",
    ) -> "Start":
        """From the newest usable checkpoint; a fresh state around params() where there is none."""
        position = checkpoints.latest(usable)
        if position is None:
            return Start(state.create(params(), self.optimizer, self.shardings), Position(0), {}, None)
        about = checkpoints.about(position)
        abstract: dict[str, Any] = {"state": self.abstract}
        where: dict[str, Any] = {"state": self.shardings}
        if about["behavior"]:
            abstract["behavior"] = jax.eval_shape(self.copy, self.abstract.params)
            where["behavior"] = self.shardings.params
        tree = checkpoints.restore(position, abstract, where)
        return Start(tree["state"], position, about, tree.get("behavior"))

    def keep(
        self, checkpoints: Checkpoints, stop: Stop, position: Position, now: TrainState, about: Mapping[str, Any],
        behavior: Callable[[], Params | None] = lambda: None, force: bool = False,
    ) -> None:  # fmt: skip
        """`Checkpoints.keep` of a state, as `start` finds it. behavior: gives weights to keep beside it, or None."""

        def what() -> tuple[Any, dict[str, Any]]:
            others = behavior()
            tree = {"state": now} | ({} if others is None else {"behavior": others})
            return tree, {**about, "behavior": others is not None}

        checkpoints.keep(stop, position, what, force)

    def copy(self, params: Params) -> Params:
        """Parameters in arrays of their own that no update takes: in the model's dtype, an adapter as it is."""
        return _copy(params, self.model.dtype if self.model.lora is None else None)


@dataclasses.dataclass(frozen=True)
class Start:
    """Where a run goes on: the state, its position, what was said of it at its save, and the weights saved with it."""

    state: TrainState
    position: Position
    about: Mapping[str, Any]
    behavior: Params | None


@functools.partial(jax.jit, static_argnames="dtype")
def _copy(params: Params, dtype: Any) -> Params:
    return jax.tree.map(lambda leaf: jnp.array(leaf, dtype, copy=True), params)


def check_finite(numbers: Mapping[str, float], limit: int, checkpoints: Checkpoints) -> None:
    """RuntimeError where an update's metrics tell of `limit` in a row that were skipped: that is no accident.

    Parameters and moments are those of the last update that was done, so no checkpoint holds anything of the others.
    """
    if numbers["in_a_row"] >= limit:
        checkpoints.wait()
        raise RuntimeError(
            f"the loss or its gradient was not finite in {limit} updates in a row (max_skipped); "
            f"{checkpoints.last_good}. A lower learning rate may help: --allow_config_change takes it from there."
        )


def make_trainer(
    model: Model,
    loss: Loss,
    mesh: Mesh,
    *,
    updates: int,
    optimizer: Mapping[str, Any],
    rows: int,
    row_tokens: int,
    logit_chunk: int,
    attention: str = "auto",
    share_prompts: bool = True,
    offload: Collection[str] = (),
) -> Trainer:
    """optimizer: the knobs of `make_optimizer`; updates: how many the schedule spans. rows: of a micro-batch, 0: one
    for each shard (data x fsdp). logit_chunk: tokens of a device whose logits exist at once. attention: a back end of
    models/attention, or "auto". share_prompts: responses of one prompt share its copy where the back end allows it.
    offload: what waits in the host's memory, "optimizer" (the moments) and "reference".

    With model.lora only an adapter is trained (models/lora.py).
    ValueError where a micro-batch cannot be split evenly over the mesh: each device would do all of it; and where
    something cannot be offloaded.
    """
    rows = fit_rows(mesh, rows, row_tokens)
    offloading.check(offload, mesh)
    if "reference" in offload and model.lora is not None:
        raise ValueError("trainer.offload names the reference, but with LoRA it is the base, which every pass needs")
    model = fit_model(model, mesh, row_tokens, attention)
    share = share_prompts and model.attention in SHARES_PROMPTS
    adam, schedule = make_optimizer(updates=updates, **optimizer)
    trained = model.abstract_params if model.lora is None else lora.abstract(model.lora, model.config)
    abstract = state.abstract(trained, adam)
    shardings = state.state_shardings(abstract, mesh, "optimizer" in offload)
    model_shardings = param_shardings(model.abstract_params, mesh)
    return Trainer(
        model=model,
        optimizer=adam,
        schedule=schedule,
        update=make_update(model, loss, adam, logit_chunk=logit_chunk, mesh=mesh, shardings=shardings),
        logps=make_logps(model, rows=rows, row_tokens=row_tokens, logit_chunk=logit_chunk, share=share, mesh=mesh),
        abstract=abstract,
        shardings=shardings,
        model_shardings=model_shardings,
        ref_shardings=offloading.on_host(model_shardings) if "reference" in offload else model_shardings,
        rows=rows,
        row_tokens=row_tokens,
        share=share,
    )
