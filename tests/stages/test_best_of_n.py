import json
import re
import shutil

import pytest

import acecoder_jax
from acecoder_jax import prompts, store
from acecoder_jax.models import huggingface
from acecoder_jax.reward_models import checkpoint
from acecoder_jax.stages import best_of_n, evaluate
from configs.best_of_n import get_config
from tests.stages import evaluating, scoring
from tests.stages.evaluating import PROBLEMS, ToyWriter, program

SAMPLES = 4


@pytest.fixture(autouse=True)
def _writer(monkeypatch):
    monkeypatch.setattr(evaluate.writers, "make", evaluating.make)
    ToyWriter.asked = []


def config(argument=f"tiny,samples={SAMPLES}", right=(True, False, False), **knobs):
    return evaluating.toys(get_config(argument), right=right, **knobs)


RIGHT = {prompts.program_reply(program(one.id, True)) for one in PROBLEMS}


def knowing(question, text):
    """1 for a right program, 0 for a wrong one."""
    return float(text in RIGHT)


def results(workdir, name="toy"):
    return json.loads((workdir / "results.json").read_text())["scores"][name]


def scores(workdir):
    return {row["id"]: row for row in store.read_jsonl(workdir / "scores.jsonl")}


def test_greedy_average_reward_model_and_oracle(tmp_path, monkeypatch, capsys):
    scorer = scoring.install(monkeypatch, knowing)
    evaluate_config = config()
    best_of_n.run(evaluate_config, tmp_path)
    found = results(tmp_path)
    # Sample K of problem N is right where 3 divides N + K: of four samples one, or two where it divides N. The greedy
    # one counts as K = -1.
    right = [2 if n % 3 == 0 else 1 for n in range(8)]
    assert found["n"] == 8 and found["greedy"] == pytest.approx(sum(n % 3 == 1 for n in range(8)) / 8)
    assert found["average"] == pytest.approx(sum(right) / 32) == found["rm"]["1"] == found["oracle"]["1"]
    assert found["rm"] == pytest.approx(found["oracle"]) and list(found["rm"]) == ["1", "2", "4"]  # it knows them all
    assert found["rm"]["2"] == pytest.approx((3 * 5 / 6 + 5 * 1 / 2) / 8) and found["rm"]["4"] == 1.0
    assert found["pair_accuracy"] == 1.0 and found["mean_score"] == {"passed": 1.0, "failed": 0.0, "greedy": 3 / 8}
    assert found["ties"] == 3 and found["mixed_ties"] == 0  # two right samples of one score
    assert {key: found[key] for key in ("short", "left_out", "unscored", "truncated", "missing")} == dict.fromkeys(
        ("short", "left_out", "unscored", "truncated", "missing"), 0
    )
    gain = found["over_average"]
    assert gain["difference"] == pytest.approx(1 - sum(right) / 32) and 0 < gain["low"] < gain["high"]
    assert {request.temperature for request in ToyWriter.asked if request.key.endswith("|-1")} == {0.0}
    assert {request.temperature for request in ToyWriter.asked if not request.key.endswith("|-1")} == {1.0}
    assert len(ToyWriter.asked) == 40 == len(scorer.seen) and (PROBLEMS[0].question) in {one[0] for one in scorer.seen}
    picked = store.read_jsonl(tmp_path / "official" / "toy" / "samples.jsonl")
    assert [one["solution"] for one in picked] == [program(one.id, True) for one in PROBLEMS]
    assert (tmp_path / "best_of_n.png").read_bytes().startswith(b"\x89PNG")
    out = capsys.readouterr().out
    assert re.search(r"best of 4 .* 1\.000 ± 0\.000", out) and "over greedy" in out


def test_what_is_there_is_used_again_for_fewer_and_for_more_samples(tmp_path, monkeypatch):
    scoring.install(monkeypatch, knowing)
    best_of_n.run(config(), tmp_path)
    whole = results(tmp_path)
    ToyWriter.asked = []
    scorer = scoring.install(monkeypatch, knowing)
    best_of_n.run(config("tiny,samples=2"), tmp_path)
    fewer = results(tmp_path)
    assert not scorer.seen and not ToyWriter.asked and list(fewer["rm"]) == ["1", "2"]
    assert fewer["average"] != whole["average"] and fewer["greedy"] == whole["greedy"]
    best_of_n.run(config("tiny,samples=5"), tmp_path)
    assert len(ToyWriter.asked) == 8 and list(results(tmp_path)["rm"]) == ["1", "2", "4", "5"]
    assert not scorer.seen and len(scores(tmp_path)) == 48  # the same texts again, which have their scores
    best_of_n.run(config(), tmp_path)
    assert results(tmp_path) == whole and not scorer.seen
    best_of_n.run(config("tiny,samples=1"), tmp_path / "grown")
    few = list(scorer.seen)
    best_of_n.run(config(), tmp_path / "grown")
    assert results(tmp_path / "grown") == whole and len(scorer.seen) > len(few) == 16
    assert not set(scorer.seen[16:]) & set(few)


