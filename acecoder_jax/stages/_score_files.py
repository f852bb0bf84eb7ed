"""The input and the output of the stage `score`, whatever scores: rows checked by line, and an output that is gone on
with."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from acecoder_jax import store
from acecoder_jax.store import Row

MAX_REPORTED = 20
_BEGINNING = b'{"id": '  # of every row that the stage writes


def check_paths(source: str, output: str) -> None:
    """Raises ValueError or FileNotFoundError where the one cannot be read or the other not be written."""
    for key, path in (("input", source), ("output", output)):
        if not path:
            raise ValueError(f"config.{key} is empty: name a JSONL file")
    if not Path(source).exists():
        raise FileNotFoundError(f"config.input: no file {source}")
    for path in (source, output):
        if Path(path).exists() and not Path(path).is_file():
            raise ValueError(f"{path} is not a regular file")
    if Path(output).suffix == ".gz":
        raise ValueError(f"config.output: {output}: rows cannot be appended to a compressed file")
    if Path(output).exists() and Path(output).samefile(source):
        raise ValueError(f"config.input and config.output are the same file: {source}")


def check(path: str, problem_of: Callable[[Row], str], skip_malformed: bool) -> tuple[set[str], int]:
    """The ids of the good rows, and how many others there are; these are printed.

    problem_of: what is wrong with a row; "" for nothing. ValueError for others, unless they are to be skipped.
    """
    good: set[str] = set()
    malformed: list[tuple[int, Any, str]] = []
    for line, row in store.scan_jsonl(path):
        problem = row if isinstance(row, str) else problem_of(row)
        identity = None if isinstance(row, str) else row.get("id")
        if not problem and identity in good:
            problem = "the id has been used by a row before"
        if problem:
            malformed.append((line, identity, problem))
        else:
            good.add(str(identity))
    for line, identity, problem in malformed[:MAX_REPORTED]:
        named = "" if identity is None else f", id {identity!r:.100}"
        print(f"malformed row: {path}, line {line}{named}: {problem}")
    if malformed and not skip_malformed:
        raise ValueError(f"{len(malformed)} malformed rows in {path}; --config.skip_malformed=True leaves them out")
    return good, len(malformed)


def texts_missing(row: Row, keys: tuple[str, ...]) -> str:
    """Which of the keys a row lacks, or has no string for; "" for none."""
    for key in keys:
        if key not in row:
            return f"no {key!r}"
    return next((f"{key!r} is not a string" for key in keys if not isinstance(row[key], str)), "")


def wanted_rows(path: str, wanted: set[str], problem_of: Callable[[Row], str]) -> Iterator[Row]:
    """The good rows with these ids, each once."""
    left = set(wanted)
    for _, row in store.scan_jsonl(path):
        if not isinstance(row, str) and not problem_of(row) and row["id"] in left:
            left.remove(row["id"])
            yield row


def take_up(path: str, is_ours: Callable[[Row], bool], what: str) -> Iterator[Row]:
    """The rows of the output, which is left ready to grow: there, and its lines whole.

    is_ours: whether a row is one that the stage writes. what: such a row in a word. Raises ValueError where the file
    cannot be written, and where it holds any other row.
    """
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a+b") as file:
            file.seek(0)
            beginning = file.read(len(_BEGINNING))
    except OSError as error:
        raise ValueError(f"config.output: {path} cannot be written: {error.strerror}") from error
    _, first = next(store.scan_jsonl(path), (0, ""))
    ours = is_ours(first) if isinstance(first, dict) else _BEGINNING.startswith(beginning)
    if not ours:  # told before anything is cut off it
        raise ValueError(f"config.output: {path} is there and its first line is no {what}: name another file")
    store.repair_jsonl(path)
    for line, row in store.scan_jsonl(path):
        if isinstance(row, str) or not is_ours(row):
            raise ValueError(f"config.output: {path}, line {line}: {row if isinstance(row, str) else f'not a {what}'}")
        yield row
