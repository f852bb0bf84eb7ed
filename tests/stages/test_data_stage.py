"""The stage data from end to end: inspect, convert, publish, on rows with and without mistakes."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet
import pytest
import yaml

from acecoder_jax import data as sources
from acecoder_jax import store
from acecoder_jax.stages import data
from configs.data import get_config
from tests.data.published import pair, question, write

ROOT = Path(__file__).parents[2]


def config(preset, **keys):
    made = get_config(preset)
    with made.unlocked():
        made.update({name: str(value) if isinstance(value, Path) else value for name, value in keys.items()})
    return made


@pytest.fixture
def rows():
    made = [question(n) | {"licence": "PSF-2.0" if n < 4 else "MIT", "model": "gpt-4o-mini"} for n in range(6)]
    made[5]["test_cases"] = ["assert f5(1) ==", "x = 1"]
    return made


def test_inspect(tmp_path, rows, capsys):
    bad = [rows[0], question(9) | {"inferences": 3}]
    path = write(tmp_path / "in.jsonl", rows + bad)
    data.run(config("inspect", input=path, show_rows=1), tmp_path / "w")
    out = capsys.readouterr().out
    assert "malformed row: " in out and "line 7 (id 'evol_0'): the id appears twice" in out
    assert "line 8 (id 'evol_9'): inferences must be a list, not 3" in out
    assert "row evol_0" in out and "row evol_1" not in out
    results = store.read_json(tmp_path / "w" / "results.json")
    assert (results["rows"], results["questions"], results["malformed"]) == (6, 6, 2)
    # evol_1, 2, 4 and 5: 6 + 5 + 5 + 2 tests
    assert results["sources"]["evol"] == {"rows": 4, "tests": 18, "tests imagined": 28, "programs": 8}
    assert results["columns"] == dict.fromkeys(rows[0], 6)
    assert results["licences"] == {"PSF-2.0": 4, "MIT": 2} and results["written_by"] == {"gpt-4o-mini": 6}
    # 6 programs with a rate of 0 and 6 with 1/7
    assert results["models"] == {"qwen": {"programs": 12, "mean_pass_rate": pytest.approx(1 / 14)}}
    assert results["pass_rate_histogram"] == [6, 6, 0, 0, 0, 0, 0, 0, 0, 0]
    assert results["odd"] == {"fewer than 5 tests": 1, "a test that is no assert": 1, "a question that is not ASCII": 6}
    assert results["lengths"]["tests a question"]["least"] == 2


def test_inspect_counts_tokens_and_pairs(tmp_path, monkeypatch):
    class Words:
        def __call__(self, texts, add_special_tokens):
            return {"input_ids": [text.split() for text in texts]}

    monkeypatch.setattr(data.tokenizer, "load", lambda name: Words())
    path = write(tmp_path / "p.jsonl", [pair(1), pair(2) | {"rejected": "good 2"}])
    data.run(config("inspect", input=path, tokenizer="some/words"), tmp_path / "w")
    results = store.read_json(tmp_path / "w" / "results.json")
    assert results["lengths"]["chosen, tokens"] == {
        "mean": 2.0, "least": 2, "median": 2, "p90": 2, "p99": 2, "most": 2,
    }  # fmt: skip
    assert results["odd"] == {"chosen and rejected are the same": 1}


@pytest.mark.parametrize("name", ["out.parquet", "out.jsonl.gz", "out.jsonl"])
def test_convert(tmp_path, rows, name, capsys):
    path = write(tmp_path / "in.jsonl", rows)
    wanted = config("convert", input=path, output=tmp_path / name)
    data.run(wanted, tmp_path / "w")
    back = sources.load("acecode", str(tmp_path / name))
    assert back == sources.load("acecode", str(path))
    before = (tmp_path / name).stat()
    data.run(wanted, tmp_path / "w")
    assert "already converted" in capsys.readouterr().out and (tmp_path / name).stat() == before
    with pytest.raises(ValueError, match="is there already: delete it, or name another"):
        data.run(wanted, tmp_path / "other")


def test_convert_to_tfds_and_from_it(tmp_path, rows):
    path = write(tmp_path / "in.jsonl", rows)
    data.run(config("convert", input=path, output=tmp_path / "datasets", format="tfds"), tmp_path / "w")
    data.run(config("convert", input=tmp_path / "datasets", output=tmp_path / "back.jsonl"), tmp_path / "v")
    assert store.read_jsonl(tmp_path / "back.jsonl") == rows
    assert sources.load("acecode", str(tmp_path / "datasets")) == sources.load("acecode", str(path))


def test_a_bad_row_is_an_error_before_anything_is_written(tmp_path, rows):
    del rows[3]["test_cases"]
    path = write(tmp_path / "in.jsonl", rows)
    wanted = config("convert", input=path, output=tmp_path / "out.parquet")
    with pytest.raises(ValueError, match=r"1 malformed rows in .*line 4 \(id 'evol_3'\): the row lacks test_cases"):
        data.run(wanted, tmp_path / "w")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["in.jsonl"]
    with wanted.unlocked():
        wanted.skip_malformed = True
    data.run(wanted, tmp_path / "w")
    assert pyarrow.parquet.read_metadata(tmp_path / "out.parquet").num_rows == 5


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"output": ""}, "config.output is empty"),
        ({"output": "x.csv"}, "ends in none of .jsonl, .jsonl.gz, .parquet"),
        ({"output": "x.jsonl", "format": "parquet"}, "an output of format parquet has .parquet"),
        ({"output": "x.jsonl", "format": "tfds"}, "it is a folder"),
        ({"output": "x", "format": "csv"}, "config.format is one of jsonl, parquet, tfds, not 'csv'"),
        ({"task": "burn"}, "config.task is one of inspect, convert, publish, not 'burn'"),
        ({"kind": "pears"}, "unknown kind 'pears'"),
    ],
)
def test_what_cannot_be_asked_for(tmp_path, rows, keys, told):
    with pytest.raises(ValueError, match=told):
        data.run(config("convert", input=write(tmp_path / "in.jsonl", rows), **keys), tmp_path / "w")


def a_run(folder, stage, settings, command):
    """A workdir as a stage leaves it."""
    store.write_json(folder / "config.json", {"stage": stage} | settings)
    store.append_jsonl(folder / "starts.jsonl", [{"command": ["main.py", *command]}] * 2)
    return folder


def test_publish(tmp_path, rows, monkeypatch, capsys):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    first = a_run(tmp_path / "synth", "synthesize", {"model": "gpt-4o-mini", "api_key": "sk-123456789"}, ["--config=a"])
    write(first / "questions.jsonl", rows)
    second = a_run(
        tmp_path / "sample", "sample", {"questions": str(first / "questions.jsonl"), "limits": {"test_s": 0.2}},
        ["--config=configs/sample.py", "--config.endpoint.headers={'a': 'hf_123456789abc'}"],
    )  # fmt: skip
    path = write(second / "dataset.jsonl", rows)
    wanted = config("publish", input=path, licence="mit", title="Mine", shard_bytes=2500, push_to="me/mine")
    data.run(wanted, tmp_path / "w")
    out = capsys.readouterr().out
    assert "dry run: these files would go to the dataset me/mine (private if new)" in out
    folder = tmp_path / "w" / "dataset"
    shards = sorted((folder / "data").iterdir())
    assert len(shards) > 1 and shards[0].name == f"train-00000-of-{len(shards):05}.parquet"
    assert [p.id for p in sources.load("acecode", str(folder / "data"))] == [row["id"] for row in rows]

    card = (folder / "README.md").read_text()
    _, header, body = card.split("---\n", 2)
    assert yaml.safe_load(header) == {
        "pretty_name": "Mine", "license": "mit", "task_categories": ["text-generation"],
        "tags": ["code", "acecode", "reinforcement-learning"], "size_categories": ["n<1K"],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*"}]}],
    }  # fmt: skip
    assert "6 coding questions with 29 tests (4.83 a question) and 12 sampled programs" in body
    assert "| evol | 4 |" in body and "| PSF-2.0 | 4 |" in body and "| qwen | 12 | 0.071 |" in body
    assert body.index("### Stage `synthesize`") < body.index("### Stage `sample`")
    assert "| `limits.test_s` | `0.2` |" in body and body.count("--config=configs/sample.py") == 1
    assert "sk-1234" not in card and "hf_1234" not in card

    with wanted.unlocked():
        wanted.dry_run = False
    with pytest.raises(ValueError, match="no token for the hub: put one into the environment as HF_TOKEN"):
        data.run(wanted, tmp_path / "w")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr(data.push, "push", lambda *args, **kw: f"pushed {args} {kw}")
    data.run(wanted, tmp_path / "w")
    assert f"({folder!r}, 'me/mine') {{'private': True" in (told := capsys.readouterr().out) and "hf_secret" not in told


FULL_DISK = """
import resource, sys
from pathlib import Path
from tests.stages.test_data_stage import config, data
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
keys = dict(pair.split("=") for pair in sys.argv[3:])
data.run(config(sys.argv[2], **keys), Path("w"))
"""


@pytest.mark.parametrize("preset", ["publish", "convert", "tfds"])
def test_a_full_disk_leaves_nothing_half_written(tmp_path, preset):
    """No file may grow past a limit, as when there is no room; with room again the same command does it all."""
    noise = random.Random(0)  # that no compression makes small
    many = [question(number) | {"question": noise.randbytes(4000).hex()} for number in range(40)]
    write(tmp_path / "in.jsonl", many)
    keys = ["input=in.jsonl"]
    if preset != "publish":
        keys += ["output=datasets", "format=tfds"] if preset == "tfds" else ["output=out.parquet"]
    task = "convert" if preset == "tfds" else preset

    def start(limit):
        command = [sys.executable, "-c", FULL_DISK, str(limit), task, *keys]
        path = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "JAX_PLATFORMS": "cpu"}
        return subprocess.run(command, cwd=tmp_path, env=path, capture_output=True, text=True, timeout=120)

    done = start(50_000)
    assert done.returncode == 1 and "Error" in done.stderr.splitlines()[-1], done.stderr
    written = {f.relative_to(tmp_path).as_posix() for f in tmp_path.rglob("*") if f.is_file()}
    assert written == {"in.jsonl", "w/results.json"}  # the counts, which are whole
    assert start(10_000_000).returncode == 0
    found = {"publish": "w/dataset/data", "convert": "out.parquet", "tfds": "datasets"}[preset]
    assert len(sources.load("acecode", str(tmp_path / found))) == 40
    assert not list(tmp_path.rglob(".partial*"))


def test_the_command(tmp_path, rows):
    """With the real flags, once."""
    write(tmp_path / "in.jsonl", rows)
    command = [
        sys.executable, "-m", "acecoder_jax.main", "--config=configs/data.py:inspect", f"--workdir={tmp_path / 'w'}",
        f"--config.input={tmp_path / 'in.jsonl'}",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "6 good rows, 6 questions, 0 malformed rows" in done.stdout, done.stderr
    assert json.loads((tmp_path / "w" / "results.json").read_text())["rows"] == 6
