"""The programs of a run and the arrays that it holds, as training and sampling make them, over devices not there.

Nothing here is a copy: trainer, reward trainer and engine are built on the mesh of the topology, and their own jitted
functions are traced over shapes with shardings.
"""

import dataclasses
import functools
import math
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from acecoder_jax import algorithms, parallel
from acecoder_jax.models import lora
from acecoder_jax.models.config import ModelConfig
from acecoder_jax.models.decoder import Model
from acecoder_jax.models.reward_head import RewardModel
from acecoder_jax.models.sharding import param_shardings
from acecoder_jax.planning.lengths import Lengths
from acecoder_jax.reward_models.scorer import BATCH
from acecoder_jax.sampling.draw import Needs, SamplingParams
from acecoder_jax.sampling.engine import Engine
from acecoder_jax.sampling.steps import DECODE_STEPS
from acecoder_jax.training import offload
from acecoder_jax.training.comparisons import TextGroup
from acecoder_jax.training.packing import TokenSequence
from acecoder_jax.training.reward_trainer import make_reward_trainer, make_scores
from acecoder_jax.training.trainer import make_trainer
from acecoder_jax.training.update import placed
from acecoder_jax.types import Completion


@dataclasses.dataclass(frozen=True)
class Program:
    """trace: the jitted function, traced. turns: how often its loops turn, by their scopes. takes: which of the run's
    arrays are its arguments. calls: how often a step calls it, on each device. needs: passing arrays beside it.
    """

    trace: Callable[[], Any]
    mesh: Mesh
    turns: Mapping[str, float]
    takes: tuple[str, ...]
    calls: float
    needs: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Target:
    """programs by name. held: the run's arrays by name, bytes a device. passing: those held only while they are used.

    rows come in multiples of `shards`, and more than most_rows are never used. moved: bytes that a call of a program of
    the engine reads at least: weights, and the keys and values of rows of the assumed length.
    """

    programs: dict[str, Program]
    held: dict[str, int]
    passing: tuple[str, ...]
    shards: int
    most_rows: int
    hosts: int
    moved: dict[str, float]


def bytes_a_device(tree: Any) -> int:
    """Bytes of a tree of shapes with shardings on each device, what waits in the host's memory left out."""
    return sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(tree)
        if leaf.sharding.memory_kind != offload.HOST
    )


def shaped(tree: Any, shardings: Any, dtype: Any = None) -> Any:
    """A tree of shapes with its shardings, of its own types or of one."""
    return jax.tree.map(
        lambda leaf, where: jax.ShapeDtypeStruct(leaf.shape, dtype or leaf.dtype, sharding=where), tree, shardings
    )


