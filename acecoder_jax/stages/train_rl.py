"""Reinforcement learning of a policy from what the tests say of its programs.

    python -m acecoder_jax.main --config=configs/rl_rule.py:tiny

A rollout: sample, score in the sandbox, log-probs of the trainer and of the reference, advantages, one pass of
updates. Its completions and verdicts are in WORKDIR/rollouts before the first update uses them, and a resumed run
takes them from there. WORKDIR/results.json has the held-out scores, WORKDIR/model the trained policy.
"""

import contextlib
import functools
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from acecoder_jax import algorithms, data, metrics, parallel, rewards, store, tokenizer
from acecoder_jax.algorithms import Algorithm
from acecoder_jax.models import huggingface
from acecoder_jax.models.decoder import Model, Params
from acecoder_jax.sampling import rollout as rollouts
from acecoder_jax.sampling.draw import SamplingParams
from acecoder_jax.sampling.engine import Engine
from acecoder_jax.sampling.noise import stable_hash
from acecoder_jax.sampling.rollout import Scored
from acecoder_jax.sandbox import Limits, Sandbox
from acecoder_jax.stages import sft
from acecoder_jax.training.checkpoint import Checkpoints
from acecoder_jax.training.packing import TokenSequence, minibatches
from acecoder_jax.training.state import TrainState
from acecoder_jax.training.trainer import Trainer, make_trainer
from acecoder_jax.types import Problem

# Keys that a resumed run may change: none of them changes a sample, a reward or an update.
MAY_CHANGE = ("sandbox.workers", "checkpoint", "table_rows")


