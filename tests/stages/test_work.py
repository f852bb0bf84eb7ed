import collections
import contextlib
import json
import random

import pytest

from acecoder_jax import cluster, store
from acecoder_jax.stages import _work


def shouting(row):
    if "!" in row["text"]:
        return {"id": row["id"], "reason": "loud", "detail": row["text"]}
    return {"id": row["id"], "text": row["text"].upper(), "cost_usd": 0.25}


class Shouting:
    """Work that remembers what it did, in a shuffled order; after `breaks_after` results it breaks."""

    def __init__(self, breaks_after=None, of=shouting):
        self.did, self.breaks_after, self.of = [], breaks_after, of

    @contextlib.contextmanager
    def __call__(self):
        yield self.work

    def work(self, rows):
        for row in random.sample(rows, len(rows)):
            if len(self.did) == self.breaks_after:
                raise OSError(28, "No space left on device")
            self.did.append(row["id"])
            yield self.of(row)


ROWS = [{"id": f"r{n:02}", "text": "x!" if n % 5 == 0 else f"x{n}"} for n in range(20)]


def work_off(tmp_path, make_work, rows=ROWS, **more):
    knobs = {"runner": cluster.make("local"), "title": "shout", "measure": lambda row: {"length": len(row["text"])}}
    files = {"output": tmp_path / "out.jsonl", "rejected": tmp_path / "rejected.jsonl"}
    return _work.work_off({row["id"] for row in rows}, _work.left(rows), make_work, **files, **(knobs | more))


def files(tmp_path):
    return (tmp_path / "out.jsonl").read_bytes(), (tmp_path / "rejected.jsonl").read_bytes()


def test_rows_are_kept_or_rejected_in_the_order_of_their_ids(tmp_path):
    counts = work_off(tmp_path, Shouting())
    assert store.read_jsonl(tmp_path / "out.jsonl") == [shouting(row) for row in ROWS if "!" not in row["text"]]
    assert store.read_jsonl(tmp_path / "rejected.jsonl") == [shouting(row) for row in ROWS if "!" in row["text"]]
    assert (counts.kept, counts.rejected, counts.done, counts.fresh) == (16, {"loud": 4}, 20, 20)
    assert counts.cost_usd == 4.0
    assert counts.means == {"length": (2 * 8 + 3 * 8) / 16}  # x1 to x9 without x5, x11 to x19 without x15
    assert counts.to_json() == {
        "done": 20, "kept": 16, "rejected": {"loud": 4}, "cost_usd": 4.0, "means": {"length": 2.5},
    }  # fmt: skip


@pytest.mark.parametrize("breaks_after", [0, 1, 7, 19])
def test_what_is_done_is_not_done_again_and_the_files_are_the_same(tmp_path, breaks_after):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    expected = work_off(whole, Shouting())
    first, second = Shouting(breaks_after), Shouting()
    with pytest.raises(OSError, match="No space left"):
        work_off(broken, first)
    with open(broken / ("out.jsonl" if breaks_after % 2 else "rejected.jsonl"), "ab") as file:
        file.write(b'{"id": "r00", "te')  # and a line torn by the kill
    counts = work_off(broken, second)
    assert len(first.did) == breaks_after and sorted(first.did + second.did) == [row["id"] for row in ROWS]
    assert files(broken) == files(whole) and counts.to_json() == expected.to_json()
    assert counts.fresh == 20 - breaks_after
    third = Shouting(0)
    assert work_off(broken, third).to_json() == expected.to_json() and third.did == []


def test_reasons_of_an_outage_are_tried_again(tmp_path):
    def down(row):
        return {"id": row["id"], "reason": "outage", "detail": ""} if row["id"] < "r03" else shouting(row)

    assert work_off(tmp_path, Shouting(of=down), retry=("outage",)).rejected == {"outage": 3, "loud": 3}
    again = Shouting()
    assert work_off(tmp_path, again, retry=("outage",)).rejected == {"loud": 4}
    assert sorted(again.did) == ["r00", "r01", "r02"]


def test_failures_of_other_ids_stay_and_those_that_are_not_done_again_come_back(tmp_path):
    failed = [{"id": name, "reason": "timeout", "detail": "", "cost_usd": 0.5} for name in ("other", "r01", "r02")]
    store.write_jsonl(tmp_path / "rejected.jsonl", failed)
    first = {row["id"]: n for n, row in enumerate(ROWS)}

    class OneThenFull(Shouting):
        def work(self, rows):
            yield self.of(min(rows, key=lambda row: first[row["id"]]))
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        work_off(tmp_path, OneThenFull(), rows=ROWS[1:], retry=("timeout",))
    assert store.read_jsonl(tmp_path / "rejected.jsonl") == [failed[0], failed[2]]  # r01 is done
    counts = work_off(tmp_path, Shouting(), rows=ROWS[1:], retry=("timeout",))
    rows = store.read_jsonl(tmp_path / "rejected.jsonl")
    assert rows[0] == failed[0] and {row["reason"] for row in rows[1:]} == {"loud"} and counts.kept == 16


def test_rows_of_another_input_stay_and_do_not_count(tmp_path):
    work_off(tmp_path, Shouting())
    again = Shouting()
    counts = work_off(tmp_path, again, [*ROWS[:2], {"id": "r005", "text": "new"}])
    assert again.did == ["r005"] and (counts.kept, counts.rejected) == (2, {"loud": 1})
    assert [row["id"] for row in store.read_jsonl(tmp_path / "out.jsonl")][:3] == ["r005", "r01", "r02"]


