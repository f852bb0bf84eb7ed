"""The schedule at named points, clipping, Adam's first step, decoupled decay."""

import numpy as np
import pytest

from acecoder_jax.training.optimizer import make_optimizer

PARAMS = {"a": np.array([3.0, -2.0], np.float32), "b": np.array([[0.5]], np.float32)}


def moved(gradients: list[dict], **knobs) -> dict:
    """The step of the last of some gradients, from PARAMS."""
    optimizer, _ = make_optimizer(updates=100, warmup_ratio=0.0, **{"learning_rate": 0.1, **knobs})
    state = optimizer.init(PARAMS)
    for gradient in gradients:
        step, state = optimizer.update(gradient, state, PARAMS)
    return step


def test_schedule():
    _, schedule = make_optimizer(learning_rate=1.0, updates=1000, warmup_ratio=0.03, final_ratio=0.1)
    assert schedule(0) == pytest.approx(1 / 31)  # the first update moves too
    assert schedule(15) == pytest.approx(16 / 31)
    assert schedule(30) == pytest.approx(1.0)
    assert schedule(515) == pytest.approx(0.55)  # halfway down the cosine: between 1 and 0.1
    assert schedule(1000) == pytest.approx(0.1)
    assert schedule(2000) == pytest.approx(0.1)
    falling = [float(schedule(i)) for i in range(30, 1000, 10)]
    assert falling == sorted(falling, reverse=True)


def test_schedule_of_the_paper_scales_with_the_learning_rate():
    _, schedule = make_optimizer(learning_rate=5e-7, updates=86 * 16)
    assert max(float(schedule(i)) for i in range(0, 86 * 16)) == pytest.approx(5e-7)
    assert schedule(86 * 16 - 1) == pytest.approx(5e-8, rel=1e-3)


@pytest.mark.parametrize("updates", [1, 2, 3])
def test_a_short_run_has_no_warm_up_and_starts_at_the_top(updates):
    _, schedule = make_optimizer(learning_rate=1.0, updates=updates)
    rates = [float(schedule(i)) for i in range(updates)]
    assert rates[0] == 1.0
    assert all(0.1 <= rate <= 1 for rate in rates)


def test_a_run_of_warm_up_alone_reaches_the_top():
    _, schedule = make_optimizer(learning_rate=1.0, updates=4, warmup_ratio=1.0)
    assert [round(float(schedule(i)), 6) for i in range(5)] == [0.2, 0.4, 0.6, 0.8, 1.0]


def test_the_first_step_is_the_learning_rate_whatever_the_gradient():
    # bias correction: m / (1 - beta1) = g, v / (1 - beta2) = g^2, so the step is -rate x sign(g)
    step = moved([{"a": np.array([0.01, -0.02]), "b": np.array([[0.3]])}])
    np.testing.assert_allclose(step["a"], [-0.1, 0.1], rtol=1e-4)
    np.testing.assert_allclose(step["b"], [[-0.1]], rtol=1e-4)


def test_the_second_step_by_hand():
    first, second = {"a": np.array([0.1, 0.1]), "b": np.zeros((1, 1))}, {"a": np.array([-0.2, 0.1]), "b": np.zeros((1, 1))}
    step = moved([first, second], beta1=0.9, beta2=0.95, final_ratio=1.0)
    m = (0.9 * 0.1 * 0.1 + 0.1 * -0.2) / (1 - 0.9**2)
    v = (0.95 * 0.05 * 0.01 + 0.05 * 0.04) / (1 - 0.95**2)
    np.testing.assert_allclose(step["a"], [-0.1 * m / np.sqrt(v), -0.1], rtol=1e-4)
    np.testing.assert_allclose(step["b"], 0, atol=1e-9)


def test_the_global_norm_is_clipped_before_adam():
    # The second gradient has norm 5. Clipped to norm 1 it is as long as the first one, so Adam's step is that of equals.
    small, large = {"a": np.array([0.6, 0.0]), "b": np.array([[0.8]])}, {"a": np.array([3.0, 0.0]), "b": np.array([[4.0]])}
    equal = moved([small, small], final_ratio=1.0)
    for one, other in zip(moved([small, large], final_ratio=1.0).values(), equal.values(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)
    unclipped = moved([small, large], clip_norm=100.0, final_ratio=1.0)
    assert np.abs(unclipped["a"] - equal["a"])[0] > 1e-3


def test_decay_is_decoupled_and_off_by_default():
    zero = {"a": np.zeros(2), "b": np.zeros((1, 1))}
    np.testing.assert_array_equal(moved([zero])["a"], [0, 0])
    np.testing.assert_allclose(moved([zero], weight_decay=0.01)["a"], [-0.1 * 0.01 * 3, 0.1 * 0.01 * 2], rtol=1e-5)


def test_a_misspelt_knob_is_an_error():
    with pytest.raises(TypeError, match="learning_rat"):
        make_optimizer(learning_rat=1.0, updates=1)
