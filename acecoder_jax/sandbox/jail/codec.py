"""Plain data as bytes: the only thing that crosses between a program and whoever judges it.

A value is a tag byte, then its content; containers hold a count and their items. Decoding builds exact built-in types
and nothing else, so no code of the sender runs. Sizes, depths and counts are capped on both sides.

    encode([1, (True,)]) == b"l\\x01\\0\\0\\0" b"j\\x01" b"t\\x01\\0\\0\\0" b"T"

Subclasses are sent as their plain base value. Anything else is Refused. This file encodes, decode.py decodes.
"""

import collections
import datetime
import decimal
import fractions
import struct
import sys
from collections.abc import Callable, Sequence
from typing import Any

from .names import name_of

MAX_BYTES = 4 << 20  # of one encoded value
MAX_DEPTH = 100  # containers within containers
MAX_COLLISIONS = 64  # keys of one set or dict that may share a hash: more is an attack on the reader's time
MAX_RATIO_BYTES = 4096  # of a Fraction's numerator and denominator, since the reader takes their gcd

U32 = struct.Struct("<I")
I64 = struct.Struct("<q")
F64 = struct.Struct("<d")
DATE = struct.Struct("<HBB")
TIME = struct.Struct("<BBBIB")
DELTA = struct.Struct("<iii")


class Refused(Exception):  # noqa: N818 - it reads as what happened
    """The value is not plain data, or is past a cap; or the bytes are malformed."""


class Hooks:
    """What to do with values that are not plain. This base refuses them all."""

    def put(self, value: Any, out: bytearray) -> None:
        """Append an encoding of `value` to `out`, or raise Refused."""
        kind = f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
        raise Refused(f"not plain data: {kind}")

    def get(self, tag: int, number: int) -> Any:
        """The object that stands for tag 'G' (an iterator) or 'L' (a callable) with this number."""
        raise Refused("a reference to something that stays on the other side")


PLAIN = Hooks()


def encode(value: Any, hooks: Hooks = PLAIN) -> bytes:
    """The bytes of a plain value. Raises Refused."""
    out = bytearray()
    try:
        _put(value, out, MAX_DEPTH, hooks)
    except (RecursionError, OverflowError, MemoryError, struct.error) as error:
        raise Refused(f"cannot be sent: {type(error).__name__}") from None
    if len(out) > MAX_BYTES:
        raise Refused(f"larger than {MAX_BYTES} bytes")
    return bytes(out)


def encode_list(items: Sequence[bytes]) -> bytes:
    """The encoding of a list, from the encodings of its items."""
    return b"l" + U32.pack(len(items)) + b"".join(items)


_Put = Callable[[Any, bytearray, int, Hooks], None]


def _put(value: Any, out: bytearray, depth: int, hooks: Hooks) -> None:
    put = _PUT.get(type(value))
    if put is None:
        _put_other(value, out, depth, hooks)
    else:
        put(value, out, depth, hooks)


def _put_none(value: None, out: bytearray, depth: int, hooks: Hooks) -> None:
    out += b"N"


def _put_bool(value: bool, out: bytearray, depth: int, hooks: Hooks) -> None:
    out += b"T" if value else b"F"


def _put_ellipsis(value: Any, out: bytearray, depth: int, hooks: Hooks) -> None:
    out += b"."


def _put_int(value: int, out: bytearray, depth: int, hooks: Hooks) -> None:
    if 0 <= value < 256:
        out += b"j"
        out.append(value)
    elif -(1 << 63) <= value < 1 << 63:
        out += b"i" + I64.pack(value)
    else:
        size = value.bit_length() // 8 + 1
        if size > MAX_BYTES:
            raise Refused("an int past the size cap")
        _put_blob(b"I", value.to_bytes(size, "little", signed=True), out)


def _put_float(value: float, out: bytearray, depth: int, hooks: Hooks) -> None:
    out += b"f" + F64.pack(value)


def _put_complex(value: complex, out: bytearray, depth: int, hooks: Hooks) -> None:
    out += b"c" + F64.pack(value.real) + F64.pack(value.imag)


def _put_blob(tag: bytes, data: bytes | bytearray, out: bytearray) -> None:
    if len(out) + len(data) > MAX_BYTES:
        raise Refused(f"larger than {MAX_BYTES} bytes")
    out += tag + U32.pack(len(data))
    out += data


