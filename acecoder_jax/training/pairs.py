"""Pairs of texts packed into rows, both texts of a pair in one row, for a loss that compares their scores."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from acecoder_jax.training.packing import Bins, Packed


@dataclasses.dataclass(frozen=True)
class TokenPair:
    """The tokens of the better and of the worse text; the score of each is read at its last token."""

    chosen: np.ndarray
    rejected: np.ndarray

    def __len__(self) -> int:
        return len(self.chosen) + len(self.rejected)


def pack_pairs(pairs: Sequence[TokenPair], *, rows: int, row_tokens: int) -> Packed:
    """Pairs in micro-batches of `rows` rows, first-fit decreasing by length; each weighs 1 / the number of pairs.

    [5, 6] before [7] in a row of 4 -> tokens [5, 6, 7, 0], segment [1, 1, 2, 0], position [0, 1, 0, 0], weight [0, 1,
    0, 0], other [0, 2, 0, 0]. Places are where the chosen one's score is read. ValueError for a pair longer than a row.
    """
    if not pairs:
        raise ValueError("nothing to pack: there are no pairs")
    if (longest := max(map(len, pairs))) > row_tokens:
        raise ValueError(f"a pair of {longest} tokens together is longer than a row of {row_tokens}")
    shape = (-(-len(pairs) // rows), rows, row_tokens)
    arrays = {f"{name}_mbt": np.zeros(shape, np.int32) for name in ("tokens", "segment", "position", "other")}
    arrays["loss_weight_mbt"] = np.zeros(shape, np.float32)
    bins = Bins(row_tokens)
    segments: list[int] = []  # of each row
    places = [(0, 0, 0)] * len(pairs)
    for i in sorted(range(len(pairs)), key=lambda i: (-len(pairs[i]), i)):
        row = bins.place(len(pairs[i]))
        assert row is not None  # none is longer than a row
        if row == len(segments):
            segments.append(0)
        m, b = divmod(row, rows)
        stop = row_tokens - bins.room[row]
        start = stop - len(pairs[i])
        for text in (pairs[i].chosen, pairs[i].rejected):
            here = (m, b, slice(start, start + len(text)))
            segments[row] += 1
            arrays["tokens_mbt"][here], arrays["segment_mbt"][here] = text, segments[row]
            arrays["position_mbt"][here] = np.arange(len(text))
            start += len(text)
        read = stop - len(pairs[i].rejected) - 1
        arrays["loss_weight_mbt"][m, b, read] = 1 / len(pairs)
        arrays["other_mbt"][m, b, read] = stop - 1
        places[i] = (m, b, read)
    return Packed(arrays, -(-len(segments) // rows), tuple(places), (1,) * len(pairs), sum(map(len, pairs)))
