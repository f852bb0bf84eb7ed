"""A problem in LiveCodeBench's columns, with programs for it."""

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
