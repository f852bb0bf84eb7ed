"""Problems in LiveCodeBench's columns with programs for them: right ones, corrupted ones, and ones that try its rules.

tests/golden/make_livecodebench.py has the package itself judge them, and tests compare.
"""

import base64
import dataclasses
import json
import pickle
import zlib

TIMEOUT_S = 1  # of a test


@dataclasses.dataclass(frozen=True)
class Sample:
    """A problem, and programs for it by name. tests: (input, output) texts, the first of them public."""

    id: str
    tests: tuple[tuple[str, str], ...]
    programs: dict[str, str]
    function: str | None = None

    def row(self, packed=True):
        kind = "functional" if self.function else "stdin"
        tests = [{"input": given, "output": output, "testtype": kind} for given, output in self.tests]
        private = json.dumps(tests[1:])
        if packed:
            private = base64.b64encode(zlib.compress(pickle.dumps(private))).decode()
        starter = f"class Solution:\n    def {self.function}(self, *args):\n        " if self.function else ""
        return {
            "question_title": self.id.replace("-", " "),
            "question_content": f"Solve {self.id}.",
            "platform": "leetcode" if self.function else "atcoder",
            "question_id": self.id,
            "contest_id": "contest-1",
            "contest_date": "2024-05-01T00:00:00",
            "starter_code": starter,
            "difficulty": "easy",
            "public_test_cases": json.dumps(tests[:1]),
            "private_test_cases": private,
            "metadata": json.dumps({"func_name": self.function} if self.function else {}),
        }


def solution(name, body, head=""):
    lines = "".join(f"        {line}\n" for line in body.splitlines())
    return f"{head}class Solution:\n    def {name}(self, *args):\n{lines}"


