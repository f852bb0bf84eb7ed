"""How LiveCodeBench's package runs a program, for the jail: of this file only the text is used, by _livecode_rows.py.

Facts of nvidia-livecodebench 26.3 (evaluation/testing_util.py), which decide verdicts: well-known modules are there
without being imported; a script is the body of a function, so that its top-level names are no globals; its streams are
StringIO (no `buffer`), and what it writes to a `stdout` that it imported is lost; a class Solution within it is looked
for in vain; an exit ends it well; modules such as `resource` and the function `quit` are not there.
"""

import _ast
import builtins
import contextlib
import io
import os
import sys
import types
from collections.abc import Callable
from typing import Any

MODULES = (
    "string", "re", "datetime", "collections", "heapq", "bisect", "copy", "math", "random", "statistics", "itertools",
    "functools", "operator", "io", "sys", "json",
)  # fmt: skip
PRELUDE = "\n".join(
    [f"from {name} import *" for name in (*MODULES, "builtins", "typing")]
    + [f"import {name}" for name in MODULES]
    + ["sys.setrecursionlimit(50000)", ""]
)
MAX_DIGITS = 50_000  # of an int that is read or printed
NO_MODULES = ("ipdb", "joblib", "resource", "psutil", "tkinter")
NOT_IN_OS = (
    "kill", "system", "putenv", "remove", "removedirs", "rmdir", "fchdir", "setuid", "fork", "forkpty", "killpg",
    "rename", "renames", "truncate", "replace", "unlink", "fchmod", "fchown", "chmod", "chown", "chroot", "lchflags",
    "lchmod", "lchown", "getcwd", "chdir",
)  # fmt: skip


def restrict() -> None:
    """Take away what programs do not have there."""
    sys.set_int_max_str_digits(MAX_DIGITS)
    absent: Any = None
    builtins.quit = absent
    sys.modules.update(dict.fromkeys(NO_MODULES, absent))
    for name in NOT_IN_OS:
        setattr(os, name, absent)


def load(source: Any) -> types.ModuleType:
    """A module from a text or a syntax tree; it cannot be imported."""
    module = types.ModuleType("tmp_sol", "")
    exec(compile(source, "<program>", "exec", dont_inherit=True), module.__dict__)
    return module


def parse(source: str) -> Any:
    """The syntax tree of a text. (The module `ast` would have to be loaded first.)"""
    return compile(source, "<program>", "exec", _ast.PyCF_ONLY_AST, dont_inherit=True)


def as_function(code: str) -> Any:
    """The syntax tree of a module in which a script is a function.

    Its own imports stay outside; what an `if __name__ == "__main__"` at its end holds runs like the rest of it.
    """
    body = parse(code).body
    if body and is_guard(body[-1]):
        body[-1:] = body[-1].body
    imports = [one for one in body if isinstance(one, _ast.Import | _ast.ImportFrom)]
    module = parse(PRELUDE + "def script():\n    pass")
    module.body[-1].body = [one for one in body if one not in imports]
    module.body[-1:-1] = imports
    return module


def is_guard(statement: Any) -> bool:
    """Whether a statement is an `if __name__ == "__main__"`."""
    test = statement.test if isinstance(statement, _ast.If) else None
    if not isinstance(test, _ast.Compare) or len(test.ops) != 1 or not isinstance(test.ops[0], _ast.Eq):
        return False
    left, right = test.left, test.comparators[0]
    named = isinstance(left, _ast.Name) and left.id == "__name__"
    return named and isinstance(right, _ast.Constant) and right.value == "__main__"


def names_solution(tree: Any) -> bool:
    """Whether "class Solution" stands in a program without its comments."""
    import ast

    return "class Solution" in ast.unparse(tree)


def run_script(code: str) -> None:
    """Run a script on what stdin holds; at its end print what it printed."""
    restrict()
    if "thread" in code.lower():
        threads_in_place()
    real: Any = sys.stdin
    given = real.buffer.read().decode("utf-8", "surrogateescape")
    answer = open(os.dup(1), "wb")  # noqa: SIM115 - it is closed where the script has ended well
    os.dup2(0, 1)  # whoever writes past sys.stdout writes nowhere
    nowhere = io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace")
    for name in ("stdout", "__stdout__"):
        setattr(sys, name, nowhere)
    tree = as_function(code)
    module = load(tree)
    if "class Solution" in code and names_solution(tree):
        module.Solution()  # it is not at the top level: the script fails
    lines = iter(given.split("\n"))
    real.read = lambda *args: given  # for a script that imported `stdin` itself
    real.readline = lambda *args: next(lines)
    real.readlines = lambda *args: given.split("\n")
    printed: Any = io.StringIO()
    printed.close = lambda x: 1
    sys.stdin, sys.stdout = io.StringIO(given), printed
    with contextlib.suppress(SystemExit):
        module.script()
    with answer:
        answer.write(printed.getvalue().encode("utf-8", "backslashreplace"))


def threads_in_place() -> None:
    """Run a thread where it is started, to its end: the jail has none, and scripts start one for a deeper stack."""
    import threading

    def start(thread: Any) -> None:
        if thread._started.is_set():
            raise RuntimeError("threads can only be started once")
        thread._started.set()
        try:
            thread.run()
        except BaseException:  # it ends the thread alone
            return

    plain: Any = threading.Thread
    plain.start = start
    plain.join = lambda thread, timeout=None: None
    plain.is_alive = lambda thread: False


def method_of(code: str, name: str) -> Callable:
    """The method of the class Solution, where a program has one, or else its function of that name."""
    restrict()
    module = load(PRELUDE + "\n\n" + code)
    method = getattr(module.Solution() if "class Solution" in code else module, name)

    def judged_call(*args: Any) -> Any:
        result = method(*args)
        return list(result) if isinstance(result, tuple) else result

    return judged_call
