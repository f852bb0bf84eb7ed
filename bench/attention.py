"""Attention over packed rows on a CPU: the project's kernel beside plain XLA's, in one run, in bfloat16.

    python bench/attention.py [--rounds=5]

A layer of Qwen2.5-Coder-0.5B (14 heads, 2 KV heads of 64), one of eight in a call, forward and with its derivatives:

one      a text of 768 tokens
shared   a question of 200 tokens with 16 programs of 190 that share it
packed   11 texts of 365 tokens in 4,096
Milliseconds are medians of rounds in which the two take turns. Roofline: the FLOPs of the keys that are seen, 4 (and 18
with derivatives, scores taken again by queries and by keys) for a head's number, query and key, over the measured rate
of a large product. The last line is JSON.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import machine  # noqa: E402
import numpy as np  # noqa: E402

from acecoder_jax.models import native  # noqa: E402
from acecoder_jax.models.attention import chunked, cpu  # noqa: E402
from acecoder_jax.models.attention.places import NO_WINDOW, Places, mask  # noqa: E402

HEADS, KV_HEADS, HEAD_DIM, LAYERS = 14, 2, 64, 8
# Tokens of a row, lengths of what it holds, and whether all but the first go on from the first.
CASES: dict[str, tuple[int, list[int], bool]] = {
    "one": (768, [768], False),
    "shared": (3328, [200] + [190] * 16, True),
    "packed": (4096, [365] * 11, False),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    if not native.available():
        sys.exit("bench/attention.py compares the CPU's kernel: it wants a CPU and a C++ compiler")
    rate = machine.rates()["flops"]
    row: dict[str, Any] = {"product_gflop_s": round(rate / 1e9)}
    for name, case in CASES.items():
        places = places_of(*case)
        row[name] = {
            "forward": compete(places, False, rounds, rate),
            "with_derivatives": compete(places, True, rounds, rate),
        }
        print(name, json.dumps(row[name]), flush=True)
    print(json.dumps(row))


def places_of(tokens: int, lengths: list[int], share: bool) -> Places:
    """One row of the texts, [1, t] each."""
    segment, position, branch = np.zeros((3, 1, tokens), np.int32)
    start = 0
    for i, length in enumerate(lengths):
        here = slice(start, start + length)
        segment[0, here], branch[0, here] = (1, i) if share else (i + 1, 0)
        position[0, here] = np.arange(length) + (lengths[0] if share and i else 0)
        start += length
    return Places(*map(jnp.asarray, (segment, position, branch)))


def compete(places: Places, derivatives: bool, rounds: int, rate: float) -> dict[str, float]:
    """Milliseconds of both, how many times as fast ours is, and its share of the roofline."""
    rng = np.random.default_rng(0)
    t = places.segment_bt.shape[1]
    arrays = [
        jnp.asarray(rng.normal(size=(1, t, heads, HEAD_DIM)), jnp.bfloat16) for heads in (HEADS, KV_HEADS, KV_HEADS)
    ]
    functions = {name: function(back_end, places, derivatives) for name, back_end in (("xla", chunked), ("ours", cpu))}
    times: dict[str, list[float]] = {name: [] for name in functions}
    for one in functions.values():
        jax.block_until_ready(one(*arrays))
    for _ in range(rounds):
        for name, one in functions.items():
            times[name].append(seconds(one, *arrays))
    found = {name: statistics.median(values) / LAYERS for name, values in times.items()}
    flops = (18 if derivatives else 4) * HEADS * HEAD_DIM * int(mask(places, places).sum())
    return {f"{name}_ms": round(1e3 * value, 1) for name, value in found.items()} | {
        "times": round(found["xla"] / found["ours"], 1),
        "of_roofline": round(flops / rate / found["ours"], 2),
    }


def function(back_end: Any, places: Places, derivatives: bool) -> Any:
    def attend(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        def layer(q: jax.Array, _: None) -> tuple[jax.Array, None]:
            return back_end.attend(q, k, v, places, places, NO_WINDOW, HEAD_DIM**-0.5), None

        return jax.lax.scan(layer, q, length=LAYERS)[0]

    def total(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        return attend(q, k, v).astype(jnp.float32).sum()

    return jax.jit(jax.grad(total, (0, 1, 2)) if derivatives else attend)


def seconds(one: Any, *arrays: jax.Array) -> float:
    start = time.perf_counter()
    jax.block_until_ready(one(*arrays))
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
