"""The decoder's matrices as they are held for decoding, and their products, against numpy in float64."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acecoder_jax.models import native
from acecoder_jax.sampling.products import hold, product, quantise

SIZES = {"d": 10, "k": 2, "g": 3, "x": 5, "h": 6, "w": 2, "f": 21, "v": 37}
EQUATIONS = {  # and the letters that are summed over
    "std,dkxh->stkxh": "d",
    "stkgh,kghd->std": "kgh",
    "std,dwf->stwf": "d",
    "stf,fd->std": "f",
    "std,dv->stv": "d",
    "std,vd->stv": "d",
}
CPU = pytest.mark.skipif(not native.available(), reason="no C++ compiler")
WAYS = {
    "float32": {"dtype": jnp.float32, "int8": False, "packed": False},
    "bfloat16": {"dtype": jnp.bfloat16, "int8": False, "packed": False},
    "int8": {"dtype": jnp.bfloat16, "int8": True, "packed": False},
    "int8_float32": {"dtype": jnp.float32, "int8": True, "packed": False},
    "packed": {"dtype": jnp.bfloat16, "int8": False, "packed": True},
    "packed_int8": {"dtype": jnp.bfloat16, "int8": True, "packed": True},
}
EVERY_WAY = pytest.mark.parametrize("way", [pytest.param(way, marks=CPU if "packed" in way else ()) for way in WAYS])
EVERY_EQUATION = pytest.mark.parametrize("equation", EQUATIONS)


def split(equation):
    """Of an equation: the letters of x after s and t, of the matrix, and of its outputs."""
    operands, result = equation.split("->")
    x, letters = operands.split(",")
    return x.removeprefix("st"), letters, result.removeprefix("st")


def random(letters, *, rows=(), seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(*rows, *(SIZES[letter] for letter in letters))).astype(np.float32)


def held_as(w, letters, inputs, *, dtype, int8, packed):
    whole, scale = quantise(jnp.asarray(w), letters, inputs) if int8 else (jnp.asarray(w, dtype), None)
    return hold(whole, letters, inputs, packed=packed, scale=scale)


def hold_for(equation, w, way):
    return held_as(w, split(equation)[1], EQUATIONS[equation], **WAYS[way])


def depth(equation):
    """How many inputs an output has."""
    return math.prod(SIZES[letter] for letter in EQUATIONS[equation])


def numbers(held, equation):
    """The held matrix as it is multiplied, [outputs, inputs] in float64, and without its scales."""
    _, letters, outputs = split(equation)
    d, f = depth(equation), math.prod(SIZES[letter] for letter in outputs)
    if "packed_yuoz" in held:
        held_fd = native.unpack_columns(held["packed_yuoz"], jnp.arange(f), d)
    else:
        held_fd = jnp.einsum(f"{letters}->{outputs}{EQUATIONS[equation]}", held[f"w_{letters}"]).reshape(f, d)
    whole_fd = np.asarray(held_fd, np.float64)
    scale_f = np.asarray(held.get(f"scale_{outputs}", np.ones(f)), np.float64).reshape(-1)
    return whole_fd * scale_f[:, None], whole_fd


@EVERY_WAY
@EVERY_EQUATION
def test_a_product_is_that_of_the_matrix_held(equation, way):
    x_letters, letters, outputs = split(equation)
    held = hold_for(equation, random(letters), way)
    x = jnp.asarray(random(x_letters, rows=(3, 2), seed=1), WAYS[way]["dtype"])
    y = jax.jit(lambda held, x: product(held, equation, x, jnp.ones((3, 2), bool), SIZES))(held, x)
    assert y.dtype == jnp.float32
    assert y.shape == (3, 2, *(SIZES[letter] for letter in outputs))
    w_fd, _ = numbers(held, equation)
    x_md = np.asarray(x, np.float64).reshape(6, -1)
    np.testing.assert_allclose(np.asarray(y).reshape(6, -1), x_md @ w_fd.T, rtol=0, atol=3e-6)


@EVERY_WAY
@EVERY_EQUATION
def test_what_is_held_is_the_matrix_rounded(equation, way):
    """To the type of the products; or to a whole number of scales, the largest number of an output to 127 of them."""
    _, letters, outputs = split(equation)
    w = random(letters)
    exact_fd = np.einsum(f"{letters}->{outputs}{EQUATIONS[equation]}", w).reshape(-1, depth(equation))
    held = hold_for(equation, w, way)
    held_fd, whole_fd = numbers(held, equation)
    if WAYS[way]["int8"]:
        assert {leaf.dtype for leaf in jax.tree.leaves(held)} == {jnp.dtype(jnp.int8), jnp.dtype(jnp.float32)}
        assert held[f"scale_{outputs}"].shape == tuple(SIZES[letter] for letter in outputs)
        scale_f = np.abs(exact_fd).max(axis=1) / 127
        assert np.all(np.abs(held_fd - exact_fd) <= scale_f[:, None] * (0.5 + 1e-4))
        assert np.all(np.abs(whole_fd).max(axis=1) == 127)
    else:
        np.testing.assert_array_equal(held_fd, np.asarray(exact_fd, WAYS[way]["dtype"]).astype(np.float64))


@EVERY_WAY
def test_an_output_whose_weights_are_all_zero_is_zero(way):
    w_df = random("df")
    w_df[:, 4] = 0
    held = held_as(w_df, "df", "d", **WAYS[way])
    x_std = jnp.asarray(random("d", rows=(2, 1), seed=1), WAYS[way]["dtype"])
    y_stf = np.asarray(product(held, "std,df->stf", x_std, jnp.ones((2, 1), bool), SIZES))
    assert "scale_f" not in held or np.all(held["scale_f"] > 0)
    assert np.isfinite(y_stf).all()
    assert not y_stf[:, :, 4].any()
    assert np.delete(y_stf, 4, axis=2).all()


@EVERY_WAY
def test_rows_that_are_not_active_are_finite_and_change_nothing_of_the_others(way):
    held = hold_for("std,dwf->stwf", random("dwf"), way)
    x_std = jnp.asarray(random("d", rows=(3, 5), seed=1), WAYS[way]["dtype"])
    active_st = np.arange(15).reshape(3, 5) % 4 > 0
    whole, some = (
        product(held, "std,dwf->stwf", x_std, active, SIZES) for active in (np.ones((3, 5), bool), active_st)
    )
    assert np.isfinite(some).all()
    np.testing.assert_array_equal(some[active_st], whole[active_st])


def test_layers_that_are_quantised_together_are_as_they_are_apart():
    w_ldxh = random("dxh", rows=(3,))
    whole, scale = quantise(jnp.asarray(w_ldxh), "dxh", "d")
    for layer in range(3):
        one, its_scale = quantise(jnp.asarray(w_ldxh[layer]), "dxh", "d")
        np.testing.assert_array_equal(whole[layer], one)
        np.testing.assert_array_equal(scale[layer], its_scale)
