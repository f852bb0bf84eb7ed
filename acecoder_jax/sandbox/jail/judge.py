"""The process that runs one test against a stub of the entry point. It is jailed like a player, since models write
tests too, and owns nothing but its own verdict.
"""

import collections
import datetime
import decimal
import fractions
import math
import os
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from . import wire
from .codec import Refused, encode
from .decode import decode
from .errors import MAX_MESSAGE
from .peer import Gone, Peer

STEP = "sandbox_step"  # what a test calls before each of its steps
STEP_TOLD_S = 0.05  # it is told no oftener than this, since most steps take microseconds

PROVIDED: dict[str, Any] = {  # names that tests use without importing them, since programs usually have
    "Counter": collections.Counter,
    "Decimal": decimal.Decimal,
    "Fraction": fractions.Fraction,
    "OrderedDict": collections.OrderedDict,
    "defaultdict": collections.defaultdict,
    "deque": collections.deque,
    "isclose": math.isclose,
    "date": datetime.date,
    "timedelta": datetime.timedelta,
    "timezone": datetime.timezone,
    STEP: None,  # made for each test, by serve
}
MODULES = [
    "bisect", "cmath", "collections", "copy", "datetime", "decimal", "fractions", "functools", "heapq", "itertools",
    "json", "math", "operator", "random", "re", "statistics", "string", "time",
]  # fmt: skip


def main(fd: int, link_fd: int) -> None:
    """Judge one test, send the verdict, end. Never returns."""
    try:
        serve(wire.Stream(fd), wire.Stream(link_fd))
    finally:
        os._exit(0)


def serve(stream: wire.Stream, link: wire.Stream) -> None:
    """Judge the test that comes, on what the program's process answers over the link."""
    stream.send(wire.HELLO)
    received = stream.receive()
    if received is None or received[0] != wire.TEST:
        return
    setup, test, stubs, provided = decode(received[1])
    peer = Peer(link, None)
    namespace: dict[str, Any] = {"__name__": "test", "__builtins__": __builtins__}
    namespace.update(provide(provided))
    namespace.update((name, _stub(peer, name)) for name in stubs)
    if STEP in provided:
        namespace[STEP] = _step(stream)
    verdict = run_test(test, setup, namespace)
    if peer.refused and verdict[0] == "pass":  # the test caught the refusal
        verdict = "fail", peer.refused
    if peer.unsent:
        verdict = "error", peer.unsent
    stream.send(wire.VERDICT, encode(verdict))


def _step(stream: wire.Stream) -> Callable[[], None]:
    """Tells the supervisor that another step begins, where the present one has taken long enough to matter."""
    told = time.monotonic()

    def step() -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= STEP_TOLD_S:
            told = now
            stream.send(wire.STEP)

    return step


def _stub(peer: Peer, name: str) -> Any:
    def stub(*args: Any, **kwargs: Any) -> Any:
        return peer.call(name, args, kwargs)

    stub.__name__ = stub.__qualname__ = name
    return stub


def provide(names: Iterable[str]) -> dict[str, Any]:
    """The well-known names that a test uses and does not import."""
    found: dict[str, Any] = {}
    for name in names:
        if name == "datetime.class":
            found["datetime"] = datetime.datetime
        elif name in PROVIDED:
            found[name] = PROVIDED[name]
        else:
            found[{"numpy": "np"}.get(name, name)] = __import__(name)
            found[name] = sys.modules[name]
    return found


def run_test(test: str, setup: str, namespace: dict[str, Any]) -> tuple[str, str]:
    """Execute a test; its status and a message."""
    try:
        if setup:
            exec(compile(setup, "<setup>", "exec", dont_inherit=True), namespace)
        exec(compile(test, "<test>", "exec", dont_inherit=True), namespace)
    except Gone:
        return "crash", "the program's process died"
    except Refused as refusal:
        return "fail", str(refusal)[:MAX_MESSAGE]
    except BaseException as error:
        return _outcome(error)
    return "pass", ""


def _outcome(error: BaseException) -> tuple[str, str]:
    told = getattr(error, "from_program", None)
    try:
        name, message = told or (type(error).__name__, str(error)[:MAX_MESSAGE])
    except BaseException:
        name, message = type(error).__name__, ""
    if isinstance(error, AssertionError) and not told:
        return "fail", message or "the assertion is false"
    if isinstance(error, SystemExit | MemoryError):
        return "crash", f"{name}: {message}"
    return "error", f"{name}: {message}"
