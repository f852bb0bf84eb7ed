"""Bytes from an untrusted sender back to plain data. See codec.py for the format."""

import collections
import datetime
import decimal
import fractions
import re
import struct
import sys
from collections.abc import Callable
from typing import Any

from .codec import (
    DATE,
    DELTA,
    F64,
    I64,
    MAX_BYTES,
    MAX_COLLISIONS,
    MAX_DEPTH,
    MAX_RATIO_BYTES,
    PLAIN,
    TIME,
    U32,
    Hooks,
    Refused,
)
from .names import FUNCTIONS, named

_Get = Callable[[bytes, int, int, Hooks], tuple[Any, int]]
_DTYPE = re.compile(r"[<>|=][biufcSUmM][0-9]{1,4}(\[[0-9]{0,4}[a-zA-Z]{1,2}\])?")


class NeedsNumpy(Refused):
    """A numpy value, read where numpy is not loaded."""


def decode(data: bytes, hooks: Hooks = PLAIN) -> Any:
    """The value of bytes that encode() made. Raises Refused on anything else, whatever the bytes."""
    if len(data) > MAX_BYTES:
        raise Refused(f"larger than {MAX_BYTES} bytes")
    try:
        value, end = _GET[data[0]](data, 1, MAX_DEPTH, hooks)
    except Refused:
        raise
    except (LookupError, ValueError, TypeError, ArithmeticError, struct.error, MemoryError, RecursionError) as error:
        raise Refused(f"malformed value: {type(error).__name__}") from None
    if end != len(data):
        raise Refused("malformed value: bytes left over")
    return value


def _constant(value: Any) -> _Get:
    return lambda data, at, depth, hooks: (value, at)


def _get_byte(data: bytes, at: int, depth: int, hooks: Hooks) -> tuple[int, int]:
    return data[at], at + 1


def _get_int64(data: bytes, at: int, depth: int, hooks: Hooks) -> tuple[int, int]:
    return I64.unpack_from(data, at)[0], at + 8


def _get_float(data: bytes, at: int, depth: int, hooks: Hooks) -> tuple[float, int]:
    return F64.unpack_from(data, at)[0], at + 8


def _get_complex(data: bytes, at: int, depth: int, hooks: Hooks) -> tuple[complex, int]:
    return complex(F64.unpack_from(data, at)[0], F64.unpack_from(data, at + 8)[0]), at + 16


def _blob(data: bytes, at: int) -> tuple[bytes, int]:
    end = at + 4 + U32.unpack_from(data, at)[0]
    if end > len(data):
        raise Refused("malformed value: cut short")
    return data[at + 4 : end], end


def _get_bigint(data: bytes, at: int, depth: int, hooks: Hooks) -> tuple[int, int]:
    blob, at = _blob(data, at)
    return int.from_bytes(blob, "little", signed=True), at


def _get_str(data: bytes, at: int, depth: int, hooks: Hooks) -> tuple[str, int]:
    blob, at = _blob(data, at)
    return blob.decode("utf-8", "surrogatepass"), at


def _get_bytes(data: bytes, at: int, depth: int, hooks: Hooks) -> tuple[bytes, int]:
    return _blob(data, at)


def _get_bytearray(data: bytes, at: int, depth: int, hooks: Hooks) -> tuple[bytearray, int]:
    blob, at = _blob(data, at)
    return bytearray(blob), at


def _items(data: bytes, at: int, depth: int, hooks: Hooks, width: int = 1) -> tuple[list, int]:
    count = U32.unpack_from(data, at)[0] * width
    at += 4
    if count > len(data) - at or depth <= 0:
        raise Refused("malformed value: cut short or too deep")
    depth -= 1
    items = []
    for _ in range(count):
        item, at = _GET[data[at]](data, at + 1, depth, hooks)
        items.append(item)
    return items, at


def _get_list(data: bytes, at: int, depth: int, hooks: Hooks) -> tuple[list, int]:
    return _items(data, at, depth, hooks)


