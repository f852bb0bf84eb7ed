"""One loss and one update whatever the packing, the micro-batches and the mesh; log-probs back in their order."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from acecoder_jax import parallel
from acecoder_jax.algorithms import reinforce_pp
from acecoder_jax.models.config import ModelConfig
from acecoder_jax.models.decoder import UNROLLED, Model
from acecoder_jax.training import state as train_state
from acecoder_jax.training.optimizer import make_optimizer
from acecoder_jax.training.packing import Packed, TokenSequence, pack
from acecoder_jax.training.update import make_logps, make_update

CONFIG = ModelConfig(
    vocab_size=72, hidden_size=32, intermediate_size=48, num_heads=4, num_kv_heads=2, head_dim=8,
    num_layers=UNROLLED + 1,  # as in a real model, a scan: it compiles as fast as one layer
)  # fmt: skip
MODEL = Model(CONFIG, jnp.float32, "none")
LEARNING_RATE, LONGEST = 1e-3, 14
MESHES = {"fsdp4_tensor2": (1, 4, 2), "data2_fsdp2_tensor2": (2, 2, 2), "fsdp2_tensor2_context2": (1, 2, 2, 2)}


def keeps_gradient() -> optax.GradientTransformation:
    """The optimiser, with the gradient and the norm that it was given in its state."""
    adam, _ = make_optimizer(learning_rate=LEARNING_RATE, updates=10, warmup_ratio=0.0)

    def init(params: Any) -> Any:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return {"adam": adam.init(params), "gradient": zeros, "norm": jnp.zeros(())}

    def update(grads: Any, state: Any, params: Any = None, *, grad_norm: Any) -> Any:
        step, adam_state = adam.update(grads, state["adam"], params, grad_norm=grad_norm)
        return step, {"adam": adam_state, "gradient": grads, "norm": grad_norm}

    return optax.GradientTransformationExtraArgs(init, update)


OPTIMIZER = keeps_gradient()
LOSS = reinforce_pp.make().loss


@pytest.fixture(scope="module")
def params():
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: rng.normal(0, 0.2, leaf.shape).astype(np.float32), MODEL.abstract_params)


@pytest.fixture(scope="module")
def plain():
    """Twelve sequences of 1 to 14 targets."""
    rng = np.random.default_rng(1)
    lengths = [3, 14, 1, 7, 12, 5, 9, 4, 13, 2, 8, 6]
    return [TokenSequence(rng.integers(0, 72, n + 1).astype(np.int32), {}) for n in lengths]


@pytest.fixture(scope="module")
def by_hand(plain):
    """(params, old_n, advantage_n, weight_n) -> ((loss, log-probs), gradient), each sequence in a row of its own, by
    the whole log-softmax; n runs over the targets of all sequences."""
    tokens_bt = np.stack([np.pad(s.tokens, (0, LONGEST + 1 - len(s.tokens))) for s in plain])
    position_bt = np.tile(np.arange(LONGEST), (len(plain), 1))
    used_bt: Any = position_bt < np.array([len(s) for s in plain])[:, None]
    inputs: Any = (tokens_bt[:, :-1], used_bt.astype(np.int32), position_bt)

    def loss(params, old_n, advantage_n, weight_n):
        logits_btv = MODEL.logits(params, *inputs)
        logp_bt = jnp.take_along_axis(jax.nn.log_softmax(logits_btv), tokens_bt[:, 1:, None], -1)[..., 0]
        logp_n = logp_bt[used_bt]
        ratio_n = jnp.exp(logp_n - old_n)
        surrogate_n = jnp.minimum(ratio_n * advantage_n, jnp.clip(ratio_n, 0.8, 1.2) * advantage_n)
        return -jnp.sum(weight_n * surrogate_n), logp_n

    return jax.jit(jax.value_and_grad(loss, has_aux=True))


@pytest.fixture(scope="module")
def whole_logps(params, plain, by_hand):
    """Log-probs of the targets: [n] for each sequence."""
    count = sum(map(len, plain))
    (_, logp_n), _ = by_hand(params, *np.zeros((3, count), np.float32))
    return np.split(np.asarray(logp_n), np.cumsum([len(s) for s in plain])[:-1])


@pytest.fixture(scope="module")
def sequences(plain, whole_logps):
    """The same with advantages, old log-probs that put ratios on both sides of the clip, and weights that sum to 1."""
    rng = np.random.default_rng(2)
    masks = [np.ones(len(s)) * (np.arange(len(s)) >= len(s) // 3) for s in plain]
    total = sum(mask_n.sum() for mask_n in masks)
    return [
        dataclasses.replace(
            s,
            per_token={
                "old_logp": np.asarray(logp_n) + rng.normal(0, 0.3, len(s)),
                "advantage": rng.normal(size=len(s)),
                "loss_weight": mask_n / total,
            },
        )
        for s, logp_n, mask_n in zip(plain, whole_logps, masks, strict=True)
    ]


def run(params: Any, packed: Packed, update: Any = None, shardings: Any = None) -> tuple[Any, Any]:
    """One update of a fresh state."""
    placed = jax.device_put(jax.tree.map(np.copy, params), None if shardings is None else shardings.params)
    return update(train_state.create(placed, OPTIMIZER, shardings), packed)


@pytest.fixture(scope="module")
def update():
    return make_update(MODEL, LOSS, OPTIMIZER, logit_chunk=6)


@pytest.fixture(scope="module")
def packed(sequences):
    return pack(sequences, rows=4, row_tokens=16)


@pytest.fixture(scope="module")
def reference(params, update, packed):
    """State and metrics of the packed update on one device."""
    return jax.device_get(run(params, packed, update))


def assert_same_update(one: Any, other: Any) -> None:
    """Metrics and gradients agree to 1e-5, and the steps to what that leaves of Adam's g / (|g| + 1e-8)."""
    (state, metrics), (other_state, other_metrics) = jax.device_get((one, other))
    for name, value in metrics.items():
        assert value == pytest.approx(other_metrics[name], rel=1e-5), name

    def compare(g: np.ndarray, other_g: np.ndarray, after: np.ndarray, other_after: np.ndarray) -> None:
        error = 1e-5 * np.abs(other_g).max()
        np.testing.assert_allclose(g, other_g, rtol=1e-5, atol=error)
        allowed = LEARNING_RATE * (1e-4 + error / (np.abs(other_g) + 1e-8))
        assert (np.abs(after - other_after) <= allowed).all()

    gradients = state.opt_state["gradient"], other_state.opt_state["gradient"]
    jax.tree.map(compare, *gradients, state.params, other_state.params)


