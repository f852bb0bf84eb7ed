"""BigCodeBench through the stage: a file of answers, both ways of asking, judged in the library profile."""

import pytest

from acecoder_jax import store
from acecoder_jax.sandbox import Library, Sandbox, SandboxError
from acecoder_jax.stages import evaluate
from configs.evaluate import get_config
from tests.benchmarks.bigcode_sample import SAMPLES


@pytest.fixture(scope="module", autouse=True)
def has_the_profile():
    try:
        with Sandbox(1, library=Library(threads=True, loopback=True), quiet=True):
            pass
    except SandboxError as error:
        pytest.skip(str(error))


def test_answers_of_both_ways_of_asking(tmp_path):
    store.write_jsonl(tmp_path / "tasks.jsonl", [sample.row() for sample in SAMPLES])
    wrong = "an operator flipped"
    programs = {
        f"BigCodeBench/{sample.id}": sample.programs.get(wrong, sample.programs["canonical"]) for sample in SAMPLES
    }
    right = [wrong not in sample.programs for sample in SAMPLES]
    assert 0 < sum(right) < len(right)
    answers = [{"task_id": task, "solution": program} for task, program in programs.items()]
    store.write_jsonl(tmp_path / "samples.jsonl", answers)
    config = get_config("bigcodebench_hard")
    with config.unlocked():
        config.answers, config.data_path = str(tmp_path / "samples.jsonl"), str(tmp_path / "tasks.jsonl")
        config.sandbox.workers = 1
    evaluate.run(config, tmp_path / "run")
    names = ["bigcodebench_complete_hard", "bigcodebench_instruct_hard"]
    results = store.read_json(tmp_path / "run" / "results.json")
    assert {name: score["pass@1"] for name, score in results.items()} == dict.fromkeys(names, sum(right) / len(right))
    rows = list(store.read_jsonl(tmp_path / "run" / "answers.jsonl"))
    assert [row["passed"][name] for name in names for row in rows if row["benchmark"] == name] == right * 2
    for name in names:
        official = list(store.read_jsonl(tmp_path / "run" / "official" / name / "samples.jsonl"))
        assert [row["task_id"] for row in official] == [*programs]


def test_a_way_of_asking_that_a_benchmark_lacks_is_refused_before_anything_is_answered(tmp_path):
    store.write_jsonl(tmp_path / "tasks.jsonl", [sample.row() for sample in SAMPLES])
    config = get_config("bigcodebench_hard,style=base,writer=endpoint,model=m")
    with config.unlocked():
        config.data_path = str(tmp_path / "tasks.jsonl")
    with pytest.raises(ValueError, match="instruct asks for a reply, which a base model does not give"):
        evaluate.run(config, tmp_path / "run")
    assert not (tmp_path / "run" / "answers.jsonl").exists()