SUM_TESTS = (("3\n1 2 3\n", "6\n"), ("1\n-5\n", "-5"), ("4\n10 20 30 40", "100\n"))
READ = "n = int(input())\na = list(map(int, input().split()))\n"
SUM = Sample(
    "sum-of-numbers",
    SUM_TESTS,
    {
        "canonical": READ + "print(sum(a))",
        "an operator flipped": READ + "t = 0\nfor x in a:\n    t -= x\nprint(t)",
        "off by one": READ + "print(sum(a[: n - 1]))",
        "right on the public test alone": READ + "print(6)",
        "a wrong type": READ + "print([sum(a)])",
        "a float": READ + "print(float(sum(a)))",
        "scientific": READ + "print(f'{sum(a):e}')",
        "underscores": READ + "print(f'{sum(a):+_}')",
        "no number": READ + "print(f'{sum(a)}.')",
        "spaces and lines at the ends": READ + "print()\nprint('  ', sum(a), '  ')\nprint()",
        "two lines": READ + "print(sum(a))\nprint('done')",
        "nothing": READ,
        "only imports": "import sys",
        "empty": "",
        "a syntax error": READ + "print(sum(a)",
        "an exception after the answer": READ + "print(sum(a))\n1 / 0",
        "an exit": READ + "print(sum(a))\nexit()\n1 / 0",
        "an exit with a code": "import sys\n" + READ + "print(sum(a))\nsys.exit(3)",
        "quit": READ + "print(sum(a))\nquit()",
        "os._exit": "import os\n" + READ + "print(sum(a), flush=True)\nos._exit(0)",
        "an exit before the answer": "exit()\n" + READ + "print(sum(a))",
        "a loop without end": READ + "while sum(a) < 10**18: pass\nprint(sum(a))",
        "a loop without end on one test": READ + "while n == 4: pass\nprint(sum(a))",
        "main": "def main():\n    n = int(input())\n    print(sum(map(int, input().split())))\nmain()",
        "a guard": "def main():\n    input()\n    print(sum(map(int, input().split())))\n"
        "if __name__ == '__main__':\n    main()",
        "a guard in brackets": (
            "def main():\n    input()\n    print(sum(map(int, input().split())))\nif (__name__ == \"__main__\"):\n"
            "    main()"
        ),
        "a guard with an else": READ + "if __name__ == '__main__':\n    print(sum(a))\nelse:\n    print(0)",
        "a guard that is not the last": READ + "if __name__ == '__main__':\n    print(sum(a))\nx = 1",
        "a guard the other way round": READ + "if '__main__' == __name__:\n    print(sum(a))",
        "a global of the top level": READ + "t = 0\ndef add(x):\n    global t\n    t += x\nfor x in a: add(x)\n"
        "print(t)",
        "a global of a function": "def main():\n    global a\n    input()\n    a = input().split()\n    show()\n"
        "def show():\n    print(sum(map(int, a)))\nmain()",
        "nonlocal at the top level": READ + "t = 0\ndef add(x):\n    nonlocal t\n    t += x\nfor x in a: add(x)\n"
        "print(t)",
        "a return at the top level": READ + "print(sum(a))\nreturn",
        "recursion by its own name": READ + "def s(i):\n    return a[i] + s(i + 1) if i < n else 0\nprint(s(0))",
        "a comprehension over a local": READ + "print(sum([a[i] for i in range(n)]))",
        "sys.stdin.read": "import sys\nprint(sum(map(int, sys.stdin.read().split()[1:])))",
        "sys.stdin.readline": "import sys\ninput = sys.stdin.readline\n" + READ + "print(sum(a))",
        "sys.stdin.readlines": "import sys\nprint(sum(map(int, sys.stdin.readlines()[1].split())))",
        "lines of sys.stdin": "import sys\nlines = [line for line in sys.stdin]\n"
        "print(sum(map(int, lines[1].split())))",
        "sys.stdin.buffer": "import sys\nprint(sum(map(int, sys.stdin.buffer.read().split()[1:])))",
        "from sys import stdin, read": "from sys import stdin\nprint(sum(map(int, stdin.read().split()[1:])))",
        "from sys import stdin, readline": "from sys import stdin\nstdin.readline()\n"
        "print(sum(map(int, stdin.readline().split())))",
        "from sys import stdin, readlines": "from sys import stdin\nprint(sum(map(int, stdin.readlines()[1].split())))",
        "from sys import stdin, lines": "from sys import stdin\nlines = [line for line in stdin]\n"
        "print(sum(map(int, lines[1].split())))",
        "from sys import stdin, buffer": "from sys import stdin\nprint(sum(map(int, stdin.buffer.read().split()[1:])))",
        "from sys import stdin, and input": "from sys import stdin\nn = int(stdin.readline())\n"
        "print(sum(map(int, input().split())))",
        "stdin without an import": "print(sum(map(int, stdin.read().split()[1:])))",
        "past the end": READ + "input()\nprint(sum(a))",
        "past the end, caught": READ + "try:\n    input()\nexcept EOFError:\n    print(sum(a))",
        "sys.stdout.write": "import sys\n" + READ + "sys.stdout.write(str(sum(a)) + '\\n')",
        "from sys import stdout": "from sys import stdout\n" + READ + "stdout.write(str(sum(a)))",
        "sys.stdout.buffer": "import sys\n" + READ + "sys.stdout.buffer.write(str(sum(a)).encode())",
        "stderr too": "import sys\n" + READ + "print('debug', file=sys.stderr)\nprint(sum(a))",
        "stdout closed": "import sys\n" + READ + "print(sum(a))\nsys.stdout.close()",
        "a prompt": "n = int(input('n? '))\nprint(sum(map(int, input().split())))",
        "names that nobody imported": READ + "print(reduce(lambda x, y: x + y, a), end='')",
        "modules that nobody imported": READ + "print(functools.reduce(operator.add, a) + math.floor(0.5))",
        "types that nobody imported": READ + "def f(x: List[int]) -> Optional[int]:\n    return sum(x)\nprint(f(a))",
        "an import in the middle": READ + "from itertools import accumulate\nprint(list(accumulate(a))[-1])",
        "an import in a try": "try:\n    import nonsense\nexcept ImportError:\n    pass\n" + READ + "print(sum(a))",
        "a star in a try": "try:\n    from math import *\nexcept ImportError:\n    pass\n" + READ + "print(sum(a))",
        "a future": "from __future__ import annotations\n" + READ + "print(sum(a))",
        "resource": "import resource\n" + READ + "print(sum(a))",
        "resource in a try": "try:\n    import resource\n    print('x')\nexcept ImportError:\n"
        "    pass\n" + READ + "print(sum(a))",
        "numpy": "import numpy as np\n" + READ + "print(np.array(a).sum())",
        "a thread": "import sys, threading\nsys.setrecursionlimit(10**6)\nthreading.stack_size(1 << 26)\n"
        "def main():\n    input()\n    print(sum(map(int, input().split())))\n"
        "t = threading.Thread(target=main)\nt.start()\nt.join()",
        "a thread that fails": "import threading\ndef main():\n    1 / 0\nt = threading.Thread(target=main)\n"
        "t.start()\n"
        "t.join()\n" + READ + "print(sum(a))",
        "deep recursion": READ + "def f(k):\n    return 0 if k == 0 else 1 + f(k - 1)\n"
        "print(sum(a) + f(20000) - 20000)",
        "deeper than is allowed": READ + "def f(k):\n    return 0 if k == 0 else 1 + f(k - 1)\n"
        "print(sum(a) + f(60000) - 60000)",
        "int digits": READ + "x = 10**20000\nprint(sum(a) + len(str(x)) - 20001)",
        "too many int digits": READ + "x = 10**60000\nprint(sum(a) + len(str(x)) - 60001)",
        "a class": "class Solver:\n    def run(self):\n        input()\n        return sum(map(int, input().split()))\n"
        "print(Solver().run())",
        "a dataclass": "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\n" + READ
        + "print(sum(P(x).x for x in a))",
        "a class Solution": "class Solution:\n    def f(self, a):\n"
        "        return sum(a)\n" + READ + "print(Solution().f(a))",
        "the working folder": "import os\n" + READ + "os.getcwd()\nprint(sum(a))",
        "an assertion": READ + "assert len(a) == n + 1\nprint(sum(a))",
        "KeyboardInterrupt": READ + "print(sum(a))\nraise KeyboardInterrupt",
        "its own open": READ + "print(sum(a))\nopen('/nonsense/file')",
        "a generator": READ + "print(sum(a))\nyield 1",
    },
)  # fmt: skip