def test_loss_and_gradient_are_those_of_sequences_alone(params, sequences, by_hand, reference):
    names = ("old_logp", "advantage", "loss_weight")
    flat = (np.concatenate([s.per_token[name] for s in sequences]).astype(np.float32) for name in names)
    (loss, _), gradient = jax.device_get(by_hand(params, *flat))
    state, metrics = reference
    assert metrics["loss"] == pytest.approx(loss, rel=1e-5)
    assert 0.1 < metrics["clip_fraction"] < 0.9
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * np.abs(b).max()),
        state.opt_state["gradient"], gradient,
    )  # fmt: skip
    norm = np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(gradient)))
    assert metrics["grad_norm"] == state.opt_state["norm"] == pytest.approx(norm, rel=1e-5)


def test_the_update_moves_against_the_gradient_and_counts(params, reference):
    state, metrics = reference
    assert state.update == 1
    assert metrics["grad_norm"] < 1  # nothing to clip
    step = jax.tree.map(np.subtract, state.params, params)
    for moved, g in zip(jax.tree.leaves(step), jax.tree.leaves(state.opt_state["gradient"]), strict=True):
        # Adam's first step; float32 parameters of size 1 leave it an error of 1e-7
        np.testing.assert_allclose(moved, -LEARNING_RATE * g / (np.abs(g) + 1e-8), atol=LEARNING_RATE / 1000)


