"""REINFORCE++ by hand arithmetic."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acecoder_jax import algorithms
from acecoder_jax.algorithms import reinforce_pp
from acecoder_jax.types import Completion


def completion(problem: str, prompt: tuple[int, ...], tokens: tuple[int, ...]) -> Completion:
    behavior = tuple(-0.1 * (i + 1) for i in range(len(tokens)))
    return Completion(problem, 0, 0, prompt, tokens, behavior, behavior, (1,) * len(tokens), "", "stop")


TWO = [completion("a", (10, 11), (20, 1)), completion("b", (12,), (21, 22, 1))]
OLD = [np.array([-1.0, -2.0]), np.array([-0.5, -1.0, -1.5])]
REF = [np.array([-1.5, -2.0]), np.array([-0.5, -0.5, -1.5])]


def test_returns_to_go_by_hand():
    # token rewards: -0.1 x 0.5 = -0.05; -0.1 x 0 + 1 = 1
    np.testing.assert_allclose(reinforce_pp.returns_to_go(1.0, np.array([0.5, 0.0]), 0.1), [0.95, 1.0])
    np.testing.assert_allclose(reinforce_pp.returns_to_go(0.0, np.array([1.0, -2.0, 3.0]), 0.5), [-1.0, -0.5, -1.5])


def test_advantages_are_whitened_over_all_response_tokens_with_the_biased_deviation():
    algorithm = reinforce_pp.make(kl_coef=0.1)
    sequences, metrics = algorithm.prepare(TWO, [1.0, 0.0], OLD, REF)
    # a: log ratios [0.5, 0] -> [0.95, 1]; b: log ratios [0, -0.5, 0] -> token rewards [0, 0.05, 0] -> [0.05, 0.05, 0]
    returns = [0.95, 1.0, 0.05, 0.05, 0.0]
    mean = sum(returns) / 5
    deviation = math.sqrt(sum((value - mean) ** 2 for value in returns) / 5)
    white = [(value - mean) / deviation for value in returns]
    np.testing.assert_allclose(sequences[0].per_token["advantage"], [0, *white[:2]], atol=1e-6)
    np.testing.assert_allclose(sequences[1].per_token["advantage"], white[2:], atol=1e-6)
    assert metrics["return_mean"] == pytest.approx(mean)


def test_the_arithmetic_leaves_its_arguments_alone():
    log_ratio_n = np.array([1.0, 2.0])
    reinforce_pp.returns_to_go(1.0, log_ratio_n, 0.1)
    assert log_ratio_n.tolist() == [1.0, 2.0]


def test_whitening_of_equal_values_is_nothing():
    assert np.abs(reinforce_pp.whiten([np.full(3, 0.1)], [np.ones(3)])[0]).max() < 1e-6


def test_tokens_that_the_policy_did_not_write_are_out_of_the_loss_and_of_the_statistics():
    first = dataclasses.replace(TWO[0], policy_mask=(0, 1))
    second = completion("b", (12,), (1,))
    sequences, _ = reinforce_pp.make(kl_coef=0.0).prepare([first, second], [3.0, 1.0], [OLD[0], OLD[1][:1]], None)
    assert sequences[0].per_token["loss_weight"].tolist() == [0, 0, 1]
    # returns of the policy's own tokens: 3 and 1, so mean 2 and deviation 1
    assert sequences[0].per_token["advantage"][-1] == pytest.approx(1, rel=1e-5)
    assert sequences[1].per_token["advantage"][-1] == pytest.approx(-1, rel=1e-5)


def test_lists_of_different_lengths_are_an_error():
    with pytest.raises(ValueError, match="zip"):
        reinforce_pp.make().prepare(TWO, [1.0], OLD, REF)


def test_sequences_are_aligned_with_their_targets_and_the_end_token_counts():
    sequences, _ = reinforce_pp.make().prepare(TWO, [1.0, 0.0], OLD, REF)
    first = sequences[0]
    assert first.tokens.tolist() == [10, 11, 20, 1]
    assert first.per_token["loss_weight"].tolist() == [0, 1, 1]
    np.testing.assert_allclose(first.per_token["old_logp"], [0, -1, -2])


def test_a_sample_whose_sandbox_broke_changes_nothing_for_the_others():
    algorithm = reinforce_pp.make(kl_coef=0.1)
    whole, _ = algorithm.prepare(TWO, [1.0, 0.0], OLD, REF)
    broken = completion("c", (13,), (30, 31, 1))
    extra = np.array([-9.0, -9.0, -9.0])
    masked, _ = algorithm.prepare([*TWO, broken], [1.0, 0.0, None], [*OLD, extra], [*REF, extra - 5])
    assert len(masked) == 2
    for one, other in zip(whole, masked, strict=True):
        np.testing.assert_array_equal(one.per_token["advantage"], other.per_token["advantage"])
    assert algorithm.prepare([broken], [None], [extra], [extra]) == ([], {})


def test_the_sequence_reward_is_clipped():
    clipped, _ = reinforce_pp.make(reward_clip=2.0).prepare(TWO, [50.0, -50.0], OLD, REF)
    plain, _ = reinforce_pp.make(reward_clip=10.0).prepare(TWO, [2.0, -2.0], OLD, REF)
    for one, other in zip(clipped, plain, strict=True):
        np.testing.assert_array_equal(one.per_token["advantage"], other.per_token["advantage"])


def test_without_a_kl_coefficient_no_reference_is_asked_for():
    assert reinforce_pp.make(kl_coef=0.0).needs_ref is False
    assert reinforce_pp.make(kl_coef=0.01).needs_ref is True
    sequences, _ = reinforce_pp.make(kl_coef=0.0).prepare(TWO, [1.0, 0.0], OLD, None)
    np.testing.assert_allclose(
        sequences[0].per_token["advantage"][1:], math.sqrt(1.5), atol=1e-6
    )  # (1 - 0.4) / sqrt(.24)


def batch(ratios: list[float], advantages: list[float], weights: list[float]) -> tuple[jax.Array, dict[str, jax.Array]]:
    old = np.full(len(ratios), -1.0, np.float32)
    arrays = {"old_logp_bt": old, "advantage_bt": np.array(advantages), "loss_weight_bt": np.array(weights)}
    return jnp.asarray(old + np.log(ratios))[None], {
        name: jnp.asarray(a, jnp.float32)[None] for name, a in arrays.items()
    }


@pytest.mark.parametrize(
    ("ratio", "advantage", "surrogate", "slope", "clipped"),
    [
        (1.0, 2.0, 2.0, 2.0, 0),
        (1.5, 2.0, 2.4, 0.0, 1),  # above 1.2 with a gain: cut, no gradient
        (0.5, 2.0, 1.0, 1.0, 0),  # below 0.8 with a gain: the plain term is the smaller
        (1.5, -2.0, -3.0, -3.0, 0),  # above 1.2 with a loss: the plain term is the smaller
        (0.5, -2.0, -1.6, 0.0, 1),  # below 0.8 with a loss: cut
    ],
)
def test_the_clipped_surrogate_on_both_sides(ratio, advantage, surrogate, slope, clipped):
    logp_bt, arrays = batch([ratio, 7.0], [advantage, 3.0], [1.0, 0.0])  # the second token has no weight
    entropy_bt = jnp.array([[0.5, 100.0]])
    loss = reinforce_pp.make().loss
    value, metrics = loss(logp_bt, entropy_bt, arrays)
    assert float(value) == pytest.approx(-surrogate, rel=1e-5)
    assert float(metrics["clip_fraction"]) == clipped
    assert float(metrics["entropy"]) == pytest.approx(0.5)
    assert float(metrics["ratio_mean"]) == pytest.approx(ratio, rel=1e-5)
    gradient = jax.grad(lambda logp: loss(logp, entropy_bt, arrays)[0])(logp_bt)
    np.testing.assert_allclose(gradient, [[-slope, 0.0]], rtol=1e-5)


def test_the_two_clip_sides_are_their_own():
    logp_bt, arrays = batch([1.25], [1.0], [1.0])
    value, _ = reinforce_pp.make(clip_low=0.1, clip_high=0.3).loss(logp_bt, jnp.zeros((1, 1)), arrays)
    assert float(value) == pytest.approx(-1.25, rel=1e-5)
    logp_bt, arrays = batch([0.85], [-1.0], [1.0])
    value, _ = reinforce_pp.make(clip_low=0.1, clip_high=0.3).loss(logp_bt, jnp.zeros((1, 1)), arrays)
    assert float(value) == pytest.approx(0.9, rel=1e-5)


def test_metrics_are_weighted_means():
    ratios, weights = [1.5, 0.5, 1.0, 0.5], [0.1, 0.2, 0.3, 0.4]
    logp_bt, arrays = batch(ratios, [1.0, 1.0, 1.0, -1.0], weights)
    value, metrics = reinforce_pp.make().loss(logp_bt, jnp.array([[1.0, 2.0, 3.0, 4.0]]), arrays)
    assert float(value) == float(metrics["loss"]) == pytest.approx(-(0.12 + 0.1 + 0.3 - 0.32), rel=1e-5)
    assert float(metrics["clip_fraction"]) == pytest.approx(0.1 + 0.4, rel=1e-5)
    assert float(metrics["ratio_mean"]) == pytest.approx(0.15 + 0.1 + 0.3 + 0.2, rel=1e-5)
    assert float(metrics["entropy"]) == pytest.approx(3.0, rel=1e-5)


def test_a_padded_token_with_wild_numbers_leaves_the_gradient_finite():
    arrays = {
        "old_logp_bt": jnp.array([[-1.0, -1000.0]]),
        "advantage_bt": jnp.array([[1.0, 0.0]]),
        "loss_weight_bt": jnp.array([[1.0, 0.0]]),
    }
    gradient = jax.grad(lambda logp: reinforce_pp.make().loss(logp, jnp.zeros((1, 2)), arrays)[0])(
        jnp.array([[-1.0, 0.0]])
    )
    np.testing.assert_allclose(gradient, [[-1.0, 0.0]])


def test_algorithms_are_found_by_name():
    assert algorithms.make("reinforce_pp", kl_coef=0.0).needs_ref is False
    with pytest.raises(ValueError, match=r"unknown algorithm 'ppo'; there are .*reinforce_pp"):
        algorithms.make("ppo")
    with pytest.raises(
        ValueError, match=r"the algorithm 'reinforce_pp' \(algorithm_args\) takes .*kl_coef, .* not kl_coeff"
    ):
        algorithms.make("reinforce_pp", kl_coeff=0.1)


def test_importance_weights_are_cut_at_their_cap_and_leave_the_mean_over_tokens_alone():
    # behavior log-probs are [-0.1, -0.2] and [-0.1, -0.2, -0.3]
    old = [np.array([-0.1 + math.log(0.5), -0.2 + math.log(5.0)]), np.array([-0.1, -0.2, -0.3])]
    algorithm = reinforce_pp.make(kl_coef=0.0, importance_cap=2.0)
    sequences, metrics = algorithm.prepare(TWO, [1.0, 0.0], old, None)
    np.testing.assert_allclose(sequences[0].per_token["importance"], [0, 0.5, 2.0], rtol=1e-6)
    np.testing.assert_allclose(sequences[1].per_token["importance"], [1, 1, 1], rtol=1e-6)
    assert metrics["importance_mean"] == pytest.approx((0.5 + 2 + 3) / 5)
    assert metrics["importance_capped"] == pytest.approx(1 / 5)
    batch = {
        "loss_weight_bt": jnp.array([[0.0, 0.5, 0.5]]),
        "advantage_bt": jnp.array([[0.0, 3.0, -1.0]]),
        "old_logp_bt": jnp.zeros((1, 3)),
        "importance_bt": jnp.array([[0.0, 0.5, 2.0]]),
    }
    loss, _ = algorithm.loss(jnp.zeros((1, 3)), jnp.zeros((1, 3)), batch)
    assert loss == pytest.approx(-(0.5 * 0.5 * 3.0 + 0.5 * 2.0 * -1.0))
    plain, _ = reinforce_pp.make(kl_coef=0.0).loss(jnp.zeros((1, 3)), jnp.zeros((1, 3)), batch)
    assert plain == pytest.approx(-(0.5 * 3.0 + 0.5 * -1.0))
    assert "importance" not in reinforce_pp.make(kl_coef=0.0).prepare(TWO, [1.0, 0.0], old, None)[0][0].per_token
