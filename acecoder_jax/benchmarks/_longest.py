"""The longest run of whole lines in a text that is a Python program.

EvalPlus and BigCodeBench find a program in a reply so: of all runs of at least two lines that parse, the one with most
lines that are not blank; among equals the one that begins, then the one that ends first; the first line where none
parses. They try every run: n lines cost n * n / 2 parses, minutes for a long reply. The same run is found here with
a few parses for each line that a program could begin at:

- A parser that fails before it has read all of a run fails on every longer run too. So where a run stops being the
  beginning of anything is found by doubling and halving.
- Top-level statements can be cut apart and put together again. So a run that begins at a later top-level statement of
  a run seen before ends no later, and need not be tried.
"""

import ast
import codeop
import io
import itertools
import tokenize
import warnings
from collections.abc import Sequence

_INCOMPLETE = "incomplete input"  # what it says, when asked to, where it has read all and needs more

_MOST_COMMENTS = 6  # that are tried of lines continued one by the next: a bound on the time, far above what is written


def longest_program(text: str) -> str:
    """The run of lines, as described above. Lines end at \\n alone. Nothing of the text is run."""
    lines = text.split("\n")
    filled = [0, *itertools.accumulate(bool(line.strip()) for line in lines)]  # lines that are not blank, before each
    most, best = 0, (0, 0)
    done: set[int] = set()  # where runs begin that cannot be longer than one seen before
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes that Python does not know, in what is tried
        for start in range(len(lines) - 1):
            if filled[-1] - filled[start] <= most:
                break
            if start in done or (end := _last_whole(lines, start)) is None:
                continue
            done |= _beginnings(lines, start, end)
            if (count := filled[end + 1] - filled[start]) > most:
                most, best = count, (start, _first_whole(lines, start, end, filled))
    return "\n".join(lines[best[0] : best[1] + 1])


def _last_whole(lines: Sequence[str], start: int) -> int | None:
    """The last line, after `start`, at which a run from `start` is a program; None where there is no such line."""
    if not _could_go_on(lines, start, start):
        return None
    low, step = start, 1  # lines[start : low + 1] could go on
    while low + step < len(lines) and _could_go_on(lines, start, low + step):
        low, step = low + step, 2 * step
    high = min(low + step, len(lines))  # lines[start : high + 1] could not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _could_go_on(lines, start, middle) else (low, middle)
    end = low
    while end > start:
        if _parses(lines, start, end):
            return end
        end = min(end, _left_open(lines, start, end)) - 1
    return None


def _first_whole(lines: Sequence[str], start: int, end: int, filled: Sequence[int]) -> int:
    """The first line at which the program from `start` to `end` has all its lines that are not blank."""
    first = end
    while first > start + 1 and filled[first] == filled[end + 1]:
        first -= 1
    return next(line for line in range(first, end + 1) if _parses(lines, start, line))


def _beginnings(lines: Sequence[str], start: int, end: int) -> set[int]:
    """The lines of a program that are not inside a statement of several lines."""
    if any("\r" in line[:-1] for line in lines[start : end + 1]):
        return {start}  # CPython counts other lines than these
    inside: set[int] = set()
    for node in ast.parse(_run(lines, start, end)).body:
        first = min(one.lineno for one in (node, *getattr(node, "decorator_list", ())))
        inside |= set(range(start + first, start + (node.end_lineno or first)))
    return set(range(start, end + 1)) - inside


def _could_go_on(lines: Sequence[str], start: int, end: int) -> bool:
    """Whether the parser reads all of the run before it fails, if it fails."""
    if _is_begun(lines, start, end):
        return True
    # CPython takes the end of the text after a backslash in a string for the end of the string. So the lines that are
    # continued are read with those that continue them, down to a comment: its backslash continues nothing.
    comments = 0
    while end + 1 < len(lines) and _is_continued(lines[end]):
        end += 1
        comments += "#" in lines[end]
        last = end + 1 == len(lines) or not _is_continued(lines[end])
        if (last or ("#" in lines[end] and comments <= _MOST_COMMENTS)) and _is_begun(lines, start, end):
            return True
    return False


def _is_begun(lines: Sequence[str], start: int, end: int) -> bool:
    """Whether the run is a program, or the parser asks for more."""
    flags = ast.PyCF_ONLY_AST | codeop.PyCF_ALLOW_INCOMPLETE_INPUT  # type: ignore[attr-defined]
    try:
        compile(_run(lines, start, end), "<reply>", "exec", flags, dont_inherit=True)
    except SyntaxError as error:
        return error.msg == _INCOMPLETE
    except (ValueError, MemoryError, RecursionError):  # null bytes, halves of characters, nesting without end
        return False
    return True


def _parses(lines: Sequence[str], start: int, end: int) -> bool:
    try:
        ast.parse(_run(lines, start, end))
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return True


def _left_open(lines: Sequence[str], start: int, end: int) -> int:
    """Where the outermost bracket or string begins that the run leaves open; its end where there is none."""
    brackets: list[int] = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(_run(lines, start, end)).readline):
            if token.type == tokenize.OP and token.string in "([{":
                brackets.append(start + token.start[0] - 1)
            elif token.type == tokenize.OP and token.string in ")]}" and brackets:
                brackets.pop()
    except tokenize.TokenError as error:
        message, (line, _) = error.args
        if "string" in message and not brackets:
            return start + line - 1
    except SyntaxError:
        return end
    return brackets[0] if brackets else end


def _is_continued(line: str) -> bool:
    return line.rstrip("\r").endswith("\\")


def _run(lines: Sequence[str], start: int, end: int) -> str:
    return "\n".join(lines[start : end + 1])
