"""HumanEval and MBPP in their original files and as the hub has them: tests, prompts, programs, official files."""

import json

import pytest

from acecoder_jax import benchmarks, prompts, store
from acecoder_jax.benchmarks import Answer, humaneval, mbpp
from acecoder_jax.sandbox import Limits, Sandbox

SHIFT = {
    "task_id": "HumanEval/50",
    "prompt": 'import math\n\n\ndef shifted(s: str):\n    return "".join(map(up, s))\n\n\n'
    'def up(s):\n    return chr(ord(s) + 5)\n\n\ndef back(s: str):\n    """ Undoes shifted. """\n',
    "canonical_solution": '    return "".join(chr(ord(one) - 5) for one in s)\n',
    "test": "def check(candidate):\n    for text in ('abc', ''):\n        assert candidate(shifted(text)) == text\n",
    "entry_point": "back",
}
ADD = {
    "task_id": "HumanEval/53",
    "prompt": 'def add(x: int, y: int):\n    """Adds.\n    >>> add(2, 3)\n    5\n    """\n',
    "canonical_solution": "    return x + y\n",
    "test": "METADATA = {}\n\ndef check(candidate):\n    assert candidate(0, 1) == 1\n    assert candidate(2, 3) == 5",
    "entry_point": "add",
}
PLUS_TEST = """import numpy as np

def assertion(out, exp, atol):
    assert out == exp

def check(candidate):
    inputs = [[0, 1], [2, 3], [inf, -7], [1.5, (2)]]
    results = [1, 5, inf, 3.5]
    for i, (inp, exp) in enumerate(zip(inputs, results)):
        assertion(candidate(*inp), exp, 0)
"""
MBPP = {
    "task_id": 460,
    "text": "Write a function to get the first element of each sublist.",
    "code": "def Extract(lst): \r\n    return [item[0] for item in lst] ",
    "test_list": ["assert Extract([[1, 2], [3]]) == [1, 3]", "assert Extract([]) == []"],
    "test_setup_code": "",
    "challenge_test_list": [],
}
TREE = MBPP | {
    "task_id": 367,
    "text": "Write a function that gives the value of a tree's root.",
    "code": "class Node:\n    def __init__(self, value): self.value = value\n\ndef value_of(tree): return tree.value",
    "test_list": ["assert value_of(root) == 4"],
    "test_setup_code": "root = Node(4)",
}
MBPP_PLUS = {
    "task_id": 769,
    "prompt": "Write a function to get the difference of two lists.",
    "code": "\ndef Diff(a, b):\n    return list(set(a) - set(b)) + list(set(b) - set(a))\n",
    "source_file": "",
    "test_imports": ["import math"],
    "test_list": ["assert sorted(Diff([10, 15, math.floor(20.5)], [15])) == [10, 20]"],
    "test": """import numpy as np
from math import inf

def assertion(out, exp, atol):
    assert set(out) == set(exp)

inputs = [[[10, 15, 20], [15]], [[1, (2, 3)], []]]
results = [[10, 20], [1, (2, 3)]]
for i, (inp, exp) in enumerate(zip(inputs, results)):
    assertion(Diff(*inp), exp, 0)
""",
}
BAD_TOLERANCE = MBPP_PLUS["test"].replace("exp, 0)", "exp, -1)")


pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(
        workers=1, limits=Limits(memory_bytes=4 << 30), allow_inside=True, preload=("numpy",), quiet=True
    ) as s:
        yield s


def passed(sandbox, task, program):
    verdicts = sandbox.score(task.jobs(program, "a").values())
    return {one.id.removeprefix("a/"): one.passed for one in verdicts}


def file(folder, *rows):
    store.write_jsonl(folder / "rows.jsonl", rows)
    return str(folder / "rows.jsonl")


