"""LiveCodeBench's rows: where each problem stands in its file, and the tests of one, read when they are wanted.

The tests of a release are gigabytes: of each row only the line's place is kept, and the tests of the last few problems.
"""

import base64
import binascii
import dataclasses
import datetime
import functools
import hashlib
import json
import pickletools
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from acecoder_jax.benchmarks import Part
from acecoder_jax.sandbox import Limits

# Of the columns, what is kept of every row.
TOLD = (
    "question_title", "question_content", "platform", "question_id", "contest_id", "contest_date", "starter_code",
    "difficulty",
)  # fmt: skip
COLUMNS = (*TOLD, "public_test_cases", "private_test_cases", "metadata")
PART = "tests"
ENTRY = "judged_call"
KEPT = 4  # problems whose tests stay in memory: the samples of one are judged close together
MAX_TESTS = 1 << 30  # bytes of a problem's tests, unpacked
MIN_OUTPUT = 4 << 20  # bytes that a script may print, where no more are expected
MEMORY_BYTES = 4 << 30
_PICKLED_TEXT = frozenset({"PROTO", "FRAME", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "STOP"})
_TEXTS = frozenset({"UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"})


@dataclasses.dataclass(frozen=True)
class Row:
    """A problem's place in its file, and what is told of it. digest: of the columns that hold its tests."""

    path: Path
    offset: int
    size: int
    where: str
    fields: Mapping[str, str]
    function: str | None
    digest: str

    def read(self) -> dict[str, Any]:
        """The row, whole."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return json.loads(file.read(self.size))


def scan(paths: Iterable[Path]) -> Iterator[Row]:
    """The rows of JSON Lines files. ValueError, with file and line, for a line that is no row of LiveCodeBench."""
    for path in paths:
        offset = 0
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _row(path, offset, line, f"{path} line {number}")
                offset += len(line)


def _row(path: Path, offset: int, line: bytes, where: str) -> Row:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: not JSON ({error})") from error
    if not isinstance(row, dict):
        raise ValueError(f"{where}: a row must be a JSON object, not {line[:40]!r}")
    if missing := [name for name in COLUMNS if not isinstance(row.get(name), str)]:
        raise ValueError(f"{where}: the row lacks the texts {', '.join(missing)} (it has {', '.join(sorted(row))})")
    where = f"{where} (question_id {row['question_id']!r})"
    day_of(row["contest_date"], where)
    function = _json(row["metadata"], "metadata", where, dict).get("func_name")
    if not isinstance(function, str | None) or (function is not None and not function.isidentifier()):
        raise ValueError(f"{where}: metadata.func_name must be the name of a function, not {function!r}")
    kinds = {test["testtype"] for test in _tests(row["public_test_cases"], "public_test_cases", where)}
    if function is None and "functional" in kinds:
        raise ValueError(f"{where}: its tests call a function, and metadata.func_name does not say which")
    tests = hashlib.sha256()
    for name in ("public_test_cases", "private_test_cases", "metadata"):
        tests.update(hashlib.sha256(row[name].encode("utf-8", "surrogatepass")).digest())
    fields = {name: row[name] for name in TOLD}
    return Row(path, offset, len(line), where, fields, function, tests.hexdigest()[:16])


def day_of(text: str, where: str) -> datetime.date:
    """The day of an ISO date, with or without a time. ValueError that says where."""
    try:
        return datetime.datetime.fromisoformat(text).date()
    except ValueError as error:
        raise ValueError(f"{where}: {text!r} is not a date like 2024-09-30") from error


# ---- tests


class Parts(Mapping[str, Part]):
    """The one part of a task, made when it is asked for. ValueError then for tests that cannot be read."""

    def __init__(self, row: Row, timeout_s: float):
        self.row, self.timeout_s = row, timeout_s

    @property
    def digest(self) -> str:
        """Of the tests, their limits and the code around a program; nothing is read for it."""
        judging = [self.row.digest, self.timeout_s, MEMORY_BYTES, MIN_OUTPUT, _harness()]
        return hashlib.sha256(json.dumps(judging).encode()).hexdigest()[:16]

    def __getitem__(self, name: str) -> Part:
        if name != PART:
            raise KeyError(name)
        return _part(self)

    def __iter__(self) -> Iterator[str]:
        return iter((PART,))

    def __len__(self) -> int:
        return 1

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other  # a comparison of contents would read them


@functools.lru_cache(maxsize=KEPT)
def _part(parts: Parts) -> Part:
    row, timeout_s = parts.row, parts.timeout_s
    whole = row.read()
    found = _tests(whole["public_test_cases"], "public_test_cases", row.where)
    found += _tests(unpacked(whole["private_test_cases"], row.where), "private_test_cases", row.where)
    if not found:
        raise ValueError(f"{row.where}: the problem has no tests")
    limits = Limits(
        test_s=timeout_s,
        program_s=(timeout_s + 1) * len(found) + 5,
        memory_bytes=MEMORY_BYTES,
        output_bytes=max(MIN_OUTPUT, *(2 * len(test["output"]) for test in found)),
    )
    if row.function is None:
        texts = tuple(json.dumps({"input": test["input"], "output": test["output"]}) for test in found)
        return Part(texts, profile="stdin", limits=limits, wrap=script)
    texts = tuple(_call(test, row.where) for test in found)
    return Part(texts, entry_point=ENTRY, profile="calls", limits=limits, wrap=functools.partial(call, row.function))


def _call(test: Mapping[str, str], where: str) -> str:
    """A test of a function: its input has an argument a line."""
    try:
        args = [json.loads(line) for line in test["input"].split("\n")]
        return json.dumps({"input": args, "output": json.loads(test["output"])})
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: a test's arguments or result are not JSON ({error})") from error


def _tests(text: str, column: str, where: str) -> list[dict[str, str]]:
    tests = _json(text, column, where, list)
    for test in tests:
        if not isinstance(test, dict) or any(not isinstance(test.get(k), str) for k in ("input", "output", "testtype")):
            raise ValueError(f"{where}: a test of {column} must have the texts input, output and testtype")
    return tests


def _json(text: str, column: str, where: str, kind: type) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: {column} is not JSON ({error})") from error
    if not isinstance(value, kind):
        raise ValueError(f"{where}: {column} must hold a JSON {kind.__name__}, not {text[:40]!r}")
    return value


def unpacked(text: str, where: str) -> str:
    """The JSON of the private tests: as it stands, or out of base64, zlib and the pickle of one string.

    Nothing is unpickled: the string is read from the stream, and any other instruction is a ValueError.
    """
    if text.lstrip().startswith("["):
        return text
    try:
        unzip = zlib.decompressobj()
        pickled = unzip.decompress(base64.b64decode(text, validate=True), MAX_TESTS)
    except (binascii.Error, zlib.error) as error:
        raise ValueError(f"{where}: private_test_cases is neither JSON nor packed ({error})") from error
    if not unzip.eof:
        raise ValueError(f"{where}: private_test_cases is cut short, or larger than {MAX_TESTS} bytes unpacked")
    try:
        steps = [(step.name, value) for step, value, _ in pickletools.genops(pickled)]
    except ValueError as error:
        raise ValueError(f"{where}: private_test_cases holds no pickled text ({error})") from error
    texts = [value for name, value in steps if name in _TEXTS]
    if strange := sorted({name for name, _ in steps} - _PICKLED_TEXT - _TEXTS):
        raise ValueError(f"{where}: private_test_cases is not one pickled text: it has {', '.join(strange)}")
    if len(texts) != 1 or not isinstance(texts[0], str):
        raise ValueError(f"{where}: private_test_cases is not one pickled text: it has {len(texts)}")
    return texts[0]


# ---- programs


@functools.cache
def _harness() -> str:
    return Path(__file__).with_name("_livecode_harness.py").read_text(encoding="utf-8")


def script(code: str) -> str:
    """What is run for a program that reads stdin."""
    return f"{_harness()}\n\nrun_script({code!r})\n"


def call(function: str, code: str) -> str:
    """What is run for a program of which a function is called: a plain function stands for it."""
    return f"{_harness()}\n\n{ENTRY} = method_of({code!r}, {function!r})\n"
