"""The process that runs a program as a script (stdin profile): its input on descriptor 0, its output on 1.

What Python does around a script is done here too, since the process ends at once: functions registered with atexit
run, and what was written is flushed.
"""

import atexit
import builtins
import contextlib
import functools
import gc
import io
import os
import sys
import types
from collections.abc import Callable
from typing import Any

from . import wire
from .decode import decode
from .player import load

_DEVICES = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}


def main(fd: int, stdin: int, stdout: int) -> None:
    """Run one program. Never returns; exit code 1 means that its output is past the cap."""
    code = 0
    try:
        stream = wire.Stream(fd)
        stream.send(wire.HELLO)
        received = stream.receive()
        if received is not None:
            os.dup2(stdin, 0)
            os.dup2(stdout, 1)
            _provide()
            module = types.ModuleType("__main__")
            try:
                load(module, decode(received[1]), stream)
            finally:
                _end()
    except OSError:
        code = 1
    finally:
        os._exit(code)


def _provide() -> None:
    """The standard streams, under each of their names."""
    text: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape", "closefd": False}
    streams = {"stdin": open(0, **text), "stdout": open(1, "w", **text)}  # noqa: SIM115
    for name, stream in streams.items():
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    opener: Any = _opener(open)
    builtins.open = io.open = opener


def _opener(plain: Callable) -> Callable:
    """open(), for which the jail has the three standard streams under their names in /dev."""

    @functools.wraps(plain)
    def opener(file: Any, *args: Any, **kwargs: Any) -> Any:
        name = os.fspath(file) if isinstance(file, str | os.PathLike) else None
        fd = _DEVICES.get(name)  # type: ignore[arg-type]
        return plain(file if fd is None else os.dup(fd), *args, **kwargs)

    return opener


def _end() -> None:
    """What Python does at the end of a script. Raises OSError where the output does not fit."""
    atexit._run_exitfuncs()
    _flush(sys.stdout)
    _flush(sys.__stdout__)
    with contextlib.suppress(MemoryError):
        for item in gc.get_objects():  # files that nobody has closed
            if issubclass(type(item), io.TextIOWrapper | io.BufferedWriter):
                _flush(item)


def _flush(file: Any) -> None:
    try:
        file.flush()
    except OSError:
        raise
    except Exception:
        return  # it is None, or closed, or of the program's own making