def test_the_original_humaneval(tmp_path, sandbox):
    bench = benchmarks.make("humaneval", path=file(tmp_path, ADD, SHIFT))
    assert bench.scores == {"humaneval": ("base",)}
    add, shift = bench.tasks
    assert (add.id, add.statement, add.solution) == (
        "HumanEval/53",
        ADD["prompt"],
        ADD["prompt"] + "    return x + y\n",
    )
    assert passed(sandbox, add, add.solution) == {"base": True}
    assert passed(sandbox, add, "def add(x, y):\n    return x - y") == {"base": False}
    # The tests call a helper of the prompt, which an answer need not repeat, and cannot replace.
    (verdict,) = sandbox.score(
        shift.jobs("def back(s):\n    return ''.join(chr(ord(one) - 5) for one in s)", "a").values()
    )
    assert verdict.passed and verdict.mode == "values"
    assert passed(sandbox, shift, "def shifted(s): return s\ndef back(s): return s") == {"base": False}
    assert add.parts["base"].limits.test_s == 3.0


def test_prompts_of_a_chat_and_of_a_base_model(tmp_path):
    bench = benchmarks.make("humaneval", path=file(tmp_path, ADD))
    (task,) = bench.tasks
    chat, base = (bench.prompt(task, kind) for kind in benchmarks.KINDS)
    (message,) = chat.messages
    assert message["role"] == "user" and f"```python\n{ADD['prompt'].strip()}\n```" in message["content"]
    assert chat.start.endswith("```python\n") and "\n```\n" in chat.stop
    assert base.messages == () and base.start == ADD["prompt"].strip() + "\n"
    assert {"\nif __name__", "\ndef ", "\nclass ", "\nassert "} <= {*base.stop}
    bench = benchmarks.make("mbpp", path=file(tmp_path, MBPP))
    base = bench.prompt(bench.tasks[0], "base")
    assert base.start == (
        '"""\nWrite a function to get the first element of each sublist.\nassert Extract([[1, 2], [3]]) == [1, 3]\n'
        'assert Extract([]) == []\n"""\n'
    )
    assert '\n"""' in base.stop and "\ndef " not in base.stop


def test_the_program_in_a_reply(tmp_path, sandbox):
    bench = benchmarks.make("humaneval", path=file(tmp_path, ADD))
    (task,) = bench.tasks
    start = bench.prompt(task, "chat").start
    program = bench.program(task, start + "import math\n\ndef add(x, y):\n\treturn x + y\n\nprint(add(1, 2))\n")
    assert program == "import math\ndef add(x, y):\n    return x + y"
    told = f"Sure!\n```python\n{program}\n```\nIt adds."
    assert bench.program(task, told) == program
    goes_on = bench.prompt(task, "base").start + "    return x + y"
    assert passed(sandbox, task, bench.program(task, goes_on)) == {"base": True}
    assert start == prompts.PROGRAM_START


def test_official_files(tmp_path):
    bench = benchmarks.make("humaneval", path=file(tmp_path, ADD))
    path = bench.official(tmp_path / "official", [Answer("HumanEval/53", 0, "reply", "def add(x, y): ...")])
    assert path == tmp_path / "official" / "samples.jsonl"
    assert [json.loads(line) for line in path.open()] == [{"task_id": "HumanEval/53", "solution": "def add(x, y): ..."}]


