"""LoRA: equal to the base at first, to merged weights later; only the adapter has gradients; where its leaves lie."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params
from jax.sharding import PartitionSpec as P

from acecoder_jax import parallel
from acecoder_jax.models import huggingface, layout, lora, sharding
from acecoder_jax.models.config import ModelConfig
from acecoder_jax.models.decoder import REMAT, UNROLLED, Model
from acecoder_jax.models.lora import Lora
from acecoder_jax.training.loss import token_logps

CONFIG = ModelConfig(
    vocab_size=40, hidden_size=16, intermediate_size=24, num_layers=2, num_heads=4, num_kv_heads=2, head_dim=6
)
ALL = Lora(2, 3.0, tuple(lora.TARGETS))
SOME = Lora(2, 3.0, ("q", "down"))
PLAIN = Model(CONFIG, jnp.float32, "none")
RNG = np.random.default_rng(0)
ROWS = [RNG.integers(0, 40, (4, 8)), np.ones((4, 8), np.int32), np.tile(np.arange(8), (4, 1))]


def noisy(tree):
    return jax.tree.map(lambda leaf: np.asarray(RNG.normal(0, 0.5, leaf.shape), np.float32), tree)


@pytest.fixture(scope="module")
def base():
    return noisy(PLAIN.abstract_params)


def model_of(adapter, **change):
    return dataclasses.replace(PLAIN, lora=adapter, **change)


@pytest.mark.parametrize("adapter", [ALL, SOME])
def test_a_fresh_adapter_changes_nothing(base, adapter):
    fresh = lora.init(jax.random.key(0), adapter, CONFIG)
    assert jax.tree.map(jnp.shape, fresh) == jax.tree.map(jnp.shape, lora.abstract(adapter, CONFIG))
    logits = model_of(adapter).logits(lora.join(base, fresh), *ROWS)
    np.testing.assert_array_equal(logits, PLAIN.logits(base, *ROWS))
    # and so does a model without its adapter: the reference
    np.testing.assert_array_equal(logits, model_of(adapter).logits(base, *ROWS))


def test_a_is_uniform_within_one_over_the_root_of_its_inputs_and_b_is_zero():
    wide = dataclasses.replace(CONFIG, hidden_size=400, intermediate_size=900)
    layers = lora.init(jax.random.key(0), Lora(8, 1.0, ("gate", "down", "o")), wide)["layers"]
    for name, inputs in (("gate_a_dr", 400), ("down_a_fr", 900), ("o_a_nhr", 24)):
        bound = inputs**-0.5
        assert bound * 0.95 < np.abs(layers[name]).max() <= bound
        assert np.std(layers[name]) == pytest.approx(bound / math.sqrt(3), rel=0.1)
        assert layers[name].dtype == jnp.float32
    assert not any(np.any(leaf) for name, leaf in layers.items() if "_b_" in name)
    assert not np.array_equal(layers["gate_a_dr"][0], layers["gate_a_dr"][1])


@pytest.mark.parametrize("adapter", [ALL, SOME])
def test_merged_weights_give_the_logits_of_the_adapter(base, adapter):
    leaves = noisy(lora.abstract(adapter, CONFIG))
    merged = lora.merge(jax.device_put(base), jax.device_put(leaves), adapter)
    by_hand = base["layers"]["q_dnh"] + 1.5 * np.einsum(
        "ldr,lrnh->ldnh", leaves["layers"]["q_a_dr"], leaves["layers"]["q_b_rnh"]
    )
    np.testing.assert_allclose(merged["layers"]["q_dnh"], by_hand, rtol=1e-6, atol=1e-6)
    expected = PLAIN.logits(merged, *ROWS)
    assert np.abs(expected - PLAIN.logits(base, *ROWS)).max() > 0.1
    np.testing.assert_allclose(
        model_of(adapter).logits(lora.join(base, leaves), *ROWS),
        expected,
        rtol=1e-4,
        atol=1e-4 * np.abs(expected).max(),
    )


def test_a_merge_keeps_the_type_and_the_other_leaves(base):
    short = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.bfloat16), base)
    leaves = jax.device_put(noisy(lora.abstract(SOME, CONFIG)))
    merged = lora.merge(short, leaves, SOME)
    assert {leaf.dtype for leaf in jax.tree.leaves(merged)} == {jnp.dtype(jnp.bfloat16)}
    assert merged["embed_vd"] is short["embed_vd"] and merged["layers"]["k_dkh"] is short["layers"]["k_dkh"]
    assert not np.array_equal(merged["layers"]["q_dnh"], short["layers"]["q_dnh"])
    wide = lora.merge(short, leaves, SOME, jnp.float32)
    assert {leaf.dtype for leaf in jax.tree.leaves(wide)} == {jnp.dtype(jnp.float32)}
    np.testing.assert_array_equal(wide["layers"]["q_dnh"].astype(jnp.bfloat16), merged["layers"]["q_dnh"])


def batch():
    names = ("tokens_bt", "segment_bt", "position_bt")
    return dict(zip(names, ROWS, strict=True)) | {"target_bt": ROWS[0][:, ::-1], "wanted_bt": np.ones((4, 8), bool)}


def score(model, params):
    logp_bt, _ = token_logps(model, params, batch(), 4)
    return jnp.sum(logp_bt * np.linspace(-1, 1, 32).reshape(4, 8))


@pytest.mark.parametrize("remat", sorted(set(REMAT) - {"offload"}))
def test_the_gradient_is_that_of_merged_weights(base, remat):
    leaves = noisy(lora.abstract(ALL, CONFIG))
    model = model_of(ALL, remat=remat)
    found = jax.jit(jax.grad(lambda leaves: score(model, lora.join(base, leaves))))(leaves)

    def by_merging(leaves):
        layers = dict(base["layers"])
        for target in ALL.targets:
            w, a, b = lora.names(target)
            letters = [name.rsplit("_", 1)[-1] for name in (a, b, w)]
            equation = "l{},l{}->l{}".format(*letters)
            layers[w] = layers[w] + 1.5 * jnp.einsum(equation, leaves["layers"][a], leaves["layers"][b])
        return score(PLAIN, base | {"layers": layers})

    expected = jax.jit(jax.grad(by_merging))(leaves)
    for name, leaf in expected["layers"].items():
        assert np.abs(leaf).max() > 1e-3, name
        np.testing.assert_allclose(found["layers"][name], leaf, rtol=1e-4, atol=1e-4 * np.abs(leaf).max(), err_msg=name)


def products(jaxpr):
    """The result shapes of all products of matrices in a jaxpr, those of its loops and calls too."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield equation.outvars[0].aval.shape
        for inner in jaxprs_in_params(equation.params):
            yield from products(inner)