MEAN = Sample(
    "mean-of-two",
    (("1 2", "1.5"), ("1 1", "1"), ("0.1 0.2", "0.15"), ("2 5\n", "3.50 \n")),
    {
        "canonical": "a, b = map(float, input().split())\nprint(round((a + b) / 2, 6))",
        "decimals": "from decimal import Decimal\na, b = map(Decimal, input().split())\nprint((a + b) / 2)",
        "many digits": "a, b = map(float, input().split())\nprint(f'{(a + b) / 2:.10f}')",
        "out of tolerance": "a, b = map(float, input().split())\nprint((a + b) / 2 + 1e-12)",
        "not rounded": "a, b = map(float, input().split())\nprint((a + b) * 0.5)",
        "an int": "a, b = map(float, input().split())\nprint(int((a + b) / 2))",
        "nan": "print('nan')",
        "a signalling nan": "print('sNaN')",
        "inf": "print('inf')",
    },
)

WORDS = Sample(
    "lines-of-words",
    (("3\nb\na\nc\n", "YES\na b\nc 1.0\n"), ("3\na\nc\nb\n", "YES\na b\nc 1.0\n")),
    {
        "canonical": "w = sorted(input() for _ in range(int(input())))\nprint('YES')\nprint(w[0], w[1])\n"
        "print(w[2], 1.0)",
        "other case": "w = sorted(input() for _ in range(int(input())))\nprint('Yes')\nprint(w[0], w[1])\n"
        "print(w[2], 1.0)",
        "a number in words": "w = sorted(input() for _ in range(int(input())))\nprint('YES')\nprint(w[0], w[1])\n"
        "print(w[2], 1)",
        "spaces between": "w = sorted(input() for _ in range(int(input())))\nprint('YES')\nprint(w[0], '', w[1])\n"
        "print(w[2], 1.0)",
        "an empty line between": "w = sorted(input() for _ in range(int(input())))\nprint('YES\\n')\nprint(*w[:2])\n"
        "print(w[2], 1.0)",
        "lines in another order": "w = sorted(input() for _ in range(int(input())))\nprint(w[0], w[1])\n"
        "print('YES')\nprint(w[2], 1.0)",
        "carriage returns": "w = sorted(input() for _ in range(int(input())))\nprint('YES\\r')\n"
        "print(*w[:2], end=' \\r\\n')\nprint(w[2], 1.0)",
        "state of the last test": "import random as state\nw = sorted(input() for _ in range(int(input())))\n"
        "print('YES')\nprint(*w[:2])\nprint(w[2], 1.0)",
    },
)  # fmt: skip

EMPTY = Sample(
    "nothing-to-say",
    (("1", ""), ("2", "\n")),
    {"canonical": "input()", "something": "print(input())", "spaces": "print(' ')", "zero": "print(0)"},
)

