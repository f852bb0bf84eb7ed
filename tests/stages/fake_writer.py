"""A writer for tests: what it answers is a function of the request alone. And questions that it knows the answer to."""

import re
import time
from typing import ClassVar

from acecoder_jax import writers
from acecoder_jax.writers import Reply, WriterError

GOOD = "def {name}(x):\n    return x + {number}"
KINDS = {
    "good": GOOD,
    "even": "def {name}(x):\n    return x + {number} if x % 2 == 0 else None",  # passes three of the six
    "late": "def {name}(x):\n    return x + {number} if x < 5 else None",  # five
    "bad": "def {name}(x):\n    return None",
    "broken": "def {name}(x:\n",
}


def question(number, wrong=0, **more):
    """f3(x) is x + 3: six right tests and `wrong` wrong ones."""
    right = [f"assert f{number}({x}) == {x + number}" for x in range(6)]
    tests = [*right, *(f"assert f{number}({x}) == 99" for x in range(wrong))]
    row = {"id": f"q{number:03}", "source": "evol" if number % 2 else "oss", "question": f"Write f{number}: add it."}
    return row | {"test_cases": tests, "entry_point": f"f{number}", "n_tests_all": len(tests) + number % 3} | more


class HoldsNothing:
    """A writer has to be closed; these have nothing to close."""

    def close(self):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


class FakeWriter(HoldsNothing):
    """kinds: of the programs for question N, sample K: kinds[(N + K) % len(kinds)].

    fails: keys of requests that get an error. stops_after: so many replies, then it has to stop.
    """

    asked: ClassVar[list] = []  # keys, of all writers since it was cleared
    budgets: ClassVar[list] = []  # with what was spent before, of each writer

    def __init__(self, model, kinds=("good",), fails=(), stops_after=None, slow_s=0.0, style="started"):
        self.model, self.kinds, self.fails, self.stops_after = model, kinds, fails, stops_after
        self.slow_s, self.style = slow_s, style

    def write(self, requests):
        for count, request in enumerate(requests):
            if count == self.stops_after:
                raise WriterError("the budget is spent")
            FakeWriter.asked.append(request.key)
            time.sleep(self.slow_s)
            if request.key in self.fails:
                yield Reply(request.key, error="timeout", detail="too slow", cost_usd=0.5)
            else:
                yield Reply(request.key, self.text(request), "stop", cost_usd=0.25)

    def text(self, request):
        number, sample = int(re.search(r"Write f(\d+)", request.messages[0]["content"])[1]), int(request.key[5:])
        kind = self.kinds[(number + sample) % len(self.kinds)]
        program = KINDS[kind].format(name=f"f{number}", number=number)
        return f"{request.prefix}{program}\n```\nDone." if self.style == "started" else f"```python\n{program}\n```"


def make(name, **knobs):
    assert name in ("endpoint", "local")
    budget = {key: knobs.pop(key) for key in ("budget_usd", "spent_usd", "cache")}
    FakeWriter.budgets.append((budget["budget_usd"], budget["spent_usd"]))
    return FakeWriter(**knobs)


def install():
    """In a process of its own."""
    writers.make = make
