"""Exact and near duplicates among programs: the Jaccard similarity of their shingles, by MinHash and LSH (datasketch).

A token is a word or a sign; a shingle is five tokens in a row; two programs are as similar as the share of shingles
that both have among those that either has (Broder 1997). LSH proposes pairs, whose similarity is then counted out.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from datasketch import MinHash, MinHashLSH

from acecoder_jax import metrics
from acecoder_jax.decontaminate import grams, hashed

SHINGLE = 5  # tokens
PERMUTATIONS = 128
RECALL = 0.95  # the chance that a pair just as similar as the threshold is proposed; a more similar one's is higher
_TOKEN = re.compile(r"\w+|[^\w\s]")


class Duplicate(NamedTuple):
    """of: the id of the program that stays. similarity: 0 to 1. exact: the same tokens in the same order."""

    of: str
    similarity: float
    exact: bool


def check(threshold: float) -> None:
    """ValueError for a threshold that `find` does not take."""
    if not 0 <= threshold <= 1:
        raise ValueError(f"a threshold of similarity is between 0 and 1, not {threshold}")


def find(programs: Mapping[str, str], threshold: float, title: str = "") -> dict[str, Duplicate]:
    """The programs that duplicate another, by id: in the order of ids, each that is like one before it that stays.

    threshold: similarity from which on two programs are near duplicates; 0 looks for exact ones only.
    title: of a progress bar; "" for none. The result does not depend on the order of `programs`.
    """
    check(threshold)
    table = MinHashLSH(threshold, PERMUTATIONS, params=_bands(threshold)) if threshold else None
    first = MinHash(PERMUTATIONS, hashfunc=_same)
    sequences: dict[bytes, str] = {}
    found: dict[str, Duplicate] = {}
    ids = sorted(programs)
    for id in metrics.watched(ids, title, len(ids)) if title else ids:
        numbers = hashed(_TOKEN.findall(programs[id]))
        same = sequences.setdefault(hashlib.blake2b(numbers.tobytes(), digest_size=16).digest(), id)
        if same != id:
            found[id] = found.get(same, Duplicate(same, 1.0, exact=True))
            continue
        if table is None:
            continue
        mine = _shingles(numbers)
        sketch = MinHash(PERMUTATIONS, hashfunc=_same, permutations=first.permutations)
        sketch.update_batch((mine >> np.uint64(32)).tolist())
        for other in sorted(table.query(sketch)):
            similarity = _jaccard(mine, _shingles(hashed(_TOKEN.findall(programs[other]))))
            if similarity >= threshold:
                found[id] = Duplicate(other, similarity, exact=False)
                break
        else:
            table.insert(id, sketch, check_duplication=False)
    return found


def _bands(threshold: float) -> tuple[int, int]:
    """Bands and rows a band: the most rows with which LSH proposes a pair at the threshold with the chance RECALL."""
    rows = (rows for rows in range(PERMUTATIONS // 2, 1, -1))
    shapes = ((PERMUTATIONS // r, r) for r in rows)
    return next((shape for shape in shapes if 1 - (1 - threshold ** shape[1]) ** shape[0] >= RECALL), (PERMUTATIONS, 1))


def _same(number: int) -> int:
    return number  # already a hash


def _shingles(numbers: np.ndarray) -> np.ndarray:
    return np.unique(grams(numbers, min(SHINGLE, max(len(numbers), 1))))


def _jaccard(a: np.ndarray, b: np.ndarray) -> float:
    both = len(np.intersect1d(a, b, assume_unique=True))
    return both / (len(a) + len(b) - both)