def _put_str(value: str, out: bytearray, depth: int, hooks: Hooks) -> None:
    _put_blob(b"s", value.encode("utf-8", "surrogatepass"), out)


def _put_bytes(value: bytes, out: bytearray, depth: int, hooks: Hooks) -> None:
    _put_blob(b"b", value, out)


def _put_bytearray(value: bytearray, out: bytearray, depth: int, hooks: Hooks) -> None:
    _put_blob(b"B", value, out)


def _put_items(tag: bytes, items: Any, count: int, out: bytearray, depth: int, hooks: Hooks) -> None:
    if depth <= 0:
        raise Refused(f"nested deeper than {MAX_DEPTH}")
    if len(out) + count > MAX_BYTES:
        raise Refused(f"larger than {MAX_BYTES} bytes")
    out += tag + U32.pack(count)
    depth -= 1
    for item in items:
        put = _PUT.get(type(item), _put_other)
        put(item, out, depth, hooks)


def put_iterator(items: list, out: bytearray) -> None:
    """Append an iterator over `items`: the reader gets iter(items)."""
    _put_items(b"n", items, len(items), out, MAX_DEPTH, PLAIN)


def _put_list(value: list, out: bytearray, depth: int, hooks: Hooks) -> None:
    _put_items(b"l", value, len(value), out, depth, hooks)


def _put_tuple(value: tuple, out: bytearray, depth: int, hooks: Hooks) -> None:
    _put_items(b"t", value, len(value), out, depth, hooks)


def _put_set(value: set, out: bytearray, depth: int, hooks: Hooks) -> None:
    _put_items(b"e", value, len(value), out, depth, hooks)


def _put_frozenset(value: frozenset, out: bytearray, depth: int, hooks: Hooks) -> None:
    _put_items(b"E", value, len(value), out, depth, hooks)


def _flat(value: dict) -> list:
    return [part for pair in dict.items(value) for part in pair]


def _put_dict(value: dict, out: bytearray, depth: int, hooks: Hooks) -> None:
    _put_items(b"d", _flat(value), len(value), out, depth, hooks)


