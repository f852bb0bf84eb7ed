"""The command itself, with a small policy that the decoding engine runs."""

from acecoder_jax import store
from tests.stages.runs import start


def test_a_checkpoint_is_evaluated_and_no_other_in_its_workdir(small_policy, tmp_path):
    benchmark = "--config.benchmarks=({'name':'toy','split':'train','count':12},)"
    args = ["--config=configs/evaluate.py:tiny,max_tokens=32", benchmark, f"--workdir={tmp_path / 'run'}"]
    start(*args, f"--config.model={small_policy}")
    score = store.read_json(tmp_path / "run" / "results.json")["toy"]
    assert score["n"] == 12 and score["missing"] == 0 and score["pass@1"] > 0  # it has learned some of them by heart
    files = ("answers.jsonl", "results.json", "problems.tsv")
    whole = {name: (tmp_path / "run" / name).read_bytes() for name in files}

    # What a kill leaves: some of the answers, the last one torn, no scores.
    lines = whole["answers.jsonl"].splitlines(keepends=True)
    (tmp_path / "run" / "answers.jsonl").write_bytes(b"".join(lines[:5]) + lines[5][:40])
    (tmp_path / "run" / "results.json").unlink()
    again = start(*args, f"--config.model={small_policy}")
    assert "toy: 12 wanted, 5 done before" in again.stdout
    assert {name: (tmp_path / "run" / name).read_bytes() for name in files} == whole

    other = tmp_path / "other"
    other.mkdir()
    refused = start(*args, f"--config.model={other}", check=False)
    assert refused.returncode == 1 and f"model: '{small_policy}' -> '{other}'" in refused.stderr
