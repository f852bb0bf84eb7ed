"""Files and folders that appear whole or not at all, whatever they are written with."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from acecoder_jax import store


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A name beside `path` to write a file or a folder under: it is renamed at the end, and deleted after an error.

    What a kill has left under that name is deleted first. FileExistsError where `path` is there already.
    """
    if path.exists():
        raise FileExistsError(f"{path} is there already: delete it, or name another place")
    # The ending stays: some writers choose the format by it.
    temporary = path.with_name(f".partial-{path.name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    remove(temporary)
    try:
        yield temporary
        for file in [temporary, *temporary.rglob("*")]:
            if file.is_file():
                sync(file)
        os.rename(temporary, path)
    except BaseException:
        remove(temporary)
        raise
    store.sync_folder(path.parent)


def remove(path: Path) -> None:
    """Deletes a file or a folder; one that is not there is left so."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Makes sure that a file is on the disk: a full one may tell only now."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
