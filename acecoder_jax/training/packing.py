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

    tokens: [n + 1]. per_token: name -> [n], aligned with the targets tokens[1:]. prompt: how many of the tokens are
    given, so that nothing is asked of their prediction; 1 where all that can be predicted is.
    Prompt [10, 11], response [20, 1]: inputs [10, 11, 20], targets [11, 20, 1], response mask [0, 1, 1].
    """

    tokens: np.ndarray
    per_token: Mapping[str, np.ndarray]
    prompt: int = 1

    def __len__(self) -> int:
        return len(self.tokens) - 1

    @property
    def wanted(self) -> int:
        """How many targets are predicted: those after the prompt."""
        return len(self.tokens) - self.prompt

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
    """arrays: each [micro-batches, rows, row_tokens]; places: for each sequence in order, (micro-batch, row, start).

    start: of its wanted part, whose length is in lengths. tokens: how many places of the rows in use hold a token.
    """

    arrays: Batch
    micro_batches: int
    places: tuple[tuple[int, int, int], ...]
    lengths: tuple[int, ...]
    tokens: int = 0

    @property
    def padding_share(self) -> float:
        """The share of the micro-batches in use that holds no token."""
        return 1 - self.tokens / (self.micro_batches * int(np.prod(self.arrays["tokens_mbt"].shape[1:])))

    def unpack(self, array_mbt: np.ndarray) -> list[np.ndarray]:
        """The wanted part of each sequence in a per-token array, in the order in which the sequences came."""
        return [array_mbt[m, b, start : start + n] for (m, b, start), n in zip(self.places, self.lengths, strict=True)]


class Bins:
    """Rows that fill up, first fit (Johnson 1973); give it the largest first."""

    def __init__(self, row_tokens: int):
        self._size = row_tokens
        self.room: list[int] = []  # free tokens of each row

    def place(self, needed: int) -> int | None:
        """The first row with room for so many tokens, a new one if need be; None for what no row can hold."""
        row = next((r for r, free in enumerate(self.room) if free >= needed), len(self.room))
        if row == len(self.room):
            if needed > self._size:
                return None
            self.room.append(self._size)
        self.room[row] -= needed
        return row


@dataclasses.dataclass
class _Group:
    """Sequences with one prompt in one row. shared: tokens of the prompt that stand there once, before them."""

    shared: int
    members: list[int]


def fill_rows(sequences: Sequence[TokenSequence], row_tokens: int, share: bool) -> list[list[_Group]]:
    """Rows of groups: first-fit decreasing by the size of a prompt with all its responses.

    A group goes whole into the first row with room for it; where there is none its responses go one by one, the longest
    first, to a row that has their prompt already or else to the first with room for both.
    """
    by_prompt: dict[Any, list[int]] = {}
    for i, sequence in enumerate(sequences):
        shareable = share and sequence.prompt > 1
        by_prompt.setdefault(sequence.tokens[: sequence.prompt].tobytes() if shareable else i, []).append(i)
    groups = []
    for members in by_prompt.values():
        members.sort(key=lambda i: (-len(sequences[i]), i))
        shared = sequences[members[0]].prompt - 1 if len(members) > 1 else 0
        groups.append((shared, members, shared + sum(len(sequences[i]) - shared for i in members)))
    groups.sort(key=lambda group: (-group[2], group[1][0]))
    rows: list[list[_Group]] = []
    bins = Bins(row_tokens)

    def place(shared: int, members: list[int], needed: int) -> int | None:
        row = bins.place(needed)
        if row is not None:
            if row == len(rows):
                rows.append([])
            rows[row].append(_Group(shared, list(members)))
        return row

    for shared, members, needed in groups:
        if len(members) == 1 or needed <= max(bins.room, default=0):
            place(shared, members, needed)
            continue
        homes: dict[int, _Group] = {}
        for i in members:
            n = len(sequences[i]) - shared
            if (home := next((r for r in homes if bins.room[r] >= n), None)) is not None:
                homes[home].members.append(i)
                bins.room[home] -= n
            elif (row := place(shared, [i], shared + n)) is not None:
                homes[row] = rows[row][-1]
    return rows


def deal(wanted: Sequence[int], micro_batches: int, rows: int, shards: int) -> list[tuple[int, int]]:
    """A place (micro-batch, row) for each filled row, given how many of its tokens are predicted.

    The rows of a micro-batch are split over the shards in turn, and a step waits for the shard with the most to
    predict: the fullest row comes first, each to the shard of a micro-batch that has the least so far.
    """
    per_shard = rows // shards
    load = np.zeros((micro_batches, shards), np.int64)
    used = np.zeros((micro_batches, shards), np.int64)
    places: list[tuple[int, int]] = [(0, 0)] * len(wanted)
    for i in sorted(range(len(wanted)), key=lambda i: (-wanted[i], i)):
        free = np.where(used < per_shard, load, np.iinfo(np.int64).max)
        m, shard = np.unravel_index(np.argmin(free), free.shape)
        places[i] = int(m), int(shard * per_shard + used[m, shard])
        load[m, shard] += wanted[i]
        used[m, shard] += 1
    return places


def pack(
    sequences: Sequence[TokenSequence], *, rows: int, row_tokens: int, share: bool = False, shards: int = 1,
    allocate: int = 0,
) -> Packed:  # fmt: skip
    """Packs sequences into micro-batches of `rows` rows. Segment 0 is padding; what a row holds are segments 1, 2, ...

    share: sequences with the same prompt have one copy of it in a row. All its tokens but the last stand first, as
    branch 0; each response follows as a branch of its own that begins with the prompt's last token, from which its
    first token is predicted. The batch then has `branch_mbt`.
    Prompt [10, 11], responses [20, 1] and [30, 1] -> tokens [10, 11, 20, 11, 30], targets [11, 20, 1, 30, 1], branches
    [0, 1, 1, 2, 2], positions [0, 1, 2, 1, 2].

    The number of micro-batches is allocated for the worst case, one sequence a row, so that the shape depends on the
    number of sequences alone, or on `allocate` where that is more; `micro_batches` says how many are in use. shards:
    over how many devices the rows of a micro-batch are split; they get about the same to predict. ValueError for a
    sequence longer than a row.
    """
    if not sequences:
        raise ValueError("nothing to pack: there are no sequences")
    if (longest := max(map(len, sequences))) > row_tokens:
        raise ValueError(f"a sequence of {longest} tokens is longer than a row of {row_tokens}")
    filled = fill_rows(sequences, row_tokens, share)
    shape = (-(-max(len(sequences), allocate) // rows), rows, row_tokens)
    integers = ("tokens", "target", "segment", "position", "wanted", *(["branch"] if share else []))
    arrays = {name: np.zeros(shape, np.int32) for name in integers}
    arrays |= {name: np.zeros(shape, np.float32) for name in sequences[0].per_token}
    places: list[tuple[int, int, int]] = [(0, 0, 0)] * len(sequences)
    used, micro_batches = 0, -(-len(filled) // rows)
    wanted = [sum(sequences[i].wanted for group in groups for i in group.members) for groups in filled]
    dealt = deal(wanted, micro_batches, rows, shards) if shards > 1 else [divmod(i, rows) for i in range(len(filled))]
    for groups, (m, b) in zip(filled, dealt, strict=True):
        start = 0
        row = {name: array[m, b] for name, array in arrays.items()}
        for segment, group in enumerate(groups, start=1):
            first = start
            if group.shared:
                _write(row, sequences[group.members[0]], start, 0, group.shared)
                start += group.shared
            for branch, i in enumerate(group.members, start=1):
                one = sequences[i]
                _write(row, one, start, group.shared, len(one))
                if group.shared:
                    row["branch"][start : start + len(one) - group.shared] = branch
                start += len(one) - group.shared
                places[i] = (m, b, start - one.wanted)
            row["segment"][first:start] = segment
        used += start
    named = {f"{name}_mbt": array for name, array in arrays.items()}
    lengths = tuple(sequence.wanted for sequence in sequences)
    return Packed(named, micro_batches, tuple(places), lengths, used)


def _write(row: Mapping[str, np.ndarray], one: TokenSequence, at: int, start: int, stop: int) -> None:
    """Writes the targets [start, stop) of a sequence, with their inputs, into a row from place `at` on."""
    here, part = slice(at, at + stop - start), slice(start, stop)
    row["tokens"][here], row["target"][here] = one.tokens[:-1][part], one.tokens[1:][part]
    row["position"][here] = np.arange(start, stop)
    row["wanted"][here] = np.arange(start, stop) >= one.prompt - 1
    for name, array_n in one.per_token.items():
        if name == "loss_weight" and np.any(array_n[: one.prompt - 1]):
            raise ValueError("a sequence has a loss weight within its prompt: nothing there is predicted")
        row[name][here] = array_n[part]


def micro_batch(arrays: Mapping[str, Any], index: Any) -> dict[str, Any]:
    """The arrays of one micro-batch, [b, t] each, under their names with _bt."""
    return {name.removesuffix("_mbt") + "_bt": array[index] for name, array in arrays.items()}


def minibatches(
    sequences: Sequence[TokenSequence], size: int, seed: int, rollout: int, by_prompt: bool = False, passes: int = 1
) -> Iterator[list[TokenSequence]]:
    """The sequences of a rollout in mini-batches of `size`, the last of a pass smaller, `passes` times.

    The order of a pass is a function of (seed, rollout, pass). by_prompt: prompts are shuffled with their samples, so
    that those of one prompt meet in a mini-batch and share it.
    """
    alike: dict[Any, list[TokenSequence]] = {}
    for i, one in enumerate(sequences):
        alike.setdefault(one.tokens[: one.prompt].tobytes() if by_prompt else i, []).append(one)
    groups = list(alike.values())
    for number in range(passes):
        shuffled = np.random.default_rng((seed, rollout, number)).permutation(len(groups))
        order = [one for g in shuffled for one in groups[g]]
        for start in range(0, len(order), size):
            yield order[start : start + size]
