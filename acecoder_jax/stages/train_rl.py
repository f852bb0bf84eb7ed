"""Reinforcement learning of a policy from what the tests, or a reward model, say of its programs.

    python -m acecoder_jax.main --config=configs/rl_rule.py:tiny

A rollout: sample, score in the sandbox, log-probs of the trainer and of the reference, the reward model's scores where
there is one, advantages, one pass of updates. Its completions and verdicts are in WORKDIR/rollouts before the first
update uses them, and a resumed run takes them from there. WORKDIR/results.json has the held-out scores, WORKDIR/model
the trained policy.
"""

import contextlib
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import jax.numpy as jnp
from ml_collections import ConfigDict

from acecoder_jax import algorithms, hosts, metrics, rewards, store
from acecoder_jax.models import huggingface
from acecoder_jax.models.decoder import Params
from acecoder_jax.sampling import rollout as rollouts
from acecoder_jax.sampling.collector import Collector
from acecoder_jax.sampling.draw import SamplingParams
from acecoder_jax.sampling.engine import Engine
from acecoder_jax.sandbox import Sandbox
from acecoder_jax.stages import _rl_model
from acecoder_jax.stages._results import Results
from acecoder_jax.stages._rl_parts import Parts, open_parts
from acecoder_jax.stages._rl_resume import digest, go_on, rollout_path
from acecoder_jax.stages._rl_rows import describe, means, show_samples, speeds, utilisation
from acecoder_jax.stages._rl_steps import Steps
from acecoder_jax.stops import Stop
from acecoder_jax.types import Problem

SEVERAL_PROCESSES = True
# Keys that a resumed run may change: none of them changes a sample, a reward or an update.
MAY_CHANGE = ("sandbox.workers", "checkpoint", "table_rows", "eval", "alarm")
# All that decides the held-out scores of the policy that a run begins with.
BASE = (
    "model", "sft", "dtype", "seed", "style", "data", "data_path", "heldout_args", "heldout_samples", "max_new_tokens",
    "max_prompt_tokens", "engine", "limits", "sandbox.allow_inside",
)  # fmt: skip


def run(config: ConfigDict, workdir: Path) -> None:
    """Trains the policy; a second start with the same workdir goes on after the last whole checkpoint."""
    check(config)
    with contextlib.ExitStack() as stack:
        parts = open_parts(config, workdir, stack)
        results = Results(workdir)
        if hosts.is_first():
            store.remove_half_written(workdir / "logps")
        measured = functools.partial(measure, config, results, parts.engine, parts.sandbox, parts.heldout, parts.stop)
        measured("before", 0, parts.first_policy)
        steps = train(config, workdir, parts, stack)
        if hosts.is_first():
            show_samples(rollout_path(workdir, parts.total - 1), parts.total - 1, config.table_rows)
        measured("after", parts.total, steps.policy)

    def write() -> None:
        trainer, dtype = parts.trainer, jnp.dtype(config.export_dtype)
        merged = trainer.merged(steps.state.params, parts.base, dtype)
        huggingface.export(
            merged, trainer.model.config, workdir / "model", dtype=dtype, tokenizer=parts.words, overwrite=True
        )

    export(config, results, parts.total, write)