ADD = Sample(
    "add-to-all",
    (("[1, 2, 3]\n1", "[2, 3, 4]"), ("[]\n5", "[]"), ("[0, -1]\n-2", "[-2, -3]")),
    {
        "canonical": solution("addToAll", "return [x + args[1] for x in args[0]]"),
        "types": "class Solution:\n    def addToAll(self, nums: List[int], k: int) -> List[int]:\n"
        "        return [x + k for x in nums]",
        "an operator flipped": solution("addToAll", "return [x - args[1] for x in args[0]]"),
        "off by one": solution("addToAll", "return [x + args[1] for x in args[0][1:]]"),
        "a tuple": solution("addToAll", "return tuple(x + args[1] for x in args[0])"),
        "floats": solution("addToAll", "return [float(x + args[1]) for x in args[0]]"),
        "a text": solution("addToAll", "return str([x + args[1] for x in args[0]])"),
        "None": solution("addToAll", "[x + args[1] for x in args[0]]"),
        "a generator": solution("addToAll", "return (x + args[1] for x in args[0])"),
        "a map": solution("addToAll", "return map(lambda x: x + args[1], args[0])"),
        "a deque": solution("addToAll", "return deque(x + args[1] for x in args[0])"),
        "a set": solution("addToAll", "return {x + args[1] for x in args[0]}"),
        "an array of numpy": solution("addToAll", "return np.array(args[0]) + args[1]", "import numpy as np\n"),
        "numbers of numpy": "import numpy as np\n"
        + solution("addToAll", "return list(np.array(args[0], int) + args[1])"),
        "a subclass of list": "class L(list): pass\n" + solution("addToAll", "return L(x + args[1] for x in args[0])"),
        "in place": solution("addToAll", "for i in range(len(args[0])):\n    args[0][i] += args[1]\nreturn args[0]"),
        "a function": "def addToAll(nums, k):\n    return [x + k for x in nums]",
        "a function and a comment": "# class Solution\ndef addToAll(nums, k):\n    return [x + k for x in nums]",
        "another name": solution("addAll", "return [x + args[1] for x in args[0]]"),
        "another class": solution("addToAll", "return [x + args[1] for x in args[0]]").replace("Solution", "Solver"),
        "a static method": "class Solution:\n    @staticmethod\n    def addToAll(nums, k):\n"
        "        return [x + k for x in nums]",
        "a constructor with arguments": "class Solution:\n    def __init__(self, k):\n        self.k = k\n"
        "    def addToAll(self, nums, k):\n        return [x + k for x in nums]",
        "one argument too few": "class Solution:\n    def addToAll(self, nums):\n        return [x + 1 for x in nums]",
        "a syntax error": "class Solution:\n    def addToAll(self, nums, k)\n        return [x + k for x in nums]",
        "a guard": solution("addToAll", "return [x + args[1] for x in args[0]]") + "if __name__ == '__main__':\n"
        "    1 / 0",
        "an exception at the end": solution("addToAll", "return [x + args[1] for x in args[0]]") + "1 / 0",
        "an example that it prints": solution("addToAll", "return [x + args[1] for x in args[0]]")
        + "print(Solution().addToAll([1], 2))",
        "an exit": solution("addToAll", "return [x + args[1] for x in args[0]]") + "exit()",
        "an exit in the method": solution("addToAll", "exit()"),
        "an exception on one test": solution("addToAll", "args[0][0]\nreturn [x + args[1] for x in args[0]]"),
        "a loop without end on one test": solution("addToAll", "while not args[0]: pass\n"
        "return [x + args[1] for x in args[0]]"),
        "input": solution("addToAll", "input()\nreturn [x + args[1] for x in args[0]]"),
        "a memory that leaks": "class Solution:\n    def addToAll(self, nums, k, memo=[]):\n"
        "        memo += [x + k for x in nums]\n        return memo",
        "a memory of the object": "class Solution:\n    out = []\n    def addToAll(self, nums, k):\n"
        "        self.out.extend(x + k for x in nums)\n        return self.out",
        "a memory made anew": "class Solution:\n    def addToAll(self, nums, k):\n        self.out = []\n"
        "        self.out.extend(x + k for x in nums)\n        return self.out",
        "a future": "from __future__ import annotations\n"
        + solution("addToAll", "return [x + args[1] for x in args[0]]"),
        "resource": "import resource\n" + solution("addToAll", "return [x + args[1] for x in args[0]]"),
        "names that nobody imported": solution("addToAll", "return list(map(partial(add, args[1]), args[0]))"),
        "empty": "",
    },
    "addToAll",
)  # fmt: skip

