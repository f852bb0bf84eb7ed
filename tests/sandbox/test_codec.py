import collections
import datetime
import decimal
import enum
import fractions
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acecoder_jax.sandbox.jail import codec
from acecoder_jax.sandbox.jail.codec import Refused, encode
from acecoder_jax.sandbox.jail.decode import NeedsNumpy, decode

hashable = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**200), 2**200)
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.text(st.characters())
    | st.binary()
    | st.decimals(allow_nan=False)
    | st.fractions()
    | st.datetimes(timezones=st.none() | st.timezones().map(lambda _: datetime.UTC))
    | st.dates()
    | st.times()
    | st.timedeltas(),
    lambda inner: st.lists(inner, max_size=4).map(tuple) | st.frozensets(inner, max_size=4),
    max_leaves=8,
)
plain = st.recursive(
    hashable | st.binary().map(bytearray),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.sets(hashable, max_size=5)
        | st.dictionaries(hashable, inner, max_size=5)
        | st.dictionaries(hashable, inner, max_size=5).map(collections.OrderedDict)
        | st.lists(inner, max_size=5).map(collections.deque)
        | st.lists(hashable, max_size=5).map(collections.Counter)
    ),
    max_leaves=12,
)


def shape(value):
    """The types all the way down, since 1 == 1.0 == True."""
    if isinstance(value, dict):
        return type(value), [(shape(k), shape(v)) for k, v in value.items()]
    if isinstance(value, list | tuple | collections.deque):
        return type(value), [shape(item) for item in value]
    if isinstance(value, set | frozenset):
        return type(value), sorted(str(shape(item)) for item in value)
    return type(value)


@settings(max_examples=400, deadline=None)
@given(plain)
def test_round_trip(value):
    there = decode(encode(value))
    assert there == value and shape(there) == shape(value)


@settings(max_examples=1000, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_give_a_plain_value_or_are_refused(data):
    try:
        value = decode(data)
    except Refused:
        return
    encode(value)


@settings(max_examples=400, deadline=None)
@given(plain, st.data())
def test_damaged_bytes_give_a_plain_value_or_are_refused(value, data):
    good = bytearray(encode(value))
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode(bytes(good)[: data.draw(st.integers(0, len(good)))])
    except Refused:
        return


def test_nan_and_special_numbers():
    assert math.isnan(decode(encode(float("nan"))))
    assert decode(encode([float("inf"), -0.0])) == [float("inf"), -0.0]
    assert math.copysign(1, decode(encode(-0.0))) == -1
    assert decode(encode(decimal.Decimal("1.50"))).as_tuple() == decimal.Decimal("1.50").as_tuple()
    assert decode(encode(fractions.Fraction(-3, 7))) == fractions.Fraction(-3, 7)


def test_subclasses_arrive_as_their_plain_base_value():
    class Int(int):
        def __eq__(self, other):
            return True

        __hash__ = int.__hash__

    class Text(str):
        def __eq__(self, other):
            return True

        def __str__(self):
            return "lie"

        __hash__ = str.__hash__

    class List(list):
        def __eq__(self, other):
            return True

        def __iter__(self):
            return iter([9])

    class Color(enum.IntEnum):
        RED = 3

    Point = collections.namedtuple("Point", "x y")
    values = [Int(5), Text("abc"), List([1, Int(2)]), Color.RED, Point(1, 2), collections.defaultdict(int, {1: 2})]
    there = decode(encode(values))
    assert there == [5, "abc", [1, 2], 3, (1, 2), {1: 2}]
    assert [type(value) for value in there] == [int, str, list, int, tuple, collections.defaultdict]


def test_what_is_not_plain_is_refused():
    class Own:
        pass

    cyclic: list = []
    cyclic.append(cyclic)
    doubled: list = []
    for _ in range(60):
        doubled = [doubled, doubled]
    deep: list = []
    for _ in range(codec.MAX_DEPTH + 1):
        deep = [deep]
    for value in (
        Own(),
        Own,
        len,
        lambda: 0,
        iter([1]),
        cyclic,
        doubled,
        deep,
        1 << (8 * codec.MAX_BYTES + 8),
        [Own()],
    ):
        with pytest.raises(Refused):
            encode(value)
    with pytest.raises(Refused):
        encode("x" * (codec.MAX_BYTES + 1))


def test_caps_hold_on_the_reading_side():
    for data in (
        b"l\xff\xff\xff\xff",
        b"s\xff\xff\xff\x7fabc",
        b"l\x01\0\0\0" * (codec.MAX_DEPTH + 1) + b"N",
        b"N" * (codec.MAX_BYTES + 1),
        b"e\x01\0\0\0l\0\0\0\0",
        b"NN",
        b"G\0\0\0\0",
        b"L\0\0\0\0",
        b"",
    ):
        with pytest.raises(Refused):
            decode(data)


def test_colliding_keys_are_refused():
    modulus = 2**61 - 1
    keys = [n * modulus for n in range(1, 1000)]
    with pytest.raises(Refused, match="colliding"):
        decode(b"e" + encode(keys)[1:])


def test_numpy_is_read_where_it_is_loaded():
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(6, dtype=numpy.float32).reshape(2, 3)
    there = decode(encode([array, numpy.int64(3), numpy.bool_(True)]))
    assert (there[0] == array).all() and there[0].dtype == array.dtype
    assert there[1] == 3 and isinstance(there[1], numpy.int64) and there[2]
    with pytest.raises(Refused):
        encode(numpy.array([object()]))


def test_numpy_is_asked_for_where_it_is_not(monkeypatch):
    numpy = pytest.importorskip("numpy")
    data = encode(numpy.int64(3))
    import sys

    monkeypatch.delitem(sys.modules, "numpy")
    with pytest.raises(NeedsNumpy):
        decode(data)
