"""The workdir of a run: JSONL files that grow a row at a time, atomic writes, and the config that a run began with.

A row is one write of one line, so a kill can tear the last line of a file and no other. Such a line is cut off when the
run comes back (`repair=True`); a damaged line anywhere else is an error that names file and line.
"""

import contextlib
import fcntl
import gzip
import json
import os
import re
import threading
import time
import uuid
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

Row = dict[str, Any]
Json = Any  # what json.loads returns
PathLike = str | os.PathLike[str]
TOKEN, TOKEN_WAIT_S = ".hosts", 30.0


def append_jsonl(path: PathLike, rows: Iterable[Mapping[str, Any]]) -> None:
    """Appends one line a row, each flushed before the next. The file and its folder are made where they are missing.

    Raises ValueError when the file ends in a torn line (`repair_jsonl` it first), when it is compressed, or
    when a row holds NaN or an infinity, which JSON has no word for.
    """
    path = Path(path)
    if path.suffix == ".gz":
        raise ValueError(f"{path}: rows cannot be appended to a compressed file")
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+b") as file:
        if _is_torn(file):
            raise ValueError(f"{path}: the last line is torn; repair_jsonl cuts it off")
        for row in rows:
            try:
                line = json.dumps(row, allow_nan=False)
            except ValueError as error:
                raise ValueError(f"{path}: row {row.get('id', '')!r} is not JSON: {error}") from error
            file.write(line.encode() + b"\n")
            file.flush()


def read_jsonl(path: PathLike, repair: bool = False) -> list[Row]:
    """All rows of a JSONL file, plain or .gz. `repair` first cuts a torn last line off the file.

    Raises FileNotFoundError, and ValueError naming file and line for a line that is no JSON object.
    """
    if repair:
        repair_jsonl(path)
    return list(stream_jsonl(path))


def stream_jsonl(path: PathLike) -> Iterator[Row]:
    """The rows of `read_jsonl`, one at a time, for files too large to hold."""
    for number, line in enumerate(_lines(path), start=1):
        if line.strip():
            yield _parse(path, number, line)


def scan_jsonl(path: PathLike) -> Iterator[tuple[int, Row | str]]:
    """The number of each line that is not blank, with its row; or, for a line that is no JSON object, what is wrong.

    Raises FileNotFoundError, and ValueError for a damaged compressed file.
    """
    for number, line in enumerate(_lines(path), start=1):
        if line.strip():
            yield number, _row_or_problem(line)


def done_ids(path: PathLike, key: str = "id") -> set[str]:
    """The ids of the rows already written; empty where there is no file. A torn last line is cut off the file."""
    repair_jsonl(path)
    return {row[key] for row in stream_jsonl(path)} if Path(path).exists() else set()


def repair_jsonl(path: PathLike) -> None:
    """Cuts a torn last line off the file, so that appending may go on. A file that does not exist is left so."""
    path = Path(path)
    if not path.exists():
        return
    if path.suffix == ".gz":
        raise ValueError(f"{path}: a compressed file cannot be repaired")
    with open(path, "r+b") as file:
        if not _is_torn(file):
            return
        end = file.seek(0, os.SEEK_END)
        last_newline = -1
        while last_newline < 0 < end:  # from the back, a block at a time
            start = max(0, end - 65536)
            file.seek(start)
            last_newline = file.read(end - start).rfind(b"\n")
            end = start
        file.truncate(end + last_newline + 1)


def truncate_jsonl(path: PathLike, keep: Callable[[Row], bool]) -> int:
    """Rewrites the file, atomically, with the rows that `keep` accepts. Returns how many rows went.

    A torn last line goes too, uncounted. A file that does not exist is left so. Lines that stay keep their bytes.
    """
    path = Path(path)
    if not path.exists():
        return 0
    repair_jsonl(path)
    lines = [(line, keep(_parse(path, n, line))) for n, line in enumerate(_lines(path), start=1) if line.strip()]
    dropped = sum(not kept for _, kept in lines)
    if dropped:
        write_bytes(path, b"".join(line for line, kept in lines if kept))
    return dropped


def write_bytes(path: PathLike, data: bytes) -> None:
    """Writes the whole file or nothing: a temporary file beside it, synced to disk, then renamed over it."""
    write_lines(path, (data,))


def write_lines(path: PathLike, lines: Iterable[bytes]) -> None:
    """`write_bytes` of what need not fit in memory."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        with open(temporary, "wb") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def remove_half_written(folder: PathLike) -> None:
    """Deletes what kills in the middle of `write_bytes` have left in a folder that no process writes to now."""
    for path in Path(folder).glob(".*"):
        if re.fullmatch(r"\..+\.\d+\.\d+", path.name):
            path.unlink()


def sync_folder(path: PathLike) -> None:
    """Makes sure that what was renamed in a folder is so on the disk."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_text(path: PathLike, text: str) -> None:
    """`write_bytes` of a text."""
    write_bytes(path, text.encode())


