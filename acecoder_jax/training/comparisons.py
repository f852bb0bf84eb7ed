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
    32-bit name of its dropout. shares: the part of the group's weight that each comparison has; (): equal parts of all.
    """

    texts: tuple[np.ndarray, ...]
    wins: tuple[tuple[int, int, float], ...]
    noise: tuple[int, ...]
    shares: tuple[float, ...] = ()

    @classmethod
    def pair(
        cls, chosen: np.ndarray, rejected: np.ndarray, gap: float = 0.0, noise: tuple[int, int] = (0, 0)
    ) -> "TextGroup":
        """Two texts, the better one first."""
        return cls((chosen, rejected), ((0, 1, gap),), noise)

    def places(self, share: bool) -> int:
        """How many places of a row the group takes. share: what its texts begin with alike stands there once."""
        return packed_places(self.texts, share)


def beginning(texts: Sequence[np.ndarray]) -> int:
    """With how many tokens texts begin alike, the last one of each left aside: [5, 6, 7], [5, 6] -> 1."""
    shortest = min(map(len, texts)) - 1
    alike_n = np.all([text[:shortest] == texts[0][:shortest] for text in texts[1:]], axis=0)
    return shortest if len(texts) == 1 or alike_n.all() else int(np.argmin(alike_n))


def packed_places(texts: Sequence[np.ndarray], share: bool) -> int:
    """How many places of a row texts take together; share: what they begin with alike is there once."""
    whole = sum(map(len, texts))
    return whole - (len(texts) - 1) * beginning(texts) if share else whole


def pack_groups(
    groups: Sequence[TextGroup], *, rows: int, row_tokens: int, share: bool = False, allocate: int = 0
) -> Packed:
    """Groups in micro-batches of `rows` rows, first-fit decreasing by length. Each weighs 1 / the number of groups, and
    each of its comparisons its share of that.

    A group's n-th comparison stands at the place of its n-th token: `better` and `worse` are the places in the row at
    which the two scores are read, `gap` the difference of their worth, `loss_weight` its weight, `share` its part
    of all weights here; there are never more comparisons than tokens. `noise` stands where a score is read.
    [5, 6] before [7], noise 8 and 9, in a row of 4 -> tokens [5, 6, 7, 0], segment [1, 1, 2, 0], position [0, 1, 0, 0],
    better [1, 0, 0, 0], worse [2, 0, 0, 0], weight and share [1, 0, 0, 0], noise [0, 8, 9, 0].
    share: what the texts of a group begin with alike, their question, stands there once as branch 0, and the rest of
    each is a branch of its own: [5, 6] and [5, 7] -> tokens [5, 6, 7], segment [1, 1, 1], position [0, 1, 1], branch
    [0, 1, 2]. The batch then has `branch_mbt`.
    allocate: the shape is that of so many groups, where that is more. Packed.places are where groups begin.
    ValueError for a group that does not fit a row, or has more comparisons than tokens.
    """
    sizes = [group.places(share) for group in groups]
    _check(groups, sizes, row_tokens)
    shape = (-(-max(len(groups), allocate) // rows), rows, row_tokens)
    integers = ("tokens", "segment", "position", "better", "worse", *(["branch"] if share else []))
    arrays = {f"{name}_mbt": np.zeros(shape, np.int32) for name in integers}
    arrays |= {f"{name}_mbt": np.zeros(shape, np.float32) for name in ("loss_weight", "gap")}
    arrays["noise_mbt"] = np.zeros(shape, np.uint32)
    bins = Bins(row_tokens)
    segments: list[int] = []  # of each row
    places = [(0, 0, 0)] * len(groups)
    for i in sorted(range(len(groups)), key=lambda i: (-sizes[i], i)):
        row = bins.place(sizes[i])
        assert row is not None  # none is longer than a row
        if row == len(segments):
            segments.append(0)
        m, b = divmod(row, rows)
        start = row_tokens - bins.room[row] - sizes[i]
        of_row = {name.removesuffix("_mbt"): array[m, b] for name, array in arrays.items()}
        segments[row] = _write(of_row, groups[i], start, segments[row] + 1, 1 / len(groups), share)
        places[i] = (m, b, start)
    arrays["share_mbt"] = arrays["loss_weight_mbt"] / arrays["loss_weight_mbt"].sum()
    return Packed(arrays, -(-len(segments) // rows), tuple(places), (1,) * len(groups), sum(sizes))


def _check(groups: Sequence[TextGroup], sizes: Sequence[int], row_tokens: int) -> None:
    if not groups:
        raise ValueError("nothing to pack: there are no groups of texts")
    if (longest := max(sizes)) > row_tokens:
        raise ValueError(f"texts of {longest} tokens together are compared: that is longer than a row of {row_tokens}")
    for group, size in zip(groups, sizes, strict=True):
        if not 0 < len(group.wins) <= size:
            raise ValueError(f"a group of {size} tokens has {len(group.wins)} comparisons, not 1 to {size}")


def _write(
    row: Mapping[str, np.ndarray], group: TextGroup, start: int, segment: int, weight: float, share: bool
) -> int:
    """Writes a group into a row from `start` on, as segments from this one on; gives the last of them."""
    reads, at, shared = [], start, beginning(group.texts) if share else 0
    if shared:
        here = slice(at, at + shared)
        row["tokens"][here], row["segment"][here] = group.texts[0][:shared], segment
        row["position"][here] = np.arange(shared)
        at += shared
    for number, (text, noise) in enumerate(zip(group.texts, group.noise, strict=True)):
        here = slice(at, at + len(text) - shared)
        row["tokens"][here], row["segment"][here] = text[shared:], segment if shared else segment + number
        row["position"][here] = np.arange(shared, len(text))
        if shared:
            row["branch"][here] = number + 1
        at = here.stop
        reads.append(at - 1)
        row["noise"][at - 1] = noise
    equal = (1 / len(group.wins),) * len(group.wins)
    for place, ((better, worse, gap), part) in enumerate(zip(group.wins, group.shares or equal, strict=True), start):
        row["better"][place], row["worse"][place], row["gap"][place] = reads[better], reads[worse], gap
        row["loss_weight"][place] = weight * part
    return segment if shared else segment + len(group.texts) - 1
