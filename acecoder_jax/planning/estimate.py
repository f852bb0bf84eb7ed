"""From what a program takes to how long it takes: a roofline (Williams et al. 2009), with what it assumes.

A call takes the longest of three times, if the chip overlaps them wholly, and their sum, if not at all:

    operations / (devices x peak x MATRIX_SHARE),  bytes moved / (bandwidth x MEMORY_SHARE),  bytes over links / one way

The truth lies between; the table gives both.
"""

import dataclasses

from acecoder_jax.chips import Chip
from acecoder_jax.planning.compile import Compiled

MATRIX_SHARE = 0.7  # of the peak that large products reach
MEMORY_SHARE = 0.85  # of the bandwidth that long reads reach
LINK_SHARE = 0.5  # of the links' bandwidth: the sheet counts both directions
FREE_SHARE = 0.05  # of the memory that a plan leaves to the runtime and to fragments
ASSUMPTIONS = (
    f"products at {MATRIX_SHARE:.0%} of the peak, memory at {MEMORY_SHARE:.0%} and links at {LINK_SHARE:.0%} of the "
    "sheet; a time is given as overlapped wholly .. not at all",
    f"{FREE_SHARE:.0%} of the memory is left free",
    "decode and prefill move the weights and the keys and values of rows of the assumed length; other programs what "
    "the compiled text says, a loop as often as it turns",
    "kernels count every block of their grid, the blocks that a causal mask skips too",
    "nothing but these programs takes time: no sandbox (it scores while others decode), no checkpoint, no host",
)


@dataclasses.dataclass(frozen=True)
class Seconds:
    """Of one call: by what it waits for."""

    compute: float
    memory: float
    links: float

    @property
    def least(self) -> float:
        """All at once."""
        return max(self.compute, self.memory, self.links)

    @property
    def most(self) -> float:
        """One after another."""
        return self.compute + self.memory + self.links

    @property
    def bound(self) -> str:
        """What it waits for the longest."""
        named = {"compute": self.compute, "memory": self.memory, "links": self.links}
        return max(named, key=lambda name: named[name])


def seconds(compiled: Compiled, chip: Chip, devices: int, moved_bytes: float | None = None) -> Seconds:
    """The time of one call on so many devices. moved_bytes: a device's, instead of what the text says."""
    moved = compiled.moved_bytes if moved_bytes is None else moved_bytes
    linked = sum(size for _, size in compiled.collectives.values())
    return Seconds(
        compiled.operations / (devices * chip.bf16_flops * MATRIX_SHARE),
        moved / (chip.hbm_bandwidth * MEMORY_SHARE),
        linked / (chip.ici_bandwidth * LINK_SHARE),
    )


def room(chip: Chip) -> int:
    """Bytes of a device's memory that a plan may fill."""
    return int(chip.hbm_bytes * (1 - FREE_SHARE))


def most_rows(points: list[tuple[int, int]], room_bytes: float, shards: int, limit: int) -> int:
    """The most rows, a multiple of shards, whose temporaries fit: along the line through the first and last points.

    points: (rows, bytes), at least one; with one only, bytes are taken to grow with the rows. 0 where none would fit.
    (64, 10), (128, 16) in room 24 -> 0.09375 a row beside 4 -> 213 -> 192 for 64 shards.
    """
    (r0, b0), (r1, b1) = points[0], points[-1]
    slope = (b1 - b0) / (r1 - r0) if r1 != r0 else b0 / r0
    if slope <= 0:
        return limit if b0 <= room_bytes else 0
    return max(0, min(limit, int((room_bytes - b0) / slope + r0)) // shards * shards)
