"""Problems for scripts: right programs, corrupted ones, and ones that try LiveCodeBench's rules.

tests/golden/make_livecodebench.py has its package judge them, and tests compare.
"""

from tests.benchmarks.livecode_sample import Sample

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

LARGE_INPUT = list(range(100_000, 160_000))
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

SAMPLES = (SUM, MEAN, WORDS, EMPTY, LARGE_SCRIPT)
