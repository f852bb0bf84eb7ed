"""The TPU's attention compiled for a TPU v5e that is not there, at the sizes of real models.

libtpu brings the compiler. It wants a process of its own: this file is the test and, run as a script, that process.
"""

import json

import pytest

SEVEN_B = {"n": 28, "k": 4, "h": 128}  # Qwen2.5-7B
HALF_B = {"n": 14, "k": 2, "h": 64}  # Qwen2.5-0.5B
DECODE, PREFILL = {"s": 64, "t": 1}, {"s": 4, "t": 512}
CASES = {
    "decode 7B": SEVEN_B | DECODE,
    "decode 7B, pages of 16": SEVEN_B | DECODE | {"c": 16},
    "decode 7B, window": SEVEN_B | DECODE | {"window": 1000},
    "decode 7B, float32": SEVEN_B | DECODE | {"dtype": "float32"},
    "decode 7B over 4 chips": SEVEN_B | DECODE | {"tensor": 4},
    "decode 7B, 9 rows": SEVEN_B | DECODE | {"s": 9},
    "decode 0.5B": HALF_B | DECODE,
    "decode 32 KV heads": DECODE | {"n": 32, "k": 32, "h": 128},
    "prefill 7B": SEVEN_B | PREFILL,
    "prefill 7B, pages of 16": SEVEN_B | PREFILL | {"c": 16, "t": 48},
    "prefill 7B, window": SEVEN_B | PREFILL | {"window": 1000},
    "prefill 7B, float32": SEVEN_B | PREFILL | {"dtype": "float32"},
    "prefill 7B over 4 chips": SEVEN_B | PREFILL | {"tensor": 4},
    "prefill 0.5B": HALF_B | PREFILL,
}
LENGTH = 4096  # tokens of a row at most
PAGES = 1024


def compile_case(devices, *, s, t, n, k, h, c=128, dtype="bfloat16", window=None, tensor=1):
    """Which kernels the compiled program calls, and the bytes it needs beside its arguments and results."""
    import jax
    from jax.sharding import Mesh, NamedSharding
    from jax.sharding import PartitionSpec as P

    from acecoder_jax.sampling.attention import tpu

    mesh = Mesh(devices[:tensor], ("tensor",))
    heads, rest = P(None, None, "tensor"), P()
    arrays = [
        ((s, t, n, h), dtype, heads),
        ((PAGES, c, 2 * k, tpu.HEAD_DIM), dtype, heads),
        ((s, LENGTH // c), "int32", rest),
        ((s,), "int32", rest),
    ]
    arguments = [jax.ShapeDtypeStruct(a[0], a[1], sharding=NamedSharding(mesh, a[2])) for a in arrays]
    attend = jax.shard_map(
        lambda *local: tpu.attend(*local, scale=h**-0.5, window=window),
        mesh=mesh, in_specs=tuple(a[2] for a in arrays), out_specs=heads, check_vma=False,
    )  # fmt: skip
    compiled = jax.jit(attend).trace(*arguments).lower(lowering_platforms=("tpu",)).compile()
    calls = [line for line in compiled.as_text().splitlines() if "tpu_custom_call" in line]
    kernels = [name for name in ("ragged_paged_attention", "splash_mha") for line in calls if name in line]
    return {"kernels": kernels, "bytes": compiled.memory_analysis().temp_size_in_bytes}


def compile_all():
    import numpy as np
    from jax.experimental import topologies

    devices = np.array(topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x2").devices)
    results = {}
    for name, sizes in CASES.items():
        try:
            results[name] = compile_case(devices, **sizes)
        except Exception as error:  # whatever the compiler says is the test's message
            results[name] = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(results))


@pytest.fixture(scope="module")
def results():
    from tests.for_tpu import answer_of

    return answer_of(__file__)


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("decode")])
def test_decoding_compiles_and_reads_the_pages_in_place(results, name):
    assert results[name].get("kernels") == ["ragged_paged_attention"], results[name]
    assert results[name]["bytes"] < 2**20


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("prefill")])
def test_prefill_compiles(results, name):
    assert results[name].get("kernels") == ["splash_mha"], results[name]


if __name__ == "__main__":
    compile_all()