@pytest.mark.parametrize("layers", [2, UNROLLED + 1])
def test_the_backward_pass_has_no_product_of_a_weights_shape(layers):
    config = dataclasses.replace(CONFIG, num_layers=layers, vocab_size=44)
    plain = dataclasses.replace(PLAIN, config=config)
    stacked = [leaf.shape[1:] for leaf in plain.abstract_params["layers"].values() if leaf.ndim > 2]
    weights = {tuple(sorted(shape)) for shape in [*stacked, (16, 44)] if shape not in ((4, 6), (2, 6))}  # no biases

    def found(function, *arguments):
        jaxpr = jax.make_jaxpr(jax.grad(function))(*arguments).jaxpr
        return {tuple(sorted(shape)) for shape in products(jaxpr)}

    whole = found(lambda params: score(plain, params), plain.abstract_params)
    assert weights <= whole  # the test sees them where they are

    def of_adapter(leaves, base):
        return score(dataclasses.replace(plain, lora=ALL), lora.join(base, leaves))

    assert not weights & found(of_adapter, lora.abstract(ALL, config), plain.abstract_params)


@pytest.mark.parametrize("mesh", [(2, 2, 2), (1, 2, 2, 2)])
def test_on_eight_devices(base, mesh):
    mesh = parallel.make_mesh(*mesh)
    leaves = noisy(lora.abstract(ALL, CONFIG))
    where = sharding.param_shardings(leaves, mesh)
    assert where["layers"]["q_a_dr"].spec == P(None, "fsdp", None)
    assert where["layers"]["q_b_rnh"].spec == P(None, None, "tensor", None)
    assert where["layers"]["o_a_nhr"].spec == P(None, "tensor", None, None)
    assert where["layers"]["o_b_rd"].spec == P(None, None, "fsdp")
    assert where["layers"]["down_a_fr"].spec == P(None, "tensor", None)
    placed = jax.device_put(base, sharding.param_shardings(base, mesh))
    split = jax.device_put(leaves, where)
    expected = jax.value_and_grad(lambda x: score(model_of(ALL), lora.join(base, x)))(leaves)
    with jax.set_mesh(mesh):
        found = jax.jit(jax.value_and_grad(lambda x, base: score(model_of(ALL), lora.join(base, x))))(split, placed)
        merged = lora.merge(placed, split, ALL)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), found, expected)
    for leaf, like in zip(jax.tree.leaves(merged), jax.tree.leaves(placed), strict=True):
        assert leaf.sharding == like.sharding
    np.testing.assert_allclose(
        merged["layers"]["down_fd"],
        lora.merge(jax.device_put(base), leaves, ALL)["layers"]["down_fd"],
        rtol=1e-6,
        atol=1e-6,
    )
    fresh = lora.init(jax.random.key(1), ALL, CONFIG, where)
    jax.tree.map(np.testing.assert_array_equal, fresh, lora.init(jax.random.key(1), ALL, CONFIG))


