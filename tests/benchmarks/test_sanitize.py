"""Programs found in replies: as the packages evalplus and bigcodebench find them, and as fast as a long reply wants."""

import ast
import json
import random
import textwrap
from pathlib import Path

import pytest

from acecoder_jax.benchmarks import _longest
from acecoder_jax.benchmarks._longest import longest_program
from acecoder_jax.benchmarks._sanitize import needed, sanitize, sanitize_as_bigcodebench

RECORDED = json.loads((Path(__file__).parents[1] / "golden" / "sanitize.json").read_text())
# What lines of replies are made of, where it is not plain whether a run of them parses.
LINES = (
    "", "  ", "x = 1", "y = (", ")", "def f(n):", "    return n", "    if n:", "        pass", "else:", "# said",
    "go on", '"""', "'''", "s = 'a", "t = [1,", "    2,", "]", "@cache", "class A:", "    x = 1", "x = 1 \\", "\\",
    "```python", "```", "print(f(1))", "\tx = 2", "é = 1", "    '''", "if x:", "try:", "except E:", "    pass",
    "# ends \\", "'a\\", "lambda: (", "for i in x: pass", "    def g(self):", "r = 3\r", "s = '\\d'", "\x0cx = 1",
    "x = {", "1 +", "two words", "def f(n):\n    return n", "x = (\n    1,\n\n)", "@a\n@b(\n1)\nclass B:\n    x = 1",
    '"""\nsaid\n"""\nx = 1', "if x:\n    pass\nelse:\n\n    pass", "x = 1\ny = 2", "try:\n    x\nfinally:\n    y",
)  # fmt: skip


def plain(text: str) -> str:
    """The longest run as the packages look for it: every run is tried."""
    lines = text.split("\n")
    most, best = 0, lines[:1]
    for start in range(len(lines)):
        for end in range(start + 2, len(lines) + 1):
            count = sum(bool(line.strip()) for line in lines[start:end])
            if count > most and parses("\n".join(lines[start:end])):
                most, best = count, lines[start:end]
    return "\n".join(best)


def parses(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


def test_programs_are_those_of_evalplus():
    assert len(RECORDED) > 300
    for text, entry_point, expected, _ in RECORDED:
        assert sanitize(text, entry_point) == expected, text


def test_programs_are_those_of_bigcodebench():
    both = [(text, entry, evalplus, own) for text, entry, evalplus, own in RECORDED if entry]
    assert sum(evalplus != own for _, _, evalplus, own in both) > 50  # they do not agree with one another
    for text, entry_point, _, expected in both:
        assert sanitize_as_bigcodebench(text, entry_point) == expected, text


def test_a_reply_is_cut_down_to_what_the_entry_point_needs():
    reply = textwrap.dedent("""\
        The function is this:

        ```python
        import math
        ROOT = 2

        def show(n):
            return f"{n}"

        def rooted(n):
            return n ** (1 / ROOT)

        def solve(n):
            return math.floor(rooted(n))

        print(show(solve(9)))
        ```
        It's O(1).""")
    assert sanitize(reply, "solve") == textwrap.dedent("""\
        import math
        ROOT = 2
        def rooted(n):
            return n ** (1 / ROOT)
        def solve(n):
            return math.floor(rooted(n))""")
    assert "def show" in sanitize(reply, None) and "print" not in sanitize(reply, None)
    assert needed("x = 1", "solve") == ""


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_the_longest_run_is_that_of_all_runs(seed):
    draw = random.Random(seed)
    found = 0
    for _ in range(60):
        text = "\n".join(draw.choices(LINES, k=draw.randrange(1, 13)))
        assert longest_program(text) == plain(text), repr(text)
        found += text.count("\n") > longest_program(text).count("\n") > 1
    assert found > 20


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_the_longest_run_of_recorded_replies():
    for text in [text for text, *_ in RECORDED if text.count("\n") < 12]:
        assert longest_program(text) == plain(text), repr(text)


@pytest.mark.parametrize(
    "kind", ["prose", "one long program", "an open string", "an open bracket", "statements", "backslashes"]
)
def test_a_long_reply_takes_few_parses_a_line(kind, monkeypatch):
    """All runs of 1,000 lines are half a million."""
    lines = {
        "prose": ["So we see that this", "goes on and on, doesn't it?"] * 500,
        "one long program": ["def f(n):", "    return n"] * 500,
        "an open string": ['x = """', *["it goes on"] * 999],
        "an open bracket": ["x = [", *["    1,"] * 999],
        "backslashes": ["a & b \\\\", "# \\"] * 500,
        "statements": ["x = 1", "and then", "y = (1,", "2)"] * 250,
    }[kind]
    parsed = 0

    def counted(function):
        def call(*args):
            nonlocal parsed
            parsed += 1
            return function(*args)

        return call

    for name in ("_parses", "_is_begun"):
        monkeypatch.setattr(_longest, name, counted(getattr(_longest, name)))
    longest_program("\n".join(lines))
    assert 0 < parsed < 12 * len(lines)


def test_what_python_cannot_read_at_all():
    assert longest_program("x\0y\nz = 1\nu = 2") == "z = 1\nu = 2"
    assert longest_program("(" * 500 + "\nx = 1\ny = 2") == "x = 1\ny = 2"
    assert sanitize("", "solve") == "" and sanitize("said in a line", "solve") == "said in a line"
