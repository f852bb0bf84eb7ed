import json

import pytest

from acecoder_jax import store
from acecoder_jax.data import acecode
from acecoder_jax.sandbox import Job, Sandbox
from acecoder_jax.stages import sample
from acecoder_jax.types import Status, Verdict
from acecoder_jax.writers import WriterError
from configs.sample import get_config
from tests.stages import curating, fake_writer
from tests.stages.fake_writer import KINDS, FakeWriter, question


@pytest.fixture(autouse=True)
def writer(monkeypatch):
    monkeypatch.setattr(sample._programs.writers, "make", fake_writer.make)
    FakeWriter.asked, FakeWriter.budgets = [], []


def config(path, argument="recipe,samples=3", **knobs):
    return curating.small(get_config(argument), path, **knobs)


def read(workdir, name):
    return store.read_jsonl(workdir / name)


def test_a_dataset_in_the_published_schema(tmp_path):
    # q1 has 6 tests of 7 that were imagined, q2 6 of 8.
    path = curating.write(tmp_path / "in.jsonl", [question(2, licence="MIT"), question(1)])
    sample.run(config(path, kinds=("good", "even", "bad")), tmp_path)
    first, second = read(tmp_path, "dataset.jsonl")
    program = {kind: text.format(name="f1", number=1) for kind, text in KINDS.items()}
    assert first == {
        "id": "q001", "source": "evol", "question": "Write f1: add it.", "test_cases": question(1)["test_cases"],
        "inferences": [
            {"model_name": "coder", "completion_id": 0, "completion": program["even"], "pass_rate": 3 / 7},
            {"model_name": "coder", "completion_id": 1, "completion": program["bad"], "pass_rate": 0.0},
            {"model_name": "coder", "completion_id": 2, "completion": program["good"], "pass_rate": 6 / 7},
        ],
        "context_messages": [[{"content": "Write f1: add it.", "role": "user"}]],
        "n_tests_all": 7, "entry_point": "f1",
    }  # fmt: skip
    assert second["licence"] == "MIT" and [one["pass_rate"] for one in second["inferences"]] == [0.0, 6 / 8, 3 / 8]
    row = read(tmp_path, "programs.jsonl")[2]
    assert row == {
        "id": "q001|coder|2", "question_id": "q001", "model_name": "coder", "completion_id": 2, "cost_usd": 0.25,
        "completion": program["good"], "pass_rate": 6 / 7, "passed": 6, "tests": 6, "n_tests_all": 7, "finish": "stop",
    }  # fmt: skip
    assert [problem.id for problem in acecode.load(tmp_path / "dataset.jsonl")] == ["q001", "q002"]
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["rows"] == 2 and results["models"]["coder"]["cost_usd"] == 1.5
    assert results["models"]["coder"]["means"]["all kept tests passed"] == pytest.approx(2 / 6)


def test_pass_rates_over_the_kept_tests_and_rows_that_do_not_say(tmp_path):
    row = question(2)
    del row["n_tests_all"]
    path = curating.write(tmp_path / "in.jsonl", [row])
    with pytest.raises(ValueError, match="no column 'n_tests_all'"):
        sample.run(config(path), tmp_path)
    sample.run(config(path, "recipe,samples=2,pass_rate_over=kept", kinds=("even", "good")), tmp_path / "kept")
    (row,) = read(tmp_path / "kept", "dataset.jsonl")
    assert [one["pass_rate"] for one in row["inferences"]] == [0.5, 1.0] and row["n_tests_all"] == 6


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"id": "a|b"}, r"the id 'a\|b' holds"),
        ({"n_tests_all": 5}, "has 5 for n_tests_all"),
        ({"test_cases": [], "n_tests_all": 0}, "has 0 for n_tests_all"),
        ({"question": 3}, "'question' is no str"),
    ],
)
def test_rows_that_will_not_do(tmp_path, more, told):
    path = curating.write(tmp_path / "in.jsonl", [question(2) | more])
    with pytest.raises(ValueError, match=told):
        sample.run(config(path), tmp_path)


def test_several_models_in_one_start_and_in_a_later_one(tmp_path):
    path = curating.write(tmp_path / "in.jsonl", [question(1), question(2)])
    settings = config(path, "recipe,samples=2,models=('x/b','x/a')", kinds=("good", "even"))
    sample.run(settings, tmp_path)
    assert len(FakeWriter.asked) == 8
    settings = config(path, "recipe,samples=1,model_names=('zed',)", kinds=("bad",))
    sample.run(settings, tmp_path)
    assert len(FakeWriter.asked) == 10
    first, _ = read(tmp_path, "dataset.jsonl")
    assert [(one["model_name"], one["completion_id"], one["pass_rate"]) for one in first["inferences"]] == [
        ("a", 0, 3 / 7), ("a", 1, 6 / 7), ("b", 2, 3 / 7), ("b", 3, 6 / 7), ("zed", 4, 0.0),
    ]  # fmt: skip
    for names in ("('a|b',)", "('a','b')"):
        with pytest.raises(ValueError, match="a name for each model"):
            sample.run(config(path, f"recipe,model_names={names}"), tmp_path)
    with pytest.raises(ValueError, match="no two alike"):
        sample.run(config(path, "recipe,models=('x/a','y/a')"), tmp_path)


