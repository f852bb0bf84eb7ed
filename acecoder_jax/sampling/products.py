"""The decoder's matrices as they are held for decoding, and the product of a few rows with one.

Three ways to hold a matrix: in the type of the products; as 8-bit whole numbers with a scale an output (the rows stay
in the type of the products: weight-only quantisation); or packed for the CPU's own kernels, either of the two.
"""

import math

import jax
import jax.numpy as jnp

from acecoder_jax.models import linear, native

Held = dict[str, jax.Array]


def quantise(w: jax.Array, letters: str, inputs: str) -> tuple[jax.Array, jax.Array]:
    """A matrix as 8-bit whole numbers, and the scale of each output: w is about whole x scale.

    letters: the last axes of w, of which `inputs` are summed over; axes in front of them (layers) stay.
    """
    axes = tuple(letters.index(letter) - len(letters) for letter in inputs)
    largest = jnp.max(jnp.abs(w), axis=axes, keepdims=True)
    scale = jnp.where(largest > 0, largest, 1.0) / 127
    return jnp.round(w / scale).astype(jnp.int8), jnp.squeeze(scale, axes)


def hold(w: jax.Array, letters: str, inputs: str, *, packed: bool, scale: jax.Array | None = None) -> Held:
    """A matrix, in the type that it is held in, whose axes are `letters`, of which `inputs` are summed over.

    scale: of each output, where the matrix is quantised.
    """
    outputs = "".join(letter for letter in letters if letter not in inputs)
    if packed:
        d = math.prod(w.shape[letters.index(letter)] for letter in inputs)
        held = {"packed_yuoz": native.pack(jnp.einsum(f"{letters}->{inputs}{outputs}", w).reshape(d, -1))}
    else:
        held = {f"w_{letters}": w}
    return held if scale is None else held | {f"scale_{outputs}": scale}


def product(held: Held, equation: str, x: jax.Array, active_st: jax.Array, sizes: dict[str, int]) -> jax.Array:
    """x (of slots and tokens: its first axes are s and t) times a matrix, as `equation` has it: float32.

    sizes: of the axes of the result that are not x's. Rows that are not active may come back as anything finite.
    """
    operands, result = equation.split("->")
    outputs = result.removeprefix("st")
    if "packed_yuoz" in held:
        s, t = active_st.shape
        y_mf = native.matmul(x.reshape(s * t, -1), held["packed_yuoz"], active_st.reshape(-1))
        shape = [sizes[letter] for letter in outputs]
        y = y_mf[:, : math.prod(shape)].reshape(s, t, *shape)
    else:
        w = held[f"w_{operands.split(',')[1]}"]
        y = linear.einsum(equation, x, w, x.dtype)
    return y * held[f"scale_{outputs}"] if f"scale_{outputs}" in held else y