def write_jsonl(path: PathLike, rows: Iterable[Mapping[str, Any]]) -> None:
    """`write_text` of one line a row. Raises ValueError for NaN and infinities."""
    write_text(path, "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))


def write_json(path: PathLike, value: Json) -> None:
    """`write_text` of indented JSON. Raises ValueError for NaN and infinities."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: PathLike) -> Json:
    """The value of a JSON file. Raises FileNotFoundError, and ValueError naming the file when it is damaged."""
    try:
        return json.loads(Path(path).read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: damaged JSON: {error}") from error


def begun(workdir: PathLike) -> bool:
    """Whether a run has left anything that follows from its config: more than notes of its starts and empty files."""
    notes = {"config.json", "starts.jsonl", "lock", TOKEN}
    files = (path for path in Path(workdir).rglob("*") if path.is_file() and path.stat().st_size > 0)
    parts = (path.relative_to(workdir).parts for path in files)
    return any(part[0] not in notes and part[0] != "tensorboard" for part in parts)


def save_config(
    workdir: PathLike, config: Mapping[str, Any], may_change: Collection[str] = (), allow_change: bool = False
) -> dict[str, tuple[Json, Json]]:
    """Writes WORKDIR/config.json at the first start; on a resume compares it with `config` and writes the new one.

    may_change: dotted keys, or whole branches, that a resume may change ("sandbox.workers", "sandbox").
    allow_change: accept any change.
    Returns what changed, as dotted key -> (old, new); {} at a first start. A key that one side lacks shows as None.
    Raises ValueError that names every changed key with its old and new value, nothing written.
    """
    path = Path(workdir) / "config.json"
    new = json.loads(json.dumps(config))  # tuples become lists, as they will when read back
    if not path.exists():
        write_json(path, new)
        return {}
    before, after = flatten(read_json(path)), flatten(new)
    # json.dumps tells 1 from True and from 1.0, which == does not.
    changed = {
        key: (before.get(key), after.get(key))
        for key in sorted(before.keys() | after.keys())
        if key not in before or key not in after or json.dumps(before[key]) != json.dumps(after[key])
    }
    refused = {key: values for key, values in changed.items() if not allow_change and not named(key, may_change)}
    if refused:
        lines = [f"  {key}: {old!r} -> {now!r}" for key, (old, now) in refused.items()]
        raise ValueError(
            f"{path}: this run began with another config:\n" + "\n".join(lines) + "\n"
            "Set these keys back, use another --workdir, or accept the change with --allow_config_change."
        )
    if changed:
        write_json(path, new)
    return changed


def named(key: str, names: Collection[str]) -> bool:
    """Whether a dotted key is one of the names, or in a branch of that name: "sandbox.workers" in "sandbox"."""
    return any(key == name or key.startswith(name + ".") for name in names)


@contextlib.contextmanager
def lock(workdir: PathLike) -> Iterator[None]:
    """Holds the workdir for this process; ValueError where another process on this machine holds it.

    The lock goes with the process, however it ends. It is not inherited by processes that are started meanwhile.
    """
    path = Path(workdir) / "lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(f"{workdir}: another process is running in this workdir") from error
        yield


def write_token(workdir: PathLike) -> str:
    """Writes a file by which other hosts know the workdir as the same; returns what is in it."""
    token = uuid.uuid4().hex
    write_text(Path(workdir) / TOKEN, token)
    return token


def sees_token(workdir: PathLike, token: str) -> bool:
    """Whether this host sees the token in the workdir. A shared file system may show it some seconds late."""
    deadline = time.monotonic() + TOKEN_WAIT_S
    while True:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if (Path(workdir) / TOKEN).read_text() == token:
                return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)


def user_cache() -> Path:
    """Where what can be made again is kept between runs: compiled programs and kernels."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "acecoder_jax"


def _lines(path: PathLike) -> Iterator[bytes]:
    # Split at b"\n" alone: a JSON string may hold the other line ends that str.splitlines knows.
    opened = gzip.open(path, "rb") if Path(path).suffix == ".gz" else open(path, "rb")  # noqa: SIM115 (closed below)
    with cast(BinaryIO, opened) as file:
        try:
            yield from file
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{path}: damaged compressed file: {error}") from error


def _parse(path: PathLike, number: int, line: bytes) -> Row:
    row = _row_or_problem(line)
    if isinstance(row, str):
        raise ValueError(f"{path}, line {number}: {row}")
    return row


def _row_or_problem(line: bytes) -> Row | str:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        torn = "" if line.endswith(b"\n") else " (a torn last line: a run was killed while writing it)"
        return f"damaged JSON: {error}{torn}"
    return row if isinstance(row, dict) else f"expected a JSON object, found {type(row).__name__}"


def _is_torn(file: BinaryIO) -> bool:
    if file.seek(0, os.SEEK_END) == 0:
        return False
    file.seek(-1, os.SEEK_END)
    return file.read(1) != b"\n"


def flatten(value: Json, prefix: str = "") -> dict[str, Json]:
    """{"a": {"b": 1}} -> {"a.b": 1}; an empty dict is a value of its own."""
    if not isinstance(value, dict) or not value:
        return {prefix: value} if prefix else {}
    flat: dict[str, Json] = {}
    for key, inner in value.items():
        flat |= flatten(inner, f"{prefix}.{key}" if prefix else key)
    return flat
