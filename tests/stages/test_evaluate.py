import dataclasses
import json

import pytest

from acecoder_jax import benchmarks, prompts, store, writers
from acecoder_jax.benchmarks import Part, Task
from acecoder_jax.sandbox import Limits, Sandbox
from acecoder_jax.stages import _answers, evaluate
from acecoder_jax.types import Status, Verdict
from acecoder_jax.writers import WriterError
from configs.evaluate import get_config
from tests.stages import evaluating
from tests.stages.evaluating import PROBLEMS, ToyWriter, program, two_parts


@pytest.fixture(autouse=True)
def _writer(monkeypatch):
    monkeypatch.setattr(evaluate.writers, "make", evaluating.make)
    ToyWriter.asked = []


def config(argument="tiny", **knobs):
    return evaluating.toys(get_config(argument), **knobs)


def results(workdir):
    return json.loads((workdir / "results.json").read_text())


def answers(workdir):
    return store.read_jsonl(workdir / "answers.jsonl")


def test_the_scores_of_a_model_its_answers_and_the_official_file(tmp_path):
    evaluate.run(config(right=(True, False, False, False)), tmp_path)
    (name, score), *others = results(tmp_path).items()
    assert name == "toy" and not others
    stderr = score.pop("stderr")
    assert score == {"pass@1": 0.25, "n": 8, "answers": 8, "truncated": 0, "missing": 0}
    assert stderr == pytest.approx((0.25 * 0.75 / 8) ** 0.5, rel=0.05)  # of a share, by the binomial formula
    rows = {row["task"]: row for row in answers(tmp_path)}
    right, wrong = rows[PROBLEMS[0].id], rows[PROBLEMS[1].id]
    assert right["id"] == f"toy|{PROBLEMS[0].id}|0" and right["sample"] == 0 and right["cost_usd"] == 0.25
    assert right["program"] == program(PROBLEMS[0].id, True) and "Here it is" in right["reply"]
    assert right["passed"] == {"toy": True} and right["statuses"] == {"tests": ["pass"] * 5}
    assert right["modes"] == {"tests": "values"} and (right["finish"], right["tokens"]) == ("stop", 20)
    assert wrong["passed"] == {"toy": False} and wrong["message"]
    official = store.read_jsonl(tmp_path / "official" / "toy" / "samples.jsonl")
    assert official == [{"task_id": one.id, "solution": rows[one.id]["program"]} for one in PROBLEMS]
    table = [line.split("\t") for line in (tmp_path / "problems.tsv").read_text().splitlines()]
    assert table[0] == ["score", "task", "answers", "passed", "status", "message"]
    assert table[1] == ["toy", PROBLEMS[0].id, "1", "1", "pass", ""]
    assert table[2][:4] == ["toy", PROBLEMS[1].id, "1", "0"] and table[2][4] in ("fail", "error") and len(table) == 9


def test_greedy_asks_without_noise_and_samples_have_their_own(tmp_path):
    evaluate.run(config(), tmp_path / "greedy")
    assert {(request.temperature, request.seed) for request in ToyWriter.asked} == {(0.0, None)}
    ToyWriter.asked = []
    evaluate.run(config("tiny,samples=4,temperature=0.8", count=2), tmp_path / "sampled")
    assert len({request.seed for request in ToyWriter.asked}) == 8
    with pytest.raises(ValueError, match="several only above temperature 0"):
        evaluate.run(config("tiny,samples=2"), tmp_path / "none")


def test_pass_at_k_over_samples(tmp_path):
    # Of four answers each problem has two right ones: 1 - C(2, 2) / C(4, 2) of drawing one of them in two.
    evaluate.run(config("tiny,samples=4,temperature=1,pass_at=(2,5)", right=(True, False)), tmp_path)
    score = results(tmp_path)["toy"]
    assert score["pass@1"] == 0.5 and score["pass@2"] == pytest.approx(5 / 6) and "pass@5" not in score
    assert score["stderr"] == pytest.approx(0.0) == score["stderr@2"] and (score["n"], score["answers"]) == (8, 32)
    ToyWriter.asked = []
    more = config("tiny,samples=5,temperature=1,pass_at=(2,5)", right=(True, False))
    evaluate.run(more, tmp_path)
    assert len(ToyWriter.asked) == 8 and results(tmp_path)["toy"]["pass@5"] == 1.0


