"""Scores of programs by a reward model: texts packed into rows by their lengths, batch by batch.

    model = RewardModel.load("TIGER-Lab/AceCodeRM-7B")
    model.score([("Add two numbers.", "```python\\ndef add(a, b):\\n    return a + b\\n```")])   # [12.3]

Users have it as `from acecoder_jax import RewardModel`.
"""

import collections
import hashlib
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any, Self

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from acecoder_jax import parallel, tokenizer
from acecoder_jax.models import huggingface, reward_head, sharding
from acecoder_jax.models.attention import SHARES_PROMPTS, choose
from acecoder_jax.models.attention.chunked import CHUNK
from acecoder_jax.models.config import ModelConfig
from acecoder_jax.models.decoder import Params
from acecoder_jax.models.fingerprint import fingerprint
from acecoder_jax.models.flops import layer_weights
from acecoder_jax.reward_models import checkpoint, texts
from acecoder_jax.reward_models.texts import Encoded
from acecoder_jax.training.comparisons import beginning
from acecoder_jax.training.on_mesh import fit_rows
from acecoder_jax.training.packing import TokenSequence, fill_rows
from acecoder_jax.training.reward_trainer import make_scores, text_sequence
from acecoder_jax.training.update import PerToken

BATCH = 64  # texts of a call of the compiled function
AHEAD = 8  # batches that `stream` sorts by length together
# Tokens of a row: few lengths, for each is compiled; a batch takes the one in which it is least work (`_work`).
ROWS = (128, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 8192)
CALL_TOKENS = 128  # of so many tokens is the work of reading the weights once more
PLAIN_ATTENTION = 4.0  # how many times longer an operation of plain XLA's attention takes than one of a large product


def fit(
    mesh: Mesh, *, dtype: Any, rows: int, row_tokens: int, attention: str, read: str, max_tokens: int, over: str,
    of: str = "",
) -> tuple[int, str]:  # fmt: skip
    """The rows of a micro-batch and the attention's back end for the knobs of a reward model, before it is loaded.

    of: what the knobs' names begin with in errors. ValueError for max_tokens above row_tokens and for no type, and what
    `texts.check`, `fit_rows` and `attention.choose` raise.
    """
    texts.check(read, over)
    if not 0 < max_tokens <= row_tokens:
        raise ValueError(f"{of}max_tokens is {max_tokens}: it is 1 at least, and {of}row_tokens, {row_tokens}, at most")
    try:
        kind = jnp.dtype(dtype)
    except TypeError as error:
        raise ValueError(f"{of}dtype is {dtype!r}: it is 'bfloat16' or 'float32'") from error
    return fit_rows(mesh, rows, row_tokens, of=of), choose(attention, mesh.devices.flat[0].platform, kind)


