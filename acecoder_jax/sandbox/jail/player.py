"""The process that runs the program. It is given arguments and gives values back; no test and no verdict ever enters
it, except for tests that run inside by their own source ("inside" mode), each in a player of its own.
"""

import os
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

from . import wire
from .codec import U32, Hooks, Refused, encode
from .decode import decode
from .errors import describe
from .judge import run_test
from .peer import MAX_ITEMS, Peer, perform


class Results(Hooks):
    """Iterators in a result of a constant assert: drained where the assert looks into them, else only named."""

    def __init__(self, drain: bool):
        self.drain = drain

    def put(self, value: Any, out: bytearray) -> None:
        """An iterator is sent as its items or as a mark that it is one."""
        if not isinstance(value, Iterator):
            return super().put(value, out)
        if not self.drain:
            out += b"G" + U32.pack(0)
            return None
        items = []
        for item in value:
            items.append(item)
            if len(items) > MAX_ITEMS:
                raise Refused(f"an iterator of more than {MAX_ITEMS} items")
        out += encode(items)
        return None


_NAMED, _DRAINED = Results(drain=False), Results(drain=True)


def main(fd: int) -> None:
    """Serve one program until the supervisor closes the channel or kills the process. Never returns."""
    try:
        serve(wire.Stream(fd))
    finally:
        os._exit(0)


def serve(stream: wire.Stream) -> None:
    """Do what the supervisor asks, until it has asked for the last."""
    stream.send(wire.HELLO)
    module = types.ModuleType("program")
    while (received := stream.receive()) is not None:
        kind, payload = received
        if kind == wire.PROGRAM:
            if not load(module, decode(payload), stream):
                return
            stream.accept()
        elif kind == wire.CALLS:
            last, *calls = decode(payload)
            _play(module, calls, stream)
            if last:
                return
        elif kind == wire.LINK:
            link = wire.Stream(stream.descriptors.pop(0))
            Peer(link, lambda name: _function(module, name)).serve()
            link.close()
            stream.send(wire.LINK)
        elif kind == wire.INSIDE:
            setup, test = decode(payload)
            stream.send(wire.VERDICT, encode(run_test(test, setup, module.__dict__)))


def load(module: types.ModuleType, request: tuple[str, str], stream: wire.Stream) -> bool:
    """Execute the program's own text. Module level counts as a part of the program's first test."""
    source, name = request
    module.__name__ = name
    sys.modules[name] = module
    try:
        exec(compile(source, "<program>", "exec", dont_inherit=True), module.__dict__)
    except BaseException as error:
        stream.send(wire.NOT_LOADED, describe(error))
        return False
    stream.send(wire.LOADED)
    return True


def _function(module: types.ModuleType, name: str) -> Callable:
    try:
        return module.__dict__[name]
    except KeyError:
        raise NameError(f"name {name!r} is not defined") from None


def _play(module: types.ModuleType, calls: list, stream: wire.Stream) -> None:
    """Make the calls in order and send each result as soon as it is there: a later call may hang."""
    fd = stream.fd
    for name, drain, args, kwargs in calls:
        try:
            function = _function(module, name)
        except NameError as error:
            kind, payload = wire.RAISED, describe(error)
        else:
            kind, payload = perform(function, args, kwargs, _DRAINED if drain else _NAMED)
        wire.write(fd, wire.frame(kind, payload))
