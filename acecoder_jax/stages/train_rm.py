"""Training of a reward model on comparisons of programs; ends as a checkpoint in AceCodeRM's layout.

    python -m acecoder_jax.main --config=configs/rm.py:tiny

WORKDIR/model is the result, WORKDIR/results.json what it is worth on questions held out from training.
"""

import collections
import contextlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from acecoder_jax import hosts, metrics, parallel, store
from acecoder_jax.models.decoder import Params
from acecoder_jax.reward_models import checkpoint
from acecoder_jax.stages import _rm_data
from acecoder_jax.stages._rm_data import Compared
from acecoder_jax.stages._rm_held_out import TEXTS, HeldOut
from acecoder_jax.stages._rm_model import identify, open_model
from acecoder_jax.stops import Stop, Stopped
from acecoder_jax.training.checkpoint import Checkpoints, Position
from acecoder_jax.training.reward_trainer import RewardTrainer, make_reward_trainer, make_scores, shares_prompts
from acecoder_jax.training.state import TrainState
from acecoder_jax.training.trainer import Start, check_finite

SEVERAL_PROCESSES = True
MAY_CHANGE = ("checkpoint",)  # keys that a resumed run may change: none of them changes an update
COLUMNS = {
    "loss": "loss", "accuracy": "accuracy", "heldout_accuracy": "held-out accuracy", "train_tokens_per_s": "train tok/s"
}  # fmt: skip
LOSSES = ("pairs", "nwise")
WHAT = {
    "comparisons": "other comparisons than those of config.data and config.data_path now",
    "model": "other weights than those of config.model now",
}  # that a run keeps from start to start, in words
WEIGH = ("programs", "questions")


def run(config: ConfigDict, workdir: Path) -> Path:
    """Trains, and returns the directory of the reward model; at once where an earlier start has finished it."""
    model_dir = workdir / "model"
    if hosts.from_first("reward model is done", model_dir.exists):
        print(f"the reward model is already trained: {model_dir}")
        return model_dir
    check(config)
    mesh = parallel.make_mesh(**config.mesh)
    with jax.set_mesh(mesh), Checkpoints(workdir, **config.checkpoint) as checkpoints:
        ranked = _rm_data.load(config)
        words, model, load = open_model(config, ranked, mesh)
        compared, counts = _rm_data.to_tokens(
            ranked, words, read=config.read, max_tokens=config.max_tokens, over=config.over,
            row_tokens=config.trainer.row_tokens, share=shares_prompts(model, mesh, **config.trainer),
        )  # fmt: skip
        trained, held_out = split(config, compared, counts)
        steps = total_steps(config, len(trained))
        trainer = make_reward_trainer(
            model, mesh, updates=steps, optimizer=config.optimizer, **config.trainer, **config.objective
        )
        scores = make_scores(trainer.model, mesh, **config.trainer, allocate=TEXTS)
        started, base = begin(config, trainer, load, checkpoints)
        of = {"comparisons": _rm_data.digest(compared), "model": identify(config)}
        check_same(started, of)
        loop = Loop(config, workdir, trainer, trained, HeldOut.of(held_out, words, scores), base, of)
        state, row = loop.run(started, steps, checkpoints)
        if hosts.is_first():
            write_results(workdir, steps, counts, trained, held_out, row)
        dtype = jnp.dtype(config.export_dtype)
        merged = trainer.merged(state.params, base, dtype)
        checkpoint.save(merged, model.model.config, model_dir, dtype=dtype, tokenizer=words, read=config.read)
    print(f"wrote {model_dir}")
    return model_dir


def check(config: ConfigDict) -> None:
    """ValueError for settings that could not work, before anything is loaded."""
    if config.loss not in LOSSES:
        raise ValueError(f"loss is {config.loss!r}: it is one of {', '.join(LOSSES)}")
    if config.nwise.weigh not in WEIGH:
        raise ValueError(f"nwise.weigh is {config.nwise.weigh!r}: it is one of {', '.join(WEIGH)}")
    if config.trainer.row_tokens < 2 * config.max_tokens:
        raise ValueError(
            f"trainer.row_tokens is {config.trainer.row_tokens}: too short for the two texts of a comparison, of up to "
            f"max_tokens {config.max_tokens} each"
        )
    if min(config.epochs, config.batch, config.evaluate_every) < 1 or config.steps < 0:
        raise ValueError("epochs, batch and evaluate_every are at least 1, steps at least 0")


def split(
    config: ConfigDict, compared: list[Compared], counts: collections.Counter[str]
) -> tuple[list[Compared], list[Compared]]:
    """The comparisons to train on and those held out, after a table of what there is. ValueError where nothing is."""
    if not compared:
        reasons = ", ".join(f"{reason}: {counts[reason]}" for reason in _rm_data.LEFT_OUT if counts[reason])
        raise ValueError(f"no comparison is left to train on ({reasons})")
    trained, held_out = _rm_data.split(compared, **config.held_out)
    _rm_data.tell(counts, trained, held_out)
    return trained, held_out


