"""A reward model with its optimiser, its update on comparisons and the place of every array: trainer.py's twin."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from acecoder_jax.models import lora
from acecoder_jax.models.attention import SHARES_PROMPTS
from acecoder_jax.models.decoder import Params
from acecoder_jax.models.reward_head import Dropout, RewardModel
from acecoder_jax.models.sharding import param_shardings
from acecoder_jax.stops import Stop
from acecoder_jax.training import state
from acecoder_jax.training.checkpoint import Checkpoints, Position
from acecoder_jax.training.comparisons import TextGroup, pack_groups
from acecoder_jax.training.loss import Metrics
from acecoder_jax.training.on_mesh import fit_model, fit_rows
from acecoder_jax.training.optimizer import make_optimizer
from acecoder_jax.training.packing import Packed, TokenSequence
from acecoder_jax.training.reward_loss import bradley_terry
from acecoder_jax.training.state import TrainState
from acecoder_jax.training.trainer import Start
from acecoder_jax.training.update import PerToken, Update, per_token, update_of


@dataclasses.dataclass(frozen=True)
class RewardTrainer:
    """update: (state, groups packed by `pack`, base) -> (state, metrics). abstract, shardings, rows, row_tokens: as of
    `trainer.Trainer`.

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

    def pack(self, groups: Sequence[TextGroup], allocate: int = 0) -> Packed:
        """A mini-batch in the trainer's shape. allocate: how many groups a mini-batch has at most."""
        share = self.model.model.attention in SHARES_PROMPTS
        return pack_groups(groups, rows=self.rows, row_tokens=self.row_tokens, share=share, allocate=allocate)

    def adapter(self, seed: int, head: Params | None = None) -> Params:
        """A fresh adapter, under which the decoder is its base's equal, beside this head or a new one."""
        decoder = self.model.model
        assert decoder.lora is not None
        where, (one, other) = self.shardings.params, jax.random.split(jax.random.key(seed))
        leaves = lora.init(one, decoder.lora, decoder.config, {"layers": where["layers"]})
        head = self.model.new_head(other) if head is None else head
        return leaves | {name: jax.device_put(leaf, where[name]) for name, leaf in head.items()}

    def whole(self, params: Params, base: Params | None) -> Params:
        """What `make_scores` takes, of what is trained. No array is copied."""
        return params if base is None else lora.join(base, params)

    def merged(self, params: Params, base: Params | None, dtype: Any = None) -> Params:
        """The parameters of a plain reward model, to export. dtype: of a merge, by default the base's."""
        return params if base is None else self.model.merged(base, params, dtype)

    def start(self, params: Callable[[], Params], checkpoints: Checkpoints) -> Start:
        """From the newest usable checkpoint; a fresh state around params() where there is none."""
        position = checkpoints.latest()
        if position is None:
            return Start(state.create(params(), self.optimizer, self.shardings), Position(0), {}, None)
        tree = checkpoints.restore(position, {"state": self.abstract}, {"state": self.shardings})
        return Start(tree["state"], position, checkpoints.about(position), None)

    def keep(
        self, checkpoints: Checkpoints, stop: Stop, position: Position, now: TrainState, about: Mapping[str, Any]
    ) -> None:
        """`Checkpoints.keep` of a state, as `start` finds it."""
        checkpoints.keep(stop, position, lambda: ({"state": now}, about))


def make_reward_trainer(
    model: RewardModel,
    mesh: Mesh,
    *,
    updates: int,
    optimizer: Mapping[str, Any],
    rows: int,
    row_tokens: int,
    attention: str = "auto",
    dropout: float = 0.0,
    margin: float = 0.0,
    centering: float = 0.0,
) -> RewardTrainer:
    """dropout: its rate on the hidden states that the head reads. margin, centering: of `bradley_terry`. Other
    arguments and errors as of `trainer.make_trainer`; ValueError for a rate that is none.
    """
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout is {dropout}: a rate is at least 0 and below 1")
    rows = fit_rows(mesh, rows, row_tokens)
    model = RewardModel(fit_model(model.model, mesh, row_tokens, attention))
    adam, schedule = make_optimizer(updates=updates, **optimizer)
    abstract = state.abstract(model.abstract_trained, adam)
    shardings = state.state_shardings(abstract, mesh)

    def objective(params: Params, batch: dict[str, jax.Array], sums: Params | None) -> tuple[jax.Array, Metrics]:
        noise = Dropout(dropout, batch["noise_bt"]) if dropout else None
        return bradley_terry(_scores(model, params, batch, sums, noise), batch, margin=margin, centering=centering)

    update = update_of(model.model, objective, adam, mesh=mesh, shardings=shardings)
    base_shardings = param_shardings(model.model.abstract_params, mesh)
    return RewardTrainer(model, adam, schedule, update, abstract, shardings, base_shardings, rows, row_tokens)


def shares_prompts(model: RewardModel, mesh: Mesh, *, rows: int, row_tokens: int, attention: str = "auto") -> bool:
    """Whether texts of one question share it in the rows of a trainer or of `make_scores` with these arguments."""
    fit_rows(mesh, rows, row_tokens)
    return fit_model(model.model, mesh, row_tokens, attention).attention in SHARES_PROMPTS


def make_scores(
    model: RewardModel, mesh: Mesh, *, rows: int, row_tokens: int, attention: str = "auto", allocate: int = 0,
    of: str = "trainer.",
) -> PerToken:  # fmt: skip
    """The function (params, sequences) -> the scores after each wanted token of each sequence but its last.

    Sequences with one prompt share its copy where the attention allows it. allocate: calls with up to so many
    sequences share one compiled program. rows, of, errors: of `fit_rows`.
    """
    rows = fit_rows(mesh, rows, row_tokens, of)
    there = RewardModel(fit_model(model.model, mesh, row_tokens, attention))
    share = there.model.attention in SHARES_PROMPTS

    def scores(params: Params, batch: Mapping[str, jax.Array]) -> jax.Array:
        return _scores(there, params, batch)

    return per_token(scores, rows=rows, row_tokens=row_tokens, share=share, mesh=mesh, allocate=allocate)


def text_sequence(tokens_n: np.ndarray, prompt: int = 1) -> TokenSequence:
    """A text as the function of `make_scores` takes it to score its last token: one more follows, which is not read.

    prompt: of how many tokens texts with the same beginning may share a copy, 1 at least.
    """
    return TokenSequence(np.append(tokens_n, 0).astype(np.int32), {}, prompt)


def _scores(
    model: RewardModel, params: Params, batch: Mapping[str, jax.Array], sums: Params | None = None,
    dropout: Dropout | None = None,
) -> jax.Array:  # fmt: skip
    return model.scores(
        params, batch["tokens_bt"], batch["segment_bt"], batch["position_bt"], batch.get("branch_bt"), sums, dropout
    )
