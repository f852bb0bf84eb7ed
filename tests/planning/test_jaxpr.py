"""Operations counted from jaxprs, against hand arithmetic."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from acecoder_jax import parallel
from acecoder_jax.models import flops
from acecoder_jax.models.config import ModelConfig
from acecoder_jax.models.decoder import Model
from acecoder_jax.planning.jaxpr import count
from acecoder_jax.training.loss import token_logps

X, W = jnp.zeros((4, 8)), jnp.zeros((8, 8))  # one product: 2 x 4 x 8 x 8
ONE = 512


def operations(function, *arguments, **turns):
    return count(jax.make_jaxpr(function)(*arguments), turns).operations


def looped(x, n):
    with jax.named_scope("outer"):
        return jax.lax.fori_loop(0, n, lambda _, x: x @ W, x)


def test_a_product_and_its_derivative():
    assert operations(lambda x: x @ W, X) == ONE
    assert (
        operations(jax.value_and_grad(lambda w: (jnp.tanh(X @ w) @ w).sum()), W) == 2 * ONE + 3 * ONE
    )  # X has no gradient


def test_loops_count_as_often_as_they_turn():
    assert operations(lambda x: jax.lax.scan(lambda x, _: (x @ W, None), x, None, length=5)[0], X) == 5 * ONE
    assert operations(looped, X, 3, outer=7) == 7 * ONE
    forward = lambda x, n: jax.jvp(lambda x: looped(x, n), (x,), (x,))  # noqa: E731, in the scope "jvp(outer)"
    assert operations(forward, X, 3, outer=7) == 7 * 2 * ONE
    nested = jax.make_jaxpr(lambda x, n: jax.lax.fori_loop(0, n, lambda _, x: looped(x, n), x))(X, 3)
    assert count(nested, {"outer": 7}).operations == 7 * ONE
    assert count(nested, {"outer": 7}).unknown == {"a loop without a name"}


def test_what_nobody_uses_is_not_counted():
    def rows(x):
        return jax.lax.scan(lambda x, _: (x @ W, x @ W @ W), x, None, length=5)[0]

    assert operations(lambda x: jax.lax.fori_loop(0, x[0, 0].astype(int), lambda _, x: rows(x), x), X) == 5 * ONE


def test_a_branch_is_its_dearest_case():
    assert operations(lambda x: jax.lax.cond(x[0, 0] > 0, lambda x: x @ W @ W, lambda x: x @ W, x), X) == 2 * ONE


def test_shard_map_counts_every_device():
    mesh = parallel.make_mesh(data=2, fsdp=2, tensor=2)
    with jax.set_mesh(mesh):
        rows = jax.shard_map(lambda x: x @ W, in_specs=P("data"), out_specs=P("data"))
        assert operations(rows, X) == 8 * ONE / 2


def test_checkpointed_work_counts_again():
    assert operations(jax.value_and_grad(lambda x: jax.checkpoint(lambda x: jnp.tanh(x @ W))(x).sum()), X) == 3 * ONE


@pytest.mark.parametrize("tied", [True, False])
def test_a_forward_pass_is_what_the_formula_says(tied):
    config = ModelConfig(
        vocab_size=48, hidden_size=16, intermediate_size=24, num_layers=3, num_heads=4, num_kv_heads=2, head_dim=4,
        tie_word_embeddings=tied,
    )  # fmt: skip
    model, t = Model(config, jnp.float32, "none"), 12
    batch = {name: jnp.ones((2, t), jnp.int32) for name in ("tokens_bt", "target_bt", "wanted_bt", "segment_bt")}
    batch["position_bt"] = jnp.tile(jnp.arange(t), (2, 1))
    jaxpr = jax.make_jaxpr(lambda p: token_logps(model, p, batch, 2 * t, with_entropy=False))(model.abstract_params)
    # the formula has keys up to the query alone; one chunk of queries multiplies all
    skipped = config.num_layers * 4 * config.num_heads * config.head_dim * 2 * t * (t - 1) / 2
    positions = np.tile(np.arange(t), 2)
    assert count(jaxpr, {"head_chunks": 1}).operations == flops.forward(config, positions, 2 * t) + skipped
