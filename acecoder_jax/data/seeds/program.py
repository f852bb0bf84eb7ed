"""What a seed program is made of: whether it parses and defines something that works; the program without prints."""

import ast
import warnings
from collections.abc import Iterator

DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
_BODIES = ("body", "orelse", "finalbody")


def parse(program: str) -> ast.Module:
    """The syntax tree. ValueError, with what Python says of it, for a text that is no Python program."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "\d" in a plain string, `is` with a literal
            return ast.parse(program)
    except SyntaxError as error:
        raise ValueError(f"{error.msg} (line {error.lineno})") from error
    except (ValueError, RecursionError, MemoryError) as error:  # a null byte, a lone surrogate; nested too deeply
        raise ValueError(str(error) or "nested too deeply") from error


def tidy(text: str) -> str:
    """The text with \\n for every line end, without a byte order mark and without blank lines around it."""
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").strip("\n")


def defines(tree: ast.Module) -> bool:
    """Whether there is a function or a class anywhere in the program."""
    return any(isinstance(node, DEFINITIONS) for node in ast.walk(tree))


def definitions(tree: ast.Module) -> Iterator[Definition]:
    """The functions and classes of a module itself, also those in its `if`, `try` and `with`, in the order of lines."""

    def inside(body: list[ast.stmt]) -> Iterator[Definition]:
        for statement in body:
            if isinstance(statement, DEFINITIONS):
                yield statement
                continue
            for block in _blocks(statement):
                yield from inside(block)
            for handler in getattr(statement, "handlers", []):
                yield from inside(handler.body)

    # `finally` and `else` come before the handlers in the fields of a `try`.
    return iter(sorted(inside(tree.body), key=lambda node: node.lineno))


def works(tree: ast.Module) -> bool:
    """Whether some function or class has a statement besides docstrings, pass, ... and raise NotImplementedError."""
    return any(isinstance(node, DEFINITIONS) and _works(node) for node in ast.walk(tree))


def _works(statement: ast.stmt) -> bool:
    match statement:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return any(_works(inner) for inner in statement.body)
        case ast.Pass() | ast.Expr(value=ast.Constant()):
            return False
        case ast.Raise(exc=ast.Name(id="NotImplementedError")):
            return False
        case ast.Raise(exc=ast.Call(func=ast.Name(id="NotImplementedError"))):
            return False
    return True


def without_prints(program: str, tree: ast.Module) -> str:
    """The program without its statements `print(...)`; `tree` is its syntax tree.

    A line that does nothing but print goes, with its comment. A print beside another statement, or the first of a block
    that only prints, becomes `pass`. A print inside an expression stays. The result parses.

        for x in y:                  for x in y:
            print(x)        ->           pass
        z = 1                        z = 1
    """
    if "print" not in program:
        return program
    prints = list(_prints(tree))
    shorter = _cut(program, prints)
    try:
        parse(shorter)
    except ValueError:  # a line before a print ends in a backslash
        return _cut(program, [(statement, True) for statement, _ in prints])
    return shorter


def _prints(tree: ast.Module) -> Iterator[tuple[ast.stmt, bool]]:
    """The statements that print, each with whether a `pass` must take its place."""
    for node in ast.walk(tree):
        for block in _blocks(node):
            printing = [statement for statement in block if _is_print(statement)]
            alone = len(printing) == len(block)
            yield from ((statement, alone and number == 0) for number, statement in enumerate(printing))


def _blocks(node: ast.AST) -> Iterator[list[ast.stmt]]:
    fields = (getattr(node, name, None) for name in _BODIES)
    return (field for field in fields if isinstance(field, list) and field)


def _is_print(statement: ast.stmt) -> bool:
    match statement:
        case ast.Expr(value=ast.Call(func=ast.Name(id="print"))):
            return True
    return False


def _cut(program: str, prints: list[tuple[ast.stmt, bool]]) -> str:
    lines = program.encode().split(b"\n")  # offsets of the tree count bytes
    for statement, must_pass in sorted(prints, key=lambda found: _start(found[0]), reverse=True):
        assert statement.end_lineno is not None
        first, last = statement.lineno - 1, statement.end_lineno - 1
        before, after = lines[first][: statement.col_offset], lines[last][statement.end_col_offset :]
        rest = after.strip(b" \t\f;")
        alone = not before.strip() and (not rest or rest.startswith(b"#"))
        lines[first : last + 1] = [] if alone and not must_pass else [before + b"pass" + after]
    return b"\n".join(lines).decode()


def _start(statement: ast.stmt) -> tuple[int, int]:
    return statement.lineno, statement.col_offset
