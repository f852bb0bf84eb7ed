"""Seeds: programs that questions are made from, out of tables or of Python source, and what is left out of them.

    source    path                                   read by
    evol      "" (the hub), or a file or folder       tables.py
    oss       the same                                tables.py
    stack     the same                                tables.py
    stdlib    ""                                      trees.py
    package   the name that one imports               trees.py
    folder    a folder of .py files                   trees.py

A program passes, in this order: extraction; prints go; syntax and length; no n-gram of a benchmark; no duplicate of a
program that stays. Whatever fails is a Rejection with one of REASONS.
"""

import hashlib
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from acecoder_jax import metrics, prompts
from acecoder_jax.data.seeds import duplicates, heldout, program, tables, trees
from acecoder_jax.decontaminate import NGRAM, Benchmarks
from acecoder_jax.types import Rejection, Seed

TREES = ("stdlib", "package", "folder")
SOURCES = (*tables.TABLES, *TREES)
REASONS = (
    *("unreadable", "no text", "no python block", "not python", "no docstring", "a class"),
    *("no function or class", "does nothing", "short", "long", "in a benchmark", "duplicate", "near duplicate"),
)
MIN_CHARACTERS = {"stack": 100, "stdlib": 100, "package": 100, "folder": 100}  # a program must be longer; others: 0
FIRST = {"stack": 50_000}  # as many as AceCoder took
MAX_CHARACTERS = 20_000
SIMILARITY = 0.8

_log = logging.getLogger(__name__)


class Loaded(NamedTuple):
    """What `load` found, seeds and rejections by id.

    counts: "read", then each reason of a rejection with the number of them, "not drawn" (those that `count` left
    aside), and "kept", in this order; "not decontaminated" repeats the number kept where nothing was compared with.
    """

    seeds: list[Seed]
    rejections: list[Rejection]
    counts: dict[str, int]


def load(
    source: str,
    path: str | os.PathLike[str] = "",
    *,
    hub_id: str = "",
    split: str = "train",
    label: str = "",
    licence: str = "",
    docstrings: bool = True,
    classes: bool = True,
    min_characters: int | None = None,
    max_characters: int = MAX_CHARACTERS,
    first: int | None = None,
    near_duplicates: float = SIMILARITY,
    decontaminate: Sequence[str] = tuple(heldout.HUB),
    ngram: int = NGRAM,
    count: int = 0,
    seed: int = 0,
    show: bool = False,
) -> Loaded:
    """The seeds of a source, what was left out and why, and how many of each.

    source, path: as in the table above. hub_id, split: of a table on the hub; "" takes the published one.
    label: what ids begin with and Seed.source says; "" takes the published one, or the name of package or folder.
    licence: of a package or folder; "" takes the package's metadata.
    docstrings: of source trees, only what has a docstring. classes: of source trees, classes as well as functions.
    min_characters: a program is longer; None takes MIN_CHARACTERS. max_characters: it is no longer; 0 for any length.
    first: no more rows are read once so many have passed extraction, syntax and length; None takes FIRST, 0 reads all.
    near_duplicates: the similarity from which on they are dropped; 0 drops exact ones only.
    decontaminate: "humaneval" and "mbpp" come from the hub; anything else is a .jsonl, .jsonl.gz or .parquet file or a
        folder of them. Empty: nothing is compared, and a warning and the counts say so.
    ngram: words in a row that a program or its instruction may not share with a benchmark.
    count: how many seeds to draw from those that are left, by `seed` and their ids alone; 0 takes all.
    show: a progress bar while rows are read, and one while they are compared.

    FileNotFoundError for a path, package or dataset that is not there; ValueError for an unknown source, an argument
    that the source does not take, a column that is missing, an id that appears twice, and a file that is damaged.
    """
    _check(source, path, hub_id, licence)
    duplicates.check(near_duplicates)
    for name, value in (("first", first), ("count", count), ("max_characters", max_characters)):
        if value is not None and value < 0:
            raise ValueError(f"{name} is a number of 0 or more, not {value}")
    held_out = [decontaminate] if isinstance(decontaminate, str) else list(decontaminate)
    benchmarks = heldout.benchmarks(held_out, ngram) if held_out else None
    if benchmarks is None:
        _log.warning("the seeds are NOT decontaminated: no benchmark was named to compare them with")
    shortest = MIN_CHARACTERS.get(source, 0) if min_characters is None else min_characters
    read = _read(source, os.fspath(path), hub_id, split, label, licence, docstrings=docstrings, classes=classes)
    found = _first(
        (_filtered(row, shortest, max_characters) if isinstance(row, Seed) else row for row in read),
        FIRST.get(source, 0) if first is None else first,
    )
    passed: dict[str, Seed] = {}
    rejections: list[Rejection] = []
    title = f"seeds: {source} {os.fspath(path)}".rstrip()
    for row in metrics.watched(found, title) if show else found:
        if isinstance(row, Seed):
            row = _not_in(benchmarks, row)
        if isinstance(row, Seed):
            passed[row.id] = row
        else:
            rejections.append(row)
    total = len(passed) + len(rejections)
    twins = _twins(passed.values(), near_duplicates, f"{title}, duplicates" if show else "")
    rejections += twins.values()
    for id in twins:
        del passed[id]
    seeds = _draw(list(passed.values()), count, seed)
    rejections.sort(key=lambda row: row.id)
    return Loaded(seeds, rejections, _counts(total, rejections, len(passed), len(seeds), benchmarks is not None))


