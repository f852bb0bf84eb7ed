"""Reinforcement learning of a policy from what the tests say of its programs.

    python -m acecoder_jax.main --config=configs/rl_rule.py:tiny

A rollout: sample, score in the sandbox, log-probs of the trainer and of the reference, advantages, one pass of
updates. Its completions and verdicts are in WORKDIR/rollouts before the first update uses them, and a resumed run
takes them from there. WORKDIR/results.json has the held-out scores, WORKDIR/model the trained policy.
"""

import contextlib
import functools
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from acecoder_jax import algorithms, data, hosts, metrics, parallel, rewards, store, tokenizer
from acecoder_jax.algorithms import Algorithm
from acecoder_jax.models import huggingface, lora
from acecoder_jax.models.decoder import Model, Params
from acecoder_jax.sampling import rollout as rollouts
from acecoder_jax.sampling.collector import Collector
from acecoder_jax.sampling.draw import SamplingParams
from acecoder_jax.sampling.engine import Engine
from acecoder_jax.sandbox import Limits, Sandbox
from acecoder_jax.stages import _in_loop, sft
from acecoder_jax.stages._results import Results
from acecoder_jax.stages._rl_resume import begins_again, digest, go_on, lacks, logp_path, rollout_path
from acecoder_jax.stages._rl_rows import describe, means, show_samples, speeds, utilisation
from acecoder_jax.stops import Stop, Stopped
from acecoder_jax.training import logp_file
from acecoder_jax.training.checkpoint import Checkpoints, Position
from acecoder_jax.training.packing import TokenSequence, minibatches
from acecoder_jax.training.state import TrainState
from acecoder_jax.training.trainer import Trainer, check_finite, make_trainer
from acecoder_jax.types import Completion, Problem

SEVERAL_PROCESSES = True
# Keys that a resumed run may change: none of them changes a sample, a reward or an update.
MAY_CHANGE = ("sandbox.workers", "checkpoint", "table_rows", "eval")
# All that decides the held-out scores of the policy that a run begins with.
BASE = (
    "model", "sft", "dtype", "seed", "style", "data", "data_path", "heldout_args", "heldout_samples", "max_new_tokens",
    "max_prompt_tokens", "engine", "limits", "sandbox.allow_inside",
)  # fmt: skip
Keep = Callable[[Position, TrainState, list[dict[str, Any]]], None]


