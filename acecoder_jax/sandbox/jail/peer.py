"""The link between a judge and a player: calls one way, values the other, nothing but plain data in between.

Both ends run the same class. While one waits for a reply it serves what the other asks meanwhile: a test may pass a
function to the program, which calls it back. Iterators stay where they are and are drained in pieces when the test
iterates them.
"""

import itertools
import struct
import types
from collections.abc import Callable, Iterator
from typing import Any

from . import wire
from .changes import Changed, changeable, merged
from .codec import U32, Hooks, Refused, encode, put_iterator
from .decode import decode
from .errors import MAX_MESSAGE, describe, revive
from .names import FUNCTIONS

MAX_ITEMS = 100_000  # that one iterator gives, in all
_REPLY = struct.Struct("<BI")  # kind and size of the reply before the changed arguments


class Gone(BaseException):
    """The other side closed the link: the program's process is dead."""


class Unsent(Exception):  # noqa: N818 - it reads as what happened
    """An argument of the test is not plain data: the program was not called."""


class Peer(Hooks):
    """One end of the link. `resolve` maps the name of a call to a function, and is None in a judge."""

    def __init__(self, stream: wire.Stream, resolve: Callable[[str], Callable] | None):
        self.stream = stream
        self.resolve = resolve
        self.kept: dict[int, Any] = {}
        self.borrowed: dict[Callable, int] = {}  # functions of the test, in a player
        self.refused = self.unsent = ""  # what a judge must not overlook, though the test catches it

    # ---- values that stay on their side

    def put(self, value: Any, out: bytearray) -> None:
        """Iterators of a program by number; a judge's iterators as lists and its functions by number or name."""
        name = value.__name__ if isinstance(value, types.BuiltinFunctionType) else None
        if name is not None and FUNCTIONS.get(name) is value:
            out += b"u" + U32.pack(len(name)) + name.encode()
        elif isinstance(value, Iterator):
            if self.resolve is None:
                put_iterator(list(itertools.islice(value, MAX_ITEMS)), out)
            else:
                out += b"G" + U32.pack(self._keep(value))
        elif isinstance(value, types.FunctionType) and value in self.borrowed:
            out += b"L" + U32.pack(self.borrowed[value])
        elif self.resolve is None and callable(value) and not isinstance(value, type):
            out += b"L" + U32.pack(self._keep(value))
        else:
            super().put(value, out)

    def _keep(self, value: Any) -> int:
        self.kept[len(self.kept)] = value
        return len(self.kept) - 1

    def get(self, tag: int, number: int) -> Any:
        """A stand-in for what the other side kept; in a judge the test's own function when it comes back."""
        if self.resolve is None:
            return RemoteIterator(self, number) if tag == ord("G") else self.kept[number]
        if tag != ord("L"):
            raise Refused("a reference that may not travel this way")

        def function(*args: Any, **kwargs: Any) -> Any:
            return self.call(number, args, kwargs)

        self.borrowed[function] = number
        return function

    # ---- asking

    def call(self, target: str | int, args: tuple, kwargs: dict) -> Any:
        """Call a function of the other side. Raises what it raised, Refused for a result that is not plain, Gone.

        In a judge Unsent for arguments that are not plain.
        """
        try:
            request = encode((target, encode((args, kwargs), self)))
        except Refused as refusal:
            if self.resolve is not None:
                raise
            self.unsent = f"an argument of the test cannot be sent to the program: {refusal}"
            raise Unsent(self.unsent) from None
        try:
            return self._result(*self.request(wire.CALL, request), args, kwargs)
        except Refused as refusal:
            self.refused = str(refusal)
            raise

    def _result(self, kind: int, payload: bytes, args: tuple, kwargs: dict) -> Any:
        if kind == wire.CHANGED and self.resolve is None:
            if len(payload) < _REPLY.size:
                raise Refused("malformed reply")
            kind, size = _REPLY.unpack_from(payload)
            after = payload[_REPLY.size + size :]
            merged((args, kwargs), decode(after, Changed(self)))
            payload = payload[_REPLY.size : _REPLY.size + size]
        if kind == wire.VALUE:
            return decode(payload, self)
        if kind == wire.RAISED:
            raise revive(payload, ends_loops=self.resolve is not None)
        whose = "the program's result" if self.resolve is None else "the result of a function of the test"
        raise Refused(f"{whose} is {payload.decode('utf-8', 'replace')[:MAX_MESSAGE]}")

    def request(self, kind: int, payload: bytes) -> tuple[int, bytes]:
        """Send a request and serve the other side until the reply comes."""
        try:
            self.stream.send(kind, payload)
            while True:
                received = self.stream.receive()
                if received is None:
                    raise Gone
                if received[0] not in (wire.CALL, wire.MORE):
                    return received
                self.stream.send(*self.answer(*received))
        except OSError:
            raise Gone from None

    # ---- answering

    def serve(self) -> None:
        """Answer until the other side closes the link."""
        while (received := self.stream.receive()) is not None:
            try:
                self.stream.send(*self.answer(*received))
            except BrokenPipeError:
                return

    def answer(self, kind: int, payload: bytes) -> tuple[int, bytes]:
        """The reply to one request."""
        try:
            if kind == wire.MORE:
                number, count = decode(payload)
                items = list(itertools.islice(self.kept[number], min(count, MAX_ITEMS)))
                return wire.VALUE, encode(items, self)
            target, arguments = decode(payload)
            function = self.kept[target] if self.resolve is None else self.resolve(target)
            args, kwargs = decode(arguments, self)
            watched = self.resolve is not None and any(map(changeable, (*args, *kwargs.values())))
            kind, reply = perform(function, args, kwargs, self, attributes=self.resolve is not None)
            try:
                after = encode((args, kwargs), Changed(self)) if watched else arguments
            except Refused as refusal:
                return wire.REFUSED, f"given beside a changed argument, and that is {refusal}".encode(
                    "utf-8", "replace"
                )
            if after == arguments:
                return kind, reply
            return wire.CHANGED, _REPLY.pack(kind, len(reply)) + reply + after
        except Gone:
            raise
        except Refused as refusal:
            return wire.REFUSED, str(refusal).encode("utf-8", "replace")
        except BaseException as error:
            return wire.RAISED, describe(error, attributes=False)


