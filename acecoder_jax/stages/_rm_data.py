"""What a reward model is trained on: comparisons read, looked through, made tokens, and split by their questions."""

import collections
import dataclasses
import hashlib
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from acecoder_jax import data, metrics
from acecoder_jax.reward_models import texts
from acecoder_jax.sampling.noise import stable_hash
from acecoder_jax.training.comparisons import TextGroup, packed_places
from acecoder_jax.types import Pair, Ranked

FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[^\n]*$", re.MULTILINE)
KEPT, TRUNCATED = "kept", "texts whose question lost its beginning"
LONG, MANY = "together longer than a row", "more comparisons than tokens"
FEW = 0.1  # of all comparisons: where more than these are too long for a row, it is said
LEFT_OUT = ("empty question", "empty program", "identical texts", "over the cutoff", LONG, MANY)


@dataclasses.dataclass(frozen=True)
class Compared:
    """Replies to one question as tokens. tokens: of each text, question and reply. wins, shares: as in `TextGroup`."""

    id: str
    question_id: str
    replies: tuple[str, ...]
    tokens: tuple[np.ndarray, ...]
    wins: tuple[tuple[int, int, float], ...]
    shares: tuple[float, ...] = ()

    def group(self, seed: int, update: int) -> TextGroup:
        """As an update takes it. The noise of a text is a function of (seed, update, id, place in the group)."""
        noise = (
            int.from_bytes(stable_hash(seed, "dropout", update, self.id, place, size=4), "little")
            for place in range(len(self.tokens))
        )
        return TextGroup(self.tokens, self.wins, tuple(noise), self.shares)


def load(config: ConfigDict) -> list[Ranked]:
    """The comparisons that the config names. ValueError for a margin term where pass rates are not told."""
    if config.loss == "nwise":
        rules = config.nwise.to_dict()
        weigh = rules.pop("weigh")
        found = data.load_ranked(config.data, config.data_path, rules=rules, **config.data_args)
        if weigh == "questions":
            found = [dataclasses.replace(one, shares=()) for one in found]
    else:
        pairs = data.load_pairs(config.data, config.data_path, **config.data_args)
        found = [_of_pair(pair) for pair in pairs]
    if not found:
        raise ValueError(f"the data source {config.data!r} has no comparisons: nothing to train on")
    if config.objective.margin and (untold := [one.id for one in found if not one.scores]):
        raise ValueError(
            f"objective.margin goes by pass rates, but {len(untold)} pairs do not tell theirs (chosen_score and "
            f"rejected_score), {untold[0]!r} for one: set it to 0, or make the pairs with configs/pairs.py"
        )
    return found


def _of_pair(pair: Pair) -> Ranked:
    """A pair as two ranked replies. A question without an id has a hash of its text for one."""
    told = pair.chosen_score is not None and pair.rejected_score is not None
    scores = ((pair.chosen_score, pair.rejected_score),) if told else ()
    question_id = pair.question_id or stable_hash(pair.question).hex()
    return Ranked(pair.id, question_id, pair.question, (pair.chosen, pair.rejected), ((0, 1),), scores)  # type: ignore[arg-type]


def to_tokens(
    ranked: Sequence[Ranked], words: Any, *, read: str, max_tokens: int, over: str, row_tokens: int, share: bool
) -> tuple[list[Compared], collections.Counter[str]]:
    """The comparisons that can be trained on, and how many there are of each kind, those left out by reason.

    read, max_tokens, over: of `texts.encode`. row_tokens: the most that the texts of a group may take together, where
    share is true with what they begin with alike counted once.
    """
    kept: list[Compared] = []
    counts: collections.Counter[str] = collections.Counter(dict.fromkeys((KEPT, *LEFT_OUT, TRUNCATED), 0))

    def encode(question: str, reply: str, known: dict[str, list[int]]) -> np.ndarray | None:
        one = texts.encode(words, question, reply, read=read, max_tokens=max_tokens, over=over, prompts_of=known)
        counts[TRUNCATED] += one is not None and one.truncated
        return None if one is None else one.tokens

    for one in metrics.watched(ranked, "tokens", len(ranked)):
        wins, shares = _good_wins(one, counts)
        wanted = sorted({place for win in wins for place in win[:2]})
        known: dict[str, list[int]] = {}  # the question is rendered once
        tokens = {place: encode(one.question, one.replies[place], known) for place in wanted}
        fits = [n for n, win in enumerate(wins) if tokens[win[0]] is not None and tokens[win[1]] is not None]
        whole = [wins[n] for n in fits]
        counts["over the cutoff"] += len(wins) - len(whole)
        there = [place for place in wanted if any(place in win[:2] for win in whole)]
        arrays = tuple(array for place in there if (array := tokens[place]) is not None)
        places = packed_places(arrays, share) if whole else 0
        if places > row_tokens or len(whole) > places:
            counts[LONG if places > row_tokens else MANY] += len(whole)
        elif whole:
            counts[KEPT] += len(whole)
            moved = tuple((there.index(i), there.index(j), gap) for i, j, gap in whole)
            replies = tuple(one.replies[place] for place in there)
            parts = tuple(shares[n] for n in fits) if shares else ()
            kept.append(Compared(one.id, one.question_id, replies, arrays, moved, parts))
    return kept, counts


