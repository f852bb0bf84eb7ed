"""BigCodeBench: its rows, its prompts, the way back, and verdicts as its own package gave them."""

import json
from pathlib import Path

import pytest

from acecoder_jax import benchmarks, prompts
from acecoder_jax.benchmarks import Answer, bigcodebench
from acecoder_jax.sandbox import Sandbox, SandboxError
from tests.benchmarks.bigcode_sample import FILES, RULES, SAMPLES, STATISTICS, TIMEOUT_S

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "bigcodebench.json").read_text())


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write(tmp_path_factory.mktemp("bigcode") / "rows.jsonl", *(sample.row() for sample in SAMPLES))


@pytest.fixture(scope="module")
def bench(path):
    return benchmarks.make("bigcodebench", path=path, timeout_s=TIMEOUT_S)


@pytest.fixture(scope="module")
def verdicts(bench):
    """{(task, program): Verdict}, of all the programs."""
    of = {task.id: task for task in bench.tasks}
    jobs = [
        job
        for sample in SAMPLES
        for name, program in sample.programs.items()
        for job in of[f"BigCodeBench/{sample.id}"].jobs(program, f"{sample.id}|{name}").values()
    ]
    try:
        with Sandbox(workers=2, stop="failure", quiet=True, **bench.sandbox) as sandbox:
            found = {verdict.id.removesuffix("/tests"): verdict for verdict in sandbox.score(jobs)}
    except SandboxError as error:
        pytest.skip(str(error))
    return {(sample.id, name): found[f"{sample.id}|{name}"] for sample in SAMPLES for name in sample.programs}


# ---- verdicts


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.id)
def test_verdicts_are_those_of_the_package(sample, verdicts):
    assert GOLDEN["package"] == "bigcodebench 0.2.5"
    recorded = GOLDEN["passed"][sample.id]
    assert recorded.keys() == sample.programs.keys(), "tests/golden/make_bigcodebench.py records them anew"
    ours = {name: verdicts[sample.id, name] for name in sample.programs}
    others = {name: ours[name].messages for name in ours if ours[name].passed != recorded[name]}
    assert not others
    assert ours["canonical"].passed


def test_no_program_breaks_the_sandbox_and_all_say_that_they_could_be_fooled(verdicts):
    assert all(verdict.mode == "inside" and not verdict.infra for verdict in verdicts.values())


def test_what_went_wrong_is_told(verdicts):
    assert verdicts[STATISTICS.id, "a loop without end"].statuses == ("timeout",)
    assert verdicts[RULES.id, "a sleep past the time"].statuses == ("timeout",)
    assert verdicts[STATISTICS.id, "os._exit at the top"].statuses == ("crash",)
    assert verdicts[STATISTICS.id, "a float out of tolerance"].messages[0].startswith("test_mean: AssertionError")


# ---- rows


def test_tasks(bench, path):
    assert bench.name == "bigcodebench_complete" and [*bench.scores] == ["bigcodebench_complete"]
    assert [task.id for task in bench.tasks] == [f"BigCodeBench/{sample.id}" for sample in SAMPLES]
    task = bench.tasks[0]
    assert task.solution.count("def task_func") == 1 and task.solution.endswith(STATISTICS.body)
    (job,) = task.jobs("x = 1", "a").values()
    assert job.profile == "library" and job.limits.test_s == TIMEOUT_S
    assert "def task_func(values, bins=3):\\n    pass\\nx = 1" in job.program
    (bare,) = benchmarks.make("bigcodebench", path=path, calibrate=False).tasks[0].jobs("x = 1", "a").values()
    assert bare.program.endswith("bigcodebench_code = 'x = 1'\n") and bare.limits.test_s == 240


def test_the_digest_is_of_what_judges(path, monkeypatch):
    made = [benchmarks.make("bigcodebench", path=path, calibrate=calibrate) for calibrate in (True, True, False)]
    digests = [[task.digest for task in bench.tasks] for bench in made]
    assert digests[0] == digests[1] and not set(digests[0]) & set(digests[2])
    assert len(set(digests[0])) == len(SAMPLES)
    timed = benchmarks.make("bigcodebench", path=path, timeout_s=9.0).tasks
    monkeypatch.setattr(bigcodebench, "_harness", lambda: "another")
    harness = benchmarks.make("bigcodebench", path=path).tasks
    for tasks in (timed, harness):
        assert not set(digests[0]) & {task.digest for task in tasks}


