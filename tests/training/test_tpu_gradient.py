"""The gradient of a training step compiled for TPUs that are not there: splash attention and the head on a mesh.

libtpu brings the compiler. It wants a process of its own: this file is the test and, run as a script, that process.
"""

import json

import pytest

MESHES = {"fsdp=4": (1, 4, 1, 1), "fsdp=2, tensor=2": (1, 2, 2, 1), "fsdp=2, context=2": (1, 2, 1, 2)}
HALF_B = {"num_heads": 14, "num_kv_heads": 2, "head_dim": 64}
SEVEN_B = {"num_heads": 28, "num_kv_heads": 4, "head_dim": 128}
CASES = [(mesh, heads) for mesh in MESHES for heads in ("0.5B", "7B")]
OFFLOAD = "fsdp=4", "7B"  # compiled once more with remat="offload"


def compile_case(devices, mesh: str, heads: str, remat: str = "full") -> dict:
    """How often the compiled gradient calls splash attention, and its collectives."""
    import jax
    import jax.numpy as jnp

    from acecoder_jax import parallel
    from acecoder_jax.models.attention import choose
    from acecoder_jax.models.config import ModelConfig
    from acecoder_jax.models.decoder import Model
    from acecoder_jax.models.sharding import param_shardings, sharding
    from acecoder_jax.training.loss import token_logps

    config = ModelConfig(
        vocab_size=4096, hidden_size=256, intermediate_size=512, num_layers=2,
        **{"0.5B": HALF_B, "7B": SEVEN_B}[heads],
    )  # fmt: skip
    with jax.set_mesh(mesh_of := parallel.make_mesh(*MESHES[mesh], devices=devices)):
        model = Model(config, jnp.bfloat16, remat, choose("auto", devices[0].platform, jnp.bfloat16))
        params = jax.tree.map(
            lambda leaf, where: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where),
            model.abstract_params, param_shardings(model.abstract_params, mesh_of),
        )  # fmt: skip
        row = jax.ShapeDtypeStruct((4, 1024), jnp.int32, sharding=sharding((4, 1024), "bt", mesh_of))
        batch = dict.fromkeys(("tokens_bt", "target_bt", "segment_bt", "position_bt", "wanted_bt"), row)
        gradient = jax.jit(jax.grad(lambda params, batch: token_logps(model, params, batch, 256)[0].sum()))
        compiled = gradient.trace(params, batch).lower(lowering_platforms=("tpu",)).compile()
    text = compiled.as_text()
    return {
        "splash": sum("tpu_custom_call" in line and "splash" in line for line in text.splitlines()),
        "host_bytes": compiled.memory_analysis().host_temp_size_in_bytes,
        "collectives": [name for name in ("all-gather", "reduce-scatter", "all-reduce") if f"{name}" in text],
    }


def compile_all() -> None:
    from jax.experimental import topologies

    devices = topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x2").devices
    results = {}
    for mesh, heads, remat in [*((*case, "full") for case in CASES), (*OFFLOAD, "offload")]:
        name = f"{mesh} {heads} {remat}"
        try:
            results[name] = compile_case(devices, mesh, heads, remat)
        except Exception as error:  # whatever the compiler says is the test's message
            results[name] = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(results))


@pytest.fixture(scope="module")
def results():
    from tests.for_tpu import answer_of

    return answer_of(__file__)


@pytest.mark.parametrize(("mesh", "heads"), CASES)
def test_the_gradient_compiles_with_splash_attention(results, mesh, heads):
    found = results[f"{mesh} {heads} full"]
    assert found.get("splash") == 4, found  # forward, forward again, and two kernels backward
    assert "all-gather" in found["collectives"]


def test_what_the_backward_pass_needs_may_wait_in_the_hosts_memory(results):
    mesh, heads = OFFLOAD
    found = results[f"{mesh} {heads} offload"]
    # of 2 layers, a row of 1,024 tokens a device: q and result of 28 heads of 128, k and v of 4, out, gate and up
    kept = 2 * 1024 * 2 * (2 * 28 * 128 + 2 * 4 * 128 + 256 + 2 * 512)
    assert found.get("host_bytes", 0) > 0.9 * kept, found
    assert not results[f"{mesh} {heads} full"]["host_bytes"]


if __name__ == "__main__":
    compile_all()
