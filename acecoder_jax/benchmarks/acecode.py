"""Any dataset in AceCode's schema as a benchmark: questions and asserts (arXiv 2502.01718), from the hub or files."""

import os

from acecoder_jax.benchmarks import Benchmark, _problems
from acecoder_jax.data import acecode


def make(
    path: str | os.PathLike[str] | None = None,
    label: str = "acecode",
    hub_id: str = acecode.HUB_ID,
    split: str = "train",
    shown_tests: int = 0,
    test_s: float = 1.0,
    program_s: float = 8.0,
) -> Benchmark:
    """path, hub_id, split: as of data/acecode.py. label: the name of the benchmark and of its score, so that a run may
    have several. The others: see `_problems.benchmark`.

    Raises what data/acecode.py does: FileNotFoundError for a path that is not there, ValueError for a bad row.
    """
    problems = acecode.load(path, hub_id, split)
    return _problems.benchmark(label, problems, shown_tests=shown_tests, test_s=test_s, program_s=program_s)
