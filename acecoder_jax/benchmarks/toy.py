"""The embedded toy problems as a benchmark: there on every machine, solved by small policies (data/toy)."""

from acecoder_jax.benchmarks import Benchmark, _problems
from acecoder_jax.data import toy


def make(split: str = "heldout", seed: int = 0, count: int = 64) -> Benchmark:
    """The problems of `data.toy.load`; ValueError for an unknown split or count."""
    return _problems.benchmark("toy", toy.load(split, seed, count), program_s=4.0)
