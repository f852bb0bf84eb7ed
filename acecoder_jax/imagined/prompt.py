"""What a model is asked for: a question made from a seed program, and tests for it, as one JSON object.

The requirements are AceCoder's (Zeng et al. 2025, arXiv 2502.01718, section 3.1); the words are ours.
"""

from typing import Any

from acecoder_jax.types import Seed

_TEXT = """\
You write exercises for Python programmers. Take the program below as the idea for one new exercise, and write the \
exercise and tests that check a solution of it.

The question:
- It asks for exactly one function. It gives the function's name, its parameters and its result with their types, and \
says what happens in the edge cases.
- It is complete and clear to somebody who sees nothing else: it does not speak of a program, a code fragment or tests.
- The standard library is enough to solve it. The function takes all it needs as arguments and returns its result; no \
files, network, input from a user, clock, random numbers or other programs.
- It asks neither for tests nor for an analysis of time or space.

The tests:
- There are {tests} of them, each a single line of the form: assert name(arguments) == expected
- All arguments and expected values are written out as constants, never computed, named or imported. For results of \
floating point: assert abs(name(arguments) - expected) < 1e-6
- Each calls the function once and stands alone: any one of them can be run without the others, in any order.
- They cover usual input, edge cases and large values. Work out every expected value step by step, in private; leave \
out a test that you are not sure of.

Reply with one JSON object and nothing else, in this form:
{{"question": "the exercise", "tests": ["assert name(1) == 2", "assert name(2) == 4"]}}

{seed}"""


def schema(tests: int) -> dict[str, Any]:
    """The JSON schema of a reply to `text`: at least half of the tests that are asked for, since a model may leave some
    out, and at most twice as many, since a small one may not end.
    """
    items = {"type": "array", "items": {"type": "string"}, "minItems": -(-tests // 2), "maxItems": 2 * tests}
    return {
        "type": "object",
        "properties": {"question": {"type": "string"}, "tests": items},
        "required": ["question", "tests"],
        "additionalProperties": False,
    }


def text(seed: Seed, tests: int) -> str:
    """The user's turn for a seed. tests: how many to ask for."""
    parts = (
        [f"The program was written for this task:\n{seed.instruction.strip()}\n"] if seed.instruction.strip() else []
    )
    fence = "```"
    while fence in seed.program:
        fence += "`"
    parts.append(f"The program:\n{fence}python\n{seed.program.strip()}\n{fence}")
    return _TEXT.format(tests=f"about {tests}", seed="\n".join(parts))