def test_one_sequence_a_row(params, sequences, update, packed, reference):
    """The same shape with nothing packed together: more micro-batches are in use."""
    alone = [pack([s], rows=4, row_tokens=16) for s in sequences]
    arrays = {name: np.zeros_like(array) for name, array in packed.arrays.items()}
    for i, one in enumerate(alone):
        for name, array in one.arrays.items():
            arrays[name][i // 4, i % 4] = array[0, 0]
    assert packed.micro_batches < 3
    assert_same_update(run(params, Packed(arrays, 3, (), ()), update), reference)


def test_other_micro_batches(params, sequences, reference):
    other = make_update(MODEL, LOSS, OPTIMIZER, logit_chunk=64)
    assert_same_update(run(params, pack(sequences, rows=2, row_tokens=24), other), reference)


@pytest.fixture(scope="module")
def grouped():
    """Three prompts of 3, 5 and 1 tokens with 4, 3 and 2 responses, weights on the responses alone."""
    rng = np.random.default_rng(3)
    ones = []
    for prompt, responses in ((3, 4), (5, 3), (1, 2)):
        start = rng.integers(0, 72, prompt)
        for n in rng.integers(1, 8, responses):
            tokens = np.concatenate([start, rng.integers(0, 72, n)]).astype(np.int32)
            per_token = {
                "old_logp": rng.normal(-4, 0.3, len(tokens) - 1),
                "advantage": rng.normal(size=len(tokens) - 1),
                "loss_weight": (np.arange(len(tokens) - 1) >= prompt - 1) / 40,
            }
            ones.append(TokenSequence(tokens, per_token, prompt))
    return ones


@pytest.mark.parametrize("mesh", [None, *MESHES])
def test_a_shared_prompt_gives_the_update_of_copies(params, grouped, update, mesh):
    apart = jax.device_get(run(params, pack(grouped, rows=4, row_tokens=16), update))
    packed = pack(grouped, rows=4, row_tokens=20, share=True)
    assert packed.tokens < sum(map(len, grouped)) - 10
    if mesh is None:
        shared = run(params, packed, make_update(MODEL, LOSS, OPTIMIZER, logit_chunk=6))
    else:
        mesh = parallel.make_mesh(*MESHES[mesh])
        shardings = train_state.state_shardings(train_state.abstract(MODEL.abstract_params, OPTIMIZER), mesh)
        with jax.set_mesh(mesh):
            shared = run(params, packed, make_update(MODEL, LOSS, OPTIMIZER, logit_chunk=6, mesh=mesh), shardings)
    assert_same_update(shared, apart)


def test_logps_of_shared_prompts_are_those_of_copies(params, grouped):
    apart = make_logps(MODEL, rows=4, row_tokens=16, logit_chunk=5)(params, grouped)
    shared = make_logps(MODEL, rows=2, row_tokens=24, logit_chunk=5, share=True)(params, grouped)
    for one, other, sequence in zip(shared, apart, grouped, strict=True):
        assert one.shape == (sequence.wanted,)
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_micro_batches_out_of_use_are_not_looked_at(params, update, packed, reference):
    spoilt = {name: array.copy() for name, array in packed.arrays.items()}
    for array in spoilt.values():
        array[packed.micro_batches :] = 1
    again = jax.device_get(run(params, dataclasses.replace(packed, arrays=spoilt), update))
    jax.tree.map(np.testing.assert_array_equal, again, reference)


@pytest.mark.parametrize("mesh", MESHES)
def test_eight_devices_give_the_same_update(params, packed, reference, mesh):
    mesh = parallel.make_mesh(*MESHES[mesh])
    shardings = train_state.state_shardings(train_state.abstract(MODEL.abstract_params, OPTIMIZER), mesh)
    with jax.set_mesh(mesh):
        update = make_update(MODEL, LOSS, OPTIMIZER, logit_chunk=6, mesh=mesh)
        state, metrics = run(params, packed, update, shardings)
    assert_same_update((state, metrics), reference)
    for leaf, where in zip(jax.tree.leaves(state), jax.tree.leaves(shardings), strict=True):
        assert leaf.sharding.is_equivalent_to(where, leaf.ndim)  # the next update finds all where it belongs


def test_the_old_state_is_given_up(params, update, packed):
    state = train_state.create(jax.device_put(jax.tree.map(np.copy, params)), OPTIMIZER)
    update(state, packed)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.params))


def test_a_step_that_is_not_finite_is_left_out_and_counted(params, update, packed, reference):
    spoilt = {name: array.copy() for name, array in packed.arrays.items()}
    spoilt["advantage_mbt"][0, 0, spoilt["loss_weight_mbt"][0, 0] > 0] = np.nan
    bad = dataclasses.replace(packed, arrays=spoilt)
    before = train_state.create(jax.tree.map(np.copy, params), OPTIMIZER)
    expected = jax.device_get(before)
    state, metrics = update(jax.device_put(before), bad)
    state, metrics = update(state, bad)
    jax.tree.map(np.testing.assert_array_equal, (state.params, state.opt_state), (expected.params, expected.opt_state))
    assert (int(state.update), int(state.skipped), int(state.in_a_row)) == (0, 2, 2)
    assert (metrics["skipped"], metrics["in_a_row"]) == (1, 2) and np.isnan(metrics["loss"])
    state, metrics = update(state, packed)  # the next one is as if nothing had been
    jax.tree.map(
        np.testing.assert_array_equal, (state.params, state.opt_state), (reference[0].params, reference[0].opt_state)
    )
    assert (int(state.update), int(state.skipped), int(state.in_a_row)) == (1, 2, 0)
    assert (metrics["skipped"], metrics["in_a_row"]) == (0, 0)


def test_logps(params, plain, whole_logps):
    logps = make_logps(MODEL, rows=4, row_tokens=16, logit_chunk=5)
    for one, other in zip(logps(params, plain), whole_logps, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    backwards = logps(params, plain[::-1])
    for one, other in zip(backwards, whole_logps[::-1], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("tied", [True, False])
def test_no_second_array_of_the_tables_size(tied):
    """Beside the state an update holds the gradient, the head rounded to bfloat16, and little else."""
    config = dataclasses.replace(CONFIG, vocab_size=1 << 17, tie_word_embeddings=tied)
    optimizer, _ = make_optimizer(learning_rate=LEARNING_RATE, updates=10)
    update = make_update(Model(config, jnp.bfloat16, "dots"), LOSS, optimizer, logit_chunk=16)
    state = train_state.abstract(Model(config).abstract_params, optimizer)
    arrays = {f"{name}_mbt": np.zeros((4, 1, 16), np.int32) for name in ("tokens", "target", "wanted", "segment")}
    arrays |= {f"{name}_mbt": np.zeros((4, 1, 16), np.float32) for name in ("old_logp", "advantage", "loss_weight")}
    arrays |= {"position_mbt": arrays["tokens_mbt"]}
    compiled = update.run.lower(state, arrays, 4, None).compile()
    table = 4 * config.vocab_size * config.hidden_size
    tables = (1.5 if tied else 2.5) * table
    assert tables <= compiled.memory_analysis().temp_size_in_bytes < tables + 0.4 * table
