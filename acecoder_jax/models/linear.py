"""The one matrix product of the model: low-precision operands, float32 accumulation, forward and backward.

Some CPUs multiply bfloat16 at half the rate of float32 (docs/results/train.md): there the operands are rounded to
bfloat16 and multiplied as float32, which gives the same numbers, as a product of two bfloat16 is exact in float32.

JAX's own derivative of a bfloat16 product with a float32 result multiplies a float32 cotangent by a bfloat16 operand,
which XLA upcasts: about three times slower on a CPU, and twice the bytes elsewhere. Here the cotangent is cast first.

`einsum` multiplies two arrays; `weigh` and `weigh_frozen` one with a parameter of the model, which a mesh may store in
parts.
"""

import functools

import jax
import jax.numpy as jnp

from acecoder_jax.models import cpu, fsdp


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 3))
def einsum(equation: str, x: jax.Array, w: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """`jnp.einsum(equation, x, w)` of operands cast to dtype, accumulated and returned in float32.

    Every letter of an operand must stand in the other operand or in the result (true of any product of matrices), so
    that the derivatives are einsums of the same kind. They come back in the operands' own types.
    """
    return product(equation, x, w, dtype)


def product(equation: str, x: jax.Array, w: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """The same without a derivative of its own."""
    if jnp.dtype(dtype) == jnp.bfloat16 and cpu.is_slow_in_bfloat16():
        return jax.lax.platform_dependent(
            x, w, cpu=functools.partial(_wide, equation), default=functools.partial(_narrow, equation, dtype)
        )
    return _narrow(equation, dtype, x, w)


def _narrow(equation: str, dtype: jnp.dtype, x: jax.Array, w: jax.Array) -> jax.Array:
    return jnp.einsum(equation, x.astype(dtype), w.astype(dtype), preferred_element_type=jnp.float32)


def _wide(equation: str, x: jax.Array, w: jax.Array) -> jax.Array:
    def rounded(operand: jax.Array) -> jax.Array:
        if operand.dtype == jnp.bfloat16:
            return operand.astype(jnp.float32)
        return jax.lax.reduce_precision(operand.astype(jnp.float32), exponent_bits=8, mantissa_bits=7)

    return jnp.einsum(equation, rounded(x), rounded(w), preferred_element_type=jnp.float32)


def _forward(equation: str, x: jax.Array, w: jax.Array, dtype: jnp.dtype):
    return product(equation, x, w, dtype), (x, w)


def _backward(equation: str, dtype: jnp.dtype, saved, g: jax.Array):
    x, w = saved
    to_x, to_w = _derivatives(equation)
    return product(to_x, g, w, dtype).astype(x.dtype), product(to_w, x, g, dtype).astype(w.dtype)


def _derivatives(equation: str) -> tuple[str, str]:
    """The equations of dx from (g, w) and of dw from (x, g): "td,df->tf" -> "tf,df->td", "td,tf->df"."""
    operands, result = equation.split("->")
    left, right = operands.split(",")
    return f"{result},{right}->{left}", f"{left},{result}->{right}"


einsum.defvjp(_forward, _backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 3))
def weigh(equation: str, x: jax.Array, w: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """`einsum` with a parameter, which a mesh may store in parts (models/fsdp.py)."""
    return product(equation, x, _whole(equation, w, dtype), dtype)


def _whole(equation: str, w: jax.Array, dtype: jnp.dtype) -> jax.Array:
    return fsdp.gathered(w, equation.split("->")[0].split(",")[1], dtype)


def _weigh_forward(equation: str, x: jax.Array, w: jax.Array, dtype: jnp.dtype):
    return weigh(equation, x, w, dtype), (x, w)


def _weigh_backward(equation: str, dtype: jnp.dtype, saved, g: jax.Array):
    x, w = saved
    to_x, to_w = _derivatives(equation)
    dx = product(to_x, g, _whole(equation, w, dtype), dtype)
    dw = fsdp.gradient(functools.partial(product, to_w, dtype=dtype), to_w, x, g)
    return dx.astype(x.dtype), dw.astype(w.dtype)


weigh.defvjp(_weigh_forward, _weigh_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 3))
def weigh_frozen(equation: str, x: jax.Array, w: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """`weigh` with a parameter that is not trained: its derivative is neither computed nor any of x kept."""
    return product(equation, x, _whole(equation, w, dtype), dtype)


def _frozen_forward(equation: str, x: jax.Array, w: jax.Array, dtype: jnp.dtype):
    return weigh_frozen(equation, x, w, dtype), (jnp.empty(0, x.dtype), w)


def _frozen_backward(equation: str, dtype: jnp.dtype, saved, g: jax.Array):
    like_x, w = saved
    to_x, _ = _derivatives(equation)
    return product(to_x, g, _whole(equation, w, dtype), dtype).astype(like_x.dtype), None


weigh_frozen.defvjp(_frozen_forward, _frozen_backward)
