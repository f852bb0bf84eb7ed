"""Texts that are compared with one another, packed into rows, all texts of a group in one row.

A group is the replies to one question, each once, with what is known of them: this one is better than that one. A
preference pair is a group of two. Letters: m micro-batch, b row, t time.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from acecoder_jax.training.packing import Bins, Packed


@dataclasses.dataclass(frozen=True)
class TextGroup:
    """texts: the tokens of each text, whose score is read at its last one. wins: (better, worse, gap), places in texts
    and the difference of what the two are worth (pass rates); gap is 0 where nobody knows it. noise: for each text the
    32-bit name of its dropout.
    """

    texts: tuple[np.ndarray, ...]
    wins: tuple[tuple[int, int, float], ...]
    noise: tuple[int, ...]

    @classmethod
    def pair(
        cls, chosen: np.ndarray, rejected: np.ndarray, gap: float = 0.0, noise: tuple[int, int] = (0, 0)
    ) -> "TextGroup":
        """Two texts, the better one first."""
        return cls((chosen, rejected), ((0, 1, gap),), noise)

    def __len__(self) -> int:
        return sum(map(len, self.texts))


def pack_groups(groups: Sequence[TextGroup], *, rows: int, row_tokens: int, allocate: int = 0) -> Packed:
    """Groups in micro-batches of `rows` rows, first-fit decreasing by length. Each weighs 1 / the number of groups, and
    each of its comparisons an equal part of that.

    A group's n-th comparison stands at the place of its n-th token: `better` and `worse` are the places in the row at
    which the two scores are read, `gap` the difference of their worth, `loss_weight` its weight; there are never more
    comparisons than tokens. `noise` stands where a score is read.
    [5, 6] before [7], noise 8 and 9, in a row of 4 -> tokens [5, 6, 7, 0], segment [1, 1, 2, 0], position [0, 1, 0, 0],
    better [1, 0, 0, 0], worse [2, 0, 0, 0], weight [1, 0, 0, 0], noise [0, 8, 9, 0].
    allocate: the shape is that of so many groups, where that is more. Packed.places are where groups begin.
    ValueError for a group that does not fit a row, or has more comparisons than tokens.
    """
    _check(groups, row_tokens)
    shape = (-(-max(len(groups), allocate) // rows), rows, row_tokens)
    arrays = {f"{name}_mbt": np.zeros(shape, np.int32) for name in ("tokens", "segment", "position", "better", "worse")}
    arrays |= {f"{name}_mbt": np.zeros(shape, np.float32) for name in ("loss_weight", "gap")}
    arrays["noise_mbt"] = np.zeros(shape, np.uint32)
    bins = Bins(row_tokens)
    segments: list[int] = []  # of each row
    places = [(0, 0, 0)] * len(groups)
    for i in sorted(range(len(groups)), key=lambda i: (-len(groups[i]), i)):
        row = bins.place(len(groups[i]))
        assert row is not None  # none is longer than a row
        if row == len(segments):
            segments.append(0)
        m, b = divmod(row, rows)
        start = row_tokens - bins.room[row] - len(groups[i])
        of_row = {name.removesuffix("_mbt"): array[m, b] for name, array in arrays.items()}
        _write(of_row, groups[i], start, segments[row] + 1, 1 / len(groups))
        segments[row] += len(groups[i].texts)
        places[i] = (m, b, start)
    return Packed(arrays, -(-len(segments) // rows), tuple(places), (1,) * len(groups), sum(map(len, groups)))


def _check(groups: Sequence[TextGroup], row_tokens: int) -> None:
    if not groups:
        raise ValueError("nothing to pack: there are no groups of texts")
    if (longest := max(map(len, groups))) > row_tokens:
        raise ValueError(f"texts of {longest} tokens together are compared: that is longer than a row of {row_tokens}")
    for group in groups:
        if not 0 < len(group.wins) <= len(group):
            raise ValueError(f"a group of {len(group)} tokens has {len(group.wins)} comparisons, not 1 to {len(group)}")


def _write(row: Mapping[str, np.ndarray], group: TextGroup, start: int, segment: int, weight: float) -> None:
    """Writes a group into a row from `start` on."""
    reads, at = [], start
    for number, (text, noise) in enumerate(zip(group.texts, group.noise, strict=True)):
        here = slice(at, at + len(text))
        row["tokens"][here], row["segment"][here] = text, segment + number
        row["position"][here] = np.arange(len(text))
        at += len(text)
        reads.append(at - 1)
        row["noise"][at - 1] = noise
    for place, (better, worse, gap) in enumerate(group.wins, start=start):
        row["better"][place], row["worse"][place], row["gap"][place] = reads[better], reads[worse], gap
        row["loss_weight"][place] = weight / len(group.wins)
