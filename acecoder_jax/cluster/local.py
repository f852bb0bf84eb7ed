"""This process does all rows."""

from collections.abc import Iterator, Sequence

from acecoder_jax.cluster import MakeWork, Runner
from acecoder_jax.store import Row


def make() -> Runner:
    """The runner; it has no knobs."""
    return run


def run(make_work: MakeWork, rows: Sequence[Row]) -> Iterator[Row]:
    """What the work makes of the rows. Closing the iterator takes down what the work was built of."""
    with make_work() as work:
        yield from work(rows)