def _put_ordered(value: dict, out: bytearray, depth: int, hooks: Hooks) -> None:
    pairs = [part for pair in collections.OrderedDict.items(value) for part in pair]  # type: ignore
    _put_items(b"o", pairs, len(pairs) // 2, out, depth, hooks)


def _put_counter(value: dict, out: bytearray, depth: int, hooks: Hooks) -> None:
    _put_items(b"C", _flat(value), len(value), out, depth, hooks)


def _put_defaultdict(value: dict, out: bytearray, depth: int, hooks: Hooks) -> None:
    _put_items(b"D", _flat(value), len(value), out, depth, hooks)


def _put_deque(value: collections.deque, out: bytearray, depth: int, hooks: Hooks) -> None:
    items = list(value)
    _put_items(b"q", [value.maxlen, *items], len(items) + 1, out, depth, hooks)


def _put_range(value: range, out: bytearray, depth: int, hooks: Hooks) -> None:
    _put_items(b"r", (value.start, value.stop, value.step), 3, out, depth, hooks)


def _put_slice(value: slice, out: bytearray, depth: int, hooks: Hooks) -> None:
    _put_items(b":", (value.start, value.stop, value.step), 3, out, depth, hooks)


def _put_view(value: Any, out: bytearray, depth: int, hooks: Hooks) -> None:
    items = list(value)
    _put_items(_VIEWS[type(value)], items, len(items), out, depth, hooks)


def _put_type(value: type, out: bytearray, depth: int, hooks: Hooks) -> None:
    name = name_of(value)
    if name is None:
        return hooks.put(value, out)
    return _put_blob(b"y", name.encode(), out)


def _put_decimal(value: decimal.Decimal, out: bytearray, depth: int, hooks: Hooks) -> None:
    _put_blob(b"m", decimal.Decimal.__str__(value).encode(), out)


def _put_fraction(value: fractions.Fraction, out: bytearray, depth: int, hooks: Hooks) -> None:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > 8 * MAX_RATIO_BYTES:
        raise Refused("a Fraction past the size cap")
    _put_items(b"/", (value.numerator, value.denominator), 2, out, depth, hooks)


def _zone(tz: Any, moment: Any) -> datetime.timedelta | None:
    if tz is None:
        return None
    offset = tz.utcoffset(moment)
    if type(offset) is not datetime.timedelta:
        raise Refused("a time zone without an offset")
    return offset


def _put_date(value: datetime.date, out: bytearray, depth: int, hooks: Hooks) -> None:
    out += b"x" + DATE.pack(value.year, value.month, value.day)


def _put_time(value: datetime.time, out: bytearray, depth: int, hooks: Hooks) -> None:
    out += b"X" + TIME.pack(value.hour, value.minute, value.second, value.microsecond, value.fold)
    _put(_zone(value.tzinfo, None), out, depth, hooks)


def _put_datetime(value: datetime.datetime, out: bytearray, depth: int, hooks: Hooks) -> None:
    out += b"z" + DATE.pack(value.year, value.month, value.day)
    out += TIME.pack(value.hour, value.minute, value.second, value.microsecond, value.fold)
    _put(_zone(value.tzinfo, value), out, depth, hooks)


def _put_timedelta(value: datetime.timedelta, out: bytearray, depth: int, hooks: Hooks) -> None:
    out += b"Z" + DELTA.pack(value.days, value.seconds, value.microseconds)


def _put_timezone(value: datetime.timezone, out: bytearray, depth: int, hooks: Hooks) -> None:
    out += b"-"
    _put(value.utcoffset(None), out, depth, hooks)


def _put_array(value: Any, out: bytearray, depth: int, hooks: Hooks) -> None:
    numpy = sys.modules["numpy"]
    if value.dtype.kind not in "biufcSUmM":
        raise Refused(f"not plain data: an array of {value.dtype}")
    if value.nbytes > MAX_BYTES:
        raise Refused(f"larger than {MAX_BYTES} bytes")
    scalar = isinstance(value, numpy.generic)
    parts = (value.dtype.str, None if scalar else tuple(map(int, value.shape)), value.tobytes())
    _put_items(b"a", parts, 3, out, depth, hooks)


def _put_other(value: Any, out: bytearray, depth: int, hooks: Hooks) -> None:
    """A subclass as its plain base value, numpy's own types, and what the hooks know."""
    for base in type(value).__mro__:
        if base.__module__ == "numpy" and base.__name__ in ("ndarray", "generic"):
            return _put_array(value, out, depth, hooks)
        if base in _PUT:
            return _PUT[base](_PLAIN_BASE[base](value) if base in _PLAIN_BASE else value, out, depth, hooks)
    return hooks.put(value, out)


_VIEWS = {type({}.keys()): b"k", type({}.values()): b"v", type({}.items()): b"w"}
_PLAIN_BASE: dict[type, Callable[[Any], Any]] = {  # through the base's own methods: the subclass may override its own
    int: lambda value: int.__add__(value, 0),
    float: float.__float__,
    complex: complex.__complex__,
    str: str.__str__,
    bytes: lambda value: bytes.__getitem__(value, slice(None)),
    list: list.copy,
    tuple: lambda value: tuple.__getitem__(value, slice(None)),
    set: lambda value: list(set.__iter__(value)),
    frozenset: lambda value: list(frozenset.__iter__(value)),
}
_PUT: dict[type, _Put] = {
    type(None): _put_none,
    bool: _put_bool,
    type(...): _put_ellipsis,
    int: _put_int,
    float: _put_float,
    complex: _put_complex,
    str: _put_str,
    bytes: _put_bytes,
    bytearray: _put_bytearray,
    list: _put_list,
    tuple: _put_tuple,
    set: _put_set,
    frozenset: _put_frozenset,
    dict: _put_dict,
    collections.OrderedDict: _put_ordered,
    collections.Counter: _put_counter,
    collections.defaultdict: _put_defaultdict,
    collections.deque: _put_deque,
    range: _put_range,
    slice: _put_slice,
    type: _put_type,
    decimal.Decimal: _put_decimal,
    fractions.Fraction: _put_fraction,
    datetime.datetime: _put_datetime,
    datetime.date: _put_date,
    datetime.time: _put_time,
    datetime.timedelta: _put_timedelta,
    datetime.timezone: _put_timezone,
}
_PUT.update(dict.fromkeys(_VIEWS, _put_view))