def perform(function: Callable, args: tuple, kwargs: dict, hooks: Hooks, attributes: bool = True) -> tuple[int, bytes]:
    """Call a function and turn what becomes of it into a frame's kind and payload.

    attributes: whether those of an exception may be told. A program is told no more of a test than it needs.
    """
    try:
        result = function(*args, **kwargs)
    except Gone:
        raise
    except BaseException as error:
        return wire.RAISED, describe(error, attributes)
    try:
        return wire.VALUE, encode(result, hooks)
    except Refused as refusal:
        return wire.REFUSED, str(refusal).encode("utf-8", "replace")


class RemoteIterator:
    """An iterator that the program returned: its items are fetched as the test asks for them."""

    def __init__(self, peer: Peer, number: int):
        self._fetch = self._items(peer, number)

    @staticmethod
    def _items(peer: Peer, number: int) -> Iterator[Any]:
        count, total = 16, 0
        while True:
            kind, payload = peer.request(wire.MORE, encode((number, count)))
            if kind == wire.RAISED:
                raise revive(payload, ends_loops=False)
            if kind != wire.VALUE:
                raise Refused("the program's iterator gave what is not plain data")
            items = decode(payload, peer)
            yield from items
            total += len(items)
            if len(items) < count:
                return
            if total >= MAX_ITEMS:
                raise Refused(f"the program's iterator gave more than {MAX_ITEMS} items")
            count = min(2 * count, 4096)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self._fetch)
