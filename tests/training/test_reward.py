"""Reward models: head and dropout, compared texts in rows, the losses by hand, an update that learns to rank."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acecoder_jax import parallel
from acecoder_jax.models.config import ModelConfig
from acecoder_jax.models.lora import Lora
from acecoder_jax.models.reward_head import Dropout, RewardModel
from acecoder_jax.training import state
from acecoder_jax.training.comparisons import TextGroup, beginning, pack_groups
from acecoder_jax.training.packing import TokenSequence
from acecoder_jax.training.reward_loss import bradley_terry
from acecoder_jax.training.reward_metrics import calibration_error, comparison_metrics, correlations
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


def test_a_pair_in_a_row():
    packed = pack_groups([TextGroup.pair(A, B, 0.5, noise=(8, 9))], rows=1, row_tokens=4)
    assert {name: array[0, 0].tolist() for name, array in packed.arrays.items()} == {
        "tokens_mbt": [5, 6, 7, 0], "segment_mbt": [1, 1, 2, 0], "position_mbt": [0, 1, 0, 0],
        "better_mbt": [1, 0, 0, 0], "worse_mbt": [2, 0, 0, 0], "loss_weight_mbt": [1, 0, 0, 0],
        "gap_mbt": [0.5, 0, 0, 0], "noise_mbt": [0, 8, 9, 0], "share_mbt": [1, 0, 0, 0],
    }  # fmt: skip


def test_groups_in_rows():
    pairs = [TextGroup.pair(A, B), TextGroup.pair(C, A), TextGroup.pair(B, A)]
    packed = pack_groups(pairs, rows=2, row_tokens=8)
    assert packed.micro_batches == 1 and packed.places == ((0, 0, 5), (0, 0, 0), (0, 1, 0))
    assert pack_groups(pairs, rows=2, row_tokens=8, allocate=5).arrays["tokens_mbt"].shape == (3, 2, 8)
    three = TextGroup((A, B, C), ((2, 0, 0.5), (2, 1, 0.75), (0, 1, 0.25)), (1, 2, 3))
    arrays = pack_groups([three, TextGroup.pair(B, B)], rows=1, row_tokens=8).arrays
    assert arrays["better_mbt"][0, 0].tolist() == [5, 5, 1, 0, 0, 0, 6, 0]
    assert arrays["worse_mbt"][0, 0].tolist() == [1, 2, 2, 0, 0, 0, 7, 0]
    weights = [1 / 6, 1 / 6, 1 / 6, 0, 0, 0, 1 / 2, 0]
    np.testing.assert_allclose(arrays["loss_weight_mbt"][0, 0], weights, rtol=1e-6)
    assert arrays["segment_mbt"][0, 0].tolist() == [1, 1, 2, 3, 3, 3, 4, 5]


def test_what_texts_begin_with_alike_stands_once():
    one, two, three = np.array([1, 2, 5, 6]), np.array([1, 2, 7]), np.array([1, 2, 5])
    group = TextGroup((one, two, three), ((0, 1, 0.5), (0, 2, 1.0)), (7, 8, 9))
    assert beginning(group.texts) == 2 and (group.places(True), group.places(False)) == (6, 10)
    packed = pack_groups([group, TextGroup.pair(A, B)], rows=1, row_tokens=10, share=True)
    weights = ("loss_weight_mbt", "share_mbt")
    assert {name: array[0, 0].tolist() for name, array in packed.arrays.items() if name not in weights} == {
        "tokens_mbt": [1, 2, 5, 6, 7, 5, 5, 6, 7, 0], "segment_mbt": [1, 1, 1, 1, 1, 1, 2, 2, 3, 0],
        "position_mbt": [0, 1, 2, 3, 2, 2, 0, 1, 0, 0], "branch_mbt": [0, 0, 1, 1, 2, 3, 0, 0, 0, 0],
        "better_mbt": [3, 3, 0, 0, 0, 0, 7, 0, 0, 0], "worse_mbt": [4, 5, 0, 0, 0, 0, 8, 0, 0, 0],
        "gap_mbt": [0.5, 1, 0, 0, 0, 0, 0, 0, 0, 0], "noise_mbt": [0, 0, 0, 7, 8, 9, 0, 0, 0, 0],
    }  # fmt: skip
    assert packed.tokens == 9
    assert beginning((A, A)) == 1 and beginning((C, A)) == 0 and beginning((A,)) == 1


def test_an_update_is_the_same_with_the_question_shared():
    three = (np.array([1, 2, 5, 6]), np.array([1, 2, 7]), np.array([1, 2, 5]))
    groups = [
        TextGroup(three, ((0, 1, 0.5), (0, 2, 1.0)), (7, 8, 9)),
        TextGroup.pair(np.array([3, 9, 9, 4]), np.array([3, 9, 4]), 0.5, (1, 2)),
    ]
    mesh = parallel.make_mesh(fsdp=1, devices=jax.devices()[:1])
    found = []
    with jax.set_mesh(mesh):
        trainer = make_reward_trainer(
            MODEL, mesh, updates=2, optimizer={"learning_rate": 1e-2}, rows=1, row_tokens=12, attention="xla",
            dropout=0.3, margin=1.0, centering=0.1,
        )  # fmt: skip
        assert "branch_mbt" in trainer.pack(groups).arrays
        for share in (True, False):
            params = jax.device_put(parameters(), trainer.shardings.params)
            now = state.create(params, trainer.optimizer, trainer.shardings)
            packed = pack_groups(groups, rows=1, row_tokens=12, share=share)
            assert packed.micro_batches == (1 if share else 2)
            now, metrics = trainer.update(now, packed)
            found.append((metrics, jax.device_get(now.params)))
    for name in ("loss", "accuracy", "margin", "grad_norm"):
        np.testing.assert_allclose(found[0][0][name], found[1][0][name], rtol=1e-4)
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, atol=2e-4), found[0][1], found[1][1])


def test_groups_that_cannot_be_packed():
    with pytest.raises(ValueError, match="texts of 5 tokens together are compared: that is longer than a row of 4"):
        pack_groups([TextGroup.pair(C, A)], rows=1, row_tokens=4)
    with pytest.raises(ValueError, match="there are no groups"):
        pack_groups([], rows=1, row_tokens=4)
    with pytest.raises(ValueError, match="a group of 2 tokens has 3 comparisons, not 1 to 2"):
        pack_groups([TextGroup((B, B), ((0, 1, 0.0),) * 3, (0, 0))], rows=1, row_tokens=4)


def loss_of(groups, scores, **knobs):
    """The loss and its metrics where the texts have these scores, in the order in which they stand in one row."""
    packed = pack_groups(groups, rows=1, row_tokens=16)
    batch = {f"{name.removesuffix('_mbt')}_bt": array[0] for name, array in packed.arrays.items()}
    score_bt = np.full((1, 16), 9.0, np.float32)  # no other place is read
    segment_t = batch["segment_bt"][0]
    for number, score in enumerate(scores, start=1):
        score_bt[0, np.flatnonzero(segment_t == number)[-1]] = score
    return bradley_terry(jnp.asarray(score_bt), batch, **knobs)


def test_the_loss_on_pairs_by_hand():
    loss, metrics = loss_of([TextGroup.pair(A, B), TextGroup.pair(B, A)], [2, 1, -1, 3])
    assert loss == pytest.approx((np.log1p(np.exp(-1)) + np.log1p(np.exp(4))) / 2, rel=1e-6)
    assert (metrics["accuracy"], metrics["margin"]) == (0.5, pytest.approx((1 - 4) / 2))


def test_the_margin_term_and_the_centering_by_hand():
    groups = [TextGroup.pair(A, B, gap=0.5), TextGroup.pair(B, A, gap=1.0)]
    loss, metrics = loss_of(groups, [2, 1, -1, 3], margin=2.0)  # differences 1 - 2 * 0.5 and -4 - 2 * 1.0
    assert loss == pytest.approx((np.log(2) + np.log1p(np.exp(6))) / 2, rel=1e-6)
    assert metrics["margin"] == pytest.approx((1 - 4) / 2)
    plain, _ = loss_of(groups, [2, 1, -1, 3])
    loss, _ = loss_of(groups, [2, 1, -1, 3], centering=0.1)  # sums 3 and 2
    assert loss == pytest.approx(float(plain) + 0.1 * (9 + 4) / 2, rel=1e-6)


def test_the_loss_over_all_programs_of_a_question_by_hand():
    three = TextGroup((A, B, C), ((2, 0, 0.5), (2, 1, 0.75)), (1, 2, 3))
    loss, metrics = loss_of([three, TextGroup.pair(B, B)], [1, 2, 2, 0.5, 0])
    of_three = (np.log1p(np.exp(-1)) + np.log(2)) / 2  # 2 before 1, 2 before 2
    assert loss == pytest.approx((of_three + np.log1p(np.exp(-0.5))) / 2, rel=1e-6)
    assert (metrics["accuracy"], metrics["margin"]) == (0.75, pytest.approx((0.5 + 0.5) / 2))


def test_equation_1_of_the_paper_by_hand():
    # four programs were sampled, A twice: 12 ordered pairs, of which C before A is two, and C before B one
    four = TextGroup((A, B, C), ((2, 0, 0.5), (2, 1, 0.75)), (1, 2, 3), (2 / 12, 1 / 12))
    loss, metrics = loss_of([four], [1, 3, 2])
    assert loss == pytest.approx(2 / 12 * np.log1p(np.exp(-1)) + 1 / 12 * np.log1p(np.exp(1)), rel=1e-6)
    assert metrics["accuracy"] == pytest.approx(2 / 3) and metrics["margin"] == pytest.approx((2 - 1) / 3)


def train(mesh, rows, pairs, steps=30):
    with jax.set_mesh(mesh):
        trainer = make_reward_trainer(
            MODEL, mesh, updates=30, optimizer={"learning_rate": 3e-2}, rows=rows, row_tokens=8
        )
        now = state.create(jax.device_put(parameters(), trainer.shardings.params), trainer.optimizer, trainer.shardings)
        history = []
        for _ in range(steps):
            now, metrics = trainer.update(now, trainer.pack(pairs))
            history.append(float(metrics["loss"]))
        scores = make_scores(trainer.model, mesh, rows=rows, row_tokens=8)
        better = scores(now.params, [TokenSequence(np.append(pair.texts[0], 0), {}) for pair in pairs])
        worse = scores(now.params, [TokenSequence(np.append(pair.texts[1], 0), {}) for pair in pairs])
    return history, float(metrics["margin"]), np.mean([b[-1] - w[-1] for b, w in zip(better, worse, strict=True)])


def test_an_update_learns_whatever_the_mesh_and_the_micro_batch():
    pairs = [TextGroup.pair(A, B), TextGroup.pair(C, A), TextGroup.pair(C, B), TextGroup.pair(A[::-1], A)] * 2
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
            now, metrics = trainer.update(now, trainer.pack(pairs), base)
            losses.append(float(metrics["loss"]))
        texts = [TokenSequence(np.append(text, 0), {}) for pair in pairs for text in pair.texts]
        joined = make_scores(trainer.model, mesh, rows=4, row_tokens=8)(trainer.whole(now.params, base), texts)
        plain = make_scores(MODEL, mesh, rows=4, row_tokens=8)
        merged = plain(trainer.model.merged(base, now.params), texts)
        jax.tree.map(np.testing.assert_array_equal, jax.device_get(base), decoder)
        with pytest.raises(ValueError, match="takes the frozen base"):
            trainer.update(now, trainer.pack(pairs))
    return losses, jax.device_get(now.params), joined, merged


def test_an_adapter_and_the_head_learn_beside_a_frozen_decoder():
    pairs = [TextGroup.pair(A, B), TextGroup.pair(C, A), TextGroup.pair(C, B), TextGroup.pair(A[::-1], A)]
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
    with pytest.raises(ValueError, match=r"trainer\.rows is 6: not a multiple of the 8 shards"):
        make_scores(MODEL, parallel.make_mesh(), rows=6, row_tokens=8)
    assert make_scores(MODEL, parallel.make_mesh(), rows=0, row_tokens=8).rows == 8


def first_update(groups, rows, row_tokens, dropout=0.5, mesh=None, **knobs):
    """Loss and gradient norm of one update."""
    mesh = mesh or parallel.make_mesh(fsdp=1, devices=jax.devices()[:1])
    with jax.set_mesh(mesh):
        trainer = make_reward_trainer(
            MODEL, mesh, updates=1, optimizer={"learning_rate": 1e-3}, rows=rows, row_tokens=row_tokens,
            dropout=dropout, **knobs,
        )  # fmt: skip
        now = state.create(jax.device_put(parameters(), trainer.shardings.params), trainer.optimizer, trainer.shardings)
        _, metrics = trainer.update(now, trainer.pack(groups))
    return np.array([float(metrics[name]) for name in ("loss", "margin", "grad_norm")])


def test_dropout_is_a_function_of_the_text_alone():
    """The same loss and gradient whatever stands beside a text, and on any mesh."""
    groups = [TextGroup.pair(A, B, 0.5, (11, 12)), TextGroup.pair(C, A, 1.0, (13, 14)),
              TextGroup((A[::-1], C, B), ((0, 1, 0.0), (0, 2, 0.0)), (15, 16, 17))]  # fmt: skip
    alone = first_update(groups, 1, 8, margin=0.5, centering=0.1)
    np.testing.assert_allclose(first_update(groups[::-1], 2, 16, margin=0.5, centering=0.1), alone, rtol=1e-5)
    mesh = parallel.make_mesh(data=2, fsdp=2, tensor=2)
    np.testing.assert_allclose(first_update(groups, 4, 8, mesh=mesh, margin=0.5, centering=0.1), alone, rtol=1e-4)
    others = [dataclasses.replace(group, noise=tuple(n + 100 for n in group.noise)) for group in groups]
    assert abs(first_update(others, 1, 8, margin=0.5, centering=0.1) - alone)[1] > 1e-4
    with pytest.raises(ValueError, match="dropout is 1: a rate is at least 0 and below 1"):
        first_update(groups, 1, 8, dropout=1)


def test_dropout_zeroes_a_share_and_scales_the_rest():
    hidden_btd = jnp.full((2, 3, 4000), 3.0, jnp.bfloat16)
    noise_bt = jnp.array([[1, 2, 3], [3, 2, 0]], jnp.uint32)
    out_btd = np.asarray(Dropout(0.1, noise_bt)(hidden_btd))
    assert set(np.unique(out_btd)) == {0.0, np.float32(3.0) / np.float32(0.9)}
    np.testing.assert_allclose((out_btd == 0).mean(-1), 0.1, atol=0.02)
    np.testing.assert_array_equal(out_btd[0, 2], out_btd[1, 0])
    assert (out_btd[0, 0] != out_btd[0, 1]).any()


def test_held_out_numbers_by_hand():
    numbers = comparison_metrics(np.array([2.0, 0.0]), np.array([1.0, 1.0]))
    p, q = 1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1))
    assert numbers == pytest.approx(
        {"accuracy": 0.5, "margin": 0, "loss": (np.log1p(np.exp(-1)) + np.log1p(np.exp(1))) / 2,
         "brier": ((1 - p) ** 2 + (1 - q) ** 2) / 2, "ece": p - 0.5}
    )  # fmt: skip
    sure = comparison_metrics(np.array([2.0]), np.array([1.0]))
    assert (sure["ece"], sure["brier"]) == (pytest.approx(0.2689, abs=1e-4), pytest.approx(0.0723, abs=1e-4))
    assert comparison_metrics(np.array([1.0]), np.array([1.0]))["accuracy"] == 0
    assert calibration_error(np.array([0.05, 0.05, 1.0, 0.95]), np.array([0, 1, 1, 1])) == pytest.approx(
        (abs(0.1 - 1) + abs(1.95 - 2)) / 4
    )


def test_correlations_by_hand():
    found = correlations([1, 2, 3, 3], [10, 20, 30, 1000])
    assert found["spearman"] == pytest.approx(0.9487, abs=1e-4)  # ranks 1, 2, 3.5, 3.5 and 1, 2, 3, 4
    assert found["pearson"] == pytest.approx(np.corrcoef([1, 2, 3, 3], [10, 20, 30, 1000])[0, 1])
    assert np.isnan(correlations([1, 1], [1, 2])["pearson"])
