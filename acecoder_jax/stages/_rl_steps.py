"""The steps of a rollout of train_rl, and where the run stands between them."""

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from acecoder_jax import hosts
from acecoder_jax.models.decoder import Params
from acecoder_jax.sampling import rollout as rollouts
from acecoder_jax.sampling.collector import Collector, Rollout
from acecoder_jax.sampling.rollout import Scored
from acecoder_jax.stages._rl_model import Asked, Seen
from acecoder_jax.stages._rl_parts import Parts
from acecoder_jax.stages._rl_resume import digest, logp_path
from acecoder_jax.stops import Stopped
from acecoder_jax.training import logp_file
from acecoder_jax.training.checkpoint import Position
from acecoder_jax.training.packing import TokenSequence, minibatches
from acecoder_jax.training.state import TrainState
from acecoder_jax.training.trainer import Trainer, check_finite
from acecoder_jax.types import Completion, Problem


@dataclasses.dataclass
class Steps:
    """Where the run stands, and what moves it. Each step ends at a place where the run is saved if that is due, and
    stops if it has been asked to: all of its processes together.

    done: metrics of the updates of this rollout that are done. behavior: the weights of the next rollout where it is
    drawn ahead; once updates have been done, only these can draw it. ahead: the digest under which this rollout was
    drawn ahead, else "". seen: what the reward model's scores and the pass rates of the rollouts before this one were;
    seen_now: with this one.
    """

    config: ConfigDict
    workdir: Path
    parts: Parts
    collector: Collector
    state: TrainState
    rollout: int
    done: list[dict[str, Any]]
    behavior: Params | None
    ahead: str = ""
    seen: Seen = dataclasses.field(default_factory=Seen)
    seen_now: Seen = dataclasses.field(default_factory=Seen)

    def keep(self, force: bool = False) -> None:
        """Saves where that is due, and stops where the run has been asked to."""
        parts, position = self.parts, Position(self.rollout, len(self.done))

        def lagging() -> Params | None:
            return None if not self.done or self.collector.has(self.rollout + 1) else self.behavior

        with parts.timeline.phase("wait"):
            about = {"updates": list(self.done), "ahead": self.ahead, "seen": self.seen.to_json()}
            parts.trainer.keep(parts.checkpoints, parts.stop, position, self.state, about, lagging, force)

    def draw(self) -> Rollout:
        """The completions of this rollout, from the disk or drawn now; their programs are judged meanwhile."""
        self.keep()
        with contextlib.suppress(Stopped):  # at the next `keep` all processes stop together
            drawn = self.collector.collect(self.rollout, *self._asked(self.rollout, self.state.params))
        self.keep()
        return drawn

    def draw_ahead(self) -> Future[Rollout] | None:
        """Begins the next rollout in the background, with the weights of before the updates; None on policy."""
        if not self.config.off_policy_steps or self.rollout + 1 >= self.parts.total:
            return None
        if self.behavior is None:
            self.behavior = self.parts.trainer.copy(self.state.params)
        return self.collector.ahead(self.rollout + 1, *self._asked(self.rollout + 1, self.behavior), staleness=1)

    def compare(self, drawn: Rollout) -> tuple[list[np.ndarray], list[np.ndarray] | None, list[Scored], Asked | None]:
        """Log-probs under the policy and the reference, and what the reward model says, where there is one, taken while
        programs are judged; then the verdicts."""
        parts = self.parts
        file, rollout_file = logp_path(self.workdir, self.rollout), self.collector.path(self.rollout)
        with parts.timeline.phase("logp"):
            kept = logp_file.load_together(file, rollout_file)
            policy = parts.trainer.whole(self.state.params, parts.base)
            old, ref = kept or logps(parts.trainer, policy, parts.ref_params, drawn.completions)
        asked = self._ask(drawn.completions)
        with parts.timeline.phase("score"), contextlib.suppress(Stopped):
            scored = drawn.scored()
        self.keep()
        if kept is None and hosts.is_first():
            logp_file.save(file, rollout_file, old, ref)
        return old, ref, scored, asked

    def _ask(self, completions: Sequence[Completion]) -> Asked | None:
        if self.parts.judge is None:
            return None
        with self.parts.timeline.phase("reward"):
            return self.parts.judge.ask(self.rollout, self._problems(self.rollout), completions)

    def earn(self, scored: Sequence[Scored], asked: Asked | None) -> tuple[list[float | None], dict[str, float]]:
        """The reward of each completion, and a row of what the reward model had to do with it."""
        row: dict[str, float] = {}
        if self.parts.judge is not None and asked is not None:
            scored, self.seen_now, row = self.parts.judge.weigh(scored, asked, self.seen)
        return self.parts.reward(self._problems(self.rollout), scored), row

    def learn(self, sequences: Sequence[TokenSequence]) -> float:
        """The updates of this rollout that are not done yet, each adding its metrics to `done`; gives their FLOPs."""
        config, trainer, work = self.config, self.parts.trainer, 0.0
        together = config.shuffle == "prompts"
        batches = minibatches(sequences, config.minibatch, config.seed, self.rollout, together, config.passes)
        pack = functools.partial(trainer.pack, allocate=config.minibatch)
        packed = map(pack, itertools.islice(batches, len(self.done), None))
        coming = next(packed, None)
        while (batch := coming) is not None:
            self.keep()
            self.state, numbers = trainer.update(self.state, batch, self.parts.base)
            work += trainer.update_flops(batch)
            coming = next(packed, None)  # packed while the devices are at work
            row = {name: float(value) for name, value in jax.device_get(numbers).items()}
            self.done.append(row | {"padding_share": batch.padding_share})
            check_finite(row, config.max_skipped, self.parts.checkpoints)
        return work

    def finish(self, coming: Future[Rollout] | None) -> None:
        """Waits for the rollout that was begun ahead and for its verdicts."""
        if coming is not None:
            with self.parts.timeline.phase("wait"), contextlib.suppress(Stopped):
                coming.result().scored()
            self.keep()

    def evaluate(self) -> dict[str, float]:
        """The benchmarks between rollouts, where they are due."""
        parts, seen = self.parts, {}
        if parts.in_loop.due(self.rollout + 1):
            with parts.timeline.phase("eval"), contextlib.suppress(Stopped):
                parts.engine.update(self.policy())
                seen = parts.in_loop.scores(parts.engine, parts.stop.check)
            self.keep()
        return seen

    def to_next(self, drawn_ahead: bool) -> None:
        """This rollout is done."""
        self.rollout, self.done, self.behavior = self.rollout + 1, [], None
        self.ahead = digest(self.config) if drawn_ahead else ""
        self.seen = self.seen_now

    def look_out(self, warn: Callable[[str], None]) -> None:
        """Says so where rewards and tests have drifted apart by the rollout that is done. RuntimeError, with everything
        saved, where the run is to stop then."""
        if (judge := self.parts.judge) is None or not (said := judge.alarm.said(self.seen.history)):
            return
        warn(f"warning: after rollout {self.rollout} {said}")
        if judge.alarm.stop:
            self.keep(force=True)
            self.parts.checkpoints.wait()
            raise RuntimeError(
                f"reward hacking, it seems (alarm.stop): {said}. {self.parts.checkpoints.last_good}; with "
                "--config.alarm.stop=False the same command goes on from there"
            )

    def policy(self) -> Params:
        """The policy of now, to decode with."""
        return self.parts.trainer.merged(self.state.params, self.parts.base)

    def _asked(self, rollout: int, params: Params) -> tuple[Any, Any]:
        return self._problems(rollout), functools.partial(self.parts.trainer.merged, params, self.parts.base)

    def _problems(self, rollout: int) -> list[Problem]:
        config = self.config
        return rollouts.problems_at(self.parts.problems, config.prompts_per_rollout, config.seed, rollout)


def logps(
    trainer: Trainer, params: Params, ref_params: Params | None, completions: Sequence[Completion]
) -> tuple[list[np.ndarray], list[np.ndarray] | None]:
    """Log-probs of every response's tokens under the trainer's policy and under the reference: [n] each."""
    plain = [
        TokenSequence(np.array(c.prompt_tokens + c.tokens, np.int32), {}, len(c.prompt_tokens)) for c in completions
    ]
    return trainer.logps(params, plain), None if ref_params is None else trainer.ref_logps(ref_params, plain)
