"""The scan that adds gradients in place: JAX's own gradient plus what was there, and what the loops hold."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.ad_checkpoint import checkpoint_name

from acecoder_jax.models import adding_scan

L, B, D = 5, 3, 4


def block(x: jax.Array, layer: Any, shared: Any) -> jax.Array:
    params, power = layer
    scale, rows = shared
    y = checkpoint_name(jnp.sin(x @ params["w_dd"]) * scale, "y")
    return x + (y @ params["v_dd"] + params["bias_d"]) * power * rows[:, None]


POLICIES = {
    "none": block,
    "full": jax.checkpoint(block, policy=jax.checkpoint_policies.nothing_saveable, prevent_cse=False),
    "named": jax.checkpoint(block, policy=jax.checkpoint_policies.save_only_these_names("y"), prevent_cse=False),
}


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(0)
    params = {"w_dd": (L, D, D), "v_dd": (L, D, D), "bias_d": (L, D)}
    draw = lambda shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    stack = {name: draw(shape) for name, shape in params.items()}
    sums = {name: draw(shape) for name, shape in params.items()}
    shared = (np.float32(0.7), np.array([1, 0, 2], np.float32))
    return draw((B, D)), (stack, np.array([1, 2, 1, 0, 3], np.int32)), shared, sums


def plain(x: Any, stack: Any, shared: Any) -> jax.Array:
    return jax.lax.scan(lambda x, layer: (block(x, layer, shared), None), x, stack)[0]


@pytest.mark.parametrize("policy", POLICIES)
def test_the_gradient_is_added_to_the_sums(arrays, policy):
    x, (params, others), shared, sums = arrays

    def ours(x: Any, params: Any) -> jax.Array:
        return jnp.sum(adding_scan.scan(POLICIES[policy], x, (params, others), shared, sums) ** 2)

    def theirs(x: Any, params: Any) -> jax.Array:
        return jnp.sum(plain(x, (params, others), shared) ** 2)

    value, (dx, dparams) = jax.jit(jax.value_and_grad(ours, (0, 1)))(x, params)
    other_value, (other_dx, other_dparams) = jax.jit(jax.value_and_grad(theirs, (0, 1)))(x, params)
    np.testing.assert_allclose(value, other_value, rtol=1e-6)
    np.testing.assert_allclose(dx, other_dx, rtol=1e-4, atol=1e-4)
    for name, sum_l in sums.items():
        np.testing.assert_allclose(dparams[name], sum_l + other_dparams[name], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("policy", "kept"), [("full", 1), ("named", 2)])
def test_the_forward_pass_keeps_no_parameters(arrays, policy, kept):
    x, stack, shared, sums = arrays
    forward = functools.partial(adding_scan._forward, POLICIES[policy])
    _, residuals = jax.eval_shape(forward, x, stack, shared, sums)
    shapes = [leaf.shape for leaf in jax.tree.leaves(residuals[0])]
    assert shapes == [(L, B, D)] * kept  # the block's input, and what the policy names


def test_no_second_copy_of_the_gradient(arrays):
    """The sums are the only array of the stack's size that the backward pass writes."""
    layers, d = 64, 128
    abstract = {"w_dd": (layers, d, d), "v_dd": (layers, d, d), "bias_d": (layers, d)}
    params = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in abstract.items()}
    x, shared, others = jnp.zeros((B, d)), arrays[2], jnp.ones(layers, jnp.int32)

    def bytes_of(in_place: bool) -> int:
        def step(params: Any, sums: Any) -> Any:
            def loss(params: Any) -> jax.Array:
                if in_place:
                    return jnp.sum(adding_scan.scan(POLICIES["full"], x, (params, others), shared, sums))
                return jnp.sum(plain(x, (params, others), shared))

            gradient = jax.grad(loss)(params)
            return gradient if in_place else jax.tree.map(jnp.add, sums, gradient)

        compiled = jax.jit(step, donate_argnums=1).lower(params, params).compile()
        memory: Any = compiled.memory_analysis()
        return memory.temp_size_in_bytes

    size = 4 * layers * d * (2 * d + 1)
    assert bytes_of(True) < 0.2 * size
    assert bytes_of(False) > 0.9 * size
