"""The calls profile: a function is called with plain arguments, and its result is compared with a plain value.

Each test is a JSON object {"input": [argument, ...], "output": value}. It is judged as the constant test
`assert f(*input) == output` would be, without a syntax tree: its data may be megabytes long.
"""

import json
from typing import Any

from .constant import Check
from .jail.codec import MAX_BYTES, Refused, encode
from .jail.decode import decode
from .plan import TestPlan

ROOM = 1024  # bytes that a message takes beside a test's own


def plan(test: str, entry_point: str) -> TestPlan:
    """How a test is judged. One that is malformed, or larger than a message may be, is broken."""
    try:
        args, expected = _parse(test)
        call = encode((entry_point, False, tuple(args), {}))
        data = encode(expected)
    except (ValueError, RecursionError) as error:
        return TestPlan("broken", test, message=str(error) or type(error).__name__)
    except Refused as refusal:
        return TestPlan("broken", test, message=f"the test's data: {refusal}")
    source = _source(entry_point, args, expected)
    if max(len(call), len(source)) > MAX_BYTES - ROOM:
        return TestPlan("broken", test, message=f"the test's data: larger than {MAX_BYTES - ROOM} bytes")
    same = expected == decode(data)  # a nan differs from itself
    check = Check(entry_point, call, "==", expected, data if same else b"")
    return TestPlan("constant", source, checks=(check,))


def _parse(test: str) -> tuple[list[Any], Any]:
    try:
        row = json.loads(test)
        args, expected = row["input"], row["output"]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f'not a JSON object with "input" and "output" ({type(error).__name__})') from None
    if not isinstance(args, list):
        raise ValueError('"input" must be the list of the arguments')
    return args, expected


def _source(entry_point: str, args: list[Any], expected: Any) -> str:
    """The same as a test that a judge runs, where a result cannot be compared outside."""
    texts = (json.dumps(value, separators=(",", ":")) for value in (args, expected))
    given, wanted = (f"json.loads({text!r})" for text in texts)
    return f"import json\nassert {entry_point}(*{given}) == {wanted}"
