"""Sequences of different lengths packed into rows of one shape, and numbers taken back out of the rows.

Letters: m micro-batch, b row, t time, n tokens of one sequence.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

Batch = dict[str, np.ndarray]  # tokens_mbt, target_mbt, segment_mbt, position_mbt and every per-token array by its name


@dataclasses.dataclass(frozen=True)
class TokenSequence:
    """One prompt and response, with numbers for each predicted token.

    tokens: [n + 1]. per_token: name -> [n], aligned with the targets tokens[1:].
    Prompt [10, 11], response [20, 1]: inputs [10, 11, 20], targets [11, 20, 1], response mask [0, 1, 1].
    """

    tokens: np.ndarray
    per_token: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.tokens) - 1

    def scaled(self, name: str, factor: float) -> "TokenSequence":
        """The same sequence with one of its arrays multiplied."""
        array_n = (self.per_token[name] * factor).astype(np.float32)
        return dataclasses.replace(self, per_token={**self.per_token, name: array_n})


def response_mask(prompt_tokens: int, policy_mask: Sequence[int]) -> np.ndarray:
    """1 at the targets that the policy wrote: [n] of float32, for a prompt and a response (its end token included)."""
    return np.concatenate([np.zeros(prompt_tokens - 1), policy_mask]).astype(np.float32)


def align(prompt_tokens: int, response_n: Sequence[float] | np.ndarray) -> np.ndarray:
    """Numbers of response tokens as an array over all targets, zero over the prompt: [n] of float32."""
    return np.concatenate([np.zeros(prompt_tokens - 1), response_n]).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Packed:
    """arrays: each [micro-batches, rows, row_tokens]; places: for each sequence in order, (micro-batch, row, start)."""

    arrays: Batch
    micro_batches: int
    places: tuple[tuple[int, int, int], ...]
    lengths: tuple[int, ...]

    def unpack(self, array_mbt: np.ndarray) -> list[np.ndarray]:
        """Each sequence's part of a per-token array, in the order in which the sequences came."""
        return [array_mbt[m, b, start : start + n] for (m, b, start), n in zip(self.places, self.lengths, strict=True)]


def first_fit_decreasing(lengths: Sequence[int], row_tokens: int) -> list[list[int]]:
    """Rows of sequence indices, the longest first, each into the first row with room (Johnson 1973)."""
    rows: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        row = next((r for r, free in enumerate(room) if free >= lengths[index]), None)
        if row is None:
            rows.append([])
            room.append(row_tokens)
            row = len(rows) - 1
        rows[row].append(index)
        room[row] -= lengths[index]
    return rows


def pack(sequences: Sequence[TokenSequence], *, rows: int, row_tokens: int) -> Packed:
    """Packs sequences into micro-batches of `rows` rows. Segment 0 is padding; a row's sequences are 1, 2, ...

    The number of micro-batches is allocated for the worst case, one sequence a row, so that the shape depends on the
    number of sequences alone; `micro_batches` says how many are in use. ValueError for a sequence longer than a row.
    """
    lengths = [len(sequence) for sequence in sequences]
    if not sequences:
        raise ValueError("nothing to pack: there are no sequences")
    if max(lengths) > row_tokens:
        raise ValueError(f"a sequence of {max(lengths)} tokens is longer than a row of {row_tokens}")
    filled = first_fit_decreasing(lengths, row_tokens)
    shape = (-(-len(sequences) // rows), rows, row_tokens)
    arrays = {name: np.zeros(shape, np.int32) for name in ("tokens", "target", "segment", "position")}
    arrays |= {name: np.zeros(shape, np.float32) for name in sequences[0].per_token}
    places: list[tuple[int, int, int]] = [(0, 0, 0)] * len(sequences)
    for number, members in enumerate(filled):
        m, b, start = number // rows, number % rows, 0
        for segment, index in enumerate(members, start=1):
            sequence, n = sequences[index], lengths[index]
            here = (m, b, slice(start, start + n))
            arrays["tokens"][here], arrays["target"][here] = sequence.tokens[:-1], sequence.tokens[1:]
            arrays["segment"][here], arrays["position"][here] = segment, np.arange(n)
            for name, array_n in sequence.per_token.items():
                arrays[name][here] = array_n
            places[index] = (m, b, start)
            start += n
    named = {f"{name}_mbt": array for name, array in arrays.items()}
    return Packed(named, -(-len(filled) // rows), tuple(places), tuple(lengths))


def micro_batch(arrays: Mapping[str, Any], index: Any) -> dict[str, Any]:
    """The arrays of one micro-batch, [b, t] each, under their names with _bt."""
    return {name.removesuffix("_mbt") + "_bt": array[index] for name, array in arrays.items()}


def minibatches(
    sequences: Sequence[TokenSequence], size: int, seed: int, rollout: int
) -> Iterator[list[TokenSequence]]:
    """The sequences of a rollout in mini-batches of `size`, the last one smaller, in an order of (seed, rollout)."""
    order = np.random.default_rng((seed, rollout)).permutation(len(sequences))
    for start in range(0, len(sequences), size):
        yield [sequences[i] for i in order[start : start + size]]