def test_the_table_of_the_hub_with_the_original_tests(tmp_path, sandbox):
    hub = ADD | {"test": PLUS_TEST}
    only_plus = benchmarks.make("humaneval", path=file(tmp_path, hub))
    assert only_plus.scores == {"humaneval_plus": ("plus",)}
    original = tmp_path / "original.jsonl"
    store.write_jsonl(original, [SHIFT, ADD])
    bench = benchmarks.make("humaneval", path=file(tmp_path, hub), base_path=str(original))
    assert bench.scores == {"humaneval": ("base",), "humaneval_plus": ("plus",)}
    (task,) = bench.tasks
    assert passed(sandbox, task, task.solution) == {"base": True, "plus": True}
    assert passed(sandbox, task, "def add(x, y): return int(x + y)") == {"base": True, "plus": False}
    with pytest.raises(ValueError, match="the original HumanEval has no 'HumanEval/53'"):
        store.write_jsonl(original, [SHIFT])
        benchmarks.make("humaneval", path=file(tmp_path, hub), base_path=str(original))
    broken, hidden = PLUS_TEST.replace("inputs = [", "inputs = [["), f"'''\n{PLUS_TEST}'''"
    for test, told in ((broken, "test is not Python"), (hidden, "test has no inputs")):
        with pytest.raises(ValueError, match=told):
            benchmarks.make("humaneval", path=file(tmp_path, hub | {"test": test}))
    with pytest.raises(ValueError, match="base_path goes with"):
        benchmarks.make("humaneval", path=file(tmp_path, ADD), base_path=str(original))
    with pytest.raises(ValueError, match="plus=False has none of it"):
        benchmarks.make("humaneval", path=file(tmp_path, hub), plus=False)


def test_without_a_path_it_comes_from_the_hub(monkeypatch):
    sets = {"evalplus/humanevalplus": [ADD | {"test": PLUS_TEST}], "openai/openai_humaneval": [ADD]}
    sets |= {"evalplus/mbppplus": [MBPP_PLUS], "google-research-datasets/mbpp": [MBPP]}

    def read_hub(hub_id, split, config=None):
        return ((f"{hub_id} row {n}", one) for n, one in enumerate(sets[hub_id], start=1))

    monkeypatch.setattr("acecoder_jax.data._rows.read_hub", read_hub)
    assert {*benchmarks.make("humaneval").scores} == {"humaneval", "humaneval_plus"}
    assert {*benchmarks.make("humaneval", plus=False).scores} == {"humaneval"}
    assert {*benchmarks.make("mbpp").scores} == {"mbpp", "mbpp_plus"}
    assert [task.id for task in benchmarks.make("mbpp", plus=False).tasks] == ["Mbpp/460"]


def test_the_original_mbpp(tmp_path, sandbox):
    bench = benchmarks.make("mbpp", path=file(tmp_path, MBPP, TREE, MBPP | {"task_id": 700}))
    assert bench.scores == {"mbpp": ("base",)} and bench.sandbox["allow_inside"]
    tree, extract = bench.tasks  # by number, of the test split
    assert (tree.id, extract.id) == ("Mbpp/367", "Mbpp/460")
    # A function with a class's name is judged on values all the same.
    (verdict,) = sandbox.score(extract.jobs("def Extract(lst):\n    return [one[0] for one in lst]", "a").values())
    assert verdict.passed and verdict.mode == "values"
    assert passed(sandbox, extract, "def Extract(lst): return lst") == {"base": False}
    assert passed(sandbox, extract, "def extract(lst): return [one[0] for one in lst]") == {"base": False}
    assert passed(sandbox, tree, bench.program(tree, tree.solution)) == {"base": True}
    (other,) = benchmarks.make("mbpp", path=file(tmp_path, MBPP | {"task_id": 700}), split="train").tasks
    assert other.id == "Mbpp/700"


def test_the_table_of_mbpp_plus(tmp_path, sandbox):
    bench = benchmarks.make("mbpp", path=file(tmp_path, MBPP_PLUS))
    (task,) = bench.tasks
    assert task.id == "Mbpp/769" and task.statement == (
        '"""\nWrite a function to get the difference of two lists.\n'
        'assert sorted(Diff([10, 15, math.floor(20.5)], [15])) == [10, 20]\n"""\n'
    )
    assert passed(sandbox, task, task.solution) == {"base": True, "plus": True}
    other = "def Diff(a, b): return sorted({*a} ^ {*b}, key=str, reverse=True)"
    assert passed(sandbox, task, other) == {"base": True, "plus": True}
    lists = "def Diff(a, b): return sorted(list(one) if type(one) is tuple else one for one in {*a} ^ {*b})"
    assert passed(sandbox, task, lists) == {"base": True, "plus": False}
    assert bench.scores == {"mbpp": ("base",), "mbpp_plus": ("plus",)}
    assert benchmarks.make("mbpp", path=file(tmp_path, MBPP_PLUS), plus=False).scores == {"mbpp": ("base",)}


