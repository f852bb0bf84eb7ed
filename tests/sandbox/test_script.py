"""Honest scripts of the stdin profile, written the ways that scripts are written."""

import json

import pytest

from acecoder_jax.sandbox import Job
from acecoder_jax.types import Status

P, F, E, T, C = Status.PASS, Status.FAIL, Status.ERROR, Status.TIMEOUT, Status.CRASH

READS_3_4_PRINTS_7 = {
    "exit": "print(sum(map(int, input().split())))\nexit()\n1 / 0",
    "exit zero": "print(sum(map(int, input().split())))\nexit(0)",
    "quit": "print(sum(map(int, input().split())))\nquit()\n1 / 0",
    "exit within": "def main():\n    print(sum(map(int, input().split())))\n    raise SystemExit\nmain()",
    "buffer written at exit": (
        "import atexit, io, sys\nbuffer = io.StringIO()\nsys.stdout = buffer\n"
        "@atexit.register\ndef write():\n    sys.__stdout__.write(buffer.getvalue())\n"
        "print(sum(map(int, sys.stdin.readline().split())))"
    ),
    "buffer written at exit, then left": (
        "import atexit, io, sys\nbuffer = io.BytesIO()\nsys.stdout = buffer\n"
        "@atexit.register\ndef write():\n    sys.__stdout__.write(buffer.getvalue().decode())\n"
        "sys.stdout.write(b'%d' % sum(map(int, input().split())))\nexit()"
    ),
    "standard output by its other name": (
        "import sys\nsys.__stdout__.write(str(sum(map(int, sys.__stdin__.readline().split()))))"
    ),
    "print to the other name": "import sys\nprint(sum(map(int, input().split())), file=sys.__stdout__)",
    "an output of its own": (
        "import os, sys\nfrom io import BytesIO, IOBase\n\nclass Fast(IOBase):\n    def __init__(self, file):\n"
        "        self.fd, self.buffer = file.fileno(), BytesIO()\n"
        "    def write(self, text):\n        self.buffer.write(text.encode())\n"
        "    def flush(self):\n        os.write(self.fd, self.buffer.getvalue())\n        self.buffer.truncate(0), "
        "self.buffer.seek(0)\n\nsys.stdout = Fast(sys.stdout)\nprint(sum(map(int, input().split())))"
    ),
    "output to a descriptor, never closed": (
        "out = open(1, 'w')\nout.write(str(sum(map(int, open(0).read().split()))))"
    ),
    "standard output left closed": ("import sys\nprint(sum(map(int, input().split())))\nsys.stdout.close()"),
    "no standard output at the end": ("import sys\nprint(sum(map(int, input().split())))\nsys.stdout = None"),
    "whole input": "import os\nprint(sum(map(int, os.read(0, os.fstat(0).st_size).split())))",
    "the device": "print(sum(int(x) for line in open('/dev/stdin') for x in line.split()))",
    "the device in with": "with open('/dev/stdin', 'rb') as file:\n    print(sum(map(int, file.read().split())))",
    "the device by path": "import pathlib\nprint(sum(map(int, pathlib.Path('/dev/stdin').read_text().split())))",
    "the device as stdin": "import sys\nsys.stdin = open('/dev/stdin')\nprint(sum(map(int, input().split())))",
    "descriptor": "print(sum(map(int, open(0).read().split())))",
    "output device": "a = sum(map(int, input().split()))\nopen('/dev/stdout', 'w').write(str(a))",
    "fileinput": "import fileinput\nfor line in fileinput.input():\n    print(sum(map(int, line.split())))",
    "nobody's exit functions": "import atexit\natexit.register(lambda: 1 / 0)\nprint(sum(map(int, input().split())))",
}


def run(sandbox, program, *pairs):
    tests = tuple(json.dumps({"input": given, "output": expected}) for given, expected in pairs)
    return sandbox.submit(Job("script", program, tests, profile="stdin")).result(60)


@pytest.mark.parametrize("name", READS_3_4_PRINTS_7)
def test_ways_to_read_and_print(sandbox, name):
    verdict = run(sandbox, READS_3_4_PRINTS_7[name], ("3 4\n", "7"), ("3 4\n", "8"), ("5 5\n", "10\n"))
    assert verdict.statuses == (P, F, P), verdict.messages


@pytest.mark.parametrize(
    ("program", "expected", "status"),
    [
        ("import atexit\natexit.register(print, 'b')\nprint('a')", "a\nb", P),
        ("import atexit\natexit.register(print, 'b')\nprint('a')", "a", F),
        ("import atexit\natexit.register(print, 'b')\n1 / 0", "b", E),
        ("import atexit, os\natexit.register(os._exit, 3)\nprint('a', flush=True)", "a", C),
        ("import atexit\n@atexit.register\ndef f():\n    while True: pass\nprint('a', flush=True)", "a", T),
        ("import atexit, os\natexit.register(print, 'b')\nprint('a', flush=True)\nos._exit(0)", "a", P),
        ("print('a')\nexit(3)", "a", C),
        ("print('a')\nexit('wrong')", "a", C),
        ("open('/etc/passwd')", "", E),
        ("open('/dev/null')", "", E),
        ("open('/dev/stdin/../../etc/passwd')", "", E),
        ("import threading\nthreading.Thread(target=print).start()", "", E),
    ],
)
def test_how_scripts_end(sandbox, program, expected, status):
    assert run(sandbox, program, ("", expected)).statuses == (status,)


def test_a_script_has_no_arguments(sandbox):
    assert run(sandbox, "import sys\nprint(len(sys.argv), sys.orig_argv[1:])", ("", "1 []")).statuses == (P,)


def test_exit_is_known_to_programs_and_tests(sandbox):
    program = "def f(x):\n    if x:\n        exit(x)\n    return exit is not quit and repr(quit)[:3]"
    tests = (
        "assert f(0) == 'Use'",
        "assert f(2) == 1",
        "if f(0) != 'Use':\n    exit(1)",
        "try:\n    f(3)\n    assert False\nexcept SystemExit as e:\n    assert e.code == 3",
        "if f(0) == 'Use':\n    quit()",
    )
    verdict = sandbox.submit(Job("a", program, tests, "f")).result(60)
    assert verdict.statuses == (P, C, P, P, C) and verdict.mode == "values", verdict.messages
