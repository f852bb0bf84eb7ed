"""Prints go and the program still parses; what counts as a program that defines something and does something."""

import ast
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acecoder_jax.data.seeds import program


def stripped(text):
    text = textwrap.dedent(text).strip("\n")
    return program.without_prints(text, program.parse(text))


CASES = {
    "a line of its own, with its comment": ("x = 1\nprint(x)  # shown\ny = 2", "x = 1\ny = 2"),
    "over several lines": ("def f(x):\n    print(\n        x,\n    )\n    return x", "def f(x):\n    return x"),
    "alone in a body": (
        "for x in y:\n    print(x)\n    print(2)\nelse:\n    print(0)",
        "for x in y:\n    pass\nelse:\n    pass",
    ),
    "on the line of the if": ("if x: print(x)\nelse: y = 1", "if x: pass\nelse: y = 1"),
    "beside others": ("x = 1; print(x); y = 2", "x = 1; pass; y = 2"),
    "a semicolon after": ("print(1);\nx = 1", "x = 1"),
    "in a handler and in finally": (
        "try:\n    f()\nexcept E:\n    print(1)\nfinally:\n    print(2)",
        "try:\n    f()\nexcept E:\n    pass\nfinally:\n    pass",
    ),
    "in a case": ("match x:\n    case 1:\n        print(1)", "match x:\n    case 1:\n        pass"),
    "after letters of several bytes": ('é = "ü"; print("ö"); ß = 2', 'é = "ü"; pass; ß = 2'),
    "after a backslash": ("x = 1; \\\nprint(x)\nif y: z()", "x = 1; \\\npass\nif y: z()"),
    "a docstring stays, examples too": (
        'def f():\n    """>>> print(1)"""\n    print(1)',
        'def f():\n    """>>> print(1)"""',
    ),
    "what is no statement stays": (
        "f = lambda x: print(x)\ny = print(1) or 2",
        "f = lambda x: print(x)\ny = print(1) or 2",
    ),
    "methods of that name stay": ("log.print(1)\nprinter(2)\npprint(3)", "log.print(1)\nprinter(2)\npprint(3)"),
}


@pytest.mark.parametrize(("before", "after"), CASES.values(), ids=CASES.keys())
def test_prints_by_hand(before, after):
    assert stripped(before) == after
    ast.parse(after)


STATEMENTS = st.sampled_from(
    ["print(1)", "x = 1", "print(\n1,\n2)", "x = 1; print(x)", "print(1); print(2)  # twice", "return"]
)
BLOCK = st.recursive(
    st.lists(STATEMENTS, min_size=1, max_size=4).map("\n".join),
    lambda inner: st.builds(
        lambda head, body, tail: f"{head}:\n{textwrap.indent(body, '  ')}\n{tail}",
        st.sampled_from(["if x", "for x in y", "def f(x)", "class A", "with x", "async def g()", "while 1"]),
        inner,
        inner | st.just(""),
    ),
    max_leaves=8,
)


class Reference(ast.NodeTransformer):
    """Takes the prints, and every `pass`, out of a syntax tree."""

    def generic_visit(self, node):
        super().generic_visit(node)
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if isinstance(block, list):
                setattr(node, name, [inner for inner in block if not self.goes(inner)])
        return node

    def goes(self, node):
        return isinstance(node, ast.Pass) or ast.unparse(node).startswith("print(")


@given(BLOCK)
def test_nothing_but_prints_goes(text):
    result = stripped(text)
    assert ast.dump(Reference().visit(ast.parse(result))) == ast.dump(Reference().visit(ast.parse(text)))
    prints = [node for node in ast.walk(ast.parse(result)) if isinstance(node, ast.Expr)]
    assert not prints


def test_definitions_are_those_of_the_module_itself():
    tree = program.parse(
        """
def a():
    def inner(): return 1
if x:
    def b(): pass
else:
    class C:
        def method(self): pass
try:
    def d(): pass
except E:
    async def e(): pass
else:
    def f(): pass
"""
    )
    assert [node.name for node in program.definitions(tree)] == ["a", "b", "C", "d", "e", "f"]


@pytest.mark.parametrize(
    ("text", "works"),
    [
        ("def f():\n    return 1", True),
        ('def f():\n    """Doc."""\n    ...', False),
        ("def f():\n    raise NotImplementedError('later')", False),
        ("def f():\n    raise NotImplementedError", False),
        ("def f():\n    raise ValueError", True),
        ("class A(Exception):\n    pass", False),
        ("class A:\n    x = 1", True),
        ("class A:\n    def f(self): pass\n    def g(self): return 1", True),
        ("def f(): pass\nx = 1", False),
        ("if x:\n    def f(): return 1", True),
    ],
)
def test_what_does_something(text, works):
    assert program.works(program.parse(text)) == works


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("print 1", "Missing parentheses"),
        ("def f(:", r"invalid syntax.* \(line 1\)"),
        ("x = '\0'", "null byte"),
        ("x = '\ud800'", "surrogates"),
        ("(" * 5000 + ")" * 5000, "."),
        ("x" + " + x" * 100_000, "."),
    ],
)
def test_no_python(text, what):
    with pytest.raises(ValueError, match=what):
        program.parse(text)


def test_tidy():
    assert program.tidy("\ufeff\r\n\na = 1\r\nb = 2\r\n") == "a = 1\nb = 2"