def total_steps(config: ConfigDict, count: int) -> int:
    """Updates of the run."""
    most = config.epochs * _rm_data.steps_of_epoch(count, config.batch)
    return min(config.steps, most) if config.steps else most


def begin(
    config: ConfigDict, trainer: RewardTrainer, load: Any, checkpoints: Checkpoints
) -> tuple[Start, Params | None]:
    """Where the run goes on, and with LoRA the frozen decoder."""
    if trainer.model.model.lora is None:
        return trainer.start(load, checkpoints), None
    whole = load(trainer.model.model.dtype)
    head = {name: whole.pop(name) for name in ("reward_da", "reward_bias_a")}
    return trainer.start(lambda: trainer.adapter(config.seed, head), checkpoints), whole


def check_same(started: Start, of: Mapping[str, str]) -> None:
    """ValueError where a run that goes on was begun with other comparisons, or from another model. of: their names."""
    begun = started.about.get("of", of)  # a run that begins here was begun with these
    changed = [WHAT[name] for name in of if begun[name] != of[name]]
    if changed:
        raise ValueError(f"this run was begun with {' and '.join(changed)}: put that back, or use another --workdir")


class Loop:
    """The updates of a run, each with a row of metrics. of: what it is of, kept with each checkpoint."""

    def __init__(
        self, config: ConfigDict, workdir: Path, trainer: RewardTrainer, trained: list[Compared], held_out: HeldOut,
        base: Params | None, of: Mapping[str, str],
    ):  # fmt: skip
        self._config, self._workdir, self._trainer = config, workdir, trainer
        self._trained, self._held_out, self._base, self._of = trained, held_out, base, of
        self._timeline = metrics.Timeline()

    def run(self, started: Start, steps: int, checkpoints: Checkpoints) -> tuple[TrainState, dict[str, Any]]:
        """The state after the last update, and its row. A stop is answered before an update, or after it where an
        evaluation follows: then that is done again.
        """
        state, first, row = started.state, started.position, dict[str, Any]()
        with (
            Stop() as stop,
            metrics.MetricsWriter(self._workdir, resume_step=first.rollout + 1) as writer,
            metrics.Progress(steps, "reward model", COLUMNS, start=first.rollout) as progress,
        ):
            for step in range(first.rollout, steps):
                if first == Position(step, 1):  # the update itself is done
                    row = dict(started.about["row"])
                else:
                    self._trainer.keep(checkpoints, stop, Position(step), state, {"of": self._of})
                    state, row = self._update(state, step)
                    check_finite(row, self._config.max_skipped, checkpoints)
                if (step + 1) % self._config.evaluate_every == 0 or step + 1 == steps:
                    with contextlib.suppress(Stopped), self._timeline.phase("evaluate"):
                        whole = self._trainer.whole(state.params, self._base)
                        row |= self._held_out.measure(whole, stop.check_together)
                    row["evaluate_s"] = self._timeline.take()["evaluate"]
                    if stop.asked():
                        self._trainer.keep(checkpoints, stop, Position(step, 1), state, {"of": self._of, "row": row})
                writer.write(step + 1, row)
                progress.update(step + 1, row)
        return state, row

    def _update(self, state: TrainState, step: int) -> tuple[TrainState, dict[str, Any]]:
        """One update, with its row."""
        config, trainer = self._config, self._trainer
        with self._timeline.phase("update"):
            chosen = _rm_data.batch_at(len(self._trained), config.batch, config.seed, step)
            groups = [self._trained[i].group(config.seed, step) for i in chosen]
            batch = trainer.pack(groups, allocate=min(config.batch, len(self._trained)))
            state, numbers = trainer.update(state, batch, self._base)
            row: dict[str, Any] = {name: float(value) for name, value in numbers.items()}
        seconds = self._timeline.take()["update"]
        row |= {"step_s": seconds, "padding_share": batch.padding_share, "train_tokens_per_s": batch.tokens / seconds}
        row["learning_rate"] = float(trainer.schedule(max(int(state.update) - 1, 0)))
        return state, row


def write_results(
    workdir: Path, steps: int, counts: Mapping[str, int], trained: list[Compared], held_out: list[Compared],
    row: Mapping[str, float],
) -> None:  # fmt: skip
    """results.json, and its held-out part on the screen. Correlations of scores that are all equal are null."""
    heldout = {
        name.removeprefix("heldout_"): value if math.isfinite(value) else None
        for name, value in row.items()
        if name.startswith("heldout_")
    }
    parts = {
        name: {"comparisons": sum(len(one.wins) for one in part), "questions": len({one.question_id for one in part})}
        for name, part in (("trained", trained), ("held_out", held_out))
    }
    store.write_json(workdir / "results.json", {"steps": steps, "heldout": heldout, "data": dict(counts), **parts})
    shown = ", ".join(f"{name} {value:.3f}" for name, value in heldout.items() if value is not None)
    print(f"held out ({parts['held_out']['comparisons']} comparisons): {shown or 'nothing'}")
