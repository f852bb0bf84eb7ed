"""What a plan says of memory, against arrays and programs that are there: a toy run on a mesh of 8 devices."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acecoder_jax import parallel
from acecoder_jax.algorithms import reinforce_pp
from acecoder_jax.chips import Chip
from acecoder_jax.models.config import ModelConfig
from acecoder_jax.models.decoder import Model
from acecoder_jax.planning import search
from acecoder_jax.planning.compile import Compiled, compile_program
from acecoder_jax.planning.lengths import Lengths
from acecoder_jax.planning.target import rl_target, rm_target
from acecoder_jax.training import state
from acecoder_jax.training.packing import TokenSequence
from acecoder_jax.training.trainer import make_trainer
from acecoder_jax.training.update import place
from configs import rl_rm, rl_rule, rm

SIZES = ModelConfig(
    vocab_size=64, hidden_size=32, intermediate_size=64, num_layers=2, num_heads=4, num_kv_heads=2, head_dim=8
)
LENGTHS = Lengths(prompt=20, response=30, packing=0.9, occupancy=0.75)
MESH = {"data": 1, "fsdp": 4, "context": 1, "tensor": 2}


@pytest.fixture(scope="module")
def config():
    return rl_rule.get_config(
        "tiny,trainer.rows=8,minibatch=16,trainer.attention=xla,engine.slots=16,engine.backend=xla"
    ).to_dict() | {"mesh": MESH}


@pytest.fixture(scope="module")
def target(config):
    return rl_target(config, SIZES, jax.devices(), jax.devices(), LENGTHS, SIZES)


@pytest.fixture(scope="module")
def trainer(config):
    mesh = parallel.make_mesh(**MESH)
    with jax.set_mesh(mesh):
        return make_trainer(
            Model(SIZES, jnp.float32, "none"), reinforce_pp.make().loss, mesh, updates=1,
            optimizer=config["optimizer"], **config["trainer"],
        )  # fmt: skip


def on_device_0(tree):
    return sum(
        shard.data.nbytes for leaf in jax.tree.leaves(tree) for shard in leaf.addressable_shards
        if shard.device == jax.devices()[0]
    )  # fmt: skip


def batch(trainer):
    names = ("old_logp", "advantage", "loss_weight")
    arrays = {name: np.ones(5, np.float32) * (np.arange(5) > 1) for name in names}
    return trainer.pack([TokenSequence(np.arange(6, dtype=np.int32), arrays, 3)] * 16)


def test_bytes_held_are_those_of_the_arrays(target, trainer):
    params = trainer.model.init(jax.random.key(0), trainer.shardings.params)
    now = state.create(params, trainer.optimizer, trainer.shardings)
    assert target.held["parameters"] == on_device_0(now.params)
    assert target.held["optimiser"] == on_device_0(dataclasses.replace(now, params={}))
    assert target.held["reference"] == target.held["parameters"]  # this toy keeps it in float32
    assert set(target.held) == {
        "parameters", "optimiser", "reference", "reward model", "sampler's weights", "KV cache"
    }  # fmt: skip


def test_temporaries_are_those_of_the_function_that_training_runs(target, trainer):
    found = compile_program(target.programs["update"])
    with jax.set_mesh(trainer.update.mesh):
        packed = batch(trainer)
        params = trainer.model.init(jax.random.key(0), trainer.shardings.params)
        now = state.create(params, trainer.optimizer, trainer.shardings)
        arrays = place(packed.arrays, trainer.update.mesh)
        memory = trainer.update.run.lower(now, arrays, packed.micro_batches, None).compile().memory_analysis()
    assert found.temporary_bytes == memory.temp_size_in_bytes
    beside = memory.output_size_in_bytes - memory.alias_size_in_bytes
    assert found.own_bytes == memory.argument_size_in_bytes + beside
    state_bytes = target.held["parameters"] + target.held["optimiser"]
    assert state_bytes <= found.own_bytes < state_bytes + on_device_0(arrays) + 4096
    assert not found.unknown_loops and found.operations > 0


def test_every_program_compiles(target):
    assert set(target.programs) == {"update", "log-probs", "reward", "prefill", "decode"}
    for name in ("reward", "prefill", "decode"):
        found = compile_program(target.programs[name])
        assert found.operations > 0 and found.moved_bytes > 0 and not found.too_large


def test_a_reward_model_of_the_config_has_its_own_rows_type_and_devices(config):
    knobs = "tiny,trainer.rows=8,minibatch=16,engine.slots=16,engine.backend=xla,trainer.attention=xla"
    own = rl_rm.get_config(f"{knobs},reward_model.dtype=bfloat16,reward_model.attention=xla").to_dict() | {"mesh": MESH}
    found = rl_target(own, SIZES, jax.devices(), jax.devices(), LENGTHS, SIZES)
    plain = rl_target(config, SIZES, jax.devices(), jax.devices(), LENGTHS, SIZES)
    assert 2 * found.held["reward model"] == plain.held["reward model"]  # bfloat16, where the toy has float32
    program = found.programs["reward"]
    assert program.calls == 32 * 8 / 64 and dict(program.mesh.shape) == MESH
    assert compile_program(program).operations > 0
    own["reward_model"] = own["reward_model"] | {"devices": 2}
    part = rl_target(own, SIZES, jax.devices(), jax.devices(), LENGTHS, SIZES)
    assert part.programs["reward"].mesh.size == 2 and part.held["reward model"] > 2 * found.held["reward model"]


def test_what_lies_beside_a_program(target):
    held = target.held
    both = held["reference"] + held["reward model"]
    assert search.beside(target, "update") == both + held["sampler's weights"]  # pages are given back by then
    assert search.beside(target, "decode") == held["parameters"] + held["optimiser"] + both


def test_drawing_ahead_holds_a_copy_of_what_is_trained():
    """In the model's dtype; of an adapter, which is small, a copy as it is."""
    for lora, share in (("", 2), (",lora.rank=4", 1)):
        ahead = rl_rule.get_config(
            "tiny,dtype=bfloat16,trainer.rows=8,minibatch=16,engine.slots=16,engine.backend=xla,off_policy_steps=1,"
            f"algorithm_args.importance_cap=2.0{lora}"
        )
        found = rl_target(ahead.to_dict() | {"mesh": MESH}, SIZES, jax.devices(), jax.devices(), LENGTHS)
        assert found.held["sampling policy"] * share == found.held["parameters"]
        assert "KV cache" not in found.passing  # it decodes while it trains


