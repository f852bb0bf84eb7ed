"""Reward models: the head, pairs in rows, the loss by hand, and an update that learns which program is better."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acecoder_jax import parallel
from acecoder_jax.models.config import ModelConfig
from acecoder_jax.models.lora import Lora
from acecoder_jax.models.reward_head import RewardModel
from acecoder_jax.training import state
from acecoder_jax.training.packing import TokenSequence
from acecoder_jax.training.pairs import TokenPair, pack_pairs
from acecoder_jax.training.reward_loss import bradley_terry
from acecoder_jax.training.reward_trainer import make_reward_trainer, make_scores

CONFIG = ModelConfig(
    vocab_size=16, hidden_size=8, intermediate_size=16, num_layers=2, num_heads=2, num_kv_heads=1, head_dim=4
)
MODEL = RewardModel.make(CONFIG, jnp.float32, "none")
A, B, C = np.array([5, 6]), np.array([7]), np.array([1, 2, 3])


def parameters(seed=0):
    decoder = MODEL.model.init(jax.random.key(seed))
    return MODEL.with_head(decoder | {"head_dv": jnp.zeros((8, 16))}, jax.random.key(seed + 1))


def test_the_head_is_a_linear_layer_on_the_hidden_states():
    params = parameters() | {"reward_bias_a": jnp.array([0.5])}
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(lambda leaf: leaf.shape, MODEL.abstract_params)
    assert "head_dv" not in params
    tokens, ones, positions = jnp.array([[1, 2, 3]]), jnp.ones((1, 3), jnp.int32), jnp.arange(3)[None]
    score_bt = MODEL.scores(params, tokens, ones, positions)
    decoder = {name: params[name] for name in MODEL.model.abstract_params}
    hidden_btd = MODEL.model.hidden(decoder, tokens, ones, positions)
    np.testing.assert_allclose(score_bt, (hidden_btd @ params["reward_da"])[..., 0] + 0.5, rtol=1e-5)


def test_pairs_in_rows():
    packed = pack_pairs([TokenPair(A, B)], rows=1, row_tokens=4)
    assert {name: array[0, 0].tolist() for name, array in packed.arrays.items()} == {
        "tokens_mbt": [5, 6, 7, 0], "segment_mbt": [1, 1, 2, 0], "position_mbt": [0, 1, 0, 0],
        "loss_weight_mbt": [0, 1, 0, 0], "other_mbt": [0, 2, 0, 0],
    }  # fmt: skip
    packed = pack_pairs([TokenPair(A, B), TokenPair(C, A), TokenPair(B, A)], rows=2, row_tokens=8)
    assert packed.micro_batches == 1 and packed.places == ((0, 0, 6), (0, 0, 2), (0, 1, 0))
    with pytest.raises(ValueError, match="a pair of 5 tokens together is longer than a row of 4"):
        pack_pairs([TokenPair(C, A)], rows=1, row_tokens=4)
    with pytest.raises(ValueError, match="no pairs"):
        pack_pairs([], rows=1, row_tokens=4)


def test_the_loss_by_hand():
    packed = pack_pairs([TokenPair(A, B), TokenPair(B, A)], rows=1, row_tokens=8)
    batch = {f"{name.removesuffix('_mbt')}_bt": array[0] for name, array in packed.arrays.items()}
    score_bt = jnp.array([[9.0, 2.0, 1.0, -1.0, 9.0, 3.0, 9.0, 9.0]])  # 2 against 1, and -1 against 3
    loss, metrics = bradley_terry(score_bt, batch)
    assert loss == pytest.approx((np.log1p(np.exp(-1)) + np.log1p(np.exp(4))) / 2, rel=1e-6)
    assert (metrics["accuracy"], metrics["margin"]) == (0.5, pytest.approx((1 - 4) / 2))


def train(mesh, rows, pairs, steps=30):
    with jax.set_mesh(mesh):
        trainer = make_reward_trainer(
            MODEL, mesh, updates=30, optimizer={"learning_rate": 3e-2}, rows=rows, row_tokens=8
        )
        now = state.create(jax.device_put(parameters(), trainer.shardings.params), trainer.optimizer, trainer.shardings)
        history = []
        for _ in range(steps):
            now, metrics = trainer.update(now, pack_pairs(pairs, rows=trainer.rows, row_tokens=trainer.row_tokens))
            history.append(float(metrics["loss"]))
        scores = make_scores(trainer.model, mesh, rows=rows, row_tokens=8)
        better = scores(now.params, [TokenSequence(np.append(pair.chosen, 0), {}) for pair in pairs])
        worse = scores(now.params, [TokenSequence(np.append(pair.rejected, 0), {}) for pair in pairs])
    return history, float(metrics["margin"]), np.mean([b[-1] - w[-1] for b, w in zip(better, worse, strict=True)])


def test_an_update_learns_whatever_the_mesh_and_the_micro_batch():
    pairs = [TokenPair(A, B), TokenPair(C, A), TokenPair(C, B), TokenPair(A[::-1], A)] * 2
    alone, _, margin = train(parallel.make_mesh(fsdp=1, devices=jax.devices()[:1]), 2, pairs)
    assert alone[-1] < 0.1 * alone[0] and margin > 2
    spread, _, _ = train(parallel.make_mesh(data=2, fsdp=2, tensor=2), 8, pairs, steps=2)
    np.testing.assert_allclose(spread, alone[:2], rtol=1e-4)


LORA = RewardModel.make(CONFIG, jnp.float32, "none", lora=Lora(2, 4.0, ("q", "down")))


def train_adapter(mesh, pairs, steps):
    """(losses, trained parameters, scores with the adapter beside its base, scores with it merged)."""
    decoder = jax.device_get({name: leaf for name, leaf in parameters().items() if not name.startswith("reward")})
    with jax.set_mesh(mesh):
        trainer = make_reward_trainer(LORA, mesh, updates=40, optimizer={"learning_rate": 3e-2}, rows=4, row_tokens=8)
        base = jax.device_put(decoder, trainer.base_shardings)
        now = state.create(trainer.adapter(0), trainer.optimizer, trainer.shardings)
        for leaf, where in zip(jax.tree.leaves(now), jax.tree.leaves(trainer.shardings), strict=True):
            assert leaf.sharding.is_equivalent_to(where, leaf.ndim)
        losses = []
        for _ in range(steps):
            now, metrics = trainer.update(now, pack_pairs(pairs, rows=4, row_tokens=8), base)
            losses.append(float(metrics["loss"]))
        texts = [TokenSequence(np.append(text, 0), {}) for pair in pairs for text in (pair.chosen, pair.rejected)]
        joined = make_scores(trainer.model, mesh, rows=4, row_tokens=8)(trainer.whole(now.params, base), texts)
        plain = make_scores(MODEL, mesh, rows=4, row_tokens=8)
        merged = plain(trainer.model.merged(base, now.params), texts)
        jax.tree.map(np.testing.assert_array_equal, jax.device_get(base), decoder)
        with pytest.raises(ValueError, match="takes the frozen base"):
            trainer.update(now, pack_pairs(pairs, rows=4, row_tokens=8))
    return losses, jax.device_get(now.params), joined, merged


def test_an_adapter_and_the_head_learn_beside_a_frozen_decoder():
    pairs = [TokenPair(A, B), TokenPair(C, A), TokenPair(C, B), TokenPair(A[::-1], A)]
    losses, params, joined, merged = train_adapter(parallel.make_mesh(fsdp=1, devices=jax.devices()[:1]), pairs, 40)
    assert losses[-1] < 0.3 * losses[0]
    assert params.keys() == {"layers", "reward_da", "reward_bias_a"}
    assert params["layers"].keys() == {"q_a_dr", "q_b_rnh", "down_a_fr", "down_b_rd"}
    for one, other in zip(joined, merged, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    spread, *_ = train_adapter(parallel.make_mesh(data=2, fsdp=2, tensor=2), pairs, 2)
    np.testing.assert_allclose(spread, losses[:2], rtol=1e-4)


def test_rows_that_cannot_be_split_over_the_mesh_are_refused():
    with pytest.raises(ValueError, match="rows is 6: not a multiple of the 8 shards"):
        make_reward_trainer(
            MODEL, parallel.make_mesh(), updates=1, optimizer={"learning_rate": 1.0}, rows=6, row_tokens=8
        )
