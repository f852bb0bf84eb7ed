import json

import pytest

from acecoder_jax.stages import score
from configs.score import get_config

GOOD = {"id": "a", "program": "def f(x): return x", "tests": ["assert f(1) == 1", "assert f(1) == 2"]}


def prepare(tmp_path, rows):
    config = get_config("acecoder_0.8s,sandbox.workers=1")
    with config.unlocked():
        config.input, config.output = str(tmp_path / "in.jsonl"), str(tmp_path / "out.jsonl")
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return config


def test_scores_and_resumes(tmp_path, capsys):
    config = prepare(tmp_path, [GOOD, GOOD | {"id": "b"}])
    done = {"id": "b", "statuses": ["pass"], "messages": [""], "pass_rate": 1.0, "mode": "values", "time_s": 0.0}
    (tmp_path / "out.jsonl").write_text(json.dumps(done) + "\n")
    score.run(config, tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert rows[0] == done and rows[1]["id"] == "a"
    assert rows[1]["statuses"] == ["pass", "fail"] and rows[1]["pass_rate"] == 0.5 and rows[1]["mode"] == "values"


def test_malformed_rows_are_named_by_line_and_id(tmp_path, capsys):
    config = prepare(tmp_path, [GOOD, {"id": "c", "program": "", "tests": "x"}, GOOD])
    with pytest.raises(ValueError, match="2 malformed rows"):
        score.run(config, tmp_path)
    told = capsys.readouterr().out
    assert "line 2, id 'c'" in told and "line 3, id 'a'" in told
