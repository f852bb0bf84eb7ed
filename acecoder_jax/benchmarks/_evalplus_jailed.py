"""Runs in the sandbox alone, as text: EvalPlus' comparison, in a judge, and the recording of what a reference returns.

The rules are those of evalplus 0.3.1 (`evalplus/eval`), in words of our own:

- A result counts where it equals the reference's. Where the reference returns a float, or a list or tuple of floats,
  from that input on a difference of 1e-6 + 1e-7 x |expected| is forgiven, between values of one type and length; a
  problem may bring a tolerance of its own instead.
- A dozen problems have a rule of their own, by name: see `compare`.
- No program at all passes HumanEval/32, find_zero: evalplus 0.3.x forgets to count the inputs that it has passed.

The standard library only; numpy where a tolerance is asked for.
"""

import base64
import copy
import io
import json
import math
import pickle
import reprlib
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from typing import Any

IN_PIECES = "a result in pieces"  # what the program's side says of a result that is too large to come at once
PIECE = 1 << 15  # items of such a piece
FLOAT_TOLERANCE, RELATIVE = 1e-6, 1e-7
MAX_RESULT = 1 << 14  # bytes: a larger one is computed anew by each judge
ROOT = ("root", "uncounted root")
NAMES = {"inf": math.inf, "nan": math.nan}  # that inputs are written with, beside Python's own


# ---- judging


def judge(
    answer: Callable, step: Callable, data: str, rule: str, tolerance: float, first: int = 0, reference: tuple = ()
) -> None:
    """Raises AssertionError at the first input for which the answer does not return what it should.

    answer: the program's function. step: called before each call of it. data: pickles of (input, result) or (input,),
    one behind the other, compressed, in base85; the inputs are numbered from `first`.
    reference: (program, entry point), where data lacks some results.
    """
    function: Callable | None = None
    stream = io.BytesIO(zlib.decompress(base64.b85decode(data)))
    end = len(stream.getbuffer())
    while stream.tell() < end:
        given, *known = pickle.load(stream)
        if not known:
            function = function or load(*reference)
            known = [function(*copy.deepcopy(given))]
        (expected,) = known
        step()
        found = whole(answer(*given), answer)
        holds = compare(found, expected, given, rule, tolerance)
        assert holds, f"input {first}: got {short(found)}, expected {short(expected)}"
        tolerance = widened(tolerance, expected, rule)
        first += 1
    assert rule != "uncounted root", "right, but evalplus 0.3 passes no program here"


def short(value: Any) -> str:
    """A value for a message."""
    try:
        return reprlib.repr(value)
    except ValueError:  # an int of more digits than Python will print
        return f"<{type(value).__name__}>"


def load(program: str, entry_point: str) -> Callable:
    """The function of a program."""
    names: dict[str, Any] = {"__name__": "reference"}
    exec(compile(program, "<reference>", "exec"), names)
    return names[entry_point]


def whole(found: Any, answer: Callable) -> Any:
    """A result, fetched piece by piece where it is too large to come at once."""
    if type(found) is not tuple or len(found) != 3 or type(found[0]) is not str or found[0] != IN_PIECES:
        return found
    _, kind, size = found
    pieces = [answer(piece=at) for at in range(0, size, PIECE)]
    if kind in ("str", "bytes"):
        return pieces[0][:0].join(pieces)
    items = [item for piece in pieces for item in piece]
    return tuple(items) if kind == "tuple" else items


def compare(found: Any, expected: Any, given: Sequence, rule: str, tolerance: float) -> Any:
    """Whether a result counts. rule: "" for most problems, else what is special about this one."""
    same = found == expected
    if rule in ROOT:  # of the polynomial that was given
        return abs(sum(factor * math.pow(found, power) for power, factor in enumerate(*given))) <= tolerance
    if rule == "any":
        same = same or True
    elif rule == "zero":
        same = same or found == 0
    elif rule == "pyramid":
        same = same or abs(found - pyramid(*given)) <= tolerance
    elif rule == "digits":
        same = same or found == digits(*given)
    elif rule == "set":
        same = set(found) == set(expected)
    elif rule == "not none":
        same = found == expected if isinstance(found, bool) else expected == (found is not None)
    tolerance = widened(tolerance, expected, rule)
    if same or tolerance == 0:
        return same
    if type(found) is not type(expected) or (isinstance(expected, (list, tuple)) and len(found) != len(expected)):
        return False
    import numpy

    return numpy.allclose(found, expected, rtol=RELATIVE, atol=tolerance)


def widened(tolerance: float, expected: Any, rule: str) -> float:
    """The tolerance from this input on: EvalPlus keeps what it has once set."""
    return FLOAT_TOLERANCE if tolerance == 0 and rule not in ROOT and floats(expected) else tolerance


def floats(value: Any) -> bool:
    """Whether a value is compared with a tolerance."""
    if isinstance(value, (list, tuple)) and value:
        return all(isinstance(item, float) for item in value)
    return isinstance(value, float) or (
        type(value).__name__ == "ndarray" and str(value.dtype) in ("float32", "float64")
    )


def pyramid(edge: float, height: float) -> int:
    """The surface of a square pyramid, where the height is that of its top above the base."""
    slant = math.sqrt((edge / 2) ** 2 + height**2)
    return round(edge**2 + 2 * edge * slant)


def digits(first: int, second: int) -> int:
    """The sum of the differences of two numbers' digits, place by place."""
    one, other = str(first), str(second)
    width = max(len(one), len(other))
    return sum(abs(int(a) - int(b)) for a, b in zip(one.zfill(width), other.zfill(width), strict=True))


# ---- recording


def record() -> None:
    """Reads {"program", "entry_point", "not_none", "inputs": {part: source}}, prints of each part what `one` tells."""
    job, output = json.load(sys.stdin), sys.stdout
    sys.stdout = io.StringIO()
    function = load(job["program"], job["entry_point"])
    parts = {part: eval(source, dict(NAMES)) for part, source in job["inputs"].items()}
    json.dump({part: [one(function, given, job["not_none"]) for given in parts[part]] for part in parts}, output)


def one(function: Callable, given: Sequence, not_none: bool) -> list:
    """[a pickle of the input, and its result unless that is large; whether it is there; CPU seconds; is it floats]."""
    argument = copy.deepcopy(given)
    began = time.process_time()
    found = function(*argument)
    seconds = time.process_time() - began
    if not_none:
        found = found is not None
    alone = data = pickle.dumps((given,), 4)
    try:
        both = pickle.dumps((given, found), 4)
    except (pickle.PicklingError, TypeError, AttributeError):
        both = b""
    if 0 < len(both) <= len(alone) + MAX_RESULT:
        data = both
    return [base64.b64encode(data).decode(), data is both, round(seconds, 4), floats(found)]