def run(config: ConfigDict, workdir: Path) -> None:
    """Trains the policy; a second start with the same workdir goes on after the last whole checkpoint."""
    check(config)
    model_dir = config.model or sft.run(config.sft, workdir / "sft")
    words = tokenizer.load(model_dir)
    model = Model(huggingface.load_config(model_dir), jnp.dtype(config.dtype), config.remat)
    problems, heldout = load_problems(config, words)
    total = config.rollouts or config.episodes * (len(problems) // config.prompts_per_rollout)
    updates = -(-config.prompts_per_rollout * config.samples_per_prompt // config.minibatch)
    algorithm = algorithms.make(config.algorithm, **config.algorithm_args)
    score = rewards.make(config.reward, **config.reward_args)
    mesh = parallel.make_mesh(**config.mesh)
    timeline = metrics.Timeline()
    with contextlib.ExitStack() as stack:
        stack.enter_context(jax.set_mesh(mesh))
        sandbox = stack.enter_context(Sandbox(limits=Limits(**config.limits), **config.sandbox))
        checkpoints = stack.enter_context(Checkpoints(workdir, **config.checkpoint))
        trainer = make_trainer(
            model, algorithm.loss, mesh, updates=total * updates, optimizer=config.optimizer, **config.trainer
        )
        load = functools.partial(huggingface.load_params, model_dir, shardings=trainer.shardings.params)
        state, first = trainer.start(lambda: load()[1], checkpoints)
        ref_params = load(dtype=model.dtype)[1] if algorithm.needs_ref else None
        engine = Engine(
            model.config, words, seed=config.seed, dtype=model.dtype, mesh=parallel.local_mesh(**config.decode_mesh),
            max_prompt_tokens=config.max_prompt_tokens, max_new_tokens=config.max_new_tokens, **config.engine,
        )  # fmt: skip
        measure(config, workdir, "before", 0, engine, lambda: load()[1] if first else state.params, sandbox, heldout)
        writer = stack.enter_context(metrics.MetricsWriter(workdir, resume_step=first + 1))
        progress = stack.enter_context(metrics.Progress(total, "rl", start=first))
        for rollout in range(first, total):
            checkpoints.save(rollout, state)
            with timeline.phase("step"):
                batch = rollouts.problems_at(problems, config.prompts_per_rollout, config.seed, rollout)
                scored, decode_s = collect(config, workdir, engine, state.params, sandbox, batch, rollout)
                earned = [score(one.completion, one.verdict) for one in scored]
                with timeline.phase("logp"):
                    old, ref = logps(trainer, state.params, ref_params, scored)
                with timeline.phase("update"):
                    state, row = learn(config, trainer, algorithm, state, scored, earned, old, ref, rollout)
            row |= describe(scored, earned, old, ref) | speeds(scored, timeline.take() | {"decode": decode_s})
            row["learning_rate"] = float(trainer.schedule(max(int(state.update) - 1, 0)))
            writer.write(rollout + 1, row)
            progress.update(rollout + 1, row)
        checkpoints.save(total, state, force=True)
        show_samples(workdir, total - 1, config.table_rows)
        fresh = measure(config, workdir, "after", total, engine, lambda: state.params, sandbox, heldout)
    if fresh or not (workdir / "model").exists():
        huggingface.export(
            state.params, model.config, workdir / "model", dtype=jnp.dtype(config.export_dtype), tokenizer=words,
            overwrite=True,
        )  # fmt: skip
    print(f"wrote {workdir / 'model'} and {workdir / 'results.json'}")


def check(config: ConfigDict) -> None:
    """Raises ValueError for settings that could not work, before anything is loaded."""
    if not config.model and "sft" not in config:
        raise ValueError(
            "config.model is empty, and this preset makes no policy of its own: name a directory or hub id"
        )
    if config.shuffle not in ("prompts", "samples"):
        raise ValueError(f"shuffle is {config.shuffle!r}: it is 'prompts' or 'samples'")
    longest = config.max_prompt_tokens + config.max_new_tokens - 1
    if config.trainer.row_tokens < longest:
        raise ValueError(
            f"trainer.row_tokens is {config.trainer.row_tokens}: too short for max_prompt_tokens "
            f"{config.max_prompt_tokens} and max_new_tokens {config.max_new_tokens}, which need {longest}"
        )


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
    config: ConfigDict, workdir: Path, when: str, rollout: int, engine: Engine, params: Callable[[], Params],
    sandbox: Sandbox, heldout: Sequence[Problem],
) -> bool:  # fmt: skip
    """Adds held-out pass rates after `rollout` rollouts to results.json under `when`; False where they are there."""
    file = workdir / "results.json"
    results = store.read_json(file) if file.exists() else {"heldout": {}, "rollouts": {}}
    if results["rollouts"].get(when) == rollout:
        return False
    if heldout:
        engine.update(params())
        scores = rollouts.evaluate(
            engine, sandbox, heldout, samples=config.heldout_samples, max_new_tokens=config.max_new_tokens,
            style=config.style,
        )  # fmt: skip
        results["heldout"][when] = scores
        shown = ", ".join(f"{name} {value:.1%}" for name, value in scores.items())
        print(f"held-out problems ({len(heldout)}), {when}: {shown}")
    results["rollouts"][when] = rollout
    store.write_json(file, results)
    return True


def collect(
    config: ConfigDict, workdir: Path, engine: Engine, params: Params, sandbox: Sandbox, problems: list[Problem],
    rollout: int,
) -> tuple[list[Scored], float]:  # fmt: skip
    """The scored completions of a rollout and the seconds they took: sampled now, or as an earlier start left them.

    What was sampled under another config is sampled anew.
    """
    file = workdir / "rollouts" / f"{rollout:06d}.jsonl"
    decides = {
        key: value for key, value in config.to_dict().items() if key not in ("sandbox", "checkpoint", "table_rows")
    }
    digest = stable_hash(json.dumps(decides, sort_keys=True)).hex()
    if file.exists():
        about, scored = rollouts.load(file)
        if about["config"] == digest:
            return scored, about["decode_s"]
    start = time.perf_counter()
    engine.update(params)
    scored = rollouts.sample_and_score(
        engine, sandbox, problems, samples=config.samples_per_prompt, rollout=rollout, purpose="rollout",
        sampling=SamplingParams(max_new_tokens=config.max_new_tokens, **config.sampling), style=config.style,
    )  # fmt: skip
    about = {"config": digest, "decode_s": time.perf_counter() - start}
    rollouts.save(file, scored, about)
    return scored, about["decode_s"]


def logps(
    trainer: Trainer, params: Params, ref_params: Params | None, scored: Sequence[Scored]
) -> tuple[list[np.ndarray], list[np.ndarray] | None]:
    """Log-probs of every response's tokens under the trainer's policy and under the reference: [n] each."""
    completions = [one.completion for one in scored]
    plain = [
        TokenSequence(np.array(c.prompt_tokens + c.tokens, np.int32), {}, len(c.prompt_tokens)) for c in completions
    ]
    return trainer.logps(params, plain), None if ref_params is None else trainer.logps(ref_params, plain)


def learn(
    config: ConfigDict, trainer: Trainer, algorithm: Algorithm, state: TrainState, scored: Sequence[Scored],
    earned: Sequence[float | None], old: list[np.ndarray], ref: list[np.ndarray] | None, rollout: int,
) -> tuple[TrainState, dict[str, float]]:  # fmt: skip
    """One pass over a rollout in mini-batches; the mean of the updates' metrics."""
    sequences, row = algorithm.prepare([one.completion for one in scored], earned, old, ref)
    updates = []
    for batch in minibatches(sequences, config.minibatch, config.seed, rollout, config.shuffle == "prompts"):
        state, numbers = trainer.update(state, trainer.pack(batch))
        updates.append(numbers)
    if not updates:  # the sandbox broke on every sample
        return state, dict.fromkeys(("loss", "entropy", "clip_fraction", "grad_norm"), float("nan"))
    updates = jax.device_get(updates)
    return state, row | {name: float(np.mean([numbers[name] for numbers in updates])) for name in updates[0]}


def describe(
    scored: Sequence[Scored], earned: Sequence[float | None], old: list[np.ndarray], ref: list[np.ndarray] | None
) -> dict[str, float]:
    """What there is to say of a rollout: rewards, lengths, KL to the reference, the sampler's gap to the trainer."""
    judged = [one for one in scored if not one.verdict.infra]
    counted = [reward for reward in earned if reward is not None]
    old_n = np.concatenate(old)
    behavior_n = np.concatenate([one.completion.logps for one in scored])
    return {
        "reward_mean": float(np.mean(counted)) if counted else float("nan"),
        "pass_rate": float(np.mean([one.verdict.passed for one in judged])) if judged else float("nan"),
        "tests_passed": float(np.mean([one.verdict.pass_rate for one in judged])) if judged else float("nan"),
        "response_tokens_mean": float(np.mean([len(one.completion.tokens) for one in scored])),
        "truncated_share": float(np.mean([one.completion.truncated for one in scored])),
        "infra_share": 1 - len(judged) / len(scored),
        "kl": 0.0 if ref is None else float(np.mean(old_n - np.concatenate(ref))),
        "logp_gap": float(np.mean(np.abs(old_n - behavior_n))),
    }


def speeds(scored: Sequence[Scored], seconds: dict[str, float]) -> dict[str, float]:
    """Seconds by phase, and tokens a second: of decoding with its scoring, and of log-probs and updates together."""
    response = sum(len(one.completion.tokens) for one in scored)
    whole = response + sum(len(one.completion.prompt_tokens) for one in scored)
    return {
        "decode_tokens_per_s": response / seconds["decode"],
        "train_tokens_per_s": whole / (seconds["logp"] + seconds["update"]),
        **{f"{phase}_s": value for phase, value in seconds.items()},
    }


def show_samples(workdir: Path, rollout: int, rows: int) -> None:
    """A table of programs of a rollout with their verdicts: one of each problem, the first few."""
    _, scored = rollouts.load(workdir / "rollouts" / f"{rollout:06d}.jsonl")
    firsts = [one for one in scored if one.completion.sample == 0][:rows]
    metrics.table(
        f"samples of rollout {rollout + 1}",
        ["problem", "reply", "verdict", "tests"],
        [[one.completion.problem_id, one.completion.text, verdict_word(one), tests_word(one)] for one in firsts],
    )


def verdict_word(one: Scored) -> Any:
    """The status that sums up a verdict: the first that is not a pass."""
    return next((status for status in one.verdict.statuses if status != "pass"), "pass")


def tests_word(one: Scored) -> str:
    """How many tests passed: 3/5."""
    return f"{one.verdict.statuses.count('pass')}/{len(one.verdict.statuses)}"