HALF = Sample(
    "half",
    (("3", "1.5"), ("4", "2.0"), ("0.3", "0.15")),
    {
        "canonical": solution("half", "return args[0] / 2"),
        "out of tolerance": solution("half", "return args[0] / 2 + 1e-12"),
        "an int where it is one": solution("half", "h = args[0] / 2\nreturn int(h) if h == int(h) else h"),
        "floored": solution("half", "return args[0] // 2"),
        "a text": solution("half", "return str(args[0] / 2)"),
        "a fraction": solution("half", "return Fraction(args[0]) / 2", "from fractions import Fraction\n"),
        "a decimal": solution("half", "return Decimal(args[0]) / 2", "from decimal import Decimal\n"),
        "a number of numpy": solution("half", "return np.float64(args[0]) / 2", "import numpy as np\n"),
        "a short number of numpy": solution("half", "return np.float32(args[0]) / 2", "import numpy as np\n"),
    },
    "half",
)

FLAG = Sample(
    "is-even",
    (("2", "true"), ("3", "false"), ("0", "true")),
    {
        "canonical": solution("isEven", "return args[0] % 2 == 0"),
        "ints": solution("isEven", "return 1 - args[0] % 2"),
        "None for false": solution("isEven", "return True if args[0] % 2 == 0 else None"),
        "flipped": solution("isEven", "return args[0] % 2 == 1"),
        "texts": solution("isEven", "return str(args[0] % 2 == 0).lower()"),
        "numpy's own": solution("isEven", "return np.int64(args[0]) % 2 == 0", "import numpy as np\n"),
    },
    "isEven",
)

NESTED = Sample(
    "split-words",
    (('"a b"', '[["a"], ["b"]]'), ('"x"', '[["x"]]'), ('"\\u00e9 \\"q\\" 1"', '[["\\u00e9"], ["\\"q\\""], ["1"]]')),
    {
        "canonical": solution("splitWords", "return [[w] for w in args[0].split()]"),
        "tuples inside": solution("splitWords", "return [(w,) for w in args[0].split()]"),
        "a tuple outside": solution("splitWords", "return tuple([w] for w in args[0].split())"),
        "flat": solution("splitWords", "return args[0].split()"),
        "in another order": solution("splitWords", "return [[w] for w in reversed(args[0].split())]"),
        "upper case": solution("splitWords", "return [[w.upper()] for w in args[0].split()]"),
        "a subclass of str": "class S(str): pass\n"
        + solution("splitWords", "return [[S(w)] for w in args[0].split()]"),
    },
    "splitWords",
)

LARGE_INPUT = list(range(100_000, 160_000))
LARGE = Sample(
    "double-many",
    (("[1]", "[2]"), (json.dumps(LARGE_INPUT), json.dumps([2 * x for x in LARGE_INPUT]))),
    {
        "canonical": solution("double", "return [2 * x for x in args[0]]"),
        "the last one wrong": solution("double", "r = [2 * x for x in args[0]]\nif len(r) > 1:\n    r[-1] += 1\n"
        "return r"),
        "the last one missing": solution("double", "return [2 * x for x in args[0]][: max(1, len(args[0]) - 1)]"),
        "floats": solution("double", "return [2.0 * x for x in args[0]]"),
        "numbers of numpy": solution("double", "return list(2 * np.array(args[0]))", "import numpy as np\n"),
    },
    "double",
)  # fmt: skip

LARGE_SCRIPT = Sample(
    "double-many-lines",
    (("1\n1\n", "2\n"), ("\n".join(map(str, [60_000, *LARGE_INPUT])), "\n".join(str(2 * x) for x in LARGE_INPUT))),
    {
        "canonical": "for _ in range(int(input())):\n    print(2 * int(input()))",
        "joined": "import sys\nd = sys.stdin.read().split()\nprint('\\n'.join(str(2 * int(x)) for x in d[1:]))",
        "floats": "for _ in range(int(input())):\n    print(2.0 * int(input()))",
        "the last one wrong": "n = int(input())\nfor i in range(n):\n    print(2 * int(input()) + (i == n - 1 > 0))",
    },
)

SAMPLES = (SUM, MEAN, WORDS, EMPTY, ADD, HALF, FLAG, NESTED, LARGE, LARGE_SCRIPT)