def test_one_row_may_give_many_results(tmp_path):
    wanted = {f"{row['id']}|{k}" for row in ROWS for k in range(3)}

    def todo(done):
        missing = collections.defaultdict(list)
        for identity in sorted(wanted - done):
            missing[identity[:3]].append(int(identity[4:]))
        return [{"id": identity, "samples": samples} for identity, samples in missing.items()]

    @contextlib.contextmanager
    def make_work():
        yield lambda rows: ({"id": f"{row['id']}|{k}", "cost_usd": 1} for row in rows for k in row["samples"])

    knobs = {"runner": cluster.make("local"), "title": "sample"}
    out = {"output": tmp_path / "out.jsonl", "rejected": tmp_path / "rejected.jsonl"}
    assert _work.work_off(wanted, todo, make_work, **knobs, **out).kept == 60
    store.truncate_jsonl(tmp_path / "out.jsonl", lambda row: row["id"] not in ("r03|1", "r05|0", "r05|2"))
    assert todo(store.done_ids(tmp_path / "out.jsonl")) == [
        {"id": "r03", "samples": [1]}, {"id": "r05", "samples": [0, 2]},
    ]  # fmt: skip
    counts = _work.work_off(wanted, todo, make_work, **knobs, **out)
    assert (counts.kept, counts.fresh, counts.cost_usd) == (60, 3, 60)


def test_a_runner_may_do_a_row_twice_but_none_that_nobody_wants_and_must_do_all(tmp_path):
    def twice(make_work, rows):
        with make_work() as work:
            yield from work(rows[:12])
            yield from work(rows)

    assert work_off(tmp_path / "twice", Shouting(), runner=twice).done == 20
    work_off(tmp_path / "once", Shouting())
    assert files(tmp_path / "twice") == files(tmp_path / "once")
    with pytest.raises(ValueError, match="shout: a result of the id 'other', which nobody asked for"):
        work_off(tmp_path / "other", Shouting(of=lambda row: {"id": "other"}))
    with pytest.raises(ValueError, match="without a result for 2 ids, 'r18' for one"):
        work_off(tmp_path / "less", Shouting(), runner=lambda make_work, rows: map(shouting, rows[:18]))


def test_a_foreign_row_in_the_files_names_its_line(tmp_path):
    work_off(tmp_path, Shouting())
    row = json.dumps({"id": "r01", "reason": "loud"}) + "\n"
    for name, line, told in (
        ("out.jsonl", "[1]\n", r"out\.jsonl, line 17: expected a JSON object"),
        ("rejected.jsonl", row, r"rejected\.jsonl, line 5: the id 'r01' stands in the run's files twice"),
    ):
        before = (tmp_path / name).read_text()
        (tmp_path / name).write_text(before + line)
        with pytest.raises(ValueError, match=told):
            work_off(tmp_path, Shouting())
        (tmp_path / name).write_text(before)


COLUMNS = {"question": str, "test_cases": list}
GOOD = {"id": "b", "question": "?", "test_cases": []}


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"id": "a", "question": "?"}, r"line 2 \(id 'a'\): no column 'test_cases'; it has id, question"),
        ({"question": "?", "test_cases": []}, r"line 2 \(id None\): no column 'id'"),
        ({"id": "a", "question": None, "test_cases": []}, r"line 2 \(id 'a'\): 'question' is no str: None"),
        ({"id": "a", "question": "?", "test_cases": ["x", 3]}, r"line 2 \(id 'a'\): test_cases\[1\] is no str: 3"),
        (GOOD, "line 2: the id 'b' has been used by a row before"),
        ([], "line 2: expected a JSON object"),
    ],
)
def test_bad_input_names_line_and_column(tmp_path, row, told):
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps(GOOD) + "\n" + json.dumps(row) + "\n")
    with pytest.raises(ValueError, match=r"config\.questions: .*in\.jsonl, " + told):
        _work.read_input(str(path), COLUMNS, "questions")


def test_input_comes_in_the_order_of_its_ids(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps(GOOD) + "\n" + json.dumps(GOOD | {"id": "a"}) + "\n")
    assert [row["id"] for row in _work.read_input(str(path), COLUMNS, "questions")] == ["a", "b"]
    with pytest.raises(ValueError, match=r"config\.questions is empty"):
        _work.read_input("", COLUMNS, "questions")
    with pytest.raises(FileNotFoundError, match=r"config\.questions: no file"):
        _work.read_input(str(tmp_path / "none.jsonl"), COLUMNS, "questions")


def test_the_summary_tells_reasons_means_cost_and_rate(capsys, tmp_path):
    counts = work_off(tmp_path, Shouting())
    counts.seconds = 2.0
    capsys.readouterr()
    _work.summary("shout", counts)
    told = capsys.readouterr().out
    for words in (
        ("kept", "16", "80.0%"), ("rejected: loud", "4", "20.0%"), ("mean length", "2.5"), ("cost", "4.0000 USD"),
        ("this start", "20 in 2.0 s", "10/s"),
    ):  # fmt: skip
        assert any(all(word in line for word in words) for line in told.splitlines()), (words, told)
