import json

import pytest

from acecoder_jax.stages import score
from acecoder_jax.types import Status, Verdict
from configs.score import get_config
from tests.stages.runs import start

GOOD = {"id": "a", "program": "def f(x): return x", "tests": ["assert f(1) == 1", "assert f(1) == 2"]}


@pytest.fixture
def config(tmp_path):
    config = get_config("acecoder_0.8s,sandbox.workers=1")
    with config.unlocked():
        config.input, config.output = str(tmp_path / "in.jsonl"), str(tmp_path / "out.jsonl")
    return config


def write(tmp_path, *rows):
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def written(tmp_path):
    return [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]


def results(tmp_path):
    return json.loads((tmp_path / "results.json").read_text())


def test_scores_and_resumes(config, tmp_path):
    write(tmp_path, GOOD, GOOD | {"id": "b"})
    done = {"id": "b", "statuses": ["pass"], "messages": [""], "pass_rate": 1.0, "mode": "values", "time_s": 0.0}
    (tmp_path / "out.jsonl").write_text(json.dumps(done) + "\n" + '{"id": "a", "sta')  # and a row torn by a kill
    score.run(config, tmp_path)
    rows = written(tmp_path)
    assert rows[0] == done and rows[1]["id"] == "a" and len(rows) == 2
    assert rows[1]["statuses"] == ["pass", "fail"] and rows[1]["pass_rate"] == 0.5 and rows[1]["mode"] == "values"
    assert rows[1]["memory_bytes"] > 0 and rows[1]["time_s"] > 0


def test_results_count_what_an_earlier_start_judged(config, tmp_path, monkeypatch):
    rows = [GOOD | {"id": name, "tests": GOOD["tests"][: 1 + (name in "abc")]} for name in "abcdef"]
    write(tmp_path, *rows)
    append, left = score.store.append_jsonl, iter(range(3))

    def until_interrupted(path, rows):
        if path == config.output and next(left, None) is None:
            raise KeyboardInterrupt
        append(path, rows)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(score.store, "append_jsonl", until_interrupted)
        score.run(config, tmp_path)
    assert len(written(tmp_path)) == 3 and not (tmp_path / "results.json").exists()
    score.run(config, tmp_path)
    expected = {
        "programs": 6,
        "infra": 0,
        "pass_rate": 0.75,
        "verdicts": {"some passed": 3, "all tests passed": 3},
        "statuses": {"pass": 6, "fail": 3},
    }
    assert results(tmp_path) == expected
    whole = (tmp_path / "out.jsonl").read_bytes()
    (tmp_path / "results.json").unlink()
    monkeypatch.setattr(score, "Sandbox", None)  # nothing is left to judge
    score.run(config, tmp_path)
    assert results(tmp_path) == expected and (tmp_path / "out.jsonl").read_bytes() == whole


def test_infra_is_tried_again_and_is_no_zero(config, tmp_path, capsys):
    write(tmp_path, GOOD)
    broken = score.to_row(Verdict("a", (Status.PASS, Status.INFRA), ("", "the worker died")))
    (tmp_path / "out.jsonl").write_text(json.dumps(broken) + "\n")
    score.run(config, tmp_path)
    assert [row["statuses"] for row in written(tmp_path)] == [["pass", "fail"]]

    tally = score.Tally()
    tally.add(Verdict("a", (Status.INFRA, Status.INFRA)))
    assert tally.pass_rate is None and tally.to_json()["programs"] == 0
    tally.add(Verdict("b", (Status.PASS,), mode="inside"))
    assert tally.pass_rate == 1.0
    assert tally.to_json() == {
        "programs": 1,
        "infra": 1,
        "pass_rate": 1.0,
        "verdicts": {"all tests passed (inside)": 1},
        "statuses": {"pass": 1},
    }


def test_rows_of_another_input_stay_and_do_not_count(config, tmp_path):
    write(tmp_path, GOOD)
    other = score.to_row(Verdict("other", (Status.PASS,)))
    (tmp_path / "out.jsonl").write_text(json.dumps(other) + "\n")
    score.run(config, tmp_path)
    assert [row["id"] for row in written(tmp_path)] == ["other", "a"]
    assert results(tmp_path)["programs"] == 1 and results(tmp_path)["pass_rate"] == 0.5


MALFORMED = (
    b'{"id": "a", "program": "x = 1", "tests": []}\n'
    b"\n"
    b'{"id": "c", "program": "", "tests": "x"}\n'
    b'{"id": "damaged"\n'
    b'"\xff"\n'
    b"[1]\n"
    b'{"id": "a", "program": "", "tests": []}\n'
    b'{"id": "d", "program": "", "tests": [], "setup": 1}\n'
    b'{"program": "", "tests": []}\n'
    b'{"id": "e", "program": "", "tests": [], "profile": "magic"}\n'
    b'{"id": "f", "program": "def f(): return 1", "tests": ["assert f() == 1"], "setup": null, "entry_point": null,'
    b' "profile": null}'
)
TOLD = {
    3: ", id 'c': 'tests' is not a list of strings",
    4: ": damaged JSON",
    5: ": damaged JSON",
    6: ": expected a JSON object, found list",
    7: ", id 'a': the id has been used",
    8: ", id 'd': 'setup' is not a string",
    9: ": no 'id'",
    10: ", id 'e': 'profile' is not one of grading, stdin, calls",
}


