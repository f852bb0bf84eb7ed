"""The stdin profile: a program is a script that reads its input and prints its answer, which is compared out here."""

import decimal
import json
import os

from . import constant
from .children import SCRIPT, Child
from .jail import wire
from .jail.codec import encode
from .plan import TestPlan
from .run import Run

MAX_TOLD = 200  # characters of output in a message


def plan(test: str) -> TestPlan:
    """How a test is judged. One that is malformed is broken."""
    try:
        parse(test)
    except ValueError as error:
        return TestPlan("broken", test, message=str(error))
    return TestPlan("stdin", test)


def parse(test: str) -> tuple[str, str | None]:
    """The input and the expected output of a test; None where the output is recorded. Raises ValueError."""
    try:
        row = json.loads(test)
        given, expected = row["input"], None if row.get("record") is True else row["output"]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f'not a JSON object with "input" and "output" ({type(error).__name__})') from None
    if not isinstance(given, str) or not isinstance(expected, str | None):
        raise ValueError('"input" and "output" must be strings')
    try:
        _bytes(given + (expected or ""))
    except UnicodeEncodeError:
        raise ValueError('"input" and "output" must be text, not lone surrogates') from None
    return given, expected


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")  # bytes that are no text are written as U+DC80 to U+DCFF


def run_script(processes: Run, program: str, given: str, output_bytes: int) -> tuple[str, tuple[str, str] | None]:
    """Run the program once on an input: what it printed, and how it failed, if it did.

    Raises Timeout, wire.Malformed.
    """
    stdin, stdout = os.memfd_create("stdin"), os.memfd_create("stdout")
    try:
        wire.write(stdin, _bytes(given))
        os.lseek(stdin, 0, os.SEEK_SET)
        child = processes.start(SCRIPT, (stdin, stdout))
        processes.start_test()
        child.channel.send(wire.frame(wire.PROGRAM, encode((program, "__main__"))))
        failed = _outcome(processes, child)
        if os.fstat(stdout).st_size > output_bytes:
            return "", ("fail", f"printed more than {output_bytes} bytes")
        return os.pread(stdout, output_bytes, 0).decode("utf-8", "replace"), failed
    finally:
        os.close(stdin)
        os.close(stdout)


def _outcome(processes: Run, child: Child) -> tuple[str, str] | None:
    """How the script ended: None where it ran to its end or left by sys.exit(0)."""
    child.expected = 1  # it says once how it ended
    while not child.channel.ended:
        processes.wait(child)
    reason = processes.drop(child)
    if not reason.endswith("exit code 0"):
        return "crash", reason
    if not child.frames:
        return None  # os._exit(0): what it printed decides
    kind, payload = child.frames[0]
    if kind == wire.LOADED:
        return None
    if kind != wire.NOT_LOADED:
        raise wire.Malformed("an answer that nobody asked for")
    status, message = constant.raised(payload)
    return None if message in ("SystemExit: ", "SystemExit: 0", "SystemExit: None") else (status, message)


def compare(printed: str, expected: str) -> tuple[str, str]:
    """Line by line, without spaces at the ends; lines of numbers may differ in how the numbers are written.

    The rule of LiveCodeBench, in all: a number is what `decimal.Decimal` reads, 1_000 too.
    """
    ours, theirs = printed.strip().split("\n"), expected.strip().split("\n")
    if len(ours) == len(theirs) and all(map(_same_line, ours, theirs)):
        return "pass", ""
    return "fail", f"printed {constant.short(printed[:MAX_TOLD])}, expected {constant.short(expected[:MAX_TOLD])}"


def _same_line(ours: str, theirs: str) -> bool:
    ours, theirs = ours.strip(), theirs.strip()
    if ours == theirs:
        return True
    words = ours.split(), theirs.split()
    if len(words[0]) != len(words[1]):
        return False
    try:
        return all(decimal.Decimal(a) == decimal.Decimal(b) for a, b in zip(*words, strict=True))
    except decimal.InvalidOperation:
        return False
