"""What HumanEval and MBPP share: EvalPlus' prompts, its way from a reply to a program, and tests that judge as it does.

After evalplus 0.3.1 (Liu et al. 2023, arXiv 2305.01210). All inputs of a part go through one judge, in a test or a few:
a call costs tens of microseconds, and each is a step with a time limit of its own.
"""

import base64
import functools
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from acecoder_jax import prompts
from acecoder_jax.benchmarks import Benchmark, Part, Prompt, Task, _evalplus_jailed, _samples, _sanitize
from acecoder_jax.benchmarks._evalplus_truth import JAILED, MEMORY_BYTES, Problem, Result
from acecoder_jax.sandbox import Limits

ENTRY = "evalplus_entry"  # what the tests call: it may stand for a function with a class's name, which they could not
LEAST_S, FACTOR = 1.0, 4.0  # an input's time limit: so many times what the reference takes, and no less than this
MOST_S = 60.0  # of a part
CHUNK = 150_000  # bytes of inputs and results in one test, before they are packed
MAX_TEST = 250_000  # characters: the sandbox takes 2 ** 18
SANDBOX = {"preload": ("numpy",), "limits": {"memory_bytes": MEMORY_BYTES}}
STOP = (
    "<|endoftext|>",
    "<|endofmask|>",
    "</s>",
    "\nif __name__",
    "\ndef main(",
    "\nprint(",
)  # EvalPlus' end of a reply
CHAT_STOP = (*STOP, "\n```\n")

# It begins with what can stand below no half-written decorator.
_BELOW = """\
evalplus_result = None


def {name}(*given, piece=None):
    import builtins as own  # the program may have names like list or len of its own
    global evalplus_result
    if piece is not None:
        return evalplus_result[piece : piece + {size}]
    found = {entry_point}(*given)
    {more}
    if own.type(found) in (own.str, own.bytes, own.list, own.tuple) and own.len(found) > {size}:
        evalplus_result = found
        return ({mark!r}, own.type(found).__name__, own.len(found))
    return found
"""
# Mere objects, such as matches of a regex, do not travel; whether there is one is all that counts here.
_NOT_NONE = "found = found if own.isinstance(found, own.bool) else found is not None"


def benchmark(
    name: str, tasks: Sequence[Task], base_stop: Sequence[str], plus_has_base: bool = False, **sandbox: Any
) -> Benchmark:
    """The benchmark of these tasks, with the scores that their parts allow: NAME is base, NAME_plus all that there is.

    base_stop: what ends a base model's reply, beside what ends any. plus_has_base: the inputs of the part "plus" are
    those of both sets, so it alone says who passes NAME_plus. sandbox: what it wants beside SANDBOX.
    """
    has = tuple(tasks[0].parts)
    scores = {name: ("base",)} if "base" in has else {}
    return Benchmark(
        name=name,
        tasks=tuple(tasks),
        scores=scores | ({f"{name}_plus": ("plus",) if plus_has_base else has} if "plus" in has else {}),
        prompt=functools.partial(prompt, base_stop=base_stop),
        program=program,
        official=_samples.write,
        sandbox=SANDBOX | sandbox,
    )


def prompt(task: Task, kind: str, base_stop: Sequence[str]) -> Prompt:
    """A chat is shown the statement as code, and its reply is begun; a base model goes on from the statement.

    base_stop: what ends a base model's reply, beside what ends any.
    """
    statement = task.statement.strip()
    if kind == "base":
        return Prompt((), f"{statement}\n", (*STOP, *base_stop))
    request = prompts.program_request(f"```python\n{statement}\n```", ())
    return Prompt(tuple(prompts.chat(request)), prompts.PROGRAM_START, CHAT_STOP)


def program(task: Task, reply: str) -> str:
    """The program in a reply, sanitised: what the entry point needs of it."""
    text = reply.removeprefix(prompts.PROGRAM_START).replace("\t", "    ")
    return _sanitize.sanitize(text, task.fields["keep"])


def below(entry_point: str, rule: str = "") -> str:
    """What stands below a program: the function that tests call in the place of its entry point."""
    return _BELOW.format(
        name=ENTRY, entry_point=entry_point, size=_evalplus_jailed.PIECE, mark=_evalplus_jailed.IN_PIECES,
        more=_NOT_NONE if rule == "not none" else "",
    )  # fmt: skip


def part(problem: Problem, results: Sequence[Result]) -> Part:
    """The tests of one part of a problem. ValueError where an input, or all of them, are too large for the sandbox."""
    limits_s = [max(LEAST_S, FACTOR * one.seconds) for one in results]
    total_s = min(MOST_S, sum(limits_s)) + 1.0
    data = [base64.b64decode(one.data) for one in results]
    anew_s = sum(one.seconds for one in results if not one.has_result)
    reference = "" if all(one.has_result for one in results) else f", {(problem.reference, problem.entry_point)!r}"
    tests = []
    for first, last in _chunks(data):
        packed = base64.b85encode(zlib.compress(b"".join(data[first:last]), 9)).decode()
        tolerance = problem.tolerance
        if tolerance == 0 and problem.rule not in _evalplus_jailed.ROOT and any(one.floats for one in results[:first]):
            tolerance = _evalplus_jailed.FLOAT_TOLERANCE
        tests.append(f"judge({ENTRY}, sandbox_step, {packed!r}, {problem.rule!r}, {tolerance!r}, {first}{reference})")
    too_large = [test for test in tests if len(test) > MAX_TEST]
    if too_large or sum(map(len, tests)) > 4 * MAX_TEST:
        raise ValueError(f"{problem.id}: its inputs come to {sum(map(len, data))} bytes, more than a judge takes")
    return Part(
        tests=tuple(tests),
        setup=JAILED,
        entry_point=ENTRY,
        limits=Limits(
            test_s=total_s + 2 * anew_s,
            program_s=MOST_S + 1.0,
            step_s=max(limits_s, default=LEAST_S),
            memory_bytes=MEMORY_BYTES,
        ),
        below=below(problem.entry_point, problem.rule),
        timed=True,
    )


def _chunks(data: Sequence[bytes]) -> list[tuple[int, int]]:
    """Where tests begin and end: each has at least one input, where there is any, and no more than CHUNK bytes."""
    bounds, size = [0], 0
    for at, one in enumerate(data):
        if size and size + len(one) > CHUNK:
            bounds.append(at)
            size = 0
        size += len(one)
    return list(zip(bounds, [*bounds[1:], len(data)], strict=True))


def parts(problem: Problem, truth: Mapping[str, Sequence[Result]]) -> dict[str, Part]:
    """All parts of a problem."""
    return {name: part(problem, truth[name]) for name in problem.inputs}
