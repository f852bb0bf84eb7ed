"""The one matrix product of the model: low-precision operands, float32 accumulation, forward and backward.

JAX's own derivative of a bfloat16 product with a float32 result multiplies a float32 cotangent by a bfloat16 operand,
which XLA upcasts: about three times slower on a CPU, and twice the bytes elsewhere. Here the cotangent is cast first.
"""

import functools

import jax
import jax.numpy as jnp


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 3))
def einsum(equation: str, x: jax.Array, w: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """`jnp.einsum(equation, x, w)` of operands cast to dtype, accumulated and returned in float32.

    Every letter of an operand must stand in the other operand or in the result (true of any product of matrices), so
    that the derivatives are einsums of the same kind. They come back in the operands' own types.
    """
    return _product(equation, x, w, dtype)


def _product(equation: str, x: jax.Array, w: jax.Array, dtype: jnp.dtype) -> jax.Array:
    return jnp.einsum(equation, x.astype(dtype), w.astype(dtype), preferred_element_type=jnp.float32)


def _forward(equation: str, x: jax.Array, w: jax.Array, dtype: jnp.dtype):
    # not einsum: a remat policy cannot see the product inside a function with a derivative of its own
    return _product(equation, x, w, dtype), (x, w)


def _backward(equation: str, dtype: jnp.dtype, saved, g: jax.Array):
    x, w = saved
    operands, result = equation.split("->")
    left, right = operands.split(",")
    g = g.astype(dtype)
    dx = jnp.einsum(f"{result},{right}->{left}", g, w.astype(dtype), preferred_element_type=jnp.float32)
    dw = jnp.einsum(f"{left},{result}->{right}", x.astype(dtype), g, preferred_element_type=jnp.float32)
    return dx.astype(x.dtype), dw.astype(w.dtype)


einsum.defvjp(_forward, _backward)