def test_an_exported_merge_is_the_model_with_its_adapter(base, tmp_path):
    leaves = jax.device_put(noisy(lora.abstract(ALL, CONFIG)))
    huggingface.export(lora.merge(jax.device_put(base), leaves, ALL), CONFIG, tmp_path / "model", dtype=jnp.float32)
    _, loaded = huggingface.load_params(tmp_path / "model")
    expected = model_of(ALL).logits(lora.join(base, leaves), *ROWS)
    np.testing.assert_allclose(PLAIN.logits(loaded, *ROWS), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_rank_zero_is_no_lora():
    assert lora.make(0, 16.0, ("q",)) is None
    assert lora.make(4, 16.0, ["q", "v"]) == Lora(4, 16.0, ("q", "v"))


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ((-1, 1.0, ("q",)), "lora.rank must be a whole number of at least 1"),
        ((2.5, 1.0, ("q",)), "lora.rank must be a whole number"),
        ((2, 0.0, ("q",)), "lora.alpha must be above 0"),
        ((2, 1.0, ("q", "q_proj")), r"lora.targets \['q_proj'\] are unknown; there are q, k, v, o, gate, up, down"),
        ((2, 1.0, ()), "lora.targets must name at least one"),
        ((2, 1.0, ("q", "q")), "each once"),
    ],
)
def test_knobs_that_cannot_work(knobs, message):
    with pytest.raises(ValueError, match=message):
        lora.make(*knobs)


def test_an_adapter_of_another_kind_is_refused(base):
    leaves = noisy(lora.abstract(SOME, CONFIG))
    with pytest.raises(ValueError, match=r"down_a_fr.*lora.targets \['q'\] expect"):
        lora.merge(jax.device_put(base), leaves, Lora(2, 3.0, ("q",)))
    with pytest.raises(ValueError, match=r"lora.targets .* expect"):
        model_of(ALL).logits(lora.join(base, leaves), *ROWS)
    with pytest.raises(ValueError, match=r"has rank 2, lora\.rank is 3"):
        model_of(Lora(3, 3.0, SOME.targets)).logits(lora.join(base, leaves), *ROWS)
    with pytest.raises(ValueError, match="the model has no LoRA"):
        PLAIN.logits(lora.join(base, leaves), *ROWS)


def test_every_target_is_a_leaf_of_the_model():
    leaves = {path[-1] for path in layout.paths(CONFIG)}
    assert {lora.names(target)[0] for target in lora.TARGETS} <= leaves
