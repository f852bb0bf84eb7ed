import json

import pytest

from acecoder_jax import benchmarks, prompts
from acecoder_jax.benchmarks import Answer
from acecoder_jax.data import toy
from acecoder_jax.sandbox import Limits, Sandbox

ROWS = [
    {
        "id": "evol_1", "source": "evol", "question": "Write add(a, b).",
        "test_cases": ["assert add(1, 2) == 3", "assert add(0, 0) == 0"],
    },
    {
        "id": "oss_2", "source": "oss", "question": 'Say """hi""" \\n.', "test_cases": ["assert hi() == 1"],
        "entry_point": "hi",
    },
]  # fmt: skip


def write(path, rows=ROWS):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def judged(bench, programs):
    """Whether each program passes its task, by the sandbox that the benchmark wants."""
    with Sandbox(workers=1, limits=Limits(**bench.sandbox["limits"]), quiet=True) as sandbox:
        jobs = [bench.tasks[n].jobs(program, str(n)) for n, program in programs]
        return [{part: sandbox.submit(job).result().passed for part, job in parts.items()} for parts in jobs]


def test_a_file_in_acecodes_schema(tmp_path):
    bench = benchmarks.make("acecode", path=write(tmp_path / "a.jsonl"), test_s=0.5, program_s=2.0)
    assert (bench.name, bench.scores) == ("acecode", {"acecode": ("tests",)})
    assert [task.id for task in bench.tasks] == ["evol_1", "oss_2"]
    assert bench.tasks[1].parts["tests"].entry_point == "hi" and bench.tasks[0].statement == "Write add(a, b)."
    assert bench.sandbox == {"limits": {"test_s": 0.5, "program_s": 2.0}}
    good, bad = "def add(a, b): return a + b", "def add(a, b): return a - b"
    assert judged(bench, [(0, good), (0, bad)]) == [{"tests": True}, {"tests": False}]
    other = benchmarks.make("acecode", path=tmp_path / "a.jsonl", label="evol")
    assert (other.name, other.scores) == ("evol", {"evol": ("tests",)})


def test_how_it_asks_and_what_it_reads(tmp_path):
    path = write(tmp_path / "a.jsonl")
    bench = benchmarks.make("acecode", path=path)
    first, second = bench.tasks
    prompt = bench.prompt(first, "chat")
    assert (prompt.messages, prompt.start, prompt.stop) == (({"role": "user", "content": "Write add(a, b)."},), "", ())
    fenced = "Sure:\n```python\ndef add(a, b):\n    return a + b\n```\nUse it."
    assert bench.program(first, fenced) == "def add(a, b):\n    return a + b"
    base = bench.prompt(second, "base")
    assert base.messages == () and base.start == "\"\"\"\nSay '''hi''' \\\\n.\n\"\"\"\n" and "\nassert " in base.stop
    assert bench.program(second, base.start + "def hi():\n    return 1") == base.start + "def hi():\n    return 1"
    compile(base.start, "start", "exec")
    shown = benchmarks.make("acecode", path=path, shown_tests=1)
    prompt = shown.prompt(first, "chat")
    assert prompt.messages[0]["content"] == prompts.program_request(first.statement, ["assert add(1, 2) == 3"])
    begun = f"{prompt.start}def add(a, b):\n    return 3\n```\nOr so:\n```python\nx = 1\n```"
    assert prompt.start == prompts.PROGRAM_START and shown.program(first, begun) == "def add(a, b):\n    return 3"


def test_a_question_with_a_block_of_its_own_is_not_the_answer(tmp_path):
    row = ROWS[0] | {"question": "Write add as in\n```python\nadd(1, 2)\n```"}
    bench = benchmarks.make("acecode", path=write(tmp_path / "a.jsonl", [row]))
    (task,) = bench.tasks
    start = bench.prompt(task, "base").start
    assert bench.program(task, start + "def add(a, b): return a + b").endswith('"""\ndef add(a, b): return a + b')


def test_the_official_file(tmp_path):
    bench = benchmarks.make("acecode", path=write(tmp_path / "a.jsonl"))
    path = bench.official(tmp_path / "official", [Answer("evol_1", 0, "reply", "x = 1"), Answer("evol_1", 1, "r", "y")])
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"task_id": "evol_1", "solution": "x = 1"}, {"task_id": "evol_1", "solution": "y"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([{key: value for key, value in ROWS[0].items() if key != "test_cases"}], "line 1 .*lacks test_cases"),
        ([ROWS[0] | {"test_cases": []}], "the problem 'evol_1' has no test"),
        ([ROWS[0], ROWS[0]], "line 2 .*the id appears twice"),
        ([], "'acecode' has no problem"),
    ],
)
def test_data_that_will_not_do(tmp_path, rows, told):
    with pytest.raises(ValueError, match=told):
        benchmarks.make("acecode", path=write(tmp_path / "a.jsonl", rows))


def test_knobs_that_will_not_do(tmp_path):
    with pytest.raises(ValueError, match="shown_tests is -1"):
        benchmarks.make("acecode", path=write(tmp_path / "a.jsonl"), shown_tests=-1)
    with pytest.raises(ValueError, match="the benchmark 'toy' takes split, seed, count, not path"):
        benchmarks.make("toy", path="x")
    with pytest.raises(ValueError, match="unknown benchmark 'toys'; acecoder_jax/benchmarks has acecode"):
        benchmarks.make("toys")
    with pytest.raises(FileNotFoundError):
        benchmarks.make("acecode", path=tmp_path / "nothing.jsonl")


def test_the_toy_problems_pass_with_their_solutions_and_with_no_other_program():
    bench, problems = benchmarks.make("toy", count=32), toy.load("heldout", 0, 32)
    assert [task.solution for task in bench.tasks] == [problem.solution for problem in problems]
    right, *wrong = ([(n, toy.programs(one)[which]) for n, one in enumerate(problems)] for which in range(3))
    assert judged(bench, right) == [{"tests": True}] * 32
    assert judged(bench, [one for programs in wrong for one in programs]) == [{"tests": False}] * 64
