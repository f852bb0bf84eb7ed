"""Our trainer as the stage train_rl uses it, as bench/train.py asks for it: pack, REINFORCE++ with entropy, update."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import contest
import jax
import jax.numpy as jnp
import machine
import numpy as np

from acecoder_jax import algorithms, memory, parallel
from acecoder_jax.models import huggingface
from acecoder_jax.models.decoder import Model
from acecoder_jax.training import state as states
from acecoder_jax.training.packing import TokenSequence
from acecoder_jax.training.trainer import make_trainer
from acecoder_jax.types import Completion
from configs import rl_rule

memory.use_huge_pages()  # as acecoder_jax.main does
model_dir, adam, overrides = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
config = rl_rule.get_config("0.5b" + ("," + overrides if overrides else ""))
about = machine.rates()
model = Model(huggingface.load_config(model_dir), jnp.dtype(config.dtype), config.remat)
algorithm = algorithms.make(config.algorithm, **config.algorithm_args)
mesh = parallel.make_mesh(**config.mesh)
jax.set_mesh(mesh)
# a warm-up of no updates and a floor of the whole rate: the peers' constant learning rate
constant = {**adam, "warmup_ratio": 0.0, "final_ratio": 1.0}
trainer = make_trainer(model, algorithm.loss, mesh, updates=1, optimizer=constant, **config.trainer)
_, params = huggingface.load_params(model_dir, shardings=trainer.shardings.params)
about["params"] = sum(leaf.size for leaf in jax.tree.leaves(params))
state = states.create(params, trainer.optimizer, trainer.shardings)
del params
sequences: list[TokenSequence] = []


def work(what: str, **request: Any) -> dict[str, Any]:
    """prepare: once, with the sequences; step: one update on them."""
    return prepare(**request) if what == "prepare" else step(**request)


def prepare(prompts: list[list[int]], responses: list[list[int]], rewards: list[float]) -> dict[str, Any]:
    """Log-probs of the responses' tokens and their advantages, as a rollout gets them before its updates."""
    completions = [completion(n, p, r) for n, (p, r) in enumerate(zip(prompts, responses, strict=True))]
    plain = [TokenSequence(np.array(p + r, np.int32), {}, len(p)) for p, r in zip(prompts, responses, strict=True)]
    old = trainer.logps(state.params, plain)
    sequences[:], _ = algorithm.prepare(completions, rewards, old, None)
    advantages = [
        float(one.per_token["advantage"][len(prompt) - 1]) for prompt, one in zip(prompts, sequences, strict=True)
    ]
    return {"old_logps": [one.tolist() for one in old], "advantages": advantages}


def completion(number: int, prompt: list[int], response: list[int]) -> Completion:
    """A sample of the problem that has this prompt."""
    n = len(response)
    return Completion(
        problem_id=str(prompt), sample=number, rollout=0, prompt_tokens=tuple(prompt),
        tokens=tuple(response), logps=(0.0,) * n, sampling_logps=(0.0,) * n, policy_mask=(1,) * n, text="",
        finish_reason="stop",
    )  # fmt: skip


def step(only: list[int] | None = None) -> dict[str, Any]:
    """One update, from packing to new parameters; `only`: on these sequences, in the shape of all of them."""
    global state
    packed = trainer.pack(sequences if only is None else [sequences[i] for i in only])
    if only is not None:
        missing = -(-len(sequences) // trainer.rows) - packed.arrays["tokens_mbt"].shape[0]
        arrays = {name: np.pad(array, ((0, missing), (0, 0), (0, 0))) for name, array in packed.arrays.items()}
        packed = dataclasses.replace(packed, arrays=arrays)
    state, numbers = trainer.update(state, packed)
    jax.block_until_ready(state)
    found = {name: float(value) for name, value in jax.device_get(numbers).items()}
    names = ("loss", "ratio_mean", "grad_norm", "entropy")
    # rows in use times their length: what the model computes
    return {name: found[name] for name in names} | {
        "computed": packed.micro_batches * trainer.rows * trainer.row_tokens
    }


about |= {"jax": jax.__version__, "trainer": config.trainer.to_dict(), "remat": config.remat}
contest.serve(work, about)