def rl_target(
    config: Mapping[str, Any], model_config: ModelConfig, devices: Sequence[jax.Device], host: Sequence[jax.Device],
    lengths: Lengths, reward_config: ModelConfig | None = None, rows: int | None = None,
) -> Target:  # fmt: skip
    """Reinforcement learning by a config of stages/train_rl.py.

    host: the devices of one host, where it samples. reward_config: of a reward model, on the same mesh where the config
    does not say otherwise. rows: instead of the config's.
    """
    mesh = parallel.make_mesh(**config["mesh"], devices=devices)
    dtype = jnp.dtype(config["dtype"])
    shape = config["trainer"] | ({} if rows is None else {"rows": rows})
    algorithm = algorithms.make(config["algorithm"], **config["algorithm_args"])
    model = Model(model_config, dtype, config["remat"], lora=lora.make(**config["lora"]))
    samples = config["prompts_per_rollout"] * config["samples_per_prompt"]
    minibatch = min(config["minibatch"], samples)
    updates = -(-samples // minibatch) * config["passes"]
    with jax.set_mesh(mesh):
        trainer = make_trainer(model, algorithm.loss, mesh, updates=1, optimizer=config["optimizer"], **shape)
    state = shaped(trainer.abstract, trainer.shardings)
    held = {"parameters": state.params, "optimiser": dataclasses.replace(state, params={})}
    base = shaped(model.abstract_params, trainer.model_shardings, dtype) if model.lora else None
    if base is not None:
        held["frozen base"] = base
    elif algorithm.needs_ref:
        held["reference"] = shaped(trainer.abstract.params, trainer.model_shardings, dtype)
    if config["off_policy_steps"]:
        held["sampling policy"] = shaped(jax.eval_shape(trainer.copy, state.params), trainer.shardings.params)
    few = [_completion(sample) for sample in range(minibatch)]
    zeros = [np.zeros(len(one.tokens), np.float32) for one in few]
    sequences, _ = algorithm.prepare(few, [1.0] * len(few), zeros, zeros)
    batch = trainer.pack(sequences)
    plain = trainer.logps.pack([dataclasses.replace(one, per_token={}) for one in sequences])
    packed = functools.partial(lengths.turns, mesh, shape["rows"], shape["row_tokens"], shape["logit_chunk"])
    programs = {
        "update": Program(
            lambda: trainer.update.run.trace(state, placed(batch.arrays, mesh), batch.micro_batches, base),
            mesh, packed(minibatch), ("parameters", "optimiser", "frozen base"), updates,
        ),
        "log-probs": Program(
            lambda: trainer.logps.run.trace(
                trainer.whole(state.params, base), placed(plain.arrays, mesh), plain.micro_batches
            ),
            mesh, packed(samples), ("parameters", "frozen base"), 1 + algorithm.needs_ref, ("reference",),
        ),
    }  # fmt: skip
    if reward_config is not None:
        wanted = config.get("reward_model", shape | {"dtype": dtype, "devices": 0})
        params, programs["reward"] = _reward(reward_config, wanted, devices, mesh, lengths, samples)
        held["reward model"] = params
    sampler = _sampler(config, model_config, host, lengths, samples * len(host) / len(devices))
    return Target(
        programs | sampler.programs,
        {name: bytes_a_device(tree) for name, tree in held.items()} | sampler.held,
        (() if config["off_policy_steps"] else sampler.passing)
        + (("reference",) if "reference" in config["trainer"]["offload"] else ()),
        parallel.row_shards(mesh), minibatch, len(devices) // len(host), sampler.moved,
    )  # fmt: skip


def _reward(
    sizes: ModelConfig, wanted: Mapping[str, Any], devices: Sequence[jax.Device], mesh: Mesh, lengths: Lengths,
    samples: int,
) -> tuple[Any, Program]:  # fmt: skip
    """The parameters of a reward model and its scores of a rollout. wanted: as config.reward_model."""
    if wanted["devices"]:
        mesh = parallel.make_mesh(devices=devices[: wanted["devices"]])
    model = RewardModel.make(sizes, jnp.dtype(wanted["dtype"]), remat="none")
    params = shaped(model.abstract_params, param_shardings(model.abstract_params, mesh), model.model.dtype)
    rows, row_tokens = wanted["rows"] or parallel.row_shards(mesh), wanted["row_tokens"]
    scores = make_scores(
        model, mesh, rows=rows, row_tokens=row_tokens, attention=wanted["attention"], allocate=BATCH, of="reward_model."
    )  # fmt: skip
    texts = scores.pack([TokenSequence(np.zeros(2, np.int32), {}, 1)] * BATCH)
    program = Program(
        lambda: scores.run.trace(params, placed(texts.arrays, mesh), texts.micro_batches),
        mesh, lengths.turns(mesh, rows, row_tokens, row_tokens, BATCH), ("reward model",), math.ceil(samples / BATCH),
    )  # fmt: skip
    return params, program


def _sampler(
    config: Mapping[str, Any], model_config: ModelConfig, host: Sequence[jax.Device], lengths: Lengths, samples: float
) -> Target:
    """The engine of a host and its part of the samples."""
    names = types.SimpleNamespace(eos_token_id=0, convert_tokens_to_ids=lambda token: None)
    engine = Engine(
        model_config, names, seed=0, dtype=jnp.dtype(config["dtype"]),
        mesh=parallel.make_mesh(**config["decode_mesh"], devices=host),
        max_prompt_tokens=config["max_prompt_tokens"], max_new_tokens=config["max_new_tokens"], **config["engine"],
    )  # fmt: skip
    needs = Needs.of([SamplingParams(max_new_tokens=config["max_new_tokens"], **config["sampling"])])
    weights, pages = engine.abstract
    layout, chunk = engine.layout, config["engine"]["chunk"]
    held = {"sampler's weights": bytes_a_device(weights), "KV cache": bytes_a_device(pages)}
    busy = lengths.busy_slots(layout)
    kv = busy * (lengths.prompt + lengths.response / 2) * engine.token_bytes / engine.mesh.size
    steps = samples * lengths.response / busy
    reads = samples / config["samples_per_prompt"] * lengths.prompt / (layout.prefill_rows * layout.prefill_width)
    traced: dict[str, Any] = {}

    def trace(name: str) -> Any:
        traced.update({} if traced else engine.trace(needs))
        return traced[name]

    takes = tuple(held)
    return Target(
        {
            "prefill": Program(lambda: trace("prefill"), engine.mesh, {}, takes, math.ceil(reads)),
            "decode": Program(
                lambda: trace("decode"), engine.mesh, {DECODE_STEPS: chunk}, takes, math.ceil(steps / chunk)
            ),
        },
        held, ("KV cache",), 1, layout.slots, 1,
        {"prefill": held["sampler's weights"], "decode": chunk * (held["sampler's weights"] + kv)},
    )  # fmt: skip


def rm_target(
    config: Mapping[str, Any], model_config: ModelConfig, devices: Sequence[jax.Device], lengths: Lengths,
    rows: int | None = None,
) -> Target:  # fmt: skip
    """Training of a reward model by a config with the stage train_rm. rows: instead of the config's."""
    mesh = parallel.make_mesh(**config["mesh"], devices=devices)
    shape = config["trainer"] | ({} if rows is None else {"rows": rows})
    dtype, adapter = jnp.dtype(config["dtype"]), lora.make(**config["lora"])
    model = RewardModel.make(model_config, dtype, config["remat"], lora=adapter)
    trainer = make_reward_trainer(model, mesh, updates=1, optimizer=config["optimizer"], **shape, **config["objective"])
    state = shaped(trainer.abstract, trainer.shardings)
    held = {"parameters": state.params, "optimiser": dataclasses.replace(state, params={})}
    base = shaped(model.model.abstract_params, trainer.base_shardings, dtype) if adapter else None
    if base is not None:
        held["frozen base"] = base
    text = np.zeros(2, np.int32)
    batch = trainer.pack([TextGroup.pair(text, text)] * config["batch"])
    turns = lengths.turns(mesh, trainer.rows, trainer.row_tokens, trainer.row_tokens, 2 * config["batch"])
    update = Program(
        lambda: trainer.update.run.trace(state, placed(batch.arrays, mesh), batch.micro_batches, base),
        mesh, turns, ("parameters", "optimiser", "frozen base"), 1,
    )  # fmt: skip
    return Target(
        {"update": update}, {name: bytes_a_device(tree) for name, tree in held.items()}, (),
        parallel.row_shards(mesh), config["batch"], len({device.process_index for device in devices}), {},
    )  # fmt: skip


def _completion(sample: int) -> Completion:
    """A short one: the shape of a packed mini-batch depends on the number of its sequences alone."""
    two = (0.0, 0.0)
    return Completion(f"{sample}", sample, 0, (0, 0), (0, 0), two, two, (1, 1), "", "stop")