def test_malformed_rows_are_named_by_line_and_id(config, tmp_path, capsys):
    (tmp_path / "in.jsonl").write_bytes(MALFORMED)
    with pytest.raises(ValueError, match="8 malformed rows"):
        score.run(config, tmp_path)
    told = capsys.readouterr().out.splitlines()
    assert len(told) == len(TOLD)
    for line, (number, problem) in zip(told, TOLD.items(), strict=True):
        assert line.startswith(f"malformed row: {config.input}, line {number}{problem}")
    assert not (tmp_path / "out.jsonl").exists()


def test_malformed_rows_can_be_left_out(config, tmp_path, capsys):
    (tmp_path / "in.jsonl").write_bytes(MALFORMED)
    with config.unlocked():
        config.skip_malformed = True
    score.run(config, tmp_path)
    assert {row["id"]: row["statuses"] for row in written(tmp_path)} == {"a": [], "f": ["pass"]}
    assert "2 rows to judge, 0 done before, 8 malformed" in capsys.readouterr().out


def test_an_empty_input_makes_an_empty_output(config, tmp_path, monkeypatch):
    write(tmp_path)
    monkeypatch.setattr(score, "Sandbox", None)
    score.run(config, tmp_path)
    assert (tmp_path / "out.jsonl").read_bytes() == b""
    assert results(tmp_path)["programs"] == 0 and results(tmp_path)["pass_rate"] is None


@pytest.mark.parametrize("link", ["same", "symlink", "hardlink"])
def test_an_output_that_is_the_input_is_refused(config, tmp_path, link):
    write(tmp_path, GOOD)
    before = (tmp_path / "in.jsonl").read_bytes()
    if link == "same":
        with config.unlocked():
            config.output = str(tmp_path / "." / "in.jsonl")
    elif link == "symlink":
        (tmp_path / "out.jsonl").symlink_to(tmp_path / "in.jsonl")
    else:
        (tmp_path / "out.jsonl").hardlink_to(tmp_path / "in.jsonl")
    with pytest.raises(ValueError, match="are the same file"):
        score.run(config, tmp_path)
    assert (tmp_path / "in.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(GOOD) + "\n",
        json.dumps(GOOD),  # whole, although its end looks torn
        "a line of notes",
        '{"id": "a", "statuses": null}\n',
        '{"id": "a", "statuses": ["perhaps"]}\n',
        '{"id": 1, "statuses": ["pass"]}\n',
    ],
)
def test_an_output_of_other_rows_is_refused_and_kept(config, tmp_path, content):
    write(tmp_path, GOOD)
    (tmp_path / "out.jsonl").write_text(content)
    with pytest.raises(ValueError, match="first line is no verdict"):
        score.run(config, tmp_path)
    assert (tmp_path / "out.jsonl").read_text() == content


def test_an_output_with_a_foreign_row_names_its_line(config, tmp_path):
    write(tmp_path, GOOD)
    verdict = json.dumps(score.to_row(Verdict("b", (Status.PASS,)))) + "\n"
    for foreign, problem in ((json.dumps(GOOD), "not a verdict"), ("{", "damaged JSON")):
        (tmp_path / "out.jsonl").write_text(verdict + "\n" + foreign + "\n" + verdict)
        with pytest.raises(ValueError, match=rf"out\.jsonl, line 3: {problem}"):
            score.run(config, tmp_path)


def test_paths_that_will_not_do(config, tmp_path):
    write(tmp_path, GOOD)
    for key, name, told in (
        ("output", "", "config.output is empty"),
        ("output", "out.jsonl.gz", "compressed"),
        ("output", ".", "not a regular file"),
        ("output", "in.jsonl/out.jsonl", "cannot be written"),
        ("input", ".", "not a regular file"),
    ):
        with config.unlocked():
            before, config[key] = config[key], str(tmp_path / name) if name else ""
        with pytest.raises(ValueError, match=told):
            score.run(config, tmp_path)
        config[key] = before
    config.input = str(tmp_path / "none.jsonl")
    with pytest.raises(FileNotFoundError, match=r"none\.jsonl"):
        score.run(config, tmp_path)


def test_the_command_tells_a_wrong_path_in_one_line(tmp_path):
    write(tmp_path, GOOD)
    flags = ("--config=configs/score.py", f"--workdir={tmp_path / 'run'}", f"--config.input={tmp_path / 'in.jsonl'}")
    done = start(*flags, f"--config.output={tmp_path / 'out.jsonl.gz'}", check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "rows cannot be appended to a compressed file" in done.stderr
