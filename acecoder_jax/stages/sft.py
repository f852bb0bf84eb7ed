"""Supervised fine-tuning: a policy from demonstrations, from scratch or from a model; ends as a Hugging Face directory.

    python -m acecoder_jax.main --config=configs/sft.py:tiny

WORKDIR/model is the result. With `stop_at_pass_rate` training ends as soon as greedy answers to problems that are
held back from training pass that often.
"""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from acecoder_jax import data, hosts, metrics, parallel, tokenizer
from acecoder_jax.models import huggingface, lora, sharding
from acecoder_jax.models.config import ModelConfig
from acecoder_jax.models.decoder import Model, Params
from acecoder_jax.sampling import rollout
from acecoder_jax.sampling.engine import Engine
from acecoder_jax.sampling.noise import stable_hash
from acecoder_jax.sandbox import Limits, Sandbox
from acecoder_jax.stops import Stop, Stopped
from acecoder_jax.training.checkpoint import Checkpoints, Position
from acecoder_jax.training.loss import cross_entropy
from acecoder_jax.training.packing import TokenSequence, response_mask
from acecoder_jax.training.trainer import check_finite, make_trainer
from acecoder_jax.types import Problem

SEVERAL_PROCESSES = True
MAY_CHANGE = ("sandbox.workers", "checkpoint")  # keys that a resumed run may change: none of them changes an update
COLUMNS = {"loss": "loss", "heldback_pass": "pass", "train_tokens_per_s": "train tok/s"}


def run(config: ConfigDict, workdir: Path) -> Path:
    """Trains, and returns the directory of the trained model; at once where an earlier start has finished it."""
    model_dir = workdir / "model"
    if hosts.from_first("sft is done", model_dir.exists):
        print(f"supervised fine-tuning is already done: {model_dir}")
        return model_dir
    problems = data.load(config.data, config.data_path, **config.data_args)
    heldback, trained = problems[: config.heldback], problems[config.heldback :]
    pairs = data.demonstrations(config.data, trained, seed=config.seed)
    mesh = parallel.make_mesh(**config.mesh)
    with (
        jax.set_mesh(mesh),
        Checkpoints(workdir, **config.checkpoint) as checkpoints,
        Sandbox(limits=Limits(**config.limits), **config.sandbox) as sandbox,
    ):
        words, model, load = _policy(config, pairs, mesh)
        sequences = [_sequence(words, problem, reply, config.style) for problem, reply in pairs]
        check_lengths(sequences, [problem.id for problem, _ in pairs], config.trainer.row_tokens)
        trainer = make_trainer(
            model, cross_entropy, mesh, updates=config.steps, optimizer=config.optimizer, **config.trainer
        )
        base = load(model.dtype) if model.lora else None
        started = trainer.start(lambda: trainer.adapter(config.seed) if model.lora else load(), checkpoints)
        state, first = started.state, started.position
        engine = Engine(
            model.config, words, seed=config.seed, dtype=model.dtype, mesh=parallel.local_mesh(**config.decode_mesh),
            max_prompt_tokens=max((len(rollout.prompt_tokens(words, p, config.style)) for p in heldback), default=1),
            max_new_tokens=config.max_new_tokens, **config.engine,
        )  # fmt: skip
        with (
            Stop() as stop,
            metrics.MetricsWriter(workdir, resume_step=first.rollout + 1) as writer,
            metrics.Progress(config.steps, "sft", COLUMNS, start=first.rollout) as progress,
        ):
            timeline = metrics.Timeline()
            for step in range(first.rollout, config.steps):
                row = started.about["row"] if first == Position(step, 1) else None  # the update itself is done
                if row is None:
                    trainer.keep(checkpoints, stop, Position(step), state, {})
                    chosen = batch_at(len(sequences), config.batch, config.seed, step)
                    batch = trainer.pack([sequences[i] for i in chosen])
                    with timeline.phase("update"):
                        state, numbers = trainer.update(state, batch, base)
                        row = {name: float(value) for name, value in numbers.items()}
                    check_finite(row, config.max_skipped, checkpoints)
                    row |= {"step_s": timeline.take()["update"], "padding_share": batch.padding_share}
                    row |= {"learning_rate": float(trainer.schedule(max(int(state.update) - 1, 0)))}
                    row["train_tokens_per_s"] = sum(batch.lengths) / row["step_s"]
                done = step + 1
                if heldback and done % config.evaluate_every == 0:
                    with contextlib.suppress(Stopped):  # the update is kept, the evaluation is done again
                        engine.update(trainer.merged(state.params, base))
                        scores = rollout.evaluate(
                            engine, sandbox, heldback, samples=0, max_new_tokens=config.max_new_tokens,
                            style=config.style, check=stop.check,
                        )  # fmt: skip
                        row["heldback_pass"] = scores["pass@1"]
                    if stop.asked():
                        trainer.keep(checkpoints, stop, Position(step, 1), state, {"row": row})
                writer.write(done, row)
                progress.update(done, row)
                if row.get("heldback_pass", 0.0) >= config.stop_at_pass_rate:
                    progress.print(f"step {done}: {row['heldback_pass']:.0%} of the held-back problems pass; stopping")
                    break
        export_dtype = jnp.dtype(config.export_dtype)
        merged = trainer.merged(state.params, base, export_dtype)
        huggingface.export(merged, model.config, model_dir, dtype=export_dtype, tokenizer=words)
    print(f"wrote {model_dir}")
    return model_dir