def test_which_pass_at_k_is_left_out_is_told(tmp_path, capsys):
    argument, short = "tiny,samples=3,temperature=1,pass_at=(1,3,5)", PROBLEMS[2].id
    evaluate.run(config(argument, fails=(f"toy|{short}|0",)), tmp_path)
    told = f"toy: no pass@3, pass@5: 1 of 8 problems, {short} for one, have only 2 answers (3 wanted)"
    assert told in capsys.readouterr().out and "pass@3" not in results(tmp_path)["toy"]
    evaluate.run(config(argument), tmp_path)
    assert "toy: no pass@5: 8 of 8" in capsys.readouterr().out and "pass@3" in results(tmp_path)["toy"]
    evaluate.run(config("tiny"), tmp_path / "greedy")
    assert "no pass@" not in capsys.readouterr().out


def test_numbers_that_will_not_do(tmp_path):
    for bad in ("0", "2.5", "-1", "True"):
        with pytest.raises(ValueError, match=rf"config\.pass_at: .*, not {bad}"):
            evaluate.run(config(f"tiny,pass_at=(1,{bad})"), tmp_path)
    with pytest.raises(ValueError, match=r"config\.first=-1: it counts"):
        evaluate.run(config("tiny,first=-1"), tmp_path)


def test_an_error_in_the_middle_leaves_the_scores_of_what_there_is(tmp_path, monkeypatch):
    make, broken = benchmarks.make, PROBLEMS[3].id

    class Unreadable(dict):
        """Has its part, and cannot be run."""

        def items(self):
            if ToyWriter.asked:
                raise ValueError("line 4: the tests cannot be read")
            return super().items()

    def damaged(name, **knobs):
        bench = make(name, **knobs)
        tasks = [dataclasses.replace(t, parts=Unreadable(t.parts)) if t.id == broken else t for t in bench.tasks]
        return dataclasses.replace(bench, tasks=tuple(tasks))

    with monkeypatch.context() as patched:
        patched.setattr(benchmarks, "make", damaged)
        with pytest.raises(ValueError, match="line 4: the tests cannot be read"):
            evaluate.run(config(slow_s=0.2), tmp_path)
    score = results(tmp_path)["toy"]
    assert 1 <= score["n"] <= 3 and score["n"] + score["missing"] == 8 and (tmp_path / "problems.tsv").exists()
    evaluate.run(config(), tmp_path)
    assert results(tmp_path)["toy"]["missing"] == 0


def test_official_files_of_an_earlier_start_go_where_answers_are_missing(tmp_path):
    evaluate.run(config("tiny,first=3"), tmp_path)
    assert (tmp_path / "official" / "toy" / "samples.jsonl").exists()
    evaluate.run(config(fails=(f"toy|{PROBLEMS[5].id}|0",)), tmp_path)
    assert not (tmp_path / "official" / "toy").exists()


def test_a_part_of_the_problems(tmp_path):
    evaluate.run(config("tiny,first=3", right=(True, False)), tmp_path)
    assert [row["task"] for row in answers(tmp_path)] == sorted(one.id for one in PROBLEMS[:3])
    assert results(tmp_path)["toy"]["n"] == 3