def _get_iterator(data: bytes, at: int, depth: int, hooks: Hooks) -> tuple[Any, int]:
    items, at = _items(data, at, depth, hooks)
    return iter(items), at


def _get_tuple(data: bytes, at: int, depth: int, hooks: Hooks) -> tuple[tuple, int]:
    items, at = _items(data, at, depth, hooks)
    return tuple(items), at


def hashable(items: list) -> list:
    """The items, unless many share a hash: a set of such keys takes time square in their number."""
    if len(items) > MAX_COLLISIONS:
        most = collections.Counter(map(hash, items)).most_common(1)[0][1]
        if most > MAX_COLLISIONS:
            raise Refused("malformed value: colliding keys")
    return items


def _get_set(data: bytes, at: int, depth: int, hooks: Hooks) -> tuple[set, int]:
    items, at = _items(data, at, depth, hooks)
    return set(hashable(items)), at


def _get_frozenset(data: bytes, at: int, depth: int, hooks: Hooks) -> tuple[frozenset, int]:
    items, at = _items(data, at, depth, hooks)
    return frozenset(hashable(items)), at


def _get_dict(data: bytes, at: int, depth: int, hooks: Hooks) -> tuple[dict, int]:
    flat, at = _items(data, at, depth, hooks, width=2)
    return dict(zip(hashable(flat[::2]), flat[1::2], strict=True)), at


def _get_ordered(data: bytes, at: int, depth: int, hooks: Hooks) -> tuple[dict, int]:
    value, at = _get_dict(data, at, depth, hooks)
    return collections.OrderedDict(value), at


def _get_counter(data: bytes, at: int, depth: int, hooks: Hooks) -> tuple[dict, int]:
    value, at = _get_dict(data, at, depth, hooks)
    counter: collections.Counter = collections.Counter()
    dict.update(counter, value)
    return counter, at


def _get_defaultdict(data: bytes, at: int, depth: int, hooks: Hooks) -> tuple[dict, int]:
    value, at = _get_dict(data, at, depth, hooks)
    return collections.defaultdict(None, value), at


def _get_deque(data: bytes, at: int, depth: int, hooks: Hooks) -> tuple[collections.deque, int]:
    (maxlen, *items), at = _items(data, at, depth, hooks)
    return collections.deque(items, maxlen), at


def _get_range(data: bytes, at: int, depth: int, hooks: Hooks) -> tuple[range, int]:
    parts, at = _items(data, at, depth, hooks)
    return range(*parts), at


def _get_slice(data: bytes, at: int, depth: int, hooks: Hooks) -> tuple[slice, int]:
    parts, at = _items(data, at, depth, hooks)
    return slice(*parts), at


def _get_keys(data: bytes, at: int, depth: int, hooks: Hooks) -> tuple[Any, int]:
    items, at = _items(data, at, depth, hooks)
    return dict.fromkeys(hashable(items)).keys(), at


def _get_values(data: bytes, at: int, depth: int, hooks: Hooks) -> tuple[Any, int]:
    items, at = _items(data, at, depth, hooks)
    return dict(enumerate(items)).values(), at


def _get_pairs(data: bytes, at: int, depth: int, hooks: Hooks) -> tuple[Any, int]:
    items, at = _items(data, at, depth, hooks)
    hashable([key for key, _ in items])
    return dict(items).items(), at


def _get_type(data: bytes, at: int, depth: int, hooks: Hooks) -> tuple[type, int]:
    blob, at = _blob(data, at)
    return named(blob.decode()), at


def _get_function(data: bytes, at: int, depth: int, hooks: Hooks) -> tuple[Any, int]:
    blob, at = _blob(data, at)
    return FUNCTIONS[blob.decode()], at


def _get_decimal(data: bytes, at: int, depth: int, hooks: Hooks) -> tuple[decimal.Decimal, int]:
    blob, at = _blob(data, at)
    return decimal.Decimal(blob.decode("ascii")), at


