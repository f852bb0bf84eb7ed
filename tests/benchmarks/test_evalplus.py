"""HumanEval and MBPP in EvalPlus' forms: verdicts equal to those of evalplus 0.3.1, recorded by make_evalplus.py."""

import collections
import json
import pathlib

import pytest

from acecoder_jax import benchmarks, store
from acecoder_jax.sandbox import Limits, Sandbox
from acecoder_jax.types import Status

GOLDEN = json.loads((pathlib.Path(__file__).parents[1] / "golden" / "evalplus.json").read_text())


pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(workers=2, limits=Limits(memory_bytes=4 << 30), preload=("numpy",), quiet=True) as running:
        yield running


def judge(sandbox, samples):
    """{name: [verdict of each part]} of (name, task, program)."""
    jobs = [job for name, task, program in samples for job in task.jobs(program, name).values()]
    found = collections.defaultdict(list)
    for verdict in sorted(sandbox.score(jobs), key=lambda one: one.id):
        found[verdict.id.rpartition("/")[0]].append(verdict)
    return found


def make(name, folder, rows=None, **knobs):
    path = folder / f"{name}.jsonl"
    store.write_jsonl(path, rows or GOLDEN[name]["problems"])
    return benchmarks.make(name, path=str(path), **knobs)


@pytest.mark.parametrize("name", ["humaneval", "mbpp"])
def test_verdicts_are_those_of_evalplus(name, tmp_path, sandbox):
    bench = make(name, tmp_path)
    assert bench.scores == {name: ("base",), f"{name}_plus": ("base", "plus")}
    tasks = {task.id: task for task in bench.tasks}
    samples = {sample: (task, program, base, plus) for sample, task, program, base, plus in GOLDEN[name]["samples"]}
    found = judge(sandbox, [(sample, tasks[task], program) for sample, (task, program, *_) in samples.items()])
    different = {}
    for sample, (_, _, *theirs) in samples.items():
        assert all(one.mode == "values" and not one.infra for one in found[sample])
        if [one.passed for one in found[sample]] != theirs:
            different[sample] = theirs, [(one.statuses, one.messages) for one in found[sample]]
    assert not different
    passed = [all(theirs) for *_, base, plus in GOLDEN[name]["samples"] for theirs in [(base, plus)]]
    assert 0.2 < sum(passed) / len(passed) < 0.8  # the record has something to say


def test_find_zero_passes_where_it_is_asked_for(tmp_path, sandbox):
    rows = [row for row in GOLDEN["humaneval"]["problems"] if row["task_id"] == "HumanEval/32"]
    (strict,), (counting,) = (make("humaneval", tmp_path, rows, count_find_zero=on).tasks for on in (False, True))
    wrong = "def find_zero(xs):\n    return 0.5"
    samples = [("a", strict, strict.solution), ("b", counting, counting.solution), ("c", counting, wrong)]
    found = judge(sandbox, samples)
    assert [[one.passed for one in found[name]] for name in "abc"] == [[False] * 2, [True] * 2, [False] * 2]
    assert "evalplus 0.3" in found["a"][0].messages[0]


SLOW = """
from time import process_time

def work(n):
    end = process_time() + n
    while process_time() < end: pass
    return n
"""


def row(name="work", code=SLOW, base=((0,),), plus=((0,),), **more):
    return {
        "task_id": "HumanEval/0", "prompt": f"def {name}(n):\n", "entry_point": name, "canonical_solution": code,
        "base_input": [list(one) for one in base], "plus_input": [list(one) for one in plus], "atol": 0, **more,
    }  # fmt: skip


def solve(tmp_path, sandbox, one, program):
    (task,) = make("humaneval", tmp_path, [one]).tasks
    return judge(sandbox, [("a", task, program)])["a"]


def test_an_input_has_a_second_and_four_times_what_the_reference_takes(tmp_path, sandbox):
    one = row(prompt="", base=[[0], [0]], plus=[[0.4], [0]])
    base, plus = (part.limits for part in make("humaneval", tmp_path, [one]).tasks[0].parts.values())
    assert (base.step_s, base.test_s, base.program_s) == (1.0, 3.0, 61.0)
    assert 1.6 <= plus.step_s < 2.5 and plus.test_s == pytest.approx(plus.step_s + 2.0)
    base, plus = solve(tmp_path, sandbox, one, SLOW.replace("+ n", "+ 0.6"))
    assert base.passed and plus.passed  # 0.6 s each, though 1.2 s in all
    base, plus = solve(tmp_path, sandbox, one, SLOW.replace("+ n", "+ 1.2"))
    assert base.statuses == (Status.TIMEOUT,) and plus.passed


