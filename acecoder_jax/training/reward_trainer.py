"""A reward model with its optimiser, its update on pairs and the place of every array: trainer.py's twin."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import optax
from jax.sharding import Mesh

from acecoder_jax.models import lora
from acecoder_jax.models.decoder import Params
from acecoder_jax.models.reward_head import RewardModel
from acecoder_jax.models.sharding import param_shardings
from acecoder_jax.training import state
from acecoder_jax.training.loss import Metrics
from acecoder_jax.training.on_mesh import fit_model, fit_rows
from acecoder_jax.training.optimizer import make_optimizer
from acecoder_jax.training.reward_loss import bradley_terry
from acecoder_jax.training.state import TrainState
from acecoder_jax.training.update import PerToken, Update, per_token, update_of


@dataclasses.dataclass(frozen=True)
class RewardTrainer:
    """update: (state, pairs packed by `pack_pairs`, base) -> (state, metrics). abstract, shardings, rows, row_tokens:
    as of `trainer.Trainer`.

    base: with LoRA the frozen decoder, in the places of base_shardings, and state.params is adapter and head; None
    without.
    """

    model: RewardModel
    optimizer: optax.GradientTransformation
    schedule: optax.Schedule
    update: Update
    abstract: TrainState
    shardings: TrainState
    base_shardings: Params
    rows: int
    row_tokens: int

    def adapter(self, seed: int) -> Params:
        """A fresh adapter, under which the decoder is its base's equal, and a new head."""
        decoder = self.model.model
        assert decoder.lora is not None
        where, (one, other) = self.shardings.params, jax.random.split(jax.random.key(seed))
        leaves = lora.init(one, decoder.lora, decoder.config, {"layers": where["layers"]})
        return leaves | {name: jax.device_put(leaf, where[name]) for name, leaf in self.model.new_head(other).items()}

    def whole(self, params: Params, base: Params | None) -> Params:
        """What `make_scores` takes, of what is trained. No array is copied."""
        return params if base is None else lora.join(base, params)


def make_reward_trainer(
    model: RewardModel,
    mesh: Mesh,
    *,
    updates: int,
    optimizer: Mapping[str, Any],
    rows: int,
    row_tokens: int,
    attention: str = "auto",
) -> RewardTrainer:
    """Arguments and errors as of `trainer.make_trainer`."""
    rows = fit_rows(mesh, rows, row_tokens)
    model = RewardModel(fit_model(model.model, mesh, row_tokens, attention))
    adam, schedule = make_optimizer(updates=updates, **optimizer)
    abstract = state.abstract(model.abstract_trained, adam)
    shardings = state.state_shardings(abstract, mesh)

    def objective(params: Params, batch: dict[str, jax.Array], sums: Params | None) -> tuple[jax.Array, Metrics]:
        return bradley_terry(_scores(model, params, batch, sums), batch)

    update = update_of(model.model, objective, adam, mesh=mesh, shardings=shardings)
    base_shardings = param_shardings(model.model.abstract_params, mesh)
    return RewardTrainer(model, adam, schedule, update, abstract, shardings, base_shardings, rows, row_tokens)


def make_scores(
    model: RewardModel, mesh: Mesh, *, rows: int, row_tokens: int, attention: str = "auto", allocate: int = 0
) -> PerToken:
    """The function (params, sequences) -> the scores after each wanted token of each sequence but its last.

    allocate: calls with up to so many sequences share one compiled program.
    """
    there = RewardModel(fit_model(model.model, mesh, row_tokens, attention))

    def scores(params: Params, batch: Mapping[str, jax.Array]) -> jax.Array:
        return _scores(there, params, batch)

    return per_token(scores, rows=rows, row_tokens=row_tokens, mesh=mesh, allocate=allocate)


def _scores(
    model: RewardModel, params: Params, batch: Mapping[str, jax.Array], sums: Params | None = None
) -> jax.Array:
    return model.scores(
        params, batch["tokens_bt"], batch["segment_bt"], batch["position_bt"], batch.get("branch_bt"), sums
    )