def test_scoring_that_was_stopped_goes_on_and_ends_the_same(tmp_path, monkeypatch):
    scoring.install(monkeypatch, knowing)
    best_of_n.run(config(), tmp_path / "whole")

    def stopping(question, text):
        if len(scorer.seen) > 10:
            raise KeyboardInterrupt
        return knowing(question, text)

    scorer = scoring.install(monkeypatch, stopping)
    with pytest.raises(KeyboardInterrupt):
        best_of_n.run(config(), tmp_path / "stopped")
    with open(tmp_path / "stopped" / "scores.jsonl", "ab") as file:
        file.write(b'{"id": "torn')
    done = len((tmp_path / "stopped" / "scores.jsonl").read_bytes().splitlines()) - 1
    assert done == 10 and not (tmp_path / "stopped" / "results.json").exists()
    first = scorer.seen[:10]
    scorer = scoring.install(monkeypatch, knowing)
    best_of_n.run(config(), tmp_path / "stopped")
    assert (
        scorer.seen and not set(scorer.seen) & set(first) and scores(tmp_path / "stopped") == scores(tmp_path / "whole")
    )
    assert (tmp_path / "stopped" / "results.json").read_bytes() == (tmp_path / "whole" / "results.json").read_bytes()


def test_scores_of_another_reward_model_or_of_answers_that_went_are_refused(tmp_path, monkeypatch):
    scoring.install(monkeypatch, knowing)
    best_of_n.run(config("tiny,samples=1", count=2), tmp_path)
    scoring.install(monkeypatch, knowing, name="another one")
    with pytest.raises(ValueError, match=f"another reward model or by other rules .*dtype: {scoring.NAME}"):
        best_of_n.run(config("tiny,samples=1", count=2), tmp_path)
    scoring.install(monkeypatch, knowing)
    (tmp_path / "answers.jsonl").unlink()
    with pytest.raises(ValueError, match=r"scores of 4 answers that answers\.jsonl lacks"):
        best_of_n.run(config("tiny,samples=1", count=2), tmp_path)


def test_ties_and_programs_without_a_score(tmp_path, monkeypatch):
    scoring.install(monkeypatch, lambda question, text: 0.5)  # it knows nothing
    best_of_n.run(config(), tmp_path / "tied")
    found = results(tmp_path / "tied")
    assert found["rm"] == pytest.approx(dict.fromkeys(("1", "2", "4"), found["average"]))
    assert found["ties"] == found["mixed_ties"] == 8 and found["pair_accuracy"] == 0.5
    # Right programs are too long to be scored: one is picked only where there is no other.
    scoring.install(monkeypatch, lambda question, text: None if text in RIGHT else -3.0)
    best_of_n.run(config(), tmp_path / "dropped")
    found = results(tmp_path / "dropped")
    assert found["unscored"] == 11 and found["rm"]["4"] == 0.0 and found["oracle"]["4"] == 1.0
    assert found["mean_score"] == {"passed": None, "failed": -3.0, "greedy": -3.0}
    assert found["ties"] == 8 and found["mixed_ties"] == 0  # of the wrong ones
    rows = scores(tmp_path / "dropped")
    assert rows[f"toy|{PROBLEMS[0].id}|0"] == {
        "id": f"toy|{PROBLEMS[0].id}|0", "score": None, "reward_model": scoring.NAME,
        "dropped": "the program is longer than 2048 tokens",
    }  # fmt: skip


def test_problems_without_a_score_are_no_ties(tmp_path, monkeypatch):
    scoring.install(monkeypatch, lambda question, text: None)
    best_of_n.run(config("tiny,samples=2", count=4), tmp_path)
    found = results(tmp_path)
    assert found["unscored"] == 8 and found["ties"] == found["mixed_ties"] == 0
    assert found["rm"]["2"] == found["average"]


def test_answers_that_are_missing_are_left_out_counted_and_asked_for_again(tmp_path, monkeypatch):
    scoring.install(monkeypatch, knowing)
    fails = [f"toy|{PROBLEMS[0].id}|{k}" for k in (0, 1)] + [f"toy|{PROBLEMS[1].id}|-1"]
    best_of_n.run(config(fails=tuple(fails)), tmp_path)
    found = results(tmp_path)
    assert (found["n"], found["left_out"], found["short"], found["missing"]) == (7, 1, 1, 3)
    # Of problem 0 the samples 2 and 3 are left, the second one right; problem 1 has no greedy answer.
    assert found["average"] == pytest.approx((2 / 4 + 4 * 1 / 4 + 2 * 2 / 4) / 7)
    assert found["rm"]["2"] == pytest.approx((1 + 4 * 1 / 2 + 2 * 5 / 6) / 7) and found["rm"]["4"] == 1.0
    ToyWriter.asked = []
    best_of_n.run(config(), tmp_path)
    assert sorted(request.key for request in ToyWriter.asked) == sorted(fails) and results(tmp_path)["missing"] == 0


