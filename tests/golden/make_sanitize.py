"""Records what the packages evalplus and bigcodebench make of replies.

    python -m pip download --no-deps bigcodebench==0.2.5 && unzip -d bigcodebench bigcodebench-0.2.5-py3-none-any.whl
    $(bash bench/make_peer_env.sh evalplus) tests/golden/make_sanitize.py --bigcodebench=bigcodebench

tests/golden/sanitize.json: texts of our own, the entry point, and what evalplus 0.3.1 and bigcodebench 0.2.5 leave.
Of bigcodebench two files are loaded, without its data and progress bars: it wants far more to be installed.
"""

import argparse
import importlib
import json
import pathlib
import sys
import types

ENTRY = "solve"
PROGRAMS = [
    "import math\nfrom os import path\n\n\ndef solve(n):\n    return math.sqrt(n)\n\n\nprint(solve(4))",
    "def helper(n):\n    return n + 1\n\n\ndef other(n):\n    return n\n\n\ndef solve(n):\n    return helper(n)",
    "LIMIT = 3\nOTHER = 4\n\n\ndef solve(n):\n    if n > LIMIT:\n\n        return 0\n    return n\n\n\n"
    "assert solve(2) == 2",
    "class Node:\n    def __init__(self, v):\n        self.v = v\n\n\ndef make(v):\n    return Node(v)\n\n\n"
    "def solve(v):\n    return make(v).v\n\n\nif __name__ == '__main__':\n    print(solve(1))",
    "def solve(n):\n    return 1\n\n\ndef solve(n):\n    return 2",
    "def show(n):\n    print(n)\n\n\ndef solve(n):\n    show(n)\n    return n",
    "def solve(n):\n    print(n)",
    "from functools import cache\n\n\n@cache\ndef fib(n):\n    return n\n\n\ndef solve(n):\n    return fib(n)",
    "from __future__ import annotations\nimport re as regex\n\n\nasync def solve(n):\n    return n",
    "a, b = 1, 2\nc: int = 3\nd += 1\n\n\ndef solve(n):\n    return a + b + c",
    "solve = lambda n: n + 1\nsolve.x = 3\nresult = solve(2)",
    "def solve(): return 1",
    "def solve(n):\n    return n\n\n\nsolve_it = solve",
    "TABLE = solve_all = 3\n\n\ndef solve(n):\n    return TABLE\n\n\nfor i in range(3):\n    solve(i)",
    "def solve(n):\n    def inner():\n        return n\n    inner()",
    "def solve(n):\n    '''Says\n\nthis, at length.\n    '''\n    return [\n        n,\n\n        n,\n    ]",
    "def solve(n):\n    x = 'é\\n' + \"ß\"\n    return x  # ü\n\n\nprint('fin')",
    "try:\n    import numpy\nexcept ImportError:\n    numpy = None\n\n\ndef solve(n):\n    return numpy",
    "class solve:\n    x = 1\n\n\nclass other:\n    pass",
    "def solve(n):\n    match n:\n"
    + "".join(f"        case {name}.x: pass\n" for name in "abcdefghijkl")
    + "    return n",
    "def solve(n):\n    match n:\n"
    + "".join(f"        case {name}: pass\n" for name in "abcdefghijkl")
    + "    return n",
    "def solve(n):\n    match n:\n" + "".join(f"        case [{i}]: pass\n" for i in range(9)) + "    return n",
    "def solve(n):\n\tif n:\n\t\treturn n\n\treturn 0",
    "import a; import b\nx = 1; y = 2\n\n\ndef solve(n): return x + y",
    "def solve(n):\n    return helper(n)\n\n\nhelper = solve\ndel helper",
    "global_one = {}\n\n\ndef solve(n):\n    global_one[n] = 1\n    return global_one\n\n\nglobal_one['a'] = solve\n",
    "print('nothing here')\nprint('at all')",
    "x = 1",
    "",
]
WRAPPED = [
    "{}",
    "```python\n{}\n```",
    "Here is the program:\n\n```python\n{}\n```\n\nIt runs in O(n). Call it so:\n\n```python\nprint(solve(3))\n```",
    "Sure\nI will\n{}\n\nThis is it, isn't it?\nYes",
    "    \n\n{}\n",
    "x = 1\ny = 2\nthen\n{}",
    "```\nfirst try:\ndef solve(n):\n    return (\n```\n\n```python\n{}\n```",
    "  {}",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bigcodebench", required=True, help="a folder with the package in it")
    flags = parser.parse_args()
    evalplus = importlib.import_module("evalplus.sanitize").sanitize
    bigcodebench = load_bigcodebench(flags.bigcodebench)
    rows = []
    for text in dict.fromkeys(texts()):
        rows.append([text, ENTRY, evalplus(text, ENTRY), bigcodebench(text, ENTRY)])
    rows += [[text, None, evalplus(text), None] for text in PROGRAMS]
    path = pathlib.Path(__file__).with_name("sanitize.json")
    path.write_text(json.dumps(rows, indent=0) + "\n")
    print(len(rows), "texts")


def texts() -> list[str]:
    """Programs alone and in replies, whole and cut short."""
    whole = [reply.format(program) for program in PROGRAMS for reply in WRAPPED]
    cut = [text[: len(text) * part // 7] for number, text in enumerate(whole) for part in [number % 5 + 2]]
    return whole + cut[::3]


def load_bigcodebench(folder: str):
    """Its function sanitize."""
    sys.path.insert(0, folder)
    parts = {"bigcodebench": {"__path__": [f"{folder}/bigcodebench"]}, "pqdm": {}, "pqdm.processes": {"pqdm": None}}
    parts["bigcodebench.data"] = dict.fromkeys(("get_bigcodebench", "load_solutions", "write_directory", "write_jsonl"))
    for name, values in parts.items():
        module = types.ModuleType(name)
        module.__dict__.update(values)
        sys.modules[name] = module
    return importlib.import_module("bigcodebench.sanitize").sanitize


if __name__ == "__main__":
    main()
