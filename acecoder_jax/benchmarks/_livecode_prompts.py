"""How LiveCodeBench asks: in substance its prompts for chat models and for base models (one solved example)."""

import re

from acecoder_jax.benchmarks import Prompt, Task

SYSTEM = (
    "You are an expert in Python. You are given a programming problem: write a correct Python program that does what "
    "it asks and passes all its tests."
)
WITH_STARTER = "Complete this code so that it solves the problem, and reply with the whole of it in one code block."
WITHOUT_STARTER = (
    "Write a program that reads its input from stdin and writes the answer to stdout, with no tests of your own on the "
    "examples. Reply with it in one code block like this one."
)
STOP = ("###",)  # where a base model would begin another problem

_FUNCTION_EXAMPLE = (
    "You are given a list of integers nums and an integer limit. Return the length of the longest run of neighbouring "
    "items whose sum is at most limit. All items are positive.\n\n"
    "Example:\n\nInput: nums = [3,1,2,7,1], limit = 6\nOutput: 3\n\n"
    "Constraints:\n\n1 <= nums.length <= 1000\n1 <= nums[i], limit <= 10^6",
    "class Solution:\n    def longestRun(self, nums: List[int], limit: int) -> int:\n        ",
    "class Solution:\n    def longestRun(self, nums: List[int], limit: int) -> int:\n"
    "        best = total = start = 0\n"
    "        for end, value in enumerate(nums):\n"
    "            total += value\n"
    "            while total > limit:\n"
    "                total -= nums[start]\n"
    "                start += 1\n"
    "            best = max(best, end - start + 1)\n"
    "        return best",
)
_SCRIPT_EXAMPLE = (
    "A shop sells pens at $p$ coins each, and every third pen of a purchase is free. How many coins does a customer "
    "pay for $n$ pens?\n\nInput\n\nThe first line holds the number $t$ of customers ($1 \\le t \\le 1000$). Each of "
    "the next $t$ lines holds $p$ and $n$ ($1 \\le p, n \\le 10^9$).\n\nOutput\n\n"
    "For each customer, print the number of "
    "coins on a line of its own.\n\nExample\n\nInput\n2\n5 3\n2 7\n\nOutput\n10\n10",
    "",
    "def main():\n"
    "    for _ in range(int(input())):\n"
    "        price, count = map(int, input().split())\n"
    "        print(price * (count - count // 3))\n"
    "\n\nmain()",
)


def prompt(task: Task, kind: str) -> Prompt:
    """For a chat: what it is, then the problem and the form of the answer. Else one solved problem, then this one."""
    if kind == "base":
        return Prompt((), base(task), STOP)
    starter = task.fields["starter_code"]
    if starter:
        form = f"{WITH_STARTER}\n```python\n{starter}\n```"
    else:
        form = f"{WITHOUT_STARTER}\n```python\n# your program\n```"
    asked = f"### Problem\n{task.statement}\n\n### Form of the answer\n{form}\n\n### Answer"
    return Prompt(({"role": "system", "content": SYSTEM}, {"role": "user", "content": asked}))


def base(task: Task) -> str:
    """The text that a base model goes on from."""
    starter = task.fields["starter_code"]
    question, example, answer = _FUNCTION_EXAMPLE if starter else _SCRIPT_EXAMPLE
    return f"{_problem(question, example)}{answer}\n\n{_problem(task.statement, starter)}"


def _problem(question: str, starter: str) -> str:
    code = f"### Starter Code\n{starter}\n\n" if starter else ""
    return f"### Question\n{question}\n\n{code}### Answer\n\n"


# ---- the way back

EXTRACTS = ("last", "first")


def program(task: Task, reply: str, extract: str) -> str:
    """The program in a reply, as LiveCodeBench finds it.

    All that a base model wrote, without spaces at the ends. Of a chat's reply with "last" what stands between the last
    two lines that hold a fence, "" where there are fewer (the rule of its own repository, for most models); with
    "first" the first block that is opened as python and closed, else all of the reply (the rule of
    nvidia-livecodebench for endpoints).
    """
    start = base(task)
    if reply.startswith(start):
        return reply[len(start) :].strip()
    if extract == "first":
        block = re.search(r"```python\n(.+?)\n```", reply, re.DOTALL)
        return (block[1] if block else reply).strip()
    lines = reply.split("\n")
    fences = [at for at, line in enumerate(lines) if "```" in line]
    return "\n".join(lines[fences[-2] + 1 : fences[-1]]) if len(fences) >= 2 else ""