def apart(found: Sequence[Loaded], near_duplicates: float = SIMILARITY, show: bool = False) -> list[Loaded]:
    """What several calls of `load` have found, compared as one, so that no source repeats another.

    Of each group the first by id stays, whatever the order of the sources; the others become rejections of theirs. No
    id may stand in two sources. near_duplicates, show: as of `load`.
    """
    everything = [row for one in found for row in one.seeds]
    twins = _twins(everything, near_duplicates, "seeds: duplicates across sources" if show else "")
    parted = []
    for one in found:
        seeds = [row for row in one.seeds if row.id not in twins]
        gone = [twins[row.id] for row in one.seeds if row.id in twins]
        rejections = sorted([*one.rejections, *gone], key=lambda row: row.id)
        passed = len(seeds) + one.counts.get("not drawn", 0)
        compared = "not decontaminated" not in one.counts
        counts = _counts(one.counts["read"], rejections, passed, len(seeds), compared)
        parted.append(Loaded(seeds, rejections, counts))
    return parted


def _twins(rows: Iterable[Seed], near_duplicates: float, title: str) -> dict[str, Rejection]:
    """The rejections of those that duplicate another, by id. title: of a progress bar; "" for none."""
    programs = {row.id: row.program for row in rows}
    return {
        id: Rejection(
            id, "duplicate" if twin.exact else "near duplicate", f"of {twin.of}, similarity {twin.similarity:.2f}"
        )
        for id, twin in duplicates.find(programs, near_duplicates, title).items()
    }


def _check(source: str, path: str | os.PathLike[str], hub_id: str, licence: str) -> None:
    if source not in SOURCES:
        raise ValueError(f"there is no source of seeds {source!r}: there are {', '.join(SOURCES)}")
    if source in ("package", "folder") and not os.fspath(path):
        raise ValueError(
            f"the source {source!r} wants a path: the {'name to import' if source == 'package' else source}"
        )
    if source == "stdlib" and os.fspath(path):
        raise ValueError(f"the source 'stdlib' takes no path, not {os.fspath(path)!r}: for that, use 'folder'")
    if hub_id and (source in TREES or os.fspath(path)):
        raise ValueError(
            f"hub_id {hub_id!r} is for a table that is read from the hub, not for {source} {os.fspath(path)}"
        )
    if licence and source not in ("package", "folder"):
        raise ValueError(f"a licence can be given for a package or folder, not for {source!r}")


def _read(
    source: str, path: str, hub_id: str, split: str, label: str, licence: str, **kinds: bool
) -> Iterator[Seed | Rejection]:
    if source == "stdlib":
        return trees.stdlib(label, **kinds)
    if source == "package":
        return trees.package(path, label, licence, **kinds)
    if source == "folder":
        return trees.folder(path, label, licence, **kinds)
    return tables.read(source, path, hub_id, split, label)


def _filtered(row: Seed, min_characters: int, max_characters: int) -> Seed | Rejection:
    """The seed without its prints, or what is wrong with it by itself."""
    text = program.tidy(row.program)
    try:
        tree = program.parse(text)
    except ValueError as error:
        return Rejection(row.id, "not python", str(error))
    if not program.defines(tree):
        return Rejection(row.id, "no function or class")
    text = program.without_prints(text, tree)
    if not program.works(program.parse(text)):
        return Rejection(row.id, "does nothing")
    if len(text) <= min_characters:
        return Rejection(row.id, "short", f"{len(text)} characters, to be more than {min_characters}")
    if 0 < max_characters < len(text):
        return Rejection(row.id, "long", f"{len(text)} characters, to be at most {max_characters}")
    return Seed(row.id, row.source, text, prompts.encodable(program.tidy(row.instruction).strip()), row.licence)


def _first(rows: Iterable[Seed | Rejection], first: int) -> Iterator[Seed | Rejection]:
    """The rows up to the one that is the `first`-th seed; all for 0."""
    left = first
    for row in rows:
        yield row
        left -= isinstance(row, Seed)
        if first and not left:
            return


def _not_in(benchmarks: Benchmarks | None, row: Seed) -> Seed | Rejection:
    for text in (row.instruction, row.program) if benchmarks else ():
        assert benchmarks is not None
        if shared := benchmarks.find(text):
            return Rejection(row.id, "in a benchmark", f"{shared[0]}: {shared[1]}")
    return row


def _draw(seeds: list[Seed], count: int, seed: int) -> list[Seed]:
    """`count` of the seeds (all for 0), by id: those whose ids, hashed with the seed, come first."""

    def rank(row: Seed) -> bytes:
        return hashlib.blake2b(f"{seed}|{row.id}".encode()).digest()

    return sorted(sorted(seeds, key=rank)[: count or None], key=lambda row: row.id)


def _counts(
    total: int, rejections: Sequence[Rejection], passed: int, kept: int, decontaminated: bool
) -> dict[str, int]:
    reasons = [row.reason for row in rejections]
    counts = {"read": total} | {reason: reasons.count(reason) for reason in REASONS if reason in reasons}
    if passed > kept:
        counts["not drawn"] = passed - kept
    counts["kept"] = kept
    return counts if decontaminated else counts | {"not decontaminated": kept}