def test_a_reward_model_s_training():
    config = rm.get_config("7b,dtype=float32,batch=8,trainer.rows=8,trainer.row_tokens=32").to_dict()
    target = rm_target(config, SIZES, jax.devices(), LENGTHS)
    assert target.most_rows == 8 and target.shards == 8
    assert compile_program(target.programs["update"]).collectives


def test_a_reward_model_s_training_with_lora():
    """The decoder is frozen, in the model's dtype; moments are those of adapter and head."""
    config = rm.get_config("7b,dtype=bfloat16,batch=8,trainer.rows=8,trainer.row_tokens=32,lora.rank=2").to_dict()
    target = rm_target(config, SIZES, jax.devices(), LENGTHS)
    plain = rm_target(config | {"lora": {"rank": 0, "alpha": 1.0, "targets": ()}}, SIZES, jax.devices(), LENGTHS)
    assert target.held["parameters"] < 0.5 * plain.held["parameters"]
    assert target.held["optimiser"] == pytest.approx(2 * target.held["parameters"], abs=64)
    assert target.held["frozen base"] == pytest.approx(plain.held["parameters"] / 2, rel=0.02)
    found = compile_program(target.programs["update"])
    assert 0 < found.own_bytes < plain.held["parameters"] + plain.held["optimiser"]


def fake(needed):
    """A compiler to which an update of n rows is needed(n) bytes."""

    return lambda program: Compiled(0, needed(program.rows), False, 1.0, 1.0, {}, (), 0.0)


@pytest.mark.parametrize(
    ("needed", "most", "tried"),
    [
        (lambda rows: 100, 16, [8, 12, 16]),
        (lambda rows: 60 * rows, 12, [8, 12]),  # 12 x 60 = 720 of 760
        (lambda rows: 10 * rows * rows, 8, [8, 12]),  # the line says 8 already known
        (lambda rows: 2000, 0, [8, 12]),
        (lambda rows: 200 * rows, 0, [8, 12]),
    ],
)
def test_the_largest_micro_batch(config, monkeypatch, needed, most, tried):
    chip = Chip("toy", 800, 1.0, 1.0, 1.0)

    @dataclasses.dataclass
    class Fake:
        rows: int
        calls: int = 1
        takes: tuple = ()
        turns: dict = dataclasses.field(default_factory=dict)
        mesh: object = dataclasses.field(default_factory=parallel.make_mesh)
        needs: tuple = ()

    def target(config, *others):
        rows = others[-1] or config["trainer"]["rows"]
        return dataclasses.replace(real, programs={"update": Fake(rows)}, held={}, shards=4, most_rows=16)

    real = rl_target(config, SIZES, jax.devices(), jax.devices(), LENGTHS)
    monkeypatch.setattr(search, "rl_target", target)
    answers = list(search.answers(config, SIZES, jax.devices(), jax.devices(), LENGTHS, chip, fake(needed)))
    assert answers[-1] == {"most_rows": most}
    assert [answer["rows"] for answer in answers[1:-1]] == tried