def test_a_failure_of_one_model_is_not_forgotten_by_the_next(tmp_path):
    path = curating.write(tmp_path / "in.jsonl", [question(1)])
    sample.run(config(path, "recipe,samples=2,models=('x/a','x/b')", fails=("q001|1",)), tmp_path)
    failed = [("q001|a|1", 0.5), ("q001|b|1", 0.5)]
    assert [(row["id"], row["cost_usd"]) for row in read(tmp_path, "rejected.jsonl")] == failed
    FakeWriter.budgets.clear()
    sample.run(config(path, "recipe,samples=2,models=('x/b',)"), tmp_path)
    assert FakeWriter.budgets == [(0.0, 1.5)]  # two programs at 0.25 USD, two failures at 0.5
    assert [row["id"] for row in read(tmp_path, "rejected.jsonl")] == ["q001|a|1"]


def test_more_samples_and_what_failed_are_all_that_is_asked_for(tmp_path):
    path = curating.write(tmp_path / "in.jsonl", [question(1), question(2)])
    sample.run(config(path, "recipe,samples=2", fails=("q001|1",)), tmp_path)
    assert [len(row["inferences"]) for row in read(tmp_path, "dataset.jsonl")] == [1, 2]
    (rejected,) = read(tmp_path, "rejected.jsonl")
    assert rejected == {
        "id": "q001|coder|1", "question_id": "q001", "reason": "timeout", "detail": "too slow", "cost_usd": 0.5,
    }  # fmt: skip
    FakeWriter.asked.clear()
    sample.run(config(path, "recipe,samples=3"), tmp_path)
    assert FakeWriter.asked == ["q001|1", "q001|2", "q002|2"]
    assert FakeWriter.budgets == [(0.0, 0.0), (0.0, 1.25)]
    assert [row["cost_usd"] for row in read(tmp_path, "programs.jsonl")] == [0.25, 0.75, 0.25, 0.25, 0.25, 0.25]
    assert [len(row["inferences"]) for row in read(tmp_path, "dataset.jsonl")] == [3, 3]
    assert read(tmp_path, "rejected.jsonl") == []


def test_a_writer_that_stops_leaves_a_dataset_of_what_it_has_done(tmp_path):
    path = curating.write(tmp_path / "in.jsonl", [question(1), question(2)])
    with pytest.raises(WriterError, match="budget"):
        sample.run(config(path, "recipe,samples=2,models=('x/a','x/b')", stops_after=3), tmp_path)
    assert [len(row["inferences"]) for row in read(tmp_path, "dataset.jsonl")] == [2, 1]
    assert json.loads((tmp_path / "results.json").read_text())["models"]["a"]["done"] == 3
    sample.run(config(path, "recipe,samples=2,models=('x/a','x/b')"), tmp_path)
    assert len(FakeWriter.asked) == 8
    assert [len(row["inferences"]) for row in read(tmp_path, "dataset.jsonl")] == [4, 4]


def test_infra_is_masked_counted_and_tried_again(tmp_path, monkeypatch):
    submit, path = Sandbox.submit, curating.write(tmp_path / "in.jsonl", [question(1), question(2)])

    def breaks(self, job: Job):
        future = submit(self, job)
        if job.id in ("q001|0", "q002|1"):
            future.result()
            broken = type(future)()
            broken.set_result(Verdict(job.id, (Status.PASS, *[Status.INFRA] * 5), ("", *["the worker died"] * 5)))
            return broken
        return future

    with monkeypatch.context() as patched:
        patched.setattr(Sandbox, "submit", breaks)
        sample.run(config(path, "recipe,samples=2"), tmp_path)
    found = [[one["pass_rate"] for one in row["inferences"]] for row in read(tmp_path, "dataset.jsonl")]
    assert found == [[6 / 7], [6 / 8]]
    results = json.loads((tmp_path / "results.json").read_text())["models"]["coder"]
    assert results["rejected"] == {"infra": 2} and results["means"]["pass rate"] == (6 / 7 + 6 / 8) / 2
    FakeWriter.asked.clear()
    sample.run(config(path, "recipe,samples=2"), tmp_path)
    assert FakeWriter.asked == ["q001|0", "q002|1"]
    assert [len(row["inferences"]) for row in read(tmp_path, "dataset.jsonl")] == [2, 2]


def test_questions_that_changed_are_told(tmp_path):
    path = curating.write(tmp_path / "in.jsonl", [question(1)])
    sample.run(config(path), tmp_path)
    curating.write(path, [question(1, wrong=1)])
    with pytest.raises(ValueError, match=r"'q001\|coder\|0' was judged by 6 of 7 tests, but the question has 7 of 8"):
        sample.run(config(path), tmp_path)


@pytest.mark.parametrize("style", ["started", "plain"])
def test_a_killed_run_goes_on_and_ends_the_same(tmp_path, style):
    path = curating.write(tmp_path / "in.jsonl", [question(number) for number in range(6)])
    settings = config(path, kinds=("good", "even", "bad", "late"), style=style)
    sample.run(settings, tmp_path / "whole")
    slow = config(path, kinds=("good", "even", "bad", "late"), style=style, slow_s=0.04)
    done = curating.kill_after(5, "sample", slow, tmp_path / "killed", "programs.jsonl")
    assert 5 <= len(done) < 18 and not (tmp_path / "killed" / "dataset.jsonl").exists()
    FakeWriter.asked.clear()
    sample.run(settings, tmp_path / "killed")
    asked = [key.replace("|", "|coder|") for key in FakeWriter.asked]
    assert sorted(asked + done) == sorted(sample.program_id(f"q{n:03}", "coder", k) for n in range(6) for k in range(3))
    for name in ("programs.jsonl", "dataset.jsonl", "rejected.jsonl", "results.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