def run(config: ConfigDict, workdir: Path) -> None:
    """Trains the policy; a second start with the same workdir goes on after the last whole checkpoint."""
    check(config)
    model_dir = config.model or sft.run(config.sft, workdir / "sft")
    words = tokenizer.load(model_dir)
    model = Model(
        huggingface.load_config(model_dir), jnp.dtype(config.dtype), config.remat, lora=lora.make(**config.lora)
    )
    problems, heldout = load_problems(config, words)
    total = config.rollouts or config.episodes * (len(problems) // config.prompts_per_rollout)
    updates = -(-config.prompts_per_rollout * config.samples_per_prompt // config.minibatch) * config.passes
    algorithm = algorithms.make(config.algorithm, **config.algorithm_args)
    score = rewards.make(config.reward, **config.reward_args)
    in_loop = _in_loop.make(
        every=config.eval.every, benchmarks_wanted=config.eval.benchmarks, first=config.eval.first, style=config.style,
        max_new_tokens=config.max_new_tokens, seed=config.seed,
        sandbox={key: config.sandbox[key] for key in ("workers", "min_isolation")},
    )  # fmt: skip
    mesh = parallel.make_mesh(**config.mesh)
    timeline = metrics.Timeline()
    with contextlib.ExitStack() as stack:
        stack.enter_context(jax.set_mesh(mesh))
        sandbox = stack.enter_context(Sandbox(limits=Limits(**config.limits), **config.sandbox))
        checkpoints = stack.enter_context(Checkpoints(workdir, **config.checkpoint))
        trainer = make_trainer(
            model, algorithm.loss, mesh, updates=total * updates, optimizer=config.optimizer, **config.trainer
        )
        print(f"trainer: {trainer.about}")
        load = functools.partial(huggingface.load_params, model_dir, shardings=trainer.model_shardings)
        base = load(dtype=model.dtype)[1] if model.lora else None
        started = trainer.start(
            lambda: trainer.adapter(config.seed) if model.lora else load()[1], checkpoints,
            lambda position: lacks(config, workdir, total, position, checkpoints.about(position)),
        )  # fmt: skip
        fresh, state = started.position == Position(0), started.state
        if begins_again(started, workdir):
            print("no checkpoint to go on from: this begins at the beginning, with the rollouts that are on the disk")
        ref_params = reference(trainer, algorithm, base, lambda: load(dtype=model.dtype)[1])
        engine = Engine(
            model.config, words, seed=config.seed, dtype=model.dtype, mesh=parallel.local_mesh(**config.decode_mesh),
            max_prompt_tokens=config.max_prompt_tokens, max_new_tokens=config.max_new_tokens, **config.engine,
        )  # fmt: skip
        stop = stack.enter_context(Stop())
        results = Results(workdir)
        if hosts.is_first():
            store.remove_half_written(workdir / "logps")
        measured = functools.partial(measure, config, results, engine, sandbox, heldout, stop)
        measured("before", 0, lambda: base or (state.params if fresh else load()[1]))
        collector = stack.enter_context(
            Collector(
                workdir / "rollouts", engine, sandbox, config=digest(config), samples=config.samples_per_prompt,
                sampling=SamplingParams(max_new_tokens=config.max_new_tokens, **config.sampling), style=config.style,
                check=stop.check,
            )
        )  # fmt: skip
        position, done, behavior, cut = go_on(started, collector)
        writer = stack.enter_context(metrics.MetricsWriter(workdir, resume_step=started.position.rollout + 1))
        if cut is not None:
            writer.write(position.rollout, cut)
        progress = stack.enter_context(metrics.Progress(total, "rl", start=position.rollout))
        ahead = ""  # the digest under which the rollout at this position was drawn ahead

        def keep(
            position: Position, state: TrainState, done: list[dict[str, Any]], behavior: Params | None = None
        ) -> None:
            """Saves where that is due, and stops where the run has been asked to.

            behavior: the weights of the next rollout. Once updates have been done, only these can draw it.
            """

            def lagging() -> Params | None:
                return None if position.minibatch == 0 or collector.has(position.rollout + 1) else behavior

            with timeline.phase("wait"):
                about = {"updates": list(done), "ahead": ahead}
                trainer.keep(checkpoints, stop, position, state, about, lagging)

        def collect(rollout: int, params: Params, ahead: bool = False) -> Any:
            batch = rollouts.problems_at(problems, config.prompts_per_rollout, config.seed, rollout)
            weights = functools.partial(trainer.merged, params, base)
            if ahead:
                return collector.ahead(rollout, batch, weights, staleness=1)
            return collector.collect(rollout, batch, weights)

        while (rollout := position.rollout) < total:
            with timeline.phase("step"):
                keep(position, state, done)
                with contextlib.suppress(Stopped):  # at the next `keep` all processes stop together
                    drawn = collect(rollout, state.params)
                keep(position, state, done)
                coming = None
                if config.off_policy_steps and rollout + 1 < total:
                    behavior = trainer.copy(state.params) if behavior is None else behavior
                    coming = collect(rollout + 1, behavior, ahead=True)
                with timeline.phase("logp"):  # while programs are judged
                    kept = logp_file.load_together(logp_path(workdir, rollout), collector.path(rollout))
                    old, ref = kept or logps(trainer, trainer.whole(state.params, base), ref_params, drawn.completions)
                with timeline.phase("score"), contextlib.suppress(Stopped):
                    scored = drawn.scored()
                keep(position, state, done, behavior)
                if kept is None and hosts.is_first():
                    logp_file.save(logp_path(workdir, rollout), collector.path(rollout), old, ref)
                earned = [score(one.completion, one.verdict) for one in scored]
                sequences, row = algorithm.prepare(drawn.completions, earned, old, ref)
                with timeline.phase("update"):
                    state, flops = learn(
                        config, trainer, checkpoints, state, base, sequences, rollout, done,
                        functools.partial(keep, behavior=behavior),
                    )  # fmt: skip
                if coming is not None:
                    with timeline.phase("wait"), contextlib.suppress(Stopped):
                        coming.result().scored()
                    keep(Position(rollout, len(done)), state, done, behavior)
                seen: dict[str, float] = {}
                if in_loop.due(rollout + 1):
                    with timeline.phase("eval"), contextlib.suppress(Stopped):
                        engine.update(trainer.merged(state.params, base))
                        seen = in_loop.scores(engine, stop.check)
                    keep(Position(rollout, len(done)), state, done, behavior)
            row |= seen
            row |= means(done) | describe(scored, earned, old, ref) | {"staleness": drawn.about["staleness"]}
            row |= speeds(scored, timeline.take() | {"decode": drawn.about["decode_s"]})
            row |= utilisation(flops, row["update_s"], mesh)
            row["learning_rate"] = float(trainer.schedule(max(int(state.update) - 1, 0)))
            position, done, behavior = Position(rollout + 1), [], None
            ahead = "" if coming is None else digest(config)
            writer.write(rollout + 1, row)
            progress.update(rollout + 1, row)
        trainer.keep(checkpoints, stop, position, state, {"updates": [], "ahead": ahead}, force=True)
        if hosts.is_first():
            show_samples(rollout_path(workdir, total - 1), total - 1, config.table_rows)
        measured("after", total, lambda: trainer.merged(state.params, base))

    def write() -> None:
        dtype = jnp.dtype(config.export_dtype)
        merged = trainer.merged(state.params, base, dtype)
        huggingface.export(merged, model.config, workdir / "model", dtype=dtype, tokenizer=words, overwrite=True)

    export(config, results, total, write)


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
    longest = config.max_prompt_tokens + config.max_new_tokens - 1
    if config.trainer.row_tokens < longest:
        raise ValueError(
            f"trainer.row_tokens is {config.trainer.row_tokens}: too short for max_prompt_tokens "
            f"{config.max_prompt_tokens} and max_new_tokens {config.max_new_tokens}, which need {longest}"
        )


def reference(trainer: Trainer, algorithm: Algorithm, base: Params | None, load: Callable[[], Params]) -> Params | None:
    """The reference policy: with LoRA the base itself; None, and nothing is loaded, where the algorithm needs none."""
    if not algorithm.needs_ref:
        return None
    return trainer.parked(load()) if base is None else base


def load_problems(config: ConfigDict, words: Any) -> tuple[list[Problem], list[Problem]]:
    """The training and the held-out problems; those whose prompt is too long are left out and counted."""
    problems = data.load(config.data, config.data_path, **config.data_args)
    heldout = data.load(config.data, config.data_path, **config.heldout_args) if config.heldout_args else []
    problems, long_ids = rollouts.split_by_length(problems, words, config.style, config.max_prompt_tokens)
    heldout, long_heldout = rollouts.split_by_length(heldout, words, config.style, config.max_prompt_tokens)
    if dropped := long_ids + long_heldout:
        few = ", ".join(dropped[:5]) + (", ..." if len(dropped) > 5 else "")
        print(f"left out {len(dropped)} problems with prompts over {config.max_prompt_tokens} tokens: {few}")
    print(f"problems: {len(problems)} to train on, {len(heldout)} held out")
    if len(problems) < config.prompts_per_rollout:
        raise ValueError(f"prompts_per_rollout is {config.prompts_per_rollout}, but there are {len(problems)} problems")
    return problems, heldout


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


def logps(
    trainer: Trainer, params: Params, ref_params: Params | None, completions: Sequence[Completion]
) -> tuple[list[np.ndarray], list[np.ndarray] | None]:
    """Log-probs of every response's tokens under the trainer's policy and under the reference: [n] each."""
    plain = [
        TokenSequence(np.array(c.prompt_tokens + c.tokens, np.int32), {}, len(c.prompt_tokens)) for c in completions
    ]
    return trainer.logps(params, plain), None if ref_params is None else trainer.ref_logps(ref_params, plain)


def learn(
    config: ConfigDict, trainer: Trainer, checkpoints: Checkpoints, state: TrainState, base: Params | None,
    sequences: Sequence[TokenSequence], rollout: int, done: list[dict[str, Any]], keep: Keep,
) -> tuple[TrainState, float]:  # fmt: skip
    """The updates of a rollout, from mini-batch len(done) on, each adding its metrics to `done`; and their FLOPs.

    keep: called before each update, with the place where the run is.
    """
    batches = minibatches(sequences, config.minibatch, config.seed, rollout, config.shuffle == "prompts", config.passes)
    pack = functools.partial(trainer.pack, allocate=config.minibatch)
    packed = map(pack, itertools.islice(batches, len(done), None))
    coming, work = next(packed, None), 0.0
    while (batch := coming) is not None:
        keep(Position(rollout, len(done)), state, done)
        state, numbers = trainer.update(state, batch, base)
        work += trainer.update_flops(batch)
        coming = next(packed, None)  # packed while the devices are at work
        row = {name: float(value) for name, value in jax.device_get(numbers).items()}
        done.append(row | {"padding_share": batch.padding_share})
        check_finite(row, config.max_skipped, checkpoints)
    return state, work