def train(config: ConfigDict, workdir: Path, parts: Parts, stack: contextlib.ExitStack) -> Steps:
    """The rollouts that are not done yet, each with its updates and a row of metrics. stack: closes what this opens."""
    collector = stack.enter_context(
        Collector(
            workdir / "rollouts", parts.engine, parts.sandbox, config=digest(config), samples=config.samples_per_prompt,
            sampling=SamplingParams(max_new_tokens=config.max_new_tokens, **config.sampling), style=config.style,
            check=parts.stop.check, judging=functools.partial(parts.timeline.phase, "judge"),
        )
    )  # fmt: skip
    position, done, behavior, cut = go_on(parts.started, collector)
    steps = Steps(config, workdir, parts, collector, parts.started.state, position.rollout, done, behavior)
    steps.seen = _rl_model.remembered(parts.started.about, parts.judge)
    writer = stack.enter_context(metrics.MetricsWriter(workdir, resume_step=parts.started.position.rollout + 1))
    if cut is not None:
        writer.write(position.rollout, cut)
    progress = stack.enter_context(metrics.Progress(parts.total, "rl", start=position.rollout))
    for rollout in range(position.rollout, parts.total):
        with parts.timeline.phase("step"):
            drawn = steps.draw()
            coming = steps.draw_ahead()
            old, ref, scored, asked = steps.compare(drawn)
            earned, told = steps.earn(scored, asked)
            sequences, row = parts.algorithm.prepare(drawn.completions, earned, old, ref)
            with parts.timeline.phase("update"):
                flops = steps.learn(sequences)
            steps.finish(coming)
            row |= steps.evaluate()
        row |= told | means(steps.done) | describe(scored, earned, old, ref) | {"staleness": drawn.about["staleness"]}
        row |= speeds(scored, parts.timeline.take() | {"decode": drawn.about["decode_s"]})
        row |= utilisation(flops, row["update_s"], parts.trainer.mesh)
        row["learning_rate"] = float(parts.trainer.schedule(max(int(steps.state.update) - 1, 0)))
        steps.to_next(drawn_ahead=coming is not None)
        writer.write(rollout + 1, row)
        progress.update(rollout + 1, row)
        steps.look_out(progress.print)
    steps.keep(force=True)
    return steps


def check(config: ConfigDict) -> None:
    """Raises ValueError for settings that could not work, before anything is loaded."""
    if not config.model and "sft" not in config:
        raise ValueError(
            "config.model is empty, and this preset makes no policy of its own: name a directory or hub id"
        )
    if config.off_policy_steps not in (0, 1):
        raise ValueError(f"off_policy_steps is {config.off_policy_steps}: it is 0 or 1")
    if config.off_policy_steps and not config.algorithm_args.get("importance_cap"):
        raise ValueError("off_policy_steps is 1: name the cap of the correction, algorithm_args.importance_cap (2.0)")
    if config.shuffle not in ("prompts", "samples"):
        raise ValueError(f"shuffle is {config.shuffle!r}: it is 'prompts' or 'samples'")
    _rl_model.check(config)
    algorithms.make(config.algorithm, **config.algorithm_args)
    rewards.make(config.reward, **config.reward_args)
    longest = config.max_prompt_tokens + config.max_new_tokens - 1
    if config.trainer.row_tokens < longest:
        raise ValueError(
            f"trainer.row_tokens is {config.trainer.row_tokens}: too short for max_prompt_tokens "
            f"{config.max_prompt_tokens} and max_new_tokens {config.max_new_tokens}, which need {longest}"
        )


def measure(
    config: ConfigDict, results: Results, engine: Engine, sandbox: Sandbox, heldout: Sequence[Problem], stop: Stop,
    when: str, rollout: int, params: Callable[[], Params],
) -> None:  # fmt: skip
    """Adds held-out pass rates after `rollout` rollouts under `when`, unless they are there, of this config."""
    decides = digest(config) if rollout else digest(config, BASE)
    if results.has(when, rollout, decides):
        return
    scores = None
    if heldout:
        engine.update(params())
        scores = rollouts.evaluate(
            engine, sandbox, heldout, samples=config.heldout_samples, max_new_tokens=config.max_new_tokens,
            style=config.style, check=stop.check,
        )  # fmt: skip
        shown = ", ".join(f"{name} {value:.1%}" for name, value in scores.items())
        print(f"held-out problems ({len(heldout)}), {when}: {shown}")
    results.add(when, rollout, decides, scores)


def export(config: ConfigDict, results: Results, total: int, write: Callable[[], None]) -> None:
    """Calls write(), which makes the model's directory, unless that is there, of this config after `total` rollouts."""
    if results.has("model", total, digest(config)):
        print(f"{results.model} and {results.path} are there already")
        return
    write()
    results.add("model", total, digest(config))
    print(f"wrote {results.model} and {results.path}")
