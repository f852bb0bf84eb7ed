"""filter, sample and pairs after one another, with the real writer of an endpoint on loopback."""

import functools
import inspect
import pickle
import re

import pytest

from acecoder_jax import store, writers
from acecoder_jax.stages import _programs, _writing, pairs, sample
from acecoder_jax.stages import filter as filtering
from acecoder_jax.stages._programs import Asking
from acecoder_jax.writers import batch, endpoint, local
from configs import filter as filter_config
from configs import pairs as pairs_config
from configs import sample as sample_config
from tests.stages.curating import write
from tests.stages.fake_writer import KINDS, question
from tests.writers.hostile_endpoint import Server, error, says, streams

ORACLE, POLICY = "Qwen/Qwen2.5-Coder-32B-Instruct", "Qwen/Qwen2.5-Coder-7B-Instruct"


def answer(asked):
    """The oracle is right; of the policy's programs one in three is, and one each fails some or all tests."""
    number = int(re.search(r"Write f(\d+)", asked.body["messages"][0]["content"])[1])
    kind = "good" if asked.body["model"] == ORACLE else ("good", "even", "bad")[asked.body["seed"] % 3]
    program = KINDS[kind].format(name=f"f{number}", number=number)
    if asked.body["messages"][-1]["role"] == "assistant":  # goes on from the opened block
        assert asked.body["continue_final_message"] is True
        return streams(f"{program}\n```\nUse it so:\n```python\nf(1)\n```")
    return says(f"```python\n{program}\n```")


def test_the_chain(tmp_path):
    questions = write(tmp_path / "questions.jsonl", [question(number, wrong=2) for number in range(4)])
    with Server(answer) as server:
        config = filter_config.get_config(f"recipe,endpoint.base_url={server.url},sandbox.workers=1")
        config.questions = str(questions)
        filtering.run(config, tmp_path / "filter")
        assert len(server.asked) == 4 and all(one.body["temperature"] == 0 for one in server.asked)
        config = sample_config.get_config(f"recipe,endpoint.base_url={server.url},sandbox.workers=1")
        config.questions = str(tmp_path / "filter" / "filtered.jsonl")
        sample.run(config, tmp_path / "sample")
        assert len(server.asked) == 4 + 4 * 16
        assert all(one.body["temperature"] == 0.7 for one in server.asked[4:])
    config = pairs_config.get_config("tiny,pairs.over=kept")
    config.dataset = str(tmp_path / "sample" / "dataset.jsonl")
    pairs.run(config, tmp_path / "pairs")
    dataset = store.read_jsonl(tmp_path / "sample" / "dataset.jsonl")
    assert [len(row["test_cases"]) for row in dataset] == [6] * 4
    assert {one["model_name"] for row in dataset for one in row["inferences"]} == {"Qwen2.5-Coder-7B-Instruct"}
    assert {one["pass_rate"] for one in dataset[0]["inferences"]} == {6 / 8, 3 / 8, 0.0}
    made = store.read_jsonl(tmp_path / "pairs" / "pairs.jsonl")
    assert [row["question_id"] for row in made] == ["q000", "q001", "q002", "q003"]
    assert {(row["chosen_score"], row["rejected_score"]) for row in made} == {(1.0, 0.5)}
    hard = store.read_jsonl(tmp_path / "pairs" / "hard.jsonl")
    assert 0 < len(hard) <= 3 and all(row in dataset for row in hard)


def test_a_wrong_key_ends_the_run_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("CURATING_KEY", "sk-wrong")
    path = write(tmp_path / "questions.jsonl", [question(number) for number in range(3)])
    with Server(lambda asked: error(401, "no such key")) as server:
        config = filter_config.get_config(f"recipe,endpoint.base_url={server.url},endpoint.key_env=CURATING_KEY")
        config.questions, config.sandbox.workers = str(path), 1
        with pytest.raises(writers.WriterError, match="CURATING_KEY"):
            filtering.run(config, tmp_path)
    assert store.read_jsonl(tmp_path / "filtered.jsonl") == []
    assert {row["reason"] for row in store.read_jsonl(tmp_path / "rejected.jsonl")} <= set(writers.FAILURES)


def test_the_works_travel_to_other_nodes(tmp_path):
    asking = Asking(0.0, 1.0, 64, 2, 0)
    with Server(answer) as server:
        for name, ask, more in (("filter", filtering.ask, 1), ("sample", sample.ask, "m")):
            module = {"filter": filter_config, "sample": sample_config}[name]
            config = module.get_config(f"recipe,endpoint.base_url={server.url},sandbox.workers=1,limits.test_s=0.5")
            arguments = _writing.writer_args(config, tmp_path, []) | {"model": ORACLE}
            sandbox, limits = config.sandbox.to_dict(), config.limits.to_dict()
            of_stage = functools.partial(ask, asking, more)
            packed = pickle.dumps(functools.partial(_programs.work, "endpoint", arguments, sandbox, limits, of_stage))
            row = question(3) | {"samples": [2], "spent_usd": 0.5 if name == "filter" else {2: 0.5}}
            with pickle.loads(packed)() as unpacked:
                (result,) = unpacked([row])
            assert result["id"] == {"filter": "q003", "sample": "q003|m|2"}[name] and result["cost_usd"] == 0.5


@pytest.mark.parametrize("module", [filter_config, sample_config])
@pytest.mark.parametrize("preset", ["recipe", "tiny"])
def test_every_knob_of_a_writer_is_one_that_it_has(module, preset):
    config = module.get_config(preset)
    for name, writer in (("endpoint", endpoint.Endpoint), ("batch", batch.make), ("local", local.Local)):
        assert set(config[name]) <= set(inspect.signature(writer).parameters), name
    assert config.max_tokens <= config.local.max_new_tokens
