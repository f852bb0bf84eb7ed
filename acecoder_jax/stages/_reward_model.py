"""A reward model as a stage has it: its knobs, which model it is, and a file of scores, which the stage goes on with.

A row of the file: {"id", "score", "reward_model"}; the score is null where the model cannot read the program whole, and
"dropped" says why. reward_model is the fingerprint of the checkpoint and how it reads, `Identity.name`, so that scores
that cannot be compared are not mixed.
"""

import collections
import dataclasses
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from ml_collections import ConfigDict

from acecoder_jax import parallel, store, tokenizer
from acecoder_jax.models import huggingface
from acecoder_jax.models.fingerprint import fingerprint
from acecoder_jax.reward_models import checkpoint, scorer, texts
from acecoder_jax.reward_models.scorer import RewardModel
from acecoder_jax.store import Row

# Another model is told by its identity.
MAY_CHANGE = ("reward_model", "reward.rows", "reward.row_tokens", "reward.mesh", "reward.attention")


@dataclasses.dataclass(frozen=True)
class Pair:
    """A program for a question, to be scored. program: the assistant's whole turn."""

    id: str
    question: str
    program: str


@dataclasses.dataclass(frozen=True)
class Identity:
    """A reward model and the rules by which it reads: what its scores depend on."""

    fingerprint: str
    rules: str

    @property
    def name(self) -> str:
        """ "0123456789abcdef last 2048 truncate bfloat16"."""
        return f"{self.fingerprint} {self.rules}"


class Scorer(Protocol):
    """What is needed here of a reward model."""

    counts: collections.Counter[str]

    def stream(self, pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[int, float | None]]:
        """The number of each pair of question and program with its score, in any order."""
        ...


def load(config: ConfigDict) -> Scorer:
    """config.reward_model with the knobs of config.reward."""
    return RewardModel.load(config.reward_model, **config.reward.to_dict())


def identify(config: ConfigDict) -> Identity:
    """config.reward_model with the rules of config.reward; reads no weights.

    ValueError or FileNotFoundError where there is none, and for whatever else could not work: what `scorer.fit`,
    `checkpoint.find_read`, `tokenizer.load` and `texts.encode` raise.
    """
    if not config.reward_model:
        raise ValueError("config.reward_model is empty: name the directory or hub id of a reward model")
    if not checkpoint.has_head(config.reward_model):
        raise ValueError(f"config.reward_model: {config.reward_model} has no head that scores; name a reward model")
    directory, wanted = huggingface.find(config.reward_model), config.reward
    knobs = wanted.to_dict() | {"read": checkpoint.find_read(directory, wanted.read)}
    scorer.fit(parallel.local_mesh(**knobs.pop("mesh")), **knobs, of="reward.")
    texts.encode(tokenizer.load(directory), "a question", "a program", read=knobs["read"])  # its template can do it
    return Identity(fingerprint(directory), f"{knobs['read']} {wanted.max_tokens} {wanted.over} {wanted.dtype}")


def check_same(rows: Iterable[Row], path: str | Path, name: str) -> Iterator[Row]:
    """The rows of the file, one by one. ValueError for a score of another model, or of other rules. name: that of the
    identity."""
    for row in rows:
        if row["reward_model"] != name:
            raise ValueError(
                f"{path}: {row['id']!r} was scored by another reward model or by other rules (fingerprint, read, "
                f"max_tokens, over, dtype: {row['reward_model']}) than those of config.reward_model and config.reward "
                f"({name}): name another file or workdir"
            )
        yield row


def score(
    model: Scorer, name: str, pairs: Iterable[Pair], output: str | Path, reward: ConfigDict
) -> Iterator[Row]:  # fmt: skip
    """Appends a row a pair to the output, as batches are done, and gives it. reward: the knobs of the model. ValueError
    for a score that is no finite number."""
    waiting: dict[int, str] = {}

    def drawn() -> Iterator[tuple[str, str]]:
        for index, pair in enumerate(pairs):
            waiting[index] = pair.id
            yield pair.question, pair.program

    for index, value in model.stream(drawn()):
        one = waiting.pop(index)
        row = to_row(one, finite(value, one), name, _reason(reward))
        store.append_jsonl(output, [row])
        yield row


def finite(score: float | None, of: str) -> float | None:
    """The score. ValueError for one that is no finite number. of: the id of what was scored."""
    if score is not None and not math.isfinite(score):
        raise ValueError(f"the reward model's score of {of!r} is {score}: its checkpoint is no good")
    return score


def to_row(one: str, score: float | None, name: str, dropped: str) -> Row:
    """A row of the file. dropped: why there is no score, where there is none."""
    row: Row = {"id": one, "score": score, "reward_model": name}
    return row if score is not None else row | {"dropped": dropped}


def is_row(row: Row) -> bool:
    """Whether this is a row of such a file."""
    score = row.get("score")
    number = isinstance(score, int | float) and not isinstance(score, bool)
    named = isinstance(row.get("id"), str) and isinstance(row.get("reward_model"), str)
    return named and (number or ("score" in row and score is None and isinstance(row.get("dropped"), str)))


def _reason(reward: ConfigDict) -> str:
    what = "question and program are" if reward.over == "drop" else "the program is"
    return f"{what} longer than {reward.max_tokens} tokens"
