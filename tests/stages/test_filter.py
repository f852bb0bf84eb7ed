import dataclasses
import json

import pytest

from acecoder_jax import store
from acecoder_jax.stages import filter as filtering
from acecoder_jax.writers import ENDS, WriterError
from configs.filter import get_config
from tests.stages import curating, fake_writer
from tests.stages.fake_writer import KINDS, FakeWriter, question


@pytest.fixture(autouse=True)
def writer(monkeypatch):
    monkeypatch.setattr(filtering._programs.writers, "make", fake_writer.make)
    FakeWriter.asked, FakeWriter.budgets = [], []


def config(path, argument="recipe", **knobs):
    return curating.small(get_config(argument), path, **knobs)


def read(workdir, name):
    return store.read_jsonl(workdir / name)


def test_tests_are_dropped_and_questions_with_too_few(tmp_path):
    # Of the eight tests of each question two are wrong. The programs in turn pass 6, 3, 5 and none of the others.
    rows = [question(number, wrong=2) for number in range(5)]
    path = curating.write(tmp_path / "in.jsonl", rows[::-1])
    filtering.run(config(path, kinds=("good", "even", "late", "bad", "broken")), tmp_path)
    kept = read(tmp_path, "filtered.jsonl")
    assert kept == [
        rows[0] | {"test_cases": rows[0]["test_cases"][:6], "oracle_model": "org/coder"},
        rows[2] | {"test_cases": rows[2]["test_cases"][:5], "oracle_model": "org/coder"},
    ]
    assert [row["n_tests_all"] for row in kept] == [8, 10]
    assert read(tmp_path, "rejected.jsonl") == [
        {"id": "q001", "reason": "few_passes", "detail": "3 of 8 tests passed"},
        {"id": "q003", "reason": "few_passes", "detail": "0 of 8 tests passed"},
        {"id": "q004", "reason": "few_passes", "detail": "0 of 8 tests passed"},
    ]
    first, *_, last = read(tmp_path, "oracle.jsonl")
    program = {"completion": KINDS["good"].format(name="f0", number=0), "statuses": ["pass"] * 6 + ["fail"] * 2}
    assert first == {
        "id": "q000", "model": "org/coder", "programs": [program | {"finish": "stop"}], "cost_usd": 0.25,
    }  # fmt: skip
    assert last["id"] == "q004" and set(last["programs"][0]["statuses"]) == {"error"}
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["programs"]["kept"] == 5 and results["programs"]["cost_usd"] == 1.25
    dropped = {"few_passes": 1}
    assert results["sources"] == {
        "evol": {"questions": 2, "asked": 2, "kept": 0, "tests": 16, "tests_kept": 0, "dropped": {"few_passes": 2}},
        "oss": {"questions": 3, "asked": 3, "kept": 2, "tests": 24, "tests_kept": 11, "dropped": dropped},
    }


def test_the_report_reads_like_the_papers_table(tmp_path, capsys):
    path = curating.write(tmp_path / "in.jsonl", [question(number, wrong=2) for number in range(4)])
    filtering.run(config(path, kinds=("good", "late", "bad")), tmp_path)
    told = [line.split() for line in capsys.readouterr().out.splitlines()]
    # q0 and q3 are good (6 of 8), q1 late (5), q2 bad. oss has q0 and q2, evol q1 and q3.
    assert ["evol", "2", "8.00", "2", "100.0%", "5.50", "0,", "0"] in told
    assert ["oss", "2", "8.00", "1", "50.0%", "6.00", "1,", "0"] in told
    assert ["all", "4", "8.00", "3", "75.0%", "5.67", "1,", "0"] in told


def test_other_thresholds_need_no_other_programs(tmp_path):
    path = curating.write(tmp_path / "in.jsonl", [question(number, wrong=2) for number in range(4)])
    settings = config(path, kinds=("good", "even"))
    filtering.run(settings, tmp_path)
    assert [row["id"] for row in read(tmp_path, "filtered.jsonl")] == ["q000", "q002"]
    assert len(FakeWriter.asked) == 4
    settings.keep.update(min_tests=3, min_passes=3)
    filtering.run(settings, tmp_path)
    assert [len(row["test_cases"]) for row in read(tmp_path, "filtered.jsonl")] == [6, 3, 6, 3]
    assert len(FakeWriter.asked) == 4 and read(tmp_path, "rejected.jsonl") == []
    settings.keep.update(min_tests=4)
    filtering.run(settings, tmp_path)
    assert {row["id"]: row["reason"] for row in read(tmp_path, "rejected.jsonl")} == {
        "q001": "few_tests", "q003": "few_tests",
    }  # fmt: skip


def test_a_majority_of_several_programs(tmp_path):
    path = curating.write(tmp_path / "in.jsonl", [question(0, wrong=1), question(1, wrong=1)])
    filtering.run(config(path, "majority,oracle_samples=3", kinds=("good", "late", "bad")), tmp_path)
    # Each question has one of each kind: two pass the first five tests, one the sixth, none the seventh.
    assert [len(row["test_cases"]) for row in read(tmp_path, "filtered.jsonl")] == [5, 5]
    first, second = read(tmp_path, "oracle.jsonl")
    assert [sum(status == "pass" for status in one["statuses"]) for one in first["programs"]] == [6, 5, 0]
    assert [sum(status == "pass" for status in one["statuses"]) for one in second["programs"]] == [5, 0, 6]
    with pytest.raises(ValueError, match="several only above temperature 0"):
        filtering.run(config(path, "recipe,oracle_samples=3"), tmp_path)


