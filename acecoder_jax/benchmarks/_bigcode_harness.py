"""How BigCodeBench's package runs a program and its tests, for the jail: of this file only the text is used.

Facts of bigcodebench 0.2.5 (eval/__init__.py, eval/utils.py), which decide verdicts: program and tests are one text,
run as a module that can be imported only afterwards; the class TestCases alone is looked for, and what it fails or errs
in counts, not what it skips or passes against its word; reading stdin is an OSError, and `exit` is None; some of the
commands that could end other processes are not run, and say that they were.
"""

import builtins
import contextlib
import io
import os
import subprocess
import sys
import time
import types
import unittest
from typing import Any

ENVIRONMENT = {"TZ": "UTC", "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0"}


class Nowhere(io.StringIO):
    """The standard streams: written to, never read."""

    def readable(self) -> bool:
        """It is not."""
        return False

    def read(self, *args: Any) -> str:
        """Raises OSError."""
        raise OSError

    def readline(self, *args: Any) -> str:  # type: ignore[override]
        """Raises OSError."""
        raise OSError

    def readlines(self, *args: Any) -> list[str]:  # type: ignore[override]
        """Raises OSError."""
        raise OSError


def surround() -> None:
    """Make the process what programs find there."""
    os.environ.update(ENVIRONMENT)
    time.tzset()
    absent: Any = None
    builtins.exit = builtins.quit = absent
    stream: Any = Nowhere()
    sys.stdin = sys.stdout = sys.stderr = stream
    hold_signals()
    hold_commands()
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


def hold_signals() -> None:
    """No signal goes to another process, and no program takes this one's place."""
    kill, killpg, group = os.kill, os.killpg, os.getpgrp()

    def own_kill(pid: int, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.getpgid(pid)
            if pid == os.getpid():
                kill(pid, number)

    def own_killpg(pgid: int, number: int) -> None:
        if pgid == group:
            killpg(pgid, number)

    os.kill, os.killpg = own_kill, own_killpg
    held: Any = lambda *args, **kwargs: None  # noqa: E731
    os.execv = os.execvp = os.execvpe = held


def hold_commands() -> None:
    """Commands that have the word kill, or ps, in them succeed and do nothing. Others are started, or tried to."""
    system, call, check_output, run = os.system, subprocess.call, subprocess.check_output, subprocess.run
    kills = lambda command: "kill" in command or "killall" in command  # noqa: E731
    os.system = lambda command: 0 if kills(command) else system(command)

    def held_call(command: Any, *args: Any, **kwargs: Any) -> Any:
        return 0 if kills(command) else call(command, *args, **kwargs)

    def held_check_output(command: Any, *args: Any, **kwargs: Any) -> Any:
        return b"" if "ps" in command else check_output(command, *args, **kwargs)

    def held_run(*args: Any, **kwargs: Any) -> Any:
        piped(kwargs)
        return subprocess.CompletedProcess(args, 0, b"", b"") if kills(args[0]) else run(*args, **kwargs)

    class Popen(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *args: Any, **kwargs: Any):
            super().__init__(*args, **kwargs | {"preexec_fn": os.setsid})

    def held_popen(*args: Any, **kwargs: Any) -> Any:
        piped(kwargs)
        return Popen(*args, **kwargs)

    named: Any = subprocess
    named.call, named.check_output, named.run, named.Popen = held_call, held_check_output, held_run, held_popen


def piped(kwargs: dict[str, Any]) -> None:
    """What a command prints goes into pipes."""
    if kwargs.get("capture_output"):
        kwargs.pop("stdout", None)
        kwargs.pop("stderr", None)
    else:
        kwargs.setdefault("stdout", subprocess.PIPE)
        kwargs.setdefault("stderr", subprocess.PIPE)


def judge(code: str, test: str) -> None:
    """Run a program and its tests. Raises AssertionError with the first of what went wrong, or what they raise."""
    surround()
    module: Any = types.ModuleType("__test__")
    module.__dict__.update(
        __builtins__=builtins, __file__="__test__.py", __package__=None, __doc__=None, sys=sys, os=os,
        environ=os.environ,
    )  # fmt: skip
    text = f"{code}\n{test}"
    exec(compile(text, "__test__.py", "exec", dont_inherit=True), module.__dict__)
    sys.modules["__test__"] = module
    result = unittest.TestResult()
    unittest.TestLoader().loadTestsFromTestCase(module.TestCases).run(result)
    for case, told in [*result.failures, *result.errors]:
        raise AssertionError(f"{case.id().rpartition('.')[2]}: {told.strip().splitlines()[-1]}")
