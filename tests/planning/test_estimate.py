"""The roofline and the line through two compiles, by hand."""

import pytest

from acecoder_jax.chips import Chip
from acecoder_jax.planning import estimate
from acecoder_jax.planning.compile import Compiled

CHIP = Chip("toy", hbm_bytes=1000, hbm_bandwidth=100.0, bf16_flops=1000.0, ici_bandwidth=50.0)
COMPILED = Compiled(
    own_bytes=10, temporary_bytes=20, too_large=False, operations=2800.0, moved_bytes=255.0,
    collectives={"all-gather": (2, 40.0), "all-reduce": (1, 10.0)}, unknown_loops=(), compile_s=1.0,
)  # fmt: skip


def test_seconds_of_a_call():
    found = estimate.seconds(COMPILED, CHIP, devices=4)
    assert (found.compute, found.memory, found.links) == pytest.approx((1.0, 3.0, 2.0))
    assert (found.least, found.most, found.bound) == (pytest.approx(3.0), pytest.approx(6.0), "memory")
    assert estimate.seconds(COMPILED, CHIP, 4, moved_bytes=17.0).bound == "links"
    assert estimate.room(CHIP) == 950


@pytest.mark.parametrize(
    ("points", "room", "limit", "rows"),
    [
        ([(64, 10), (128, 16)], 24, 1000, 192),  # 64 + 14 / (6 / 64) = 213
        ([(64, 10), (128, 16)], 24, 128, 128),
        ([(64, 10), (128, 16)], 9, 1000, 0),
        ([(64, 10)], 25, 1000, 128),
        ([(64, 10), (128, 10)], 25, 960, 960),
        ([(64, 10), (128, 10)], 9, 1000, 0),
    ],
)
def test_the_most_rows(points, room, limit, rows):
    assert estimate.most_rows(points, room, 64, limit) == rows
