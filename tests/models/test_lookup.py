"""The lookup's derivative: rows added in float32 to what the table's gradient has so far."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acecoder_jax import parallel
from acecoder_jax.models.lookup import lookup

V, D = 16, 8
RNG = np.random.default_rng(0)
TABLE, SUMS, OTHER = (RNG.integers(-9, 9, (V, D)).astype(np.float32) for _ in range(3))
TOKENS = RNG.integers(0, V, (8, 4))
G = RNG.integers(-9, 9, (8, 4, D)).astype(np.float32)


def by_hand(before: np.ndarray) -> np.ndarray:
    sums = before.copy()
    np.add.at(sums, TOKENS, G)
    return sums


@pytest.mark.parametrize("mesh", [None, (1, 4, 1), (2, 2, 2)])
def test_the_gradient_of_the_rows_is_added(mesh):
    def tied(table: jax.Array) -> jax.Array:
        rows, again = lookup(table, TOKENS, None, jnp.float32)
        return jnp.sum(rows * G) + jnp.sum(again * OTHER)

    def summed(table: jax.Array) -> jax.Array:
        return jnp.sum(lookup(table, TOKENS, jnp.asarray(SUMS), jnp.float32)[0] * G)

    with jax.set_mesh(parallel.make_mesh(*(mesh or (1, 1, 1)), devices=jax.devices()[: np.prod(mesh or (1,))])):
        gradients = jax.jit(lambda table: (jax.grad(tied)(table), jax.grad(summed)(table)))(TABLE)
    for gradient, before in zip(gradients, (OTHER, SUMS), strict=True):
        np.testing.assert_array_equal(gradient, by_hand(before))


def test_a_frequent_token_is_added_up_in_float32():
    tokens = np.zeros((1, 1000), np.int32)
    gradient = jax.grad(lambda table: jnp.sum(lookup(table, tokens, None, jnp.bfloat16)[0].astype(jnp.float32)))(TABLE)
    assert gradient[0].tolist() == [1000.0] * D  # bfloat16 would stop at 256
    assert not gradient[1:].any()
