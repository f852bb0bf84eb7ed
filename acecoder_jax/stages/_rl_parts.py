"""What a run of train_rl is made of, by its config: problems, trainer, sampler, sandbox, checkpoints."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from acecoder_jax import algorithms, data, metrics, parallel, rewards, tokenizer
from acecoder_jax.algorithms import Algorithm
from acecoder_jax.models import huggingface, lora
from acecoder_jax.models.decoder import Model, Params
from acecoder_jax.rewards import Score
from acecoder_jax.sampling import rollout as rollouts
from acecoder_jax.sampling.engine import Engine
from acecoder_jax.sandbox import Limits, Sandbox
from acecoder_jax.stages import _in_loop, sft, train_rm
from acecoder_jax.stages._in_loop import InLoop
from acecoder_jax.stages._rl_model import Judge, open_judge
from acecoder_jax.stages._rl_resume import begins_again, lacks
from acecoder_jax.stops import Stop
from acecoder_jax.training.checkpoint import Checkpoints, Position
from acecoder_jax.training.trainer import Start, Trainer, make_trainer
from acecoder_jax.types import Problem


@dataclasses.dataclass(frozen=True)
class Parts:
    """total: rollouts of the run. load: reads the policy that it begins with, in a dtype. base: with LoRA the frozen
    model. ref_params: the reference, None where none is needed. started: where the run goes on. judge: the reward
    model, None where none is asked.
    """

    words: Any
    problems: list[Problem]
    heldout: list[Problem]
    total: int
    algorithm: Algorithm
    reward: Score
    judge: Judge | None
    in_loop: InLoop
    trainer: Trainer
    load: Callable[..., Params]
    base: Params | None
    ref_params: Params | None
    started: Start
    engine: Engine
    sandbox: Sandbox
    checkpoints: Checkpoints
    stop: Stop
    timeline: metrics.Timeline

    def first_policy(self) -> Params:
        """What the run began with, to decode with."""
        if self.base is not None:
            return self.base
        return self.started.state.params if self.started.position == Position(0) else self.load()


def open_parts(config: ConfigDict, workdir: Path, stack: contextlib.ExitStack) -> Parts:
    """Makes them; `stack` closes those that have to be."""
    mesh = parallel.make_mesh(**config.mesh)
    judge = reward_model(config, workdir, mesh)  # before all else: what is wrong with a reward model shows at once
    model_dir = config.model or sft.run(config.sft, workdir / "sft")
    words = tokenizer.load(model_dir)
    adapter = lora.make(**config.lora)
    model = Model(huggingface.load_config(model_dir), jnp.dtype(config.dtype), config.remat, lora=adapter)
    problems, heldout = load_problems(config, words)
    total = config.rollouts or config.episodes * (len(problems) // config.prompts_per_rollout)
    updates = -(-config.prompts_per_rollout * config.samples_per_prompt // config.minibatch) * config.passes
    algorithm = algorithms.make(config.algorithm, **config.algorithm_args)
    reward = rewards.make(config.reward, **config.reward_args)
    in_loop = evaluations(config)
    stack.enter_context(jax.set_mesh(mesh))
    sandbox = stack.enter_context(Sandbox(limits=Limits(**config.limits), **config.sandbox))
    timeline = metrics.Timeline()
    writing = functools.partial(timeline.phase, "save")
    checkpoints = stack.enter_context(Checkpoints(workdir, **config.checkpoint, writing=writing))
    trainer = make_trainer(
        model, algorithm.loss, mesh, updates=total * updates, optimizer=config.optimizer, **config.trainer
    )
    print(f"trainer: {trainer.about}")

    def load(dtype: Any = jnp.float32) -> Params:
        return huggingface.load_params(model_dir, shardings=trainer.model_shardings, dtype=dtype)[1]

    base = load(model.dtype) if model.lora else None
    started = trainer.start(
        lambda: trainer.adapter(config.seed) if model.lora else load(), checkpoints,
        lambda position: lacks(config, workdir, total, position, checkpoints.about(position)),
    )  # fmt: skip
    if begins_again(started, workdir):
        print("no checkpoint to go on from: this begins at the beginning, with the rollouts that are on the disk")
    ref_params = reference(trainer, algorithm, base, lambda: load(model.dtype))
    engine = make_engine(config, model, words)
    stop = stack.enter_context(Stop())
    return Parts(
        words=words, problems=problems, heldout=heldout, total=total, algorithm=algorithm, reward=reward, judge=judge,
        in_loop=in_loop, trainer=trainer, load=load, base=base, ref_params=ref_params, started=started, engine=engine,
        sandbox=sandbox, checkpoints=checkpoints, stop=stop, timeline=timeline,
    )  # fmt: skip


def reward_model(config: ConfigDict, workdir: Path, mesh: jax.sharding.Mesh) -> Judge | None:
    """The reward model that the config names, or one made by the stage `train_rm` first; None where it has none."""
    if "reward_model" not in config:
        return None
    directory = config.reward_model.model or train_rm.run(config.rm, workdir / "rm")
    return open_judge(config, workdir, directory, mesh)


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


def reference(trainer: Trainer, algorithm: Algorithm, base: Params | None, load: Callable[[], Params]) -> Params | None:
    """The reference policy: with LoRA the base itself; None, and nothing is loaded, where the algorithm needs none."""
    if not algorithm.needs_ref:
        return None
    return trainer.parked(load()) if base is None else base


def evaluations(config: ConfigDict) -> InLoop:
    """The benchmarks between rollouts."""
    return _in_loop.make(
        every=config.eval.every, benchmarks_wanted=config.eval.benchmarks, first=config.eval.first, style=config.style,
        max_new_tokens=config.max_new_tokens, seed=config.seed,
        sandbox={key: config.sandbox[key] for key in ("workers", "min_isolation")},
    )  # fmt: skip


def make_engine(config: ConfigDict, model: Model, words: Any) -> Engine:
    """The sampler, on the devices of this process."""
    return Engine(
        model.config, words, seed=config.seed, dtype=model.dtype, mesh=parallel.local_mesh(**config.decode_mesh),
        max_prompt_tokens=config.max_prompt_tokens, max_new_tokens=config.max_new_tokens, **config.engine,
    )  # fmt: skip
