"""The matrix product with its own derivative: `jnp.einsum` in float32, low-precision operands everywhere else."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acecoder_jax.models import cpu, linear

# The equations of the decoder, the head and the sampler, with the shapes of its operands.
EQUATIONS = {
    "btd,dnh->btnh": ((2, 3, 4), (4, 5, 6)),
    "btnh,nhd->btd": ((2, 3, 5, 6), (5, 6, 4)),
    "btd,df->btf": ((2, 3, 4), (4, 7)),
    "btkgh,bskh->bkgts": ((2, 3, 2, 5, 6), (2, 4, 2, 6)),
    "bkgts,bskh->btkgh": ((2, 2, 5, 3, 4), (2, 4, 2, 6)),
    "td,vd->tv": ((3, 4), (9, 4)),
    "std,dkxh->stkxh": ((2, 3, 4), (4, 2, 5, 6)),
}


def result_and_gradients(product: Any, x: jax.Array, w: jax.Array, g: jax.Array) -> tuple[jax.Array, ...]:
    """The product, and its derivatives by x and by w for the cotangent g."""
    result, vjp = jax.vjp(product, x, w)
    return (result, *vjp(g))


@pytest.fixture(scope="module")
def operands():
    """For each equation x, w and a cotangent of the result."""
    rng = np.random.default_rng(0)
    drawn = {}
    for equation, shapes in EQUATIONS.items():
        x, w = (rng.normal(size=shape).astype(np.float32) for shape in shapes)
        drawn[equation] = (x, w, rng.normal(size=np.einsum(equation, x, w).shape).astype(np.float32))
    return drawn


@pytest.fixture(scope="module")
def computed(operands):
    """For each equation our results in float32, in bfloat16 and in bfloat16 on a CPU that multiplies it slowly, and
    those of JAX in float32; one program for all."""

    def one(equation: str, x: jax.Array, w: jax.Array, g: jax.Array) -> Any:
        ours = []
        for dtype, slow in ((jnp.float32, False), (jnp.bfloat16, False), (jnp.bfloat16, True)):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(cpu, "is_slow_in_bfloat16", lambda slow=slow: slow)
                ours.append(result_and_gradients(lambda x, w, t=dtype: linear.einsum(equation, x, w, t), x, w, g))
        return *ours, result_and_gradients(lambda x, w: jnp.einsum(equation, x, w), x, w, g)

    return jax.jit(lambda operands: {name: one(name, *xwg) for name, xwg in operands.items()})(operands)


@pytest.mark.parametrize("equation", EQUATIONS)
def test_float32_product_and_gradients_are_those_of_jax(computed, equation):
    ours, *_, theirs = computed[equation]
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("equation", EQUATIONS)
@pytest.mark.parametrize("way", [1, 2], ids=["bfloat16", "widened"])
def test_bfloat16_products_accumulate_in_float32(operands, computed, equation, way):
    x, w, g = (np.asarray(a, jnp.bfloat16).astype(np.float32) for a in operands[equation])
    inputs, out = equation.split("->")
    left, right = inputs.split(",")
    expected = (
        np.einsum(equation, x, w),
        np.einsum(f"{out},{right}->{left}", g, w),
        np.einsum(f"{left},{out}->{right}", x, g),
    )
    for one, other in zip(computed[equation][way], expected, strict=True):
        assert one.dtype == jnp.float32
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_gradients_come_back_in_the_types_of_the_operands():
    x, w, g = jnp.ones((2, 3, 4), jnp.bfloat16), jnp.ones((4, 7)), jnp.ones((2, 3, 7))
    shapes = jax.eval_shape(
        lambda: result_and_gradients(lambda x, w: linear.einsum("btd,df->btf", x, w, jnp.bfloat16), x, w, g)
    )
    assert [one.dtype for one in shapes] == [jnp.float32, jnp.bfloat16, jnp.float32]


def test_no_product_has_a_float32_operand(monkeypatch):
    monkeypatch.setattr(cpu, "is_slow_in_bfloat16", lambda: False)

    def loss(x, w):
        return jnp.sum(linear.einsum("btd,df->btf", x, w, jnp.bfloat16) ** 2)

    gradient = jax.make_jaxpr(jax.grad(loss, (0, 1)))(np.ones((2, 3, 4), np.float32), np.ones((4, 7), np.float32))
    products = [eqn for eqn in equations(gradient.jaxpr) if eqn.primitive.name == "dot_general"]
    assert len(products) == 3
    assert {var.aval.dtype for eqn in products for var in eqn.invars} == {jnp.dtype(jnp.bfloat16)}
    assert {var.aval.dtype for eqn in products for var in eqn.outvars} == {jnp.dtype(jnp.float32)}


def equations(jaxpr: Any) -> Any:
    """The equations of a jaxpr and of all that it calls."""
    for eqn in jaxpr.eqns:
        yield eqn
        for inner in jax.core.jaxprs_in_params(eqn.params):
            yield from equations(inner)