def test_the_libraries_are_those_that_tasks_import(bench):
    library = bench.sandbox["library"]
    assert {"numpy", "pandas"} <= set(library.packages) and "pytest" not in library.packages
    assert library.preload == ("numpy", "pandas") and library.threads and library.loopback


def test_names_of_splits_and_subsets(path):
    made = [
        benchmarks.make("bigcodebench", path=path, split=split, subset=subset)
        for split in ("complete", "instruct")
        for subset in ("full", "hard")
    ]
    names = "bigcodebench_complete bigcodebench_complete_hard bigcodebench_instruct bigcodebench_instruct_hard"
    assert [bench.name for bench in made] == names.split()


@pytest.mark.parametrize("knob", ["split", "subset", "missing"])
def test_unknown_words(path, knob):
    with pytest.raises(ValueError, match=f"{knob} is one of .*, not 'other'"):
        benchmarks.make("bigcodebench", path=path, **{knob: "other"})


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"test": None}, "line 2.*lacks test"),
        ({"code_prompt": None}, "line 2.*lacks code_prompt"),
        ({"complete_prompt": 3}, "line 2.*9002.*complete_prompt must be a text"),
        ({"entry_point": "f()"}, "line 2.*9002.*entry_point must name a function"),
        ({"test": "import unittest"}, "line 2.*9002.*no class TestCases"),
        ({"task_id": "BigCodeBench/9001"}, "line 2.*9001' appears twice"),
    ],
)
def test_bad_rows(tmp_path, changes, told):
    path = write(tmp_path / "rows.jsonl", STATISTICS.row(), FILES.row() | changes)
    with pytest.raises(ValueError, match=told):
        benchmarks.make("bigcodebench", path=path)


def test_no_rows_and_no_file(tmp_path):
    with pytest.raises(ValueError, match="has no rows"):
        benchmarks.make("bigcodebench", path=write(tmp_path / "rows.jsonl"))
    with pytest.raises(FileNotFoundError):
        benchmarks.make("bigcodebench", path=str(tmp_path / "others.jsonl"))


def test_missing_packages_are_refused_or_left_out(tmp_path):
    row = STATISTICS.row()
    row["test"] = f"import no_such_package.part\nfrom . import nothing\n{row['test']}"
    path = write(tmp_path / "rows.jsonl", row, FILES.row())
    with pytest.raises(ValueError, match=r"no_such_package \(1\)"):
        benchmarks.make("bigcodebench", path=path)
    assert "numpy" in benchmarks.make("bigcodebench", path=path, missing="fail").sandbox["library"].packages


# ---- prompts and the way back


def test_prompts(bench, path):
    task = bench.tasks[0]
    chat = bench.prompt(task, "chat")
    assert f"```\n{task.statement.strip()}\n```" in chat.messages[0]["content"]
    assert chat.start == prompts.PROGRAM_START and "\nif __name__" in chat.stop and "\ndef " not in chat.stop
    assert "\n```\n" in chat.stop  # a second block would be taken for the program
    base = bench.prompt(task, "base")
    assert base.messages == () and base.start == task.statement and "\ndef " in base.stop
    instruct = benchmarks.make("bigcodebench", path=path, split="instruct")
    assert (
        "Do what the tests want.\n```\nimport numpy"
        in instruct.prompt(instruct.tasks[0], "chat").messages[0]["content"]
    )
    with pytest.raises(ValueError, match="base model"):
        instruct.prompt(instruct.tasks[0], "base")


def test_the_program_in_a_reply(bench):
    task = bench.tasks[0]
    reply = f"{prompts.PROGRAM_START}{STATISTICS.canonical}\n\nprint(task_func([1]))\n```\nIt works."
    assert bench.program(task, reply) == STATISTICS.canonical
    going_on = f"{task.statement}\n{STATISTICS.body}"
    assert '"""\n    Do what' in bench.program(task, going_on) and bench.program(task, going_on).endswith(
        STATISTICS.body
    )
    assert (
        bench.program(task, "Here:\n```python\ndef task_func(x):\n\treturn x\n```") == "def task_func(x):\n    return x"
    )


def test_the_official_file(bench, tmp_path):
    answers = [Answer(task.id, 0, "reply", f"x = {at}") for at, task in enumerate(bench.tasks)]
    rows = [json.loads(line) for line in bench.official(tmp_path, answers).read_text().splitlines()]
    assert rows[1] == {"task_id": "BigCodeBench/9002", "solution": "x = 1"} and len(rows) == len(SAMPLES)