def test_the_base_tests_of_the_table_are_judged_as_evalplus_does(tmp_path, sandbox):
    """A float out by a billionth passes, as does any answer where EvalPlus takes any."""
    half = MBPP_PLUS | {
        "task_id": 800, "code": "def half(x):\n    return x / 3", "test_list": ["assert half(1.0) == 1.0 / 3"],
    }  # fmt: skip
    tests = MBPP_PLUS["test"].replace("[[[10, 15, 20], [15]], [[1, (2, 3)], []]]", "[[1.0], [2.5]]")
    half["test"] = tests.replace("Diff", "half")
    (task,) = benchmarks.make("mbpp", path=file(tmp_path, half)).tasks
    assert passed(sandbox, task, "def half(x): return x / 3 + 1e-9") == {"base": True, "plus": True}
    assert passed(sandbox, task, "def half(x): return x / 3 + 1e-3") == {"base": False, "plus": False}
    same = MBPP_PLUS | {
        "task_id": 164, "code": "def are_equivalent(a, b):\n    return a == b",
        "test_list": ["assert are_equivalent(36, 57) == False"], "test": half["test"].replace("half", "are_equivalent")
        .replace("[[1.0], [2.5]]", "[[36, 57], [1, 1]]"),
    }  # fmt: skip
    (task,) = benchmarks.make("mbpp", path=file(tmp_path, same)).tasks
    assert passed(sandbox, task, "def are_equivalent(a, b): return True") == {"base": True, "plus": True}
    assert mbpp._arguments(["assert f(1, [2]) == 3", "assert set(f(-1.5)) == {1}"], "f") == "[[1, [2]], [-1.5]]"
    assert mbpp._arguments(["assert f(x) == 3"], "f") == mbpp._arguments(["assert f(f(1)) == 3"], "f") == ""
    assert mbpp._arguments(["assert f(a=1) == 3"], "f") == ""


@pytest.mark.parametrize(
    ("name", "row", "told"),
    [
        ("mbpp", MBPP | {"code": "x = 1"}, r"line 1 \(task_id 460\): no entry point"),
        ("mbpp", {name: one for name, one in MBPP.items() if name != "code"}, "line 1: the row lacks code"),
        ("mbpp", MBPP | {"test_list": ["assert Extract("]}, "is not Python"),
        ("mbpp", MBPP_PLUS | {"test_list": "assert"}, "test_list must be a list of texts"),
        (
            "mbpp",
            MBPP_PLUS | {"test": BAD_TOLERANCE},
            r"line 1 \(\d+\): the tolerance of its assertion must be a number",
        ),
        ("humaneval", {name: one for name, one in ADD.items() if name != "test"}, "line 1: the row lacks test"),
        ("humaneval", ADD | {"prompt": "def add(x"}, "the prompt is not Python"),
        ("humaneval", ADD | {"entry_point": "a b"}, "entry_point must name a function"),
        ("humaneval", MBPP, "line 1: the row lacks prompt, canonical_solution"),
    ],
)
def test_bad_rows_are_named(name, row, told, tmp_path):
    with pytest.raises(ValueError, match=told):
        benchmarks.make(name, path=file(tmp_path, row))


def test_helpers_are_only_taken_where_there_are_some():
    assert humaneval._helpers(ADD["prompt"], "add", "") == ""
    assert "def up(s)" in humaneval._helpers(SHIFT["prompt"], "back", "")
