"""Products with parameters that a mesh stores in parts: the numbers of one device, on eight virtual ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acecoder_jax import parallel
from acecoder_jax.models import fsdp, linear, sharding

MESHES = {"fsdp8": (1, 8), "data2_fsdp2_tensor2": (2, 2, 2), "fsdp2_tensor2_context2": (1, 2, 2, 2)}
EQUATIONS = {
    "btd,dnh->btnh": {"n": 4, "h": 6},
    "btnh,nhd->btd": {"n": 4, "h": 6},
    "btd,df->btf": {"f": 12},
    "btd,dkh->btkh": {"k": 1, "h": 6},  # one head is not split over tensor
    "btr,rnh->btnh": {"r": 3, "n": 4, "h": 6},  # nothing of it is stored over fsdp
}


def arrays(equation: str, rows: int) -> list[np.ndarray]:
    """x, w and a cotangent of the result."""
    size = {"b": rows, "t": 4, "d": 16} | EQUATIONS[equation]
    rng = np.random.default_rng(0)
    return [
        rng.normal(size=[size[letter] for letter in letters]).astype(np.float32)
        for letters in equation.replace("->", ",").split(",")
    ]


def of_product(equation: str, dtype, x, w, g):
    """The product, and its derivatives by x and w."""
    y, pull = jax.vjp(lambda x, w: linear.weigh(equation, x, w, dtype), x, w)
    return y, *pull(g)


@pytest.mark.parametrize("mesh", MESHES)
@pytest.mark.parametrize("rows", [8, 3])  # 3 are not split over data and fsdp
def test_a_mesh_changes_no_number(mesh, rows):
    mesh = parallel.make_mesh(*MESHES[mesh])
    given = {equation: arrays(equation, rows) for equation in EQUATIONS}

    def run(given, dtype):
        return {equation: of_product(equation, dtype, *xwg) for equation, xwg in given.items()}

    for dtype, error in ((jnp.float32, 1e-5), (jnp.bfloat16, 1e-5)):
        expected = jax.jit(run, static_argnums=1)(given, dtype)
        with jax.set_mesh(mesh):
            found = jax.jit(run, static_argnums=1)(given, dtype)
        for equation, results in expected.items():
            for one, other in zip(found[equation], results, strict=True):
                np.testing.assert_allclose(one, other, rtol=error, atol=10 * error, err_msg=equation)
            _, w, _ = given[equation]
            stored = sharding.parameter_spec(equation.split("->")[0].split(",")[1], w.shape, mesh)
            where = jax.sharding.NamedSharding(mesh, stored)
            assert found[equation][2].sharding.is_equivalent_to(where, w.ndim)


def test_weights_are_cast_before_they_are_gathered():
    mesh = parallel.make_mesh(fsdp=8)
    w_df = jax.device_put(
        np.ones((16, 12), np.float32), sharding.param_shardings({"w_df": np.ones((16, 12))}, mesh)["w_df"]
    )
    with jax.set_mesh(mesh):
        jitted = jax.jit(lambda w: fsdp.gathered(w, "df", jnp.bfloat16))
        whole = jitted(w_df)
        text = jitted.lower(w_df).as_text()
    assert whole.dtype == jnp.bfloat16 and whole.sharding.is_fully_replicated
    assert text.index("convert") < text.index("sharding_constraint")


def test_one_device_gathers_nothing():
    w_df = jnp.ones((16, 12))
    assert fsdp.gathered(w_df, "df", jnp.bfloat16) is w_df
    with jax.set_mesh(parallel.make_mesh(1, 1, 1, devices=jax.devices()[:1])):
        assert fsdp.gathered(w_df, "df", jnp.bfloat16) is w_df