def digest(compared: Sequence[Compared]) -> str:
    """A short name for comparisons: of their ids, tokens, wins and shares, in order."""
    found = hashlib.sha256()
    for one in compared:
        found.update(repr((one.id, one.wins, one.shares, [len(text) for text in one.tokens])).encode())
        for text in one.tokens:
            found.update(text.tobytes())
    return found.hexdigest()[:16]


def _good_wins(
    one: Ranked, counts: collections.Counter[str]
) -> tuple[list[tuple[int, int, float]], list[float]]:  # fmt: skip
    """The comparisons of two programs that differ, with the gap of their pass rates, 0 where it is not told; and the
    share of each, where they have any."""
    if not one.question.strip():
        counts["empty question"] += len(one.wins)
        return [], []
    found: list[tuple[int, int, float]] = []
    shares: list[float] = []
    for number, (i, j) in enumerate(one.wins):
        if is_empty(one.replies[i]) or is_empty(one.replies[j]):
            counts["empty program"] += 1
        elif one.replies[i].strip() == one.replies[j].strip():
            counts["identical texts"] += 1
        else:
            better, worse = one.scores[number] if one.scores else (0.0, 0.0)
            found.append((i, j, better - worse))
            shares += one.shares[number : number + 1]
    return found, shares


def is_empty(reply: str) -> bool:
    """Whether a reply holds nothing but blanks and the fences of blocks."""
    return not FENCE.sub("", reply).strip()


def tell(counts: collections.Counter[str], trained: Sequence[Compared], held_out: Sequence[Compared]) -> None:
    """Prints what there is to train on, and what was left out for which reason."""
    total = sum(counts[reason] for reason in (KEPT, *LEFT_OUT))
    rows: list[tuple[object, ...]] = [
        (reason, counts[reason], f"{counts[reason] / total:.1%}") for reason in (KEPT, *LEFT_OUT)
    ]
    rows.append((TRUNCATED, counts[TRUNCATED], ""))
    for name, part in (("trained on", trained), ("held out", held_out)):
        questions = len({one.question_id for one in part})
        rows.append((name, sum(len(one.wins) for one in part), f"of {questions} questions"))
    metrics.table("comparisons", ("what", "count", "share"), rows)
    if counts[LONG] > FEW * total:
        print(
            f"warning: {counts[LONG] / total:.0%} of the comparisons are of questions whose programs are together "
            "longer than a row, and are left out: those of short programs count for more. Raise trainer.row_tokens, or "
            "take an attention that reads a question once (docs/train_rm.md)"
        )


def split(compared: Sequence[Compared], *, share: float, at_least: int) -> tuple[list[Compared], list[Compared]]:
    """Those to train on, and those held out: whole questions, this share of them by a hash of their ids, and those with
    the smallest hashes where these are fewer than at_least. A question's part by the share does not depend on others.

    ValueError where no question is left to train on.
    """
    if not 0 <= share < 1 or at_least < 0:
        raise ValueError(f"held_out: share {share} has to be at least 0 and below 1, at_least {at_least} at least 0")
    hashes = {name: stable_hash("held out", name) for name in {one.question_id for one in compared}}
    held = {name for name, digest in hashes.items() if int.from_bytes(digest, "big") < share * 2**64}
    if len(held) < at_least:
        held = set(sorted(hashes, key=lambda name: hashes[name])[:at_least])
    if len(held) == len(hashes):
        raise ValueError(
            f"held_out: all of the {len(hashes)} questions would be held out (share {share}, at_least {at_least}): "
            "nothing is left to train on"
        )
    return [one for one in compared if one.question_id not in held], [o for o in compared if o.question_id in held]


def batch_at(count: int, batch: int, seed: int, step: int) -> np.ndarray:
    """The indices of a step's groups, a function of (seed, step): each epoch in a new order, its last batch smaller."""
    epoch, number = divmod(step, steps_of_epoch(count, batch))
    name = np.frombuffer(stable_hash(seed, "reward model", epoch, size=16), np.uint32)
    return np.random.default_rng(name).permutation(count)[number * batch : (number + 1) * batch]


def steps_of_epoch(count: int, batch: int) -> int:
    """Updates that see each of so many groups once."""
    return -(-count // batch)


def program_lengths(compared: Sequence[Compared], count: Callable[[str], int]) -> list[int]:
    """The tokens of each reply, in the order of groups and texts."""
    return [count(reply) for one in compared for reply in one.replies]
