"""The schedule at named points, clipping, Adam's first step, decoupled decay."""

from typing import Any

import numpy as np
import optax
import pytest

from acecoder_jax.training.optimizer import make_optimizer

PARAMS = {"a": np.array([3.0, -2.0], np.float32), "b": np.array([[0.5]], np.float32)}


def moved(gradients: list[Any], **knobs: Any) -> dict[str, Any]:
    """The step of the last of some gradients, from PARAMS."""
    optimizer, _ = make_optimizer(updates=100, warmup_ratio=0.0, **{"learning_rate": 0.1, **knobs})
    state = optimizer.init(PARAMS)
    for gradient in gradients:
        gradient = {name: np.asarray(value, np.float32) for name, value in gradient.items()}
        step, state = optimizer.update(gradient, state, PARAMS)
    return step


def rates(**knobs) -> np.ndarray:
    """The learning rate at each count of updates done."""
    _, schedule = make_optimizer(**knobs)
    return np.asarray(schedule(np.arange(1400)))  # one shape for all tests: compiled once


def test_schedule():
    rate = rates(learning_rate=1.0, updates=1000, warmup_ratio=0.03, final_ratio=0.1)
    points = {0: 1 / 31, 15: 16 / 31, 30: 1.0, 515: 0.55, 1000: 0.1, 1399: 0.1}  # the first update moves too
    assert {at: float(rate[at]) for at in points} == pytest.approx(points, rel=1e-5)
    assert (np.diff(rate[:31]) > 0).all()
    assert (np.diff(rate[30:1001]) <= 0).all()


def test_schedule_of_the_paper():
    rate = rates(learning_rate=5e-7, updates=86 * 16)[: 86 * 16]
    assert rate.max() == rate[41] == pytest.approx(5e-7)  # 3% of 1,376 updates
    assert rate[-1] == pytest.approx(5e-8, rel=1e-3)


@pytest.mark.parametrize("updates", [1, 2, 3])
def test_a_short_run_has_no_warm_up_and_starts_at_the_top(updates):
    rate = rates(learning_rate=1.0, updates=updates)
    assert rate[0] == 1.0
    assert (np.diff(rate[: updates + 1]) < 0).all()
    assert (rate >= 0.1 - 1e-6).all()


def test_a_run_of_warm_up_alone_reaches_the_top():
    rate = rates(learning_rate=1.0, updates=4, warmup_ratio=1.0)
    np.testing.assert_allclose(rate[:5], [0.2, 0.4, 0.6, 0.8, 1.0], rtol=1e-6)


def test_the_first_step_is_the_learning_rate_whatever_the_gradient():
    # bias correction: m / (1 - beta1) = g, v / (1 - beta2) = g^2, so the step is -rate x sign(g)
    step = moved([{"a": [0.01, -0.02], "b": [[0.3]]}])
    np.testing.assert_allclose(step["a"], [-0.1, 0.1], rtol=1e-4)
    np.testing.assert_allclose(step["b"], [[-0.1]], rtol=1e-4)


def test_the_second_step_by_hand():
    gradients: Any = [{"a": [0.1, 0.1], "b": [[0.0]]}, {"a": [-0.2, 0.1], "b": [[0.0]]}]
    step = moved(gradients, beta1=0.9, beta2=0.95, final_ratio=1.0)
    m = (0.9 * 0.1 * 0.1 + 0.1 * -0.2) / (1 - 0.9**2)
    v = (0.95 * 0.05 * 0.01 + 0.05 * 0.04) / (1 - 0.95**2)
    np.testing.assert_allclose(step["a"], [-0.1 * m / np.sqrt(v), -0.1], rtol=1e-4)
    np.testing.assert_allclose(step["b"], 0, atol=1e-9)


def test_the_global_norm_is_clipped_before_adam():
    # The second gradient has norm 5. Clipped to 1 it is as long as the first one, so Adam's step is that of equals.
    small: Any = {"a": [0.6, 0.0], "b": [[0.8]]}
    large: Any = {"a": [3.0, 0.0], "b": [[4.0]]}
    equal = moved([small, small], final_ratio=1.0)
    for one, other in zip(moved([small, large], final_ratio=1.0).values(), equal.values(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)
    unclipped = moved([small, large], clip_norm=100.0, final_ratio=1.0)
    assert np.abs(unclipped["a"] - equal["a"])[0] > 1e-3


def test_a_norm_that_is_given_is_not_computed():
    gradient: Any = {"a": np.array([3.0, 0.0], np.float32), "b": np.array([[4.0]], np.float32)}
    optimizer, _ = make_optimizer(updates=100, learning_rate=0.1)
    factors = []
    for given in ({}, {"grad_norm": 5.0}, {"grad_norm": 10.0}):
        _, state = optimizer.update(gradient, optimizer.init(PARAMS), PARAMS, **given)
        factors.append(np.asarray(optax.tree.get(state, "mu")["a"])[0] / (0.1 * 3.0))  # mu is (1 - beta1) x clipped
    np.testing.assert_allclose(factors, [0.2, 0.2, 0.1], rtol=1e-6)


def test_decay_is_decoupled_and_off_by_default():
    zero: Any = {"a": [0.0, 0.0], "b": [[0.0]]}
    np.testing.assert_array_equal(moved([zero])["a"], [0, 0])
    np.testing.assert_allclose(moved([zero], weight_decay=0.01)["a"], [-0.1 * 0.01 * 3, 0.1 * 0.01 * 2], rtol=1e-5)


def test_a_misspelt_knob_is_an_error():
    misspelt: Any = {"learning_rat": 1.0}
    with pytest.raises(TypeError, match="learning_rat"):
        make_optimizer(updates=1, **misspelt)