def _get_fraction(data: bytes, at: int, depth: int, hooks: Hooks) -> tuple[fractions.Fraction, int]:
    (top, bottom), at = _items(data, at, depth, hooks)
    if type(top) is not int or type(bottom) is not int:
        raise Refused("malformed value: a Fraction of what are not ints")
    if max(top.bit_length(), bottom.bit_length()) > 8 * MAX_RATIO_BYTES:
        raise Refused("malformed value: a Fraction past the size cap")
    return fractions.Fraction(top, bottom), at


def _get_date(data: bytes, at: int, depth: int, hooks: Hooks) -> tuple[datetime.date, int]:
    return datetime.date(*DATE.unpack_from(data, at)), at + DATE.size


def _zone(data: bytes, at: int, depth: int, hooks: Hooks) -> tuple[datetime.timezone | None, int]:
    if depth <= 0:
        raise Refused("malformed value: too deep")
    offset, at = _GET[data[at]](data, at + 1, depth - 1, hooks)
    return None if offset is None else datetime.timezone(offset), at


def _get_time(data: bytes, at: int, depth: int, hooks: Hooks) -> tuple[datetime.time, int]:
    *fields, fold = TIME.unpack_from(data, at)
    zone, at = _zone(data, at + TIME.size, depth, hooks)
    return datetime.time(*fields).replace(tzinfo=zone, fold=fold), at


def _get_datetime(data: bytes, at: int, depth: int, hooks: Hooks) -> tuple[datetime.datetime, int]:
    day = DATE.unpack_from(data, at)
    *fields, fold = TIME.unpack_from(data, at + DATE.size)
    zone, at = _zone(data, at + DATE.size + TIME.size, depth, hooks)
    return datetime.datetime(*day, *fields).replace(tzinfo=zone, fold=fold), at


def _get_timedelta(data: bytes, at: int, depth: int, hooks: Hooks) -> tuple[datetime.timedelta, int]:
    return datetime.timedelta(*DELTA.unpack_from(data, at)), at + DELTA.size


def _get_timezone(data: bytes, at: int, depth: int, hooks: Hooks) -> tuple[datetime.timezone | None, int]:
    zone, at = _zone(data, at, depth, hooks)
    if zone is None:
        raise Refused("malformed value: a time zone without an offset")
    return zone, at


def _get_array(data: bytes, at: int, depth: int, hooks: Hooks) -> tuple[Any, int]:
    (dtype, shape, raw), at = _items(data, at, depth, hooks)
    numpy = sys.modules.get("numpy")
    if numpy is None:
        raise NeedsNumpy("a numpy value")
    if type(dtype) is not str or type(raw) is not bytes or not _DTYPE.fullmatch(dtype):
        raise Refused("malformed value: an array")
    flat = numpy.frombuffer(raw, numpy.dtype(dtype)).copy()
    return flat[0] if shape is None else flat.reshape(shape), at


def _reference(tag: int) -> _Get:
    def get(data: bytes, at: int, depth: int, hooks: Hooks) -> tuple[Any, int]:
        return hooks.get(tag, U32.unpack_from(data, at)[0]), at + 4

    return get


_GET: dict[int, _Get] = {
    ord(tag): get
    for tag, get in {
        "N": _constant(None), "T": _constant(True), "F": _constant(False), ".": _constant(...),
        "j": _get_byte, "i": _get_int64, "I": _get_bigint, "f": _get_float, "c": _get_complex,
        "s": _get_str, "b": _get_bytes, "B": _get_bytearray, "y": _get_type, "u": _get_function,
        "l": _get_list, "t": _get_tuple, "e": _get_set, "E": _get_frozenset, "d": _get_dict,
        "o": _get_ordered, "C": _get_counter, "D": _get_defaultdict, "q": _get_deque,
        "r": _get_range, ":": _get_slice, "k": _get_keys, "v": _get_values, "w": _get_pairs,
        "m": _get_decimal, "/": _get_fraction, "a": _get_array,
        "x": _get_date, "X": _get_time, "z": _get_datetime, "Z": _get_timedelta, "-": _get_timezone,
        "G": _reference(ord("G")), "L": _reference(ord("L")), "n": _get_iterator,
    }.items()
}  # fmt: skip