def test_outages_are_tried_again_and_are_no_failed_tests(tmp_path):
    path = curating.write(tmp_path / "in.jsonl", [question(number) for number in range(4)])
    filtering.run(config(path, fails=("q001|0", "q002|0")), tmp_path)
    assert read(tmp_path, "rejected.jsonl") == [
        {"id": name, "reason": "timeout", "detail": "too slow", "cost_usd": 0.5} for name in ("q001", "q002")
    ]
    FakeWriter.asked.clear()
    filtering.run(config(path), tmp_path)
    assert FakeWriter.asked == ["q001|0", "q002|0"] and read(tmp_path, "rejected.jsonl") == []
    assert FakeWriter.budgets == [(0.0, 0.0), (0.0, 1.5)]  # two failures at 0.5 USD, two programs at 0.25
    assert [row["cost_usd"] for row in read(tmp_path, "oracle.jsonl")] == [0.25, 0.75, 0.75, 0.25]
    assert [row["id"] for row in read(tmp_path, "filtered.jsonl")] == ["q000", "q001", "q002", "q003"]


def test_a_vote_that_is_missing_does_not_count(tmp_path):
    path = curating.write(tmp_path / "in.jsonl", [question(0)])
    filtering.run(config(path, "majority,oracle_samples=2", kinds=("good", "bad"), fails=("q000|1",)), tmp_path)
    assert [len(row["test_cases"]) for row in read(tmp_path, "filtered.jsonl")] == [6]


@pytest.mark.parametrize("reason", ENDS)
def test_a_question_waits_for_the_votes_that_the_end_of_a_run_has_cost(tmp_path, monkeypatch, reason):
    path = curating.write(tmp_path / "in.jsonl", [question(0)])
    write = FakeWriter.write

    def ended(self, requests):
        for reply in write(self, requests):
            yield dataclasses.replace(reply, text="", error=reason, detail="") if reply.key == "q000|2" else reply

    settings = config(path, "majority,oracle_samples=3", kinds=("bad", "good", "good"))
    with monkeypatch.context() as patch:
        patch.setattr(FakeWriter, "write", ended)
        filtering.run(settings, tmp_path)
    assert read(tmp_path, "filtered.jsonl") == [] and read(tmp_path, "oracle.jsonl") == []
    assert read(tmp_path, "rejected.jsonl") == [{"id": "q000", "reason": reason, "detail": "", "cost_usd": 0.75}]
    filtering.run(settings, tmp_path)
    assert [len(row["test_cases"]) for row in read(tmp_path, "filtered.jsonl")] == [6]
    assert [row["cost_usd"] for row in read(tmp_path, "oracle.jsonl")] == [1.5]


def test_a_writer_that_stops_leaves_what_it_has_done(tmp_path):
    path = curating.write(tmp_path / "in.jsonl", [question(number) for number in range(6)])
    with pytest.raises(WriterError, match="budget"):
        filtering.run(config(path, stops_after=2), tmp_path)
    assert [row["id"] for row in read(tmp_path, "oracle.jsonl")] == ["q000", "q001"]
    assert [row["id"] for row in read(tmp_path, "filtered.jsonl")] == ["q000", "q001"]
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["programs"]["done"] == 2 and results["sources"]["oss"]["asked"] == 1
    filtering.run(config(path), tmp_path)
    assert sorted(FakeWriter.asked) == [f"q00{n}|0" for n in range(6)]
    assert len(read(tmp_path, "filtered.jsonl")) == 6


def test_questions_that_changed_are_told(tmp_path):
    path = curating.write(tmp_path / "in.jsonl", [question(0)])
    filtering.run(config(path), tmp_path)
    curating.write(path, [question(0, wrong=1)])
    with pytest.raises(ValueError, match="the programs of 'q000' were judged by 6 tests, but the question has 7"):
        filtering.run(config(path), tmp_path)


def test_a_killed_run_goes_on_and_ends_the_same(tmp_path):
    path = curating.write(tmp_path / "in.jsonl", [question(number, wrong=2) for number in range(12)])
    settings = config(path, kinds=("good", "even", "late"))
    filtering.run(settings, tmp_path / "whole")
    slow = config(path, kinds=("good", "even", "late"), slow_s=0.05)
    done = curating.kill_after(4, "filter", slow, tmp_path / "killed", "oracle.jsonl")
    assert 4 <= len(done) < 12 and not (tmp_path / "killed" / "filtered.jsonl").exists()
    FakeWriter.asked.clear()
    filtering.run(settings, tmp_path / "killed")
    assert sorted([*FakeWriter.asked, *(f"{name}|0" for name in done)]) == [f"q{n:03}|0" for n in range(12)]
    for name in ("oracle.jsonl", "filtered.jsonl", "rejected.jsonl", "results.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