def test_a_killed_run_goes_on_and_ends_the_same(tmp_path):
    argument = "tiny,samples=3,temperature=1"
    settings = config(argument, right=(True, False, False))
    evaluate.run(settings, tmp_path / "whole")
    done = evaluating.kill_after(5, config(argument, right=(True, False, False), slow_s=0.05), tmp_path / "killed")
    assert 5 <= len(done) < 24 and not (tmp_path / "killed" / "results.json").exists()
    ToyWriter.asked = []
    evaluate.run(settings, tmp_path / "killed")
    assert sorted([request.key for request in ToyWriter.asked] + done) == [
        row["id"] for row in answers(tmp_path / "whole")
    ]
    for name in ("answers.jsonl", "results.json", "problems.tsv", "official/toy/samples.jsonl"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_what_failed_is_missing_and_asked_for_again(tmp_path, capsys):
    failing = f"toy|{PROBLEMS[2].id}|0"
    evaluate.run(config(fails=(failing,)), tmp_path)
    score = results(tmp_path)["toy"]
    assert (score["pass@1"], score["n"], score["missing"]) == (1.0, 7, 1)
    assert not (tmp_path / "official").exists() and "1 answers are missing" in capsys.readouterr().out
    ToyWriter.asked = []
    evaluate.run(config(), tmp_path)
    assert [request.key for request in ToyWriter.asked] == [failing]
    assert results(tmp_path)["toy"]["missing"] == 0 and (tmp_path / "official").exists()
    assert next(row for row in answers(tmp_path) if row["id"] == failing)["cost_usd"] == 0.75


def test_a_writer_that_stops_leaves_the_scores_of_what_there_is(tmp_path):
    with pytest.raises(WriterError, match="budget"):
        evaluate.run(config(stops_after=3), tmp_path)
    assert (results(tmp_path)["toy"]["n"], results(tmp_path)["toy"]["missing"]) == (3, 5)
    evaluate.run(config(), tmp_path)
    assert results(tmp_path)["toy"]["n"] == 8 and len(ToyWriter.asked) == 8


def test_what_the_sandbox_could_not_judge_is_no_failure(tmp_path, monkeypatch):
    submit, broken = Sandbox.submit, f"toy|{PROBLEMS[1].id}|0/tests"

    def breaks(self, job):
        future = submit(self, job)
        if job.id == broken:
            future.result()
            future = type(future)()
            future.set_result(Verdict(job.id, (Status.INFRA,) * 5, ("the worker died",) * 5))
        return future

    with monkeypatch.context() as patched:
        patched.setattr(Sandbox, "submit", breaks)
        evaluate.run(config(), tmp_path)
    assert (results(tmp_path)["toy"]["n"], results(tmp_path)["toy"]["missing"]) == (7, 1)
    (row,) = store.read_jsonl(tmp_path / "rejected.jsonl")
    assert (row["reason"], row["detail"]) == ("infra", "the worker died")
    evaluate.run(config(), tmp_path)
    assert results(tmp_path)["toy"]["missing"] == 0


def test_answers_cut_at_their_length_are_counted_as_what_they_are(tmp_path):
    evaluate.run(config(finish="length"), tmp_path)
    assert (results(tmp_path)["toy"]["pass@1"], results(tmp_path)["toy"]["truncated"]) == (1.0, 8)


# ---- benchmarks of several parts, and several benchmarks


class Plus:
    """Writes `f(x) = x + 1` whatever it is asked."""

    def write(self, requests):
        for request in requests:
            ToyWriter.asked.append(request)
            yield writers.Reply(request.key, "def f(x): return x + 1", "stop")

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        pass


@pytest.fixture
def parts(monkeypatch):
    made = []

    def make(name, **knobs):
        made.append((name, knobs))
        return two_parts(name)

    monkeypatch.setattr(benchmarks, "make", make)
    monkeypatch.setattr(evaluate.writers, "make", lambda name, **knobs: Plus())
    return made


def several(argument, *names, **more):
    settings = config(argument)
    with settings.unlocked():
        settings.benchmarks = tuple({"name": name} | more for name in names)
    return settings


def test_scores_want_all_of_their_parts(tmp_path, parts):
    settings = several("tiny", "one", "two", release=4)
    evaluate.run(settings, tmp_path)
    assert parts == [("one", {"release": 4}), ("two", {"release": 4})]
    found = {name: (score["pass@1"], score["n"]) for name, score in results(tmp_path).items()}
    assert found == {"one": (1.0, 2), "one_plus": (0.5, 2), "two": (1.0, 2), "two_plus": (0.5, 2)}
    row = next(row for row in answers(tmp_path) if row["id"] == "two|t/1|0")
    assert row["statuses"] == {"base": ["pass"], "plus": ["pass", "fail"]}
    assert row["passed"] == {"two": True, "two_plus": False}
    table = [line.split("\t")[:5] for line in (tmp_path / "problems.tsv").read_text().splitlines()]
    assert ["two_plus", "t/1", "1", "0", "fail"] in table and ["two", "t/1", "1", "1", "pass"] in table
    assert store.read_json(tmp_path / "official" / "one" / "own.json")[1] == {
        "task": "t/1", "sample": 0, "reply": "def f(x): return x + 1", "program": "def f(x): return x + 1",
    }  # fmt: skip


def test_how_each_kind_of_model_is_asked(tmp_path, parts):
    def asked(argument, prefix="continue"):
        settings = several(argument, "one")
        with settings.unlocked():
            settings.endpoint.prefix = prefix
        ToyWriter.asked = []
        evaluate.run(settings, tmp_path / f"{argument}{prefix}")
        return ToyWriter.asked[0]

    chat, base, r1 = asked("tiny"), asked("tiny,style=base", "none"), asked("tiny,style=r1")
    assert [one["role"] for one in chat.messages] == ["system", "user"]
    assert (chat.prefix, chat.stop) == ("```\n", ("\n```",))
    assert (base.messages, base.prefix, base.stop) == ((), "# Write f: 0.\n", ("\nclass",))
    assert [one["content"] for one in r1.messages] == [prompts.R1_SYSTEM_PROMPT, "Write f: 0."]
    assert (r1.prefix, r1.stop) == ("", ())
    # Where the reply cannot be begun, what ends a begun one must not cut it.
    plain = asked("tiny", prefix="none")
    assert (plain.messages, plain.prefix, plain.stop) == (chat.messages, "", ())
    with pytest.raises(ValueError, match=r"config\.style is one of chat, r1, base, not 'completion'"):
        asked("tiny,style=completion")


def test_benchmarks_that_cannot_be_told_apart(tmp_path, parts):
    for names, told in ((("one", "one"), "the score one"), (("one", "one_plus"), "the score one_plus"), ((), "empty")):
        with pytest.raises(ValueError, match=told):
            evaluate.run(several("tiny", *names), tmp_path)
    settings = several("tiny,data_path=x.jsonl", "one", "two")
    with pytest.raises(ValueError, match="data_path is for a single benchmark"):
        evaluate.run(settings, tmp_path)
    with pytest.raises(ValueError, match=r"config\.data_path is x\.jsonl, and benchmarks has a 'path' too"):
        evaluate.run(several("tiny,data_path=x.jsonl", "one", path="y.jsonl"), tmp_path)
    with pytest.raises(ValueError, match=r"'\.\.' can be no benchmark's name"):
        evaluate.run(several("tiny", ".."), tmp_path)
    evaluate.run(several("tiny,data_path=x.jsonl", "one"), tmp_path)
    assert parts[-1] == ("one", {"path": "x.jsonl"})


# ---- what is refused


def test_answers_of_another_model_are_refused(tmp_path, monkeypatch):
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(bytes(100_000))
    monkeypatch.setattr(evaluate.writers, "make", lambda name, **knobs: ToyWriter(knobs["model"]))
    settings = config(f"tiny,model={model},first=2")
    with settings.unlocked():
        settings.writer = "local"
    evaluate.run(settings, tmp_path / "run")
    evaluate.run(settings, tmp_path / "run")
    assert len(ToyWriter.asked) == 2
    (model / "model.safetensors").write_bytes(b"\1" + bytes(99_999))
    with pytest.raises(ValueError, match=r"has answers of another model: the weights in .*model \(fingerprint"):
        evaluate.run(settings, tmp_path / "run")
    (model / "model.safetensors").write_bytes(bytes(100_000))
    evaluate.run(settings, tmp_path / "run")
    (model / "chat_template.jinja").write_text("{{ messages }}")
    with pytest.raises(ValueError, match="has answers of another model"):
        evaluate.run(settings, tmp_path / "run")
    (model / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="no file of weights"):
        evaluate.run(settings, tmp_path / "run")
    with pytest.raises(ValueError, match=r"config.model is empty"):
        nobody = config()
        nobody.model = ""
        evaluate.run(nobody, tmp_path / "nobody")


def test_tests_that_have_changed_are_told(tmp_path, monkeypatch):
    evaluate.run(config(), tmp_path)
    make = benchmarks.make

    def changed(name, **knobs):
        bench = make(name, **knobs)
        first, *others = bench.tasks
        part = dataclasses.replace(first.parts["tests"], tests=("assert True",))
        return dataclasses.replace(bench, tasks=(dataclasses.replace(first, parts={"tests": part}), *others))

    monkeypatch.setattr(benchmarks, "make", changed)
    with pytest.raises(ValueError, match=f"'toy.{PROBLEMS[0].id}.0' was judged by other tests than toy has now"):
        evaluate.run(config(), tmp_path)


def test_a_task_may_say_itself_what_judges_it():
    """Then its tests are not read before they are wanted."""

    class Unread(dict):
        def items(self):
            raise AssertionError("its tests were read")

    task = Task("t", "Write f.", Unread(), digest="0123")
    assert _answers.judging(two_parts(), task) == "0123"
    assert len(_answers.judging(two_parts(), two_parts().tasks[0])) == 16


def test_what_judges_has_limits_but_those_of_the_machine():
    bench = two_parts()

    def digest(timed=False, sandbox=bench.sandbox, **limits):
        part = Part(("assert f(1) == 2",), limits=Limits(**limits) if limits else None, timed=timed)
        return _answers.judging(dataclasses.replace(bench, sandbox=sandbox), Task("t", "", {"base": part}))

    assert digest() == digest(program_s=2.0) != digest(program_s=3.0)
    assert digest() != digest(sandbox={}) == digest(program_s=8.0)
    assert digest(True, test_s=1.0, step_s=0.1) == digest(True, test_s=2.0, step_s=0.2)
    assert digest(True, memory_bytes=1 << 29) != digest(True, memory_bytes=1 << 30)


@pytest.mark.parametrize("change", [{"statement": "Write another."}, {"fields": {"keep": "g"}}])
def test_what_was_asked_in_another_way_is_not_mixed_in(tmp_path, monkeypatch, parts, change):
    evaluate.run(several("tiny", "two"), tmp_path)
    evaluate.run(several("tiny", "two"), tmp_path)
    first, second = two_parts().tasks
    bench = dataclasses.replace(two_parts(), tasks=(first, dataclasses.replace(second, **change)))
    monkeypatch.setattr(benchmarks, "make", lambda name, **knobs: bench)
    with pytest.raises(ValueError, match=r"'two\|t/1\|0' was asked for in another way than two does now"):
        evaluate.run(several("tiny", "two"), tmp_path)


def test_stop_strings_are_part_of_how_a_model_is_asked():
    bench = two_parts()
    other = dataclasses.replace(bench, prompt=lambda task, kind: dataclasses.replace(bench.prompt(task, kind), stop=()))
    asking = _answers.Asking("chat", 0.0, 1.0, 16, 0)
    assert asking.digest(bench, bench.tasks[0]) != asking.digest(other, bench.tasks[0])
