"""Checkpoints of the train state: written in the background, whole or not at all, proven by checksums when read.

    WORKDIR/checkpoints/12/      the state before rollout 12      state/ as Orbax writes it, manifest.json
    WORKDIR/checkpoints/12.3/    after 3 of its mini-batches
    WORKDIR/checkpoints/12.unusable/    one that was damaged, moved aside; never deleted

Orbax finds some damage by itself, but reads other flipped bits as numbers (docs/results/resume.md), so the manifest has
size and CRC-32 of every file. A checkpoint is built under another name and renamed once its manifest is in it: what
has its number is whole, whenever a kill came.
"""

import concurrent.futures
import contextlib
import json
import logging
import math
import os
import re
import shutil
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import jax
import numpy as np
import orbax.checkpoint as ocp

from acecoder_jax import hosts, store
from acecoder_jax.stops import Stop, Stopped

READERS, BLOCK = 4, 1 << 20


class Position(NamedTuple):
    """How far a run is: `minibatch` mini-batches, of all passes together, into a rollout (or a supervised step)."""

    rollout: int
    minibatch: int = 0

    @property
    def name(self) -> str:
        """12 or 12.3."""
        return f"{self.rollout}.{self.minibatch}" if self.minibatch else str(self.rollout)


class Checkpoints:
    """The checkpoints of a run.

    keep: how many to keep, the newest; every: rollouts between saves; minibatches: also save after each so many
    mini-batches within a rollout, 0: not. writing: the time that a checkpoint takes in the background is spent in it.
    """

    def __init__(
        self, workdir: str | os.PathLike[str], *, keep: int, every: int, minibatches: int = 0,
        writing: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
    ):  # fmt: skip
        if keep < 1 or every < 1 or minibatches < 0:
            raise ValueError(f"checkpoint: keep {keep} and every {every} must be at least 1, minibatches at least 0")
        self._folder = Path(workdir).resolve() / "checkpoints"
        self._keep, self._every, self._minibatches, self._writing = keep, every, minibatches, writing
        self._writer = ocp.StandardCheckpointer()
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "checkpoint")
        self._pending: tuple[Position, concurrent.futures.Future[None]] | None = None
        self._last: Position | None = None  # the newest that is known to be whole
        if hosts.is_first():
            self._folder.mkdir(parents=True, exist_ok=True)
            for kind in ("saving", "deleting"):  # left by a kill in the middle of either
                for left in self._folder.glob(f".{kind}-*"):
                    shutil.rmtree(left)

    def latest(self, usable: Callable[[Position], str] = lambda _: "") -> Position | None:
        """The newest checkpoint that is undamaged; None where there is none. Call it once, before the first save.

        usable: "" for a position from which the run could go on, else what it lacks. A checkpoint that is damaged or
        cannot be used is named in a message and moved aside, and the one before takes its place.
        """

        def first() -> Position | None:
            for position in reversed(self._positions()):
                problem = self._damage(position) or usable(position)
                if not problem:
                    return position
                print(f"checkpoint {position.name} cannot be used: {problem}", flush=True)
                self._set_aside(position)
            return None

        found = hosts.from_first("checkpoint", first)
        self._last = None if found is None else Position(*found)
        return self._last

    def about(self, position: Position) -> dict[str, Any]:
        """What `save` was told about a position."""
        return store.read_json(self._folder / position.name / "manifest.json")["about"]

    def due(self, position: Position) -> bool:
        """Whether a run that goes through this position should save there."""
        if position.minibatch:
            return self._minibatches > 0 and position.minibatch % self._minibatches == 0
        return position.rollout % self._every == 0

    def save(
        self, position: Position, tree: Any, about: Mapping[str, Any] | None = None, *, force: bool = False
    ) -> None:
        """Starts writing, if this position is due (or forced) and not the last; returns once the arrays may be changed.

        tree: the state, or any tree of arrays. about: JSON values to keep with it; NaN and infinities come back as
        words that float() reads. RuntimeError, naming the last good checkpoint, where this save or the one before
        failed.
        """
        if self._has(position) or not (force or self.due(position)):
            return
        self.wait()
        building = self._folder / f".saving-{position.name}"
        with self._explained(position):
            building.mkdir(exist_ok=True)
            self._writer.save(building / "state", tree)
        body = {"position": list(position), "about": _finite(dict(about or {})), "shapes": _shapes(tree)}
        self._pending = position, self._thread.submit(self._finish, position, building, body)

    def keep(
        self, stop: Stop, position: Position, what: Callable[[], tuple[Any, Mapping[str, Any]]], force: bool = False
    ) -> None:
        """`save` at a place where the run can stop: where it has been asked to, saves at once and stops.

        what: gives (tree, about). Raises Stopped once the checkpoint is whole on the disk; RuntimeError where an
        earlier save has failed.
        """
        self.check()
        stopping = stop.asked()
        if not self._has(position) and (stopping or force or self.due(position)):
            self.save(position, *what(), force=True)
        if stopping:
            self.wait()
            hosts.barrier("stopped")  # none may leave before the first process has given the checkpoint its name
            print(f"stopped at {self._path(position)}; the same command goes on from there", flush=True)
            raise Stopped(stop.signal)

    def check(self) -> None:
        """RuntimeError where the save in the background has failed; it does not wait for it."""
        if self._pending is not None and self._pending[1].done():
            self.wait()

    def wait(self) -> None:
        """Returns once nothing is being written. RuntimeError where that failed."""
        if self._pending is None:
            return
        (position, future), self._pending = self._pending, None
        with self._explained(position):
            future.result()
        self._last = position

    def restore(self, position: Position, abstract: Any, shardings: Any = None) -> Any:
        """What was saved at a position, each array directly in its shards.

        ValueError where other arrays were saved than `abstract` has: those of another model, adapter or optimiser.
        """
        there = store.read_json(self._folder / position.name / "manifest.json")["shapes"]
        here = _shapes(abstract)
        odd = sorted(name for name in there.keys() | here.keys() if there.get(name) != here.get(name))
        if odd:
            was, now = (shapes.get(odd[0], "absent") for shapes in (there, here))
            raise ValueError(
                f"checkpoint {position.name} is of another model: {odd[0]} is {was} there and {now} now, and "
                f"{len(odd) - 1} more arrays differ. A run keeps its model (model, architecture, lora) and its "
                "optimiser: set them back, or use another --workdir"
            )
        target = abstract
        if shardings is not None:
            target = jax.tree.map(
                lambda leaf, where: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where), abstract, shardings
            )
        return self._writer.restore(self._folder / position.name / "state", target)

    @property
    def last_good(self) -> str:
        """The newest whole checkpoint, in words."""
        return "there is no checkpoint yet" if self._last is None else f"the last good one is {self._path(self._last)}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        try:
            self.wait()
        except RuntimeError as error:
            if kind is None:
                raise
            print(f"error: {error}", flush=True)  # beside the one that is on its way
        else:
            if kind is not None and issubclass(kind, OSError):  # a full disk, perhaps, and another file
                print(f"checkpoints: {self.last_good}", flush=True)
        finally:
            self._thread.shutdown()
            self._writer.close()

    def _has(self, position: Position) -> bool:
        """Whether this is the last checkpoint, or on its way to be."""
        return position == (self._last if self._pending is None else self._pending[0])

    def _path(self, position: Position) -> Path:
        return self._folder / position.name

    def _positions(self) -> list[Position]:
        """All that have their number, the oldest first."""
        found = (re.fullmatch(r"(\d+)(?:\.(\d+))?", path.name) for path in self._folder.iterdir())
        return sorted(Position(int(match[1]), int(match[2] or 0)) for match in found if match)

    def _finish(self, position: Position, building: Path, body: dict[str, Any]) -> None:
        """In the background: the manifest, the right name, and the end of checkpoints that are no longer kept."""
        with self._writing():
            self._write(position, building, body)

    def _write(self, position: Position, building: Path, body: dict[str, Any]) -> None:
        self._writer.wait_until_finished()
        if not hosts.is_first():
            return
        body = body | {"files": checksums(building / "state")}
        store.write_json(building / "manifest.json", body | {"crc": crc_of(body)})
        os.replace(building, self._path(position))
        store.sync_folder(self._folder)
        for old in self._positions()[: -self._keep]:
            going = self._folder / f".deleting-{old.name}"
            os.replace(self._path(old), going)  # so that a kill leaves no half of it under its number
            shutil.rmtree(going)

    def _damage(self, position: Position) -> str:
        """What is wrong with the files of a checkpoint; "" where all is as its manifest says."""
        folder = self._path(position)
        try:
            manifest = store.read_json(folder / "manifest.json")
            crc = manifest.pop("crc")
            if crc != crc_of(manifest):
                return "manifest.json is damaged"
        except (ValueError, KeyError, AttributeError, FileNotFoundError):
            return "manifest.json is damaged or missing"
        there, wanted = checksums(folder / "state"), manifest["files"]
        for name in sorted(wanted.keys() | there.keys()):
            if name not in there:
                return f"state/{name} is missing"
            if name in wanted and there[name] != wanted[name]:
                short = there[name][0] < wanted[name][0]
                return f"state/{name} is damaged: " + ("it is cut short" if short else "its bytes have changed")
        return ""

    def _set_aside(self, position: Position) -> None:
        aside = self._folder / f"{position.name}.unusable"
        number = 2
        while aside.exists():
            aside, number = self._folder / f"{position.name}.unusable-{number}", number + 1
        os.replace(self._path(position), aside)
        print(f"  moved aside to {aside}, and the one before is tried", flush=True)

    @contextlib.contextmanager
    def _explained(self, position: Position) -> Iterator[None]:
        """Turns what Orbax and the system say of a failed write into one clear error, and frees what was written."""
        try:
            yield
        except Exception as error:
            _remove(self._folder / f".saving-{position.name}")
            # one failed write is enough: asyncio would log those of all other arrays after this error, when it pleases
            logging.getLogger("asyncio").setLevel(logging.CRITICAL)
            said = str(error).strip().splitlines()
            raise RuntimeError(
                f"checkpoint {position.name} could not be written: {type(error).__name__}: {said[0] if said else ''}\n"
                f"Earlier ones are as they were: {self.last_good}. With room on the disk the same command goes on."
            ) from error


def checksums(folder: Path) -> dict[str, list[int]]:
    """{path in the folder: [bytes, CRC-32]} of every file."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    with concurrent.futures.ThreadPoolExecutor(READERS) as pool:
        return {str(path.relative_to(folder)): sums for path, sums in zip(files, pool.map(_sums, files), strict=True)}


def crc_of(value: Any) -> int:
    """The CRC-32 of a JSON value."""
    return zlib.crc32(json.dumps(value, sort_keys=True).encode())


def _remove(folder: Path) -> None:
    """Deletes a folder to which threads of a write that has failed may still add."""
    for _ in range(20):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.1)


def _finite(value: Any) -> Any:
    """A JSON value with words in place of the numbers that JSON lacks."""
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _shapes(tree: Any) -> dict[str, list[int]]:
    """{path of a leaf: its shape}."""
    return {jax.tree_util.keystr(path): list(np.shape(leaf)) for path, leaf in jax.tree.leaves_with_path(tree)}


def _sums(path: Path) -> list[int]:
    size = crc = 0
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            size, crc = size + len(block), zlib.crc32(block, crc)
    return [size, crc]
