"""What a program changed in the arguments of a call, brought back into the test's own objects."""

import collections
import sys
from collections.abc import Iterator
from typing import Any

from .codec import U32, Hooks, Refused, encode

_MUTABLE = (list, dict, set, bytearray, collections.deque)


class Changed(Hooks):
    """Arguments after a call: what cannot be sent is only marked. `own` knows what the test itself gave."""

    def __init__(self, own: Hooks):
        self.own = own

    def put(self, value: Any, out: bytearray) -> None:
        """What the test gave by its name or number; a mark for iterators and for what is not plain."""
        if isinstance(value, Iterator):
            out += b"G" + U32.pack(0)
            return
        try:
            self.own.put(value, out)
        except Refused:
            out += b"G" + U32.pack(0)

    def get(self, tag: int, number: int) -> Any:
        """A function of the test, or what stands for anything else."""
        return Marked() if tag == ord("G") else self.own.get(tag, number)


class Marked:
    """Something of the program's that cannot be sent, in an argument that it changed: equal to nothing."""

    def __repr__(self) -> str:
        return "<not plain data>"


def changeable(value: Any) -> bool:
    """Whether a call can change an argument that has just been decoded."""
    if isinstance(value, tuple):
        return any(map(changeable, value))
    return isinstance(value, _MUTABLE) or _is_array(value)


def _is_array(value: Any) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.ndarray)


def merged(before: Any, after: Any) -> Any:
    """`after`, with the mutable containers of `before` in it where they stand: a test sees what the program changed.

    Raises Refused where an array cannot be changed in place.
    """
    if isinstance(before, list) and isinstance(after, list):
        before[:] = _items(before, after)
    elif isinstance(before, tuple) and isinstance(after, tuple):
        items = _items(before, after)
        return before if len(before) == len(items) and all(map(_same, before, items)) else tuple(items)
    elif isinstance(before, dict) and isinstance(after, dict):
        pairs = [(key, merged(dict.get(before, key), value)) for key, value in after.items()]
        before.clear()
        for key, value in pairs:
            before[key] = value
    elif isinstance(before, set) and isinstance(after, set):
        before.clear()
        before.update(after)
    elif isinstance(before, bytearray) and isinstance(after, bytearray):
        before[:] = after
    elif isinstance(before, collections.deque) and isinstance(after, collections.deque):
        items = _items(list(before), list(after))
        before.clear()
        before.extend(items)
    elif _is_array(before) and _is_array(after):
        if before.dtype != after.dtype or before.shape != after.shape:
            raise Refused("an array whose type or shape the program changed")
        before[...] = after
    elif isinstance(after, Marked):
        return before if isinstance(before, Iterator) or callable(before) else after
    else:
        return before if type(before) is not type(after) and _same(before, after) else after
    return before


def _items(before: Any, after: Any) -> list:
    return [merged(old, new) for old, new in zip(before, after, strict=False)] + list(after[len(before) :])


def _same(before: Any, after: Any) -> bool:
    """Whether nothing has changed but that a subclass has become its plain base."""
    if before is after:
        return True
    try:
        return encode(before) == encode(after)
    except Refused:
        return False
