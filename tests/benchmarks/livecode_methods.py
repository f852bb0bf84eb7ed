"""Problems for methods: right programs, corrupted ones, and ones that try LiveCodeBench's rules.

tests/golden/make_livecodebench.py has its package judge them, and tests compare.
"""

import json

from tests.benchmarks.livecode_sample import Sample


def solution(name, body, head=""):
    lines = "".join(f"        {line}\n" for line in body.splitlines())
    return f"{head}class Solution:\n    def {name}(self, *args):\n{lines}"


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

SAMPLES = (ADD, HALF, FLAG, NESTED, LARGE)