def test_samples_of_another_model_from_files(tmp_path, monkeypatch):
    scorer = scoring.install(monkeypatch, knowing)
    samples, greedy = tmp_path / "samples.jsonl", tmp_path / "greedy.jsonl"
    rows = [
        {"task_id": one.id, "solution": program(one.id, n % 4 == k)}
        for n, one in enumerate(PROBLEMS) for k in range(4)
    ]  # fmt: skip
    store.write_jsonl(samples, rows)
    store.write_jsonl(
        greedy, [{"task_id": one.id, "solution": program(one.id, n < 2)} for n, one in enumerate(PROBLEMS)]
    )
    knobs = f"tiny,samples=3,answers={samples}"
    best_of_n.run(config(knobs), tmp_path / "alone")
    found = results(tmp_path / "alone")
    assert "greedy" not in found and "over_greedy" not in found and found["rm"]["3"] == 0.75
    assert not ToyWriter.asked and len(scorer.seen) == 24
    both = config(f"{knobs},greedy_answers={greedy}")
    best_of_n.run(both, tmp_path / "both")
    found = results(tmp_path / "both")
    assert found["greedy"] == 0.25 and found["average"] == pytest.approx(0.25) and found["missing"] == 0
    with pytest.raises(ValueError, match=r"4 answers to .*, where one, the greedy one"):
        best_of_n.run(config(f"{knobs},greedy_answers={samples}"), tmp_path / "wrong")
    with pytest.raises(ValueError, match=r"name them in config\.answers"):
        best_of_n.run(config(f"tiny,greedy_answers={greedy}"), tmp_path / "none")
    # The answers of such a run bring their greedy ones along; a plain evaluation leaves these out.
    best_of_n.run(config(f"tiny,samples=3,answers={tmp_path / 'both' / 'answers.jsonl'}"), tmp_path / "again")
    assert results(tmp_path / "again") == found
    # A problem whose greedy answer they lack is left out of all numbers; it has one right sample of three.
    kept = [
        row for row in store.read_jsonl(tmp_path / "both" / "answers.jsonl") if row["id"] != f"toy|{PROBLEMS[0].id}|-1"
    ]
    store.write_jsonl(tmp_path / "kept.jsonl", kept)
    best_of_n.run(config(f"tiny,samples=3,answers={tmp_path / 'kept.jsonl'}"), tmp_path / "fewer")
    fewer = results(tmp_path / "fewer")
    assert (len(kept), fewer["n"], fewer["left_out"]) == (31, 7, 1) and fewer["greedy"] == pytest.approx(1 / 7)
    assert fewer["average"] == pytest.approx(5 / 21) and "over_greedy" in fewer
    from configs import evaluate as plain

    given = evaluating.toys(plain.get_config(f"tiny,answers={tmp_path / 'both' / 'answers.jsonl'}"))
    evaluate.run(given, tmp_path / "plain")
    assert json.loads((tmp_path / "plain" / "results.json").read_text())["toy"]["answers"] == 24


def test_what_the_reward_model_reads(tmp_path, monkeypatch):
    scorer = scoring.install(monkeypatch, lambda question, text: 0.0)
    argument = "tiny,samples=1,text=reply,question=statement"
    best_of_n.run(config(argument, right=(True,), count=1), tmp_path / "reply")
    reply = f"Here it is:\n```python\n{program(PROBLEMS[0].id, True)}\n```\n"
    assert scorer.seen == [(PROBLEMS[0].question, reply)] * 2
    for wrong in ("text=story", "question=tests"):
        with pytest.raises(ValueError, match="is one of"):
            best_of_n.run(config(f"tiny,{wrong}"), tmp_path / "wrong")


def test_a_reward_model_has_to_be_named_first(tmp_path):
    with pytest.raises(ValueError, match="reward_model is empty"):
        best_of_n.run(config(), tmp_path)
    assert not ToyWriter.asked


def test_with_a_real_reward_model_of_random_weights(tmp_path):
    texts = [one.question for one in PROBLEMS] + sorted(RIGHT)
    model = scoring.save_random(tmp_path / "rm", texts)
    argument = f"tiny,samples=2,reward_model={model},reward.dtype=float32"
    best_of_n.run(config(argument), tmp_path / "run")
    found, there = results(tmp_path / "run"), scores(tmp_path / "run")
    assert found["n"] == 8 and found["unscored"] == 0 and len(there) == 24
    asked = [(one.question, prompts.program_reply(program(one.id, True))) for one in PROBLEMS[:2]]
    alone = acecoder_jax.RewardModel.load(model, dtype="float32").score(asked)
    right = [there[f"toy|{PROBLEMS[0].id}|0"]["score"], there[f"toy|{PROBLEMS[1].id}|-1"]["score"]]
    assert right == pytest.approx(alone, abs=1e-4)
    policy = tmp_path / "policy"
    shutil.copytree(model, policy)
    huggingface.export(*decoder_of(model), policy, overwrite=True)
    with pytest.raises(ValueError, match="has no head that scores"):
        best_of_n.run(config(f"tiny,reward_model={policy}"), tmp_path / "headless")


def decoder_of(model):
    """The parameters of a reward model without its head, and the config."""
    model_config, params = checkpoint.load(model)
    return {name: leaf for name, leaf in params.items() if "reward" not in name}, model_config