def test_inputs_that_fill_several_tests(tmp_path, sandbox):
    texts = [[str(n) * 9 + "".join(chr(60 + (n * k * k) % 997) for k in range(3000))] for n in range(100)]
    one = row("size", "    return len(n) / 7 if len(n) % 2 else len(n) // 2\n", plus=texts, base=[["ab"]])
    (task,) = make("humaneval", tmp_path, [one]).tasks
    tests = task.parts["plus"].tests
    assert 1 < len(tests) < 10 and all(f", {first})" in test for test, first in zip(tests, ["0"], strict=False))
    numbers = [int(test.rpartition(", ")[2].rstrip(")")) for test in tests]
    assert numbers == sorted(set(numbers)) and numbers[0] == 0
    right = judge(sandbox, [("a", task, task.solution)])["a"][1]
    assert right.passed, right.messages
    last = f"def size(n):\n    return 0 if n.startswith('99') else {'len(n) / 7 if len(n) % 2 else len(n) // 2'}"
    wrong = judge(sandbox, [("a", task, last)])["a"][1]
    assert wrong.statuses.count(Status.FAIL) >= 1 and any("input 99: got 0" in told for told in wrong.messages)


def test_a_result_larger_than_the_sandbox_carries_at_once(tmp_path, sandbox):
    one = row("written", "    return ' '.join(map(str, range(n)))\n", plus=[[900_000], [3]])
    base, plus = solve(tmp_path, sandbox, one, "def written(n): return ' '.join(str(k) for k in range(n))")
    assert base.passed and plus.passed, plus.messages
    base, plus = solve(tmp_path, sandbox, one, "def written(n): return ' '.join(str(k) for k in range(n))[:5_000_000]")
    assert base.passed and plus.statuses == (Status.FAIL,)


def test_a_part_without_inputs_passes(tmp_path, sandbox):
    assert all(one.passed for one in solve(tmp_path, sandbox, row(plus=[], prompt=""), SLOW))


def test_names_of_python_that_a_program_has_taken(tmp_path, sandbox):
    one = row("double", "    return [n] * 2\n", plus=[["x"]])
    program = "len = str = list = tuple = type = isinstance = None\ndef double(n): return [n, n]"
    assert all(found.passed for found in solve(tmp_path, sandbox, one, program))


def test_results_of_references_are_kept(tmp_path, capsys):
    rows = [row("twice", "    return 2 * n\n")]
    first = make("humaneval", tmp_path, rows)
    assert "running 1 reference programs" in capsys.readouterr().err
    assert make("humaneval", tmp_path, rows).tasks == first.tasks
    assert capsys.readouterr().err == ""
    rows[0]["plus_input"].append([7])
    assert make("humaneval", tmp_path, rows).tasks != first.tasks
    assert "running" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"canonical_solution": "    return 1 / n\n"}, "HumanEval/0: error: ZeroDivisionError"),
        ({"entry_point": "other"}, "HumanEval/0: error: KeyError"),
        ({"entry_point": ""}, r"line 1 \(HumanEval/0\): entry_point must name a function, not ''"),
        ({"entry_point": None}, "entry_point must name a function"),
        ({"plus_input": None}, "line 1: the row lacks plus_input"),
        ({"atol": None}, "lacks atol"),
        ({"atol": "1"}, "atol must be a number"),
        ({"atol": -1}, r"line 1 \(HumanEval/0\): atol must be a number from 0 on, not -1"),
        ({"base_input": [1]}, "base_input must be a list of lists"),
        ({"prompt": 3}, "prompt must be a text"),
    ],
)
def test_bad_rows_are_named(change, told, tmp_path):
    with pytest.raises(ValueError, match=told):
        make("humaneval", tmp_path, [row("twice", "    return 2 * n\n") | change])


@pytest.mark.parametrize(("task_id", "inputs"), [("Mbpp/x", [[3]]), ("Mbpp/2", [[3]]), ("Mbpp/75", [[]])])
def test_inputs_that_are_not_those_of_their_problem_are_named(task_id, inputs, tmp_path):
    bad = row("twice", "    return 2 * n\n", base=inputs) | {"task_id": task_id}
    with pytest.raises(ValueError, match=rf"line 1 \({task_id}\): the inputs are not those of the problem"):
        make("mbpp", tmp_path, [bad])


def test_time_limits_of_the_machine_are_marked(tmp_path):
    (task,) = make("humaneval", tmp_path, [row("twice", "    return 2 * n\n")]).tasks
    assert all(part.timed for part in task.parts.values())


def test_mixed_and_repeated_rows_are_named(tmp_path):
    good = row("twice", "    return 2 * n\n")
    with pytest.raises(ValueError, match=r"line 2: task_id 'HumanEval/0' stands at .* line 1 too"):
        make("humaneval", tmp_path, [good, good])
    other = {"task_id": "HumanEval/1", "prompt": "", "canonical_solution": "", "entry_point": "f", "test": ""}
    with pytest.raises(ValueError, match=r"line 2: .*EvalPlus' release"):
        make("humaneval", tmp_path, [good, other])
    with pytest.raises(FileNotFoundError, match=r"nothing\.jsonl"):
        benchmarks.make("humaneval", path=str(tmp_path / "nothing.jsonl"))
