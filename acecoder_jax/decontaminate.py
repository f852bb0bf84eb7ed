"""Decontamination: whether a text shares a run of words with an evaluation benchmark.

A word is a run of letters, digits and underscores, in lower case: layout and punctuation do not hide a copy, and the
punctuation that all programs share does not make one. An n-gram is n words in a row; one that is numbers for more than
half does not count, for many lists begin with 1, 2, 3. A text of the benchmark that is shorter than n words, yet not
shorter than `WHOLE_WORDS`, is looked for whole.
"""

import functools
import hashlib
import re
from collections.abc import Iterable

import numpy as np

NGRAM = 10  # words: as Qwen2.5-Coder (arXiv 2409.12186) decontaminates
WHOLE_WORDS = 7
_WORD = re.compile(r"\w+")
_BASE = 0x9E3779B97F4A7C15  # odd, so that its powers never vanish modulo 2**64


def words(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return _WORD.findall(text.lower())


def hashed(tokens: Iterable[str]) -> np.ndarray:
    """A 64-bit number a token, the same on every machine."""
    return np.array([_hash(token) for token in tokens], np.uint64)


@functools.lru_cache(maxsize=1 << 17)
def _hash(token: str) -> int:
    return int.from_bytes(hashlib.blake2b(token.encode(errors="surrogatepass"), digest_size=8).digest(), "little")


def grams(numbers: np.ndarray, n: int) -> np.ndarray:
    """A 64-bit number for each n tokens in a row, given a number a token; empty where there are fewer than n.

    [a, b, c] and 2 -> [a B + b, b B + c], modulo 2**64.
    """
    count = max(len(numbers) - n + 1, 0)
    total = np.zeros(count, np.uint64)
    for offset in range(n):
        total = total * np.uint64(_BASE) + numbers[offset : offset + count]
    return total


class Benchmarks:
    """The n-grams of texts that no training text may share.

    texts: pairs (name of the problem, text); a problem may come more than once, with its prompt and its solution.
    size is the number of n-grams; too_short counts the texts without any, which cannot be found.
    """

    def __init__(self, texts: Iterable[tuple[str, str]], ngram: int = NGRAM):
        if ngram < WHOLE_WORDS:
            raise ValueError(f"n-grams of {ngram} words are in every text: take {WHOLE_WORDS} or more")
        self.ngram, self.too_short = ngram, 0
        self._names: list[str] = []
        parts: dict[int, list[tuple[np.ndarray, int]]] = {}
        for name, text in texts:
            tokens = words(text)
            n = min(len(tokens), ngram)
            found = grams(hashed(tokens), n)[_telling(tokens, n)]
            if n < WHOLE_WORDS or not len(found):
                self.too_short += 1
                continue
            parts.setdefault(n, []).append((found, len(self._names)))
            self._names.append(name)
        self._tables = {n: _table(parts[n]) for n in sorted(parts, reverse=True)}

    @property
    def size(self) -> int:
        """The number of different n-grams."""
        return sum(len(keys) for keys, _ in self._tables.values())

    def find(self, text: str) -> tuple[str, str] | None:
        """The name of a problem that shares an n-gram with the text, and the words that they share; None: clean."""
        tokens = words(text)
        numbers = hashed(tokens)
        for n, (keys, owners) in self._tables.items():
            found = grams(numbers, n)
            places = np.minimum(np.searchsorted(keys, found), len(keys) - 1)
            hits = np.flatnonzero(keys[places] == found)
            if len(hits):
                first = int(hits[0])
                return self._names[owners[places[first]]], " ".join(tokens[first : first + n])
        return None


def _telling(tokens: list[str], n: int) -> np.ndarray:
    """For each n tokens in a row whether at least half of them are no numbers."""
    words_before = np.cumsum([0, *(not token.isdecimal() for token in tokens)])
    return 2 * (words_before[n:] - words_before[: len(words_before) - n]) >= n


def _table(parts: list[tuple[np.ndarray, int]]) -> tuple[np.ndarray, np.ndarray]:
    """The sorted n-grams, and for each the first text that has it."""
    keys = np.concatenate([found for found, _ in parts])
    owners = np.concatenate([np.full(len(found), owner) for found, owner in parts])
    unique, first = np.unique(keys, return_index=True)
    return unique, owners[first]