class RewardModel:
    """A reward model, ready to score.

    counts: "scored", "truncated" (of these, the question lost its beginning) and "dropped" texts so far. name: the
    checkpoint's fingerprint, "" for one that was never on the disk. rules: the arguments of `texts.encode`.
    """

    def __init__(
        self,
        config: ModelConfig,
        params: Params,
        words: Any,
        *,
        mesh: Mesh,
        dtype: Any = jnp.bfloat16,
        rows: int = 0,
        row_tokens: int = 4096,
        attention: str = "auto",
        read: str = "last",
        max_tokens: int = 2048,
        over: str = "truncate",
        name: str = "",
    ):
        """rows: of a micro-batch, 0: one for each shard (data x fsdp) of the mesh. row_tokens: of the longest rows:
        shorter ones are used where they will do. The rest is as in `texts.encode`.

        Raises what `fit` does.
        """
        self._rows, self._backend = fit(
            mesh, dtype=dtype, rows=rows, row_tokens=row_tokens, attention=attention, read=read, max_tokens=max_tokens,
            over=over,
        )  # fmt: skip
        self.config, self.params, self.words, self.name = config, params, words, name
        self.counts: collections.Counter[str] = collections.Counter()
        self._model = reward_head.RewardModel.make(config, jnp.dtype(dtype), remat="none")
        self._mesh, self._row_tokens = mesh, row_tokens
        self.rules: dict[str, Any] = {"read": read, "max_tokens": max_tokens, "over": over}
        self._functions: dict[int, PerToken] = {}

    @classmethod
    def load(
        cls,
        path_or_hub_id: str | os.PathLike[str],
        *,
        mesh: Mesh | Mapping[str, int] | None = None,
        dtype: Any = "bfloat16",
        read: str = "auto",
        **knobs: Any,
    ) -> Self:
        """A checkpoint in any layout of `checkpoint.load`, its decoder in dtype, sharded over a mesh.

        mesh: or the sizes of its axes (`parallel.make_mesh`); None is all devices of this process, the parameters split
        over them. read: "auto" is where the checkpoint was trained to be read. knobs: those of the class. Raises what
        `checkpoint.load`, `checkpoint.find_read` and `tokenizer.load` raise.
        """
        directory = huggingface.find(path_or_hub_id)
        read = checkpoint.find_read(directory, read)
        if not isinstance(mesh, Mesh):
            mesh = parallel.local_mesh(**(mesh or {}))
        there = mesh

        def placed(abstract: Params) -> Params:
            return sharding.param_shardings(abstract, there)

        words = tokenizer.load(directory)
        config, params = checkpoint.load(directory, shardings=placed, dtype=jnp.dtype(dtype))
        return cls(config, params, words, mesh=mesh, dtype=dtype, read=read, name=fingerprint(directory), **knobs)

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[float | None]:
        """The scores of (question, program) pairs, in their order; None for a text that was dropped.

        On several hosts every process calls this, with the same pairs. ValueError that tells the pair's number for an
        empty question or program, before anything is scored.
        """
        scores: list[float | None] = [None] * len(pairs)
        for i, score in self._in_batches(self._encode(enumerate(pairs))):
            scores[i] = score
        return scores

    def stream(self, pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[int, float | None]]:
        """(number of the pair, score) as batches are done: of 512 pairs at a time, those of like length together."""
        numbered, known = iter(enumerate(pairs)), dict[bytes, float]()
        while window := list(itertools.islice(numbered, AHEAD * BATCH)):
            encoded = self._encode(window)
            yield from ((i, None) for i, one in encoded.items() if one is None)
            yield from self._in_batches(encoded, known)

    def score_tokens(self, tokens: Sequence[np.ndarray]) -> list[float]:
        """The score at the last of each text's tokens, [n] each. ValueError for one longer than row_tokens."""
        scores: list[float] = [0.0] * len(tokens)
        for i, score in self._in_batches({i: Encoded(text, 1, False) for i, text in enumerate(tokens)}):
            scores[i] = score
        return scores

    def _encode(self, numbered: Iterable[tuple[int, tuple[str, str]]]) -> dict[int, Encoded | None]:
        found: dict[int, Encoded | None] = {}
        known: dict[str, list[int]] = {}
        for i, (question, program) in numbered:
            try:
                one = texts.encode(self.words, question, program, **self.rules, prompts_of=known)
            except ValueError as error:
                raise ValueError(f"pair {i}: {error}") from error
            self.counts["scored" if one else "dropped"] += 1
            self.counts["truncated"] += one is not None and one.truncated
            found[i] = one
        return found

    def _in_batches(
        self, encoded: Mapping[int, Encoded | None], known: MutableMapping[bytes, float] | None = None
    ) -> Iterator[tuple[int, float]]:
        """The scores of the texts there are. One that comes again has the score that it had: in bfloat16 a score
        depends a little on what else is in its row. known: scores by `_name`, which this goes by and adds to.
        """
        known = {} if known is None else known
        there = {i: one for i, one in encoded.items() if one is not None}
        names = {i: _name(one) for i, one in there.items()}
        alike: dict[bytes, list[int]] = {}
        for i, name in names.items():
            alike.setdefault(name, []).append(i)
        yield from ((i, known[name]) for i, name in names.items() if name in known)
        new = {again[0]: there[again[0]] for name, again in alike.items() if name not in known}
        for first, score in self._score_each(new):
            known[names[first]] = score
            yield from ((i, score) for i in alike[names[first]])

    def _score_each(self, encoded: Mapping[int, Encoded]) -> Iterator[tuple[int, float]]:
        """Texts of one question stand together, and questions by the length of their longest text, the longest first:
        a batch's texts are of like length, and the first batch needs the most memory.
        """
        by_prompt: dict[bytes, list[tuple[int, Encoded]]] = {}
        for i, one in encoded.items():
            by_prompt.setdefault(one.tokens[: one.prompt].tobytes(), []).append((i, one))
        for texts_of_one in by_prompt.values():
            texts_of_one.sort(key=lambda text: (-len(text[1].tokens), text[0]))
        groups = sorted(by_prompt.values(), key=lambda group: (-len(group[0][1].tokens), group[0][0]))
        there = list(itertools.chain.from_iterable(groups))
        for batch in (there[start : start + BATCH] for start in range(0, len(there), BATCH)):
            sequences = _alike(batch)
            found = self._function(sequences)(self.params, sequences)
            yield from ((i, float(score_n[-1])) for (i, _), score_n in zip(batch, found, strict=True))

    def _function(self, sequences: Sequence[TokenSequence]) -> PerToken:
        """The function for the rows in which these texts take least work."""
        longest = max(map(len, sequences))
        tile = ROWS[0] * self._mesh.shape["context"]
        lengths = [n for n in ROWS if longest <= n < self._row_tokens and n % tile == 0] + [self._row_tokens]
        row_tokens = min(lengths, key=lambda n: self._work(sequences, n))
        if row_tokens not in self._functions:
            self._functions[row_tokens] = make_scores(
                self._model, self._mesh, rows=self._rows, row_tokens=row_tokens, attention=self._backend,
                allocate=BATCH, of="",
            )  # fmt: skip
        return self._functions[row_tokens]

    def _work(self, sequences: Sequence[TokenSequence], row_tokens: int) -> float:
        """Operations of a layer on these texts in rows of this length, padding among them; plain XLA's attention works
        through all keys of a row, masked or not.
        """
        rows = len(fill_rows(sequences, row_tokens, self._backend in SHARES_PROMPTS))
        micro_batches = -(-rows // self._rows)
        config = self.config
        attention = 4 * config.num_heads * config.head_dim * (row_tokens + CHUNK) / 2 if self._backend == "xla" else 0
        a_token = 2 * layer_weights(config) + PLAIN_ATTENTION * attention
        return micro_batches * (self._rows * row_tokens + CALL_TOKENS) * a_token


def _name(one: Encoded) -> bytes:
    return hashlib.blake2b(one.tokens.tobytes(), digest_size=16).digest()


def _alike(batch: Sequence[tuple[int, Encoded]]) -> list[TokenSequence]:
    """The texts of a batch as the function takes them. Those of one question share it; those that are alone with theirs
    share what all of them begin with, the chat's head.
    """
    questions = [one.tokens[: one.prompt].tobytes() for _, one in batch]
    times = collections.Counter(questions)
    alone = [one.tokens for question, (_, one) in zip(questions, batch, strict=True) if times[question] == 1]
    head = max(1, beginning(alone)) if len(alone) > 1 else 1
    return [
        text_sequence(one.tokens, one.prompt if times[question] > 1 else head)
        for question, (_, one) in zip(questions, batch, strict=True)
    ]