def check_lengths(sequences: Sequence[TokenSequence], ids: Sequence[str], row_tokens: int) -> None:
    """ValueError that names the demonstrations which are longer than a row."""
    if long := [name for one, name in zip(sequences, ids, strict=True) if len(one) > row_tokens]:
        few = ", ".join(long[:5]) + (", ..." if len(long) > 5 else "")
        longest = max(map(len, sequences))
        raise ValueError(
            f"{len(long)} demonstrations are longer than trainer.row_tokens {row_tokens} (the longest has {longest}): "
            f"{few}"
        )


def batch_at(count: int, batch: int, seed: int, step: int) -> np.ndarray:
    """The indices of a step's sequences, a function of (seed, step): epochs in a new order each, one after another."""
    wanted = np.arange(step * batch, (step + 1) * batch)
    orders = {
        epoch: np.random.default_rng(np.frombuffer(stable_hash(seed, "sft", epoch, size=16), np.uint32)).permutation(
            count
        )
        for epoch in {int(index) // count for index in wanted}
    }
    return np.array([orders[int(index) // count][int(index) % count] for index in wanted])


def _policy(
    config: ConfigDict, pairs: Sequence[tuple[Problem, str]], mesh: jax.sharding.Mesh
) -> tuple[Any, Model, Any]:
    """The tokenizer, the model, and a function (dtype=float32) that loads or makes its parameters."""
    dtype, adapter = jnp.dtype(config.dtype), lora.make(**config.lora)
    if config.model:
        words = tokenizer.load(config.model)
        model = Model(huggingface.load_config(config.model), dtype, config.remat, lora=adapter)

        def load(dtype: Any = jnp.float32) -> Params:
            return huggingface.load_params(config.model, shardings=_shardings(model, mesh), dtype=dtype)[1]

        return words, model, load
    words = tokenizer.train_bpe((f"{problem.question}\n{reply}" for problem, reply in pairs), config.vocab_size)
    model = Model(ModelConfig(vocab_size=len(words), **config.architecture), dtype, config.remat, lora=adapter)

    def make(dtype: Any = jnp.float32) -> Params:
        params = model.init(jax.random.key(config.seed), _shardings(model, mesh))
        return jax.tree.map(lambda leaf: leaf.astype(dtype), params)

    return words, model, make


def _shardings(model: Model, mesh: jax.sharding.Mesh) -> Params:
    return sharding.param_shardings(model.abstract_params, mesh)


def _sequence(words: Any, problem: Problem, reply: str, style: str) -> TokenSequence:
    """A demonstration as tokens, with the loss on the reply and its end token."""
    prompt = rollout.prompt_tokens(words, problem, style)
    response = [*words.encode(reply, add_special_tokens=False), words.eos_token_id]
    return TokenSequence(
        np.array([*prompt, *response], np.int32), {"loss_weight": response_mask(len(prompt), [1] * len(response))},
        len(prompt),
    )  # fmt: skip
