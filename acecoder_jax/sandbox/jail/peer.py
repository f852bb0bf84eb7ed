"""The link between a judge and a player: calls one way, values the other, nothing but plain data in between.

Both ends run the same class. While one waits for a reply it serves what the other asks meanwhile: a test may pass a
function to the program, which calls it back. Iterators stay where they are and are drained in pieces when the test
iterates them.
"""

import collections
import itertools
import types
from collections.abc import Callable, Iterator
from typing import Any

from . import wire
from .codec import FUNCTIONS, U32, Hooks, Refused, encode, put_iterator
from .decode import decode

MAX_ITEMS = 100_000  # that one iterator gives, in all
MAX_MESSAGE = 400  # characters
_MUTABLE = (list, dict, set, bytearray, collections.deque)


class Gone(BaseException):
    """The other side closed the link: the program's process is dead."""


class ProgramError(RuntimeError):
    """What the program raised, where its class is not a built-in one."""


def describe(error: BaseException) -> bytes:
    """An exception as plain data: the names of its class and bases, its message, its arguments if they are plain."""
    names = tuple(str(kind.__name__) for kind in type(error).__mro__)[:16]
    try:
        message = str(error)[:MAX_MESSAGE]
    except BaseException:
        message = ""
    try:
        return encode((names, message, tuple(error.args)))
    except BaseException:
        return encode((names, message, None))


def revive(payload: bytes) -> BaseException:
    """The exception that `describe` told of, as the nearest built-in class."""
    names, message, arguments = decode(payload)
    builtin = __builtins__ if isinstance(__builtins__, dict) else vars(__builtins__)
    kind = next((k for n in names if isinstance(k := builtin.get(n), type) and issubclass(k, BaseException)), None)
    if kind in (None, Exception, BaseException) and names[0] not in ("Exception", "BaseException"):
        error: BaseException = ProgramError(f"{names[0]}: {message}")
    else:
        try:
            error = kind(*arguments) if arguments is not None else kind(message)  # type: ignore[misc]
        except Exception:
            error = ProgramError(f"{names[0]}: {message}")
    error.from_program = (names[0], message)  # type: ignore[attr-defined]
    return error


class Peer(Hooks):
    """One end of the link. `resolve` maps the name of a call to a function, and is None in a judge."""

    def __init__(self, stream: wire.Stream, resolve: Callable[[str], Callable] | None):
        self.stream = stream
        self.resolve = resolve
        self.kept: dict[int, Any] = {}
        self.refused = ""

    # ---- values that stay on their side

    def put(self, value: Any, out: bytearray) -> None:
        """Iterators of a program by number; a judge's iterators as lists and its functions by number or name."""
        iterator = isinstance(value, Iterator)
        if self.resolve is None:
            if iterator:
                return put_iterator(list(itertools.islice(value, MAX_ITEMS)), out)
            name = getattr(value, "__name__", None)
            if isinstance(value, types.BuiltinFunctionType) and FUNCTIONS.get(name) is value:  # type: ignore[arg-type]
                out += b"u" + U32.pack(len(name)) + name.encode()  # type: ignore[arg-type, union-attr]
                return None
        if iterator if self.resolve else callable(value):
            self.kept[len(self.kept)] = value
            out += (b"G" if self.resolve else b"L") + U32.pack(len(self.kept) - 1)
            return None
        return super().put(value, out)

    def get(self, tag: int, number: int) -> Any:
        """A stand-in for what the other side kept."""
        if self.resolve is None and tag == ord("G"):
            return RemoteIterator(self, number)
        if self.resolve is not None and tag == ord("L"):
            return lambda *args, **kwargs: self.call(number, args, kwargs)
        raise Refused("a reference that may not travel this way")

    # ---- asking

    def call(self, target: str | int, args: tuple, kwargs: dict) -> Any:
        """Call a function of the other side. Raises what it raised, Refused for a result that is not plain, Gone."""
        request = encode((target, encode((args, kwargs), self)))
        try:
            return self._result(*self.request(wire.CALL, request), args, kwargs)
        except Refused as refusal:
            self.refused = str(refusal)
            raise

    def _result(self, kind: int, payload: bytes, args: tuple, kwargs: dict) -> Any:
        if kind == wire.CHANGED:
            value, after = decode(payload)
            merged((args, kwargs), decode(after, self))
            kind, payload = value[0], value[1:]
        if kind == wire.VALUE:
            return decode(payload, self)
        if kind == wire.RAISED:
            raise revive(payload)
        raise Refused(f"the program's result is {payload.decode('utf-8', 'replace')[:MAX_MESSAGE]}")

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
            reply = perform(function, args, kwargs, self)
            if self.resolve is None or not any(isinstance(a, _MUTABLE) for a in (*args, *kwargs.values())):
                return reply
            try:
                after = encode((args, kwargs), self)
            except Refused:
                return reply
            return (wire.CHANGED, encode((bytes([reply[0]]) + reply[1], after))) if after != arguments else reply
        except Gone:
            raise
        except Refused as refusal:
            return wire.REFUSED, str(refusal).encode("utf-8", "replace")
        except BaseException as error:
            return wire.RAISED, describe(error)


def perform(function: Callable, args: tuple, kwargs: dict, hooks: Hooks) -> tuple[int, bytes]:
    """Call a function and turn what becomes of it into a frame's kind and payload."""
    try:
        result = function(*args, **kwargs)
    except Gone:
        raise
    except BaseException as error:
        return wire.RAISED, describe(error)
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
                raise revive(payload)
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


def merged(before: Any, after: Any) -> Any:
    """`after`, with the mutable containers of `before` in it where they stand: a test sees what the program changed."""
    if type(before) is not type(after):
        return after
    if isinstance(before, list | tuple):
        items = [merged(old, new) for old, new in zip(before, after, strict=False)] + list(after[len(before) :])
        if isinstance(before, tuple):
            return tuple(items)
        before[:] = items
    elif isinstance(before, dict):
        pairs = {key: merged(before.get(key), value) for key, value in after.items()}
        before.clear()
        before.update(pairs)
    elif isinstance(before, set):
        before.clear()
        before.update(after)
    elif isinstance(before, bytearray | collections.deque):
        before.clear()
        before.extend(after)
    else:
        return after
    return before
