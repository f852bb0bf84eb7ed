"""Training of a reward model: end to end, stopped and killed, with an adapter over all programs of a question."""

import collections
import dataclasses
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from acecoder_jax import RewardModel, data, presets, store, tokenizer
from acecoder_jax.data import toy
from acecoder_jax.reward_models import checkpoint
from acecoder_jax.stages import _rm_data, train_rm
from acecoder_jax.stages._rm_data import Compared, batch_at, is_empty, split, steps_of_epoch, tell, to_tokens
from acecoder_jax.stops import Stopped
from acecoder_jax.training import reward_trainer
from acecoder_jax.types import Ranked
from configs.rm import get_config
from tests.processes import ends, pair
from tests.stages import scoring
from tests.stages.runs import TINY_MODEL, checkpoints, kill_when, start, stop_when

SMALL = (
    "--config=configs/rm.py:tiny,data_args={'split': 'train', 'count': 256},held_out.share=0.1,held_out.at_least=8,"
    "steps=36,epochs=10,batch=32,trainer.rows=8,evaluate_every=12,checkpoint.every=15,optimizer.learning_rate=5e-3"
)
MEASURED = {"step_s", "train_tokens_per_s", "evaluate_s"}
WEIGHTS = "model/model.safetensors"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workdir of a whole small run."""
    workdir = tmp_path_factory.mktemp("rm")
    start(SMALL, *TINY_MODEL, f"--workdir={workdir}")
    return workdir


def decided(workdir: Path) -> list[dict]:
    """The rows of a run without what a clock measured."""
    rows = store.read_jsonl(workdir / "metrics.jsonl")
    return [{name: value for name, value in row.items() if name not in MEASURED} for row in rows]


def test_it_learns_and_says_how_well(trained: Path) -> None:
    rows = store.read_jsonl(trained / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(1, 37))
    assert [row["step"] for row in rows if "heldout_accuracy" in row] == [12, 24, 36]
    losses = [row["loss"] for row in rows]
    assert np.mean(losses[-6:]) < np.mean(losses[:6]) - 0.03
    results = store.read_json(trained / "results.json")
    names = {"accuracy", "margin", "loss", "ece", "brier", "length_pearson", "length_spearman"}
    assert results["heldout"].keys() == names and results["heldout"]["accuracy"] > 0.6
    assert results["heldout"]["loss"] == rows[-1]["heldout_loss"]
    assert results["held_out"]["questions"] >= 8 and results["data"]["kept"] == sum(
        results[part]["comparisons"] for part in ("trained", "held_out")
    )


def test_the_result_opens_as_a_reward_model_and_scores_as_in_training(trained: Path) -> None:
    config, params = checkpoint.load(trained / "model")
    assert params["embed_vd"].shape == (config.vocab_size, 32) and params["reward_da"].shape == (32, 1)
    assert store.read_json(trained / "model" / "config.json")["acecoder_read"] == "last"
    pairs = data.load_pairs("toy", count=256)
    held = held_out_of(trained, pairs)
    model = RewardModel.load(trained / "model", dtype="float32", max_tokens=128, row_tokens=256)
    scores = model.score([(one.question, text) for one in held for text in (one.chosen, one.rejected)])
    better, worse = np.array(scores).reshape(-1, 2).T
    heldout = store.read_json(trained / "results.json")["heldout"]
    assert np.mean(better > worse) == pytest.approx(heldout["accuracy"])
    assert np.mean(better - worse) == pytest.approx(heldout["margin"], abs=1e-4)


def held_out_of(workdir: Path, pairs: list) -> list:
    rules = get_config("tiny,held_out.share=0.1,held_out.at_least=8").held_out
    compared = [Compared(pair.id, pair.question_id, (), (), ()) for pair in pairs]
    names = {one.id for one in split(compared, **rules)[1]}
    return [pair for pair in pairs if pair.id in names]


def test_a_stopped_and_killed_run_goes_on_bit_for_bit(trained: Path, tmp_path: Path) -> None:
    args = [SMALL, *TINY_MODEL, f"--workdir={tmp_path}"]
    metrics = tmp_path / "metrics.jsonl"
    code, out = stop_when(lambda: metrics.exists() and len(store.read_jsonl(metrics)) >= 4, signal.SIGTERM, args)
    (stopped,) = checkpoints(tmp_path)
    assert code == 143 and 4 <= float(stopped) < 36, out
    kill_when(lambda: len(metrics.read_bytes().splitlines()) >= 20, *args)
    assert not (tmp_path / "model").exists()
    start(*args)
    assert decided(tmp_path) == decided(trained)
    assert (tmp_path / WEIGHTS).read_bytes() == (trained / WEIGHTS).read_bytes()
    assert store.read_json(tmp_path / "results.json") == store.read_json(trained / "results.json")
    assert "already trained" in start(*args).stdout


STOPPED = (
    "data_args={'split': 'train', 'count': 192},held_out.share=0.4,steps=4,batch=32,evaluate_every=2,checkpoint.every=9"
)


def test_a_stop_within_an_evaluation_goes_on_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one row a shard (rows=0)."""
    small = "".join(f",{flag.removeprefix('--config.')}" for flag in TINY_MODEL)
    config = get_config(f"tiny,{STOPPED},trainer.rows=0{small}")
    train_rm.run(config, tmp_path / "whole")
    stopping, calls = tmp_path / "stopping", []

    def make_scores(*args: Any, **knobs: Any) -> Any:
        scores = reward_trainer.make_scores(*args, **knobs)

        def stopped(params: Any, sequences: list) -> list:
            calls.append(len(sequences))
            os.kill(os.getpid(), signal.SIGTERM)
            return scores(params, sequences)

        return stopped

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(train_rm, "make_scores", make_scores)
        train_rm.run(config, stopping)
    assert calls == [64] and checkpoints(stopping) == {"1.1"}  # of several calls the first
    assert [row["step"] for row in store.read_jsonl(stopping / "metrics.jsonl")] == [1]
    train_rm.run(config, stopping)
    assert decided(stopping) == decided(tmp_path / "whole")
    assert (stopping / WEIGHTS).read_bytes() == (tmp_path / "whole" / WEIGHTS).read_bytes()


# Process 1 is asked to stop within the first evaluation, as it is about to score the first texts.
ASKED_WITHIN = """
import os, signal, sys
from absl import app
from acecoder_jax import main
from acecoder_jax.stages import train_rm

made = train_rm.make_scores

def make_scores(*args, **knobs):
    scores = made(*args, **knobs)

    def stopped(params, sequences):
        if "--process=1" in sys.argv:
            os.kill(os.getpid(), signal.SIGTERM)
        return scores(params, sequences)

    return stopped

train_rm.make_scores = make_scores
app.run(main.main, flags_parser=main.parse_flags)
"""


def test_two_processes_stop_within_an_evaluation_and_end_as_one(tmp_path: Path) -> None:
    def args(name: str) -> list[str]:
        return [f"--config=configs/rm.py:tiny,{STOPPED},trainer.rows=8", *TINY_MODEL, f"--workdir={tmp_path / name}"]

    for code, out, err in ends(pair(args("two"), devices=4, start=[sys.executable, "-c", ASKED_WITHIN])):
        assert code == 143, out + err
    assert checkpoints(tmp_path / "two") == {"1.1"}
    for code, out, err in ends(pair(args("two"), devices=4)):
        assert code == 0, out + err
    start(*args("one"), devices=8)
    for row, other in zip(decided(tmp_path / "two"), decided(tmp_path / "one"), strict=True):
        assert row.keys() == other.keys()
        for name in row:
            np.testing.assert_allclose(row[name], other[name], rtol=1e-4, atol=1e-5, err_msg=name)
    for name in ("trained", "held_out", "data"):
        results = [store.read_json(tmp_path / run / "results.json")[name] for run in ("two", "one")]
        assert results[0] == results[1]


def test_an_adapter_on_a_reward_model_over_all_programs_of_a_question(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a mesh of 8, from a file of rated programs, with the margin term and centring."""
    rows = [
        {
            "id": problem.id, "source": "toy", "question": problem.question, "test_cases": list(problem.tests),
            "inferences": [
                {"model_name": "author", "completion_id": number, "completion": program, "pass_rate": rate}
                for number, (program, rate) in enumerate(toy.rated(problem).items())
            ],
        }
        for problem in toy.load(count=32)
    ]  # fmt: skip
    store.append_jsonl(tmp_path / "dataset.jsonl", rows)
    config = get_config(
        f"tiny,model={trained / 'model'},init_head=checkpoint,data=acecode,data_path={tmp_path / 'dataset.jsonl'},"
        "data_args={'split': 'train'},loss=nwise,nwise.above=-1.0,nwise.min_gap=0.2,nwise.min_best=0.5,lora.rank=4,"
        "objective.margin=0.5,objective.centering=0.01,max_tokens=256,trainer.row_tokens=1024,trainer.rows=8,steps=3,"
        "epochs=3,batch=8,held_out.at_least=4,mesh.data=2,mesh.tensor=2"
    )
    model = train_rm.run(config, tmp_path / "run")
    assert "with the head of the checkpoint" in capsys.readouterr().out
    results = store.read_json(tmp_path / "run" / "results.json")
    assert results["trained"]["comparisons"] > 3 * results["trained"]["questions"]
    _, before = checkpoint.load(trained / "model")
    _, after = checkpoint.load(model)
    assert 0 < np.abs(after["reward_da"] - before["reward_da"]).max() < 0.1
    assert (np.asarray(after["embed_vd"]) == np.asarray(before["embed_vd"])).all()
    moved = after["layers"]["q_dnh"] - before["layers"]["q_dnh"]
    assert 0 < np.abs(moved).max() < 0.1


def test_a_language_model_gets_a_new_head(
    small_policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = (
        f"tiny,model={small_policy},data_args={{'split': 'train', 'count': 16}},steps=1,batch=8,trainer.rows=8,"
        "held_out.share=0.0,held_out.at_least=0"
    )
    model = train_rm.run(get_config(small), tmp_path / "new")
    assert "a new head, for it has none" in capsys.readouterr().out
    assert checkpoint.has_head(model)
    assert store.read_json(tmp_path / "new" / "results.json")["heldout"] == {}
    with pytest.raises(ValueError, match="has no reward head, and init_head is 'checkpoint': 'new' or 'auto' makes"):
        train_rm.run(get_config(small + ",init_head=checkpoint"), tmp_path / "none")


@pytest.fixture(scope="module")
def words() -> object:
    return tokenizer.train_bpe(["Write f(x): x plus one.", "```python\ndef f(x):\n    return x + 1\n```"], 300)


def ranked(*replies: str, question: str = "Write f.", **more: object) -> Ranked:
    return dataclasses.replace(Ranked("a", "q", question, replies, ((0, 1),), ()), **more)


def counted(words: object, *given: Ranked, over: str = "truncate", row_tokens: int = 400) -> tuple[list, dict]:
    kept, counts = to_tokens(given, words, read="last", max_tokens=60, over=over, row_tokens=row_tokens, share=False)
    return kept, {reason: count for reason, count in counts.items() if count}


def test_what_is_left_out_is_counted(words: object) -> None:
    good = ranked("return 1", "return 2", scores=((1.0, 0.25),))
    kept, counts = counted(
        words, good, ranked("x", " x\n"), ranked("x", "```python\n\n```"), ranked("x", "y", question=" "),
        ranked("x", "y" + " + x" * 90),
    )  # fmt: skip
    assert counts == {
        "kept": 1, "identical texts": 1, "empty program": 1, "empty question": 1, "over the cutoff": 1
    }  # fmt: skip
    assert kept[0].wins == ((0, 1, 0.75),) and kept[0].replies == ("return 1", "return 2")
    assert is_empty("~~~\n \n~~~") and not is_empty("```python\npass\n```")


def test_long_questions_are_cut_or_dropped(words: object) -> None:
    long = ranked("x", "y", question="Write f of x. " * 40)
    kept, counts = counted(words, long)
    assert counts == {"kept": 1, "texts whose question lost its beginning": 2}
    assert all(len(tokens) <= 60 for tokens in kept[0].tokens)
    assert counted(words, long, over="drop")[1] == {"over the cutoff": 1}


def test_a_group_keeps_the_comparisons_that_fit(words: object) -> None:
    wins, scores = ((1, 0), (1, 2)), ((1.0, 0.5), (1.0, 0.25))
    group = ranked("x + " * 90 + "x", "y", "z", wins=wins, scores=scores)
    (one,), counts = counted(words, group)
    assert counts == {"kept": 1, "over the cutoff": 1}
    assert (one.replies, one.wins) == (("y", "z"), ((0, 1, 0.75),))
    assert counted(words, ranked("x", "y", "z", wins=wins, scores=scores), row_tokens=30)[1] == {
        "together longer than a row": 2
    }


@pytest.mark.parametrize(("too_long", "warned"), [(1, False), (2, True)])
def test_many_programs_too_long_for_a_row_are_told(
    too_long: int, warned: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    tell(collections.Counter({"kept": 10, "together longer than a row": too_long}), [], [])
    assert ("warning: 17% of the comparisons" in " ".join(capsys.readouterr().out.split())) == warned


def test_more_comparisons_than_tokens_are_left_out_and_counted(words: object) -> None:
    wins = ((0, 1),) * 200  # as many as a row has no places for
    assert counted(words, ranked("x", "y", wins=wins)) == ([], {"more comparisons than tokens": 200})


def test_questions_are_held_out_whole_and_by_their_ids_alone() -> None:
    def of(numbers: range) -> list[Compared]:
        return [Compared(f"{i}/{k}", f"q{i}", (), (), ()) for i in numbers for k in range(3)]

    trained, held = split(of(range(400)), share=0.1, at_least=4)
    names = {one.question_id for one in held}
    assert names.isdisjoint(one.question_id for one in trained) and 20 < len(names) < 60
    assert len(held) == 3 * len(names) and len(trained) + len(held) == 1200
    fewer = {one.question_id for one in split(of(range(200)), share=0.1, at_least=4)[1]}
    assert fewer == {name for name in names if int(name[1:]) < 200}
    assert len({one.question_id for one in split(of(range(400)), share=0.0, at_least=5)[1]}) == 5
    with pytest.raises(ValueError, match="all of the 3 questions would be held out"):
        split(of(range(3)), share=0.1, at_least=3)


def test_batches_cover_each_epoch_once_in_a_new_order() -> None:
    assert steps_of_epoch(10, 4) == 3
    steps = [batch_at(10, 4, seed=0, step=step) for step in range(6)]
    assert [len(step) for step in steps] == [4, 4, 2, 4, 4, 2]
    first, second = np.concatenate(steps[:3]), np.concatenate(steps[3:])
    assert sorted(first) == sorted(second) == list(range(10)) and list(first) != list(second)
    assert list(batch_at(10, 4, seed=1, step=0)) != list(steps[0])


def test_noise_is_named_by_seed_update_group_and_text() -> None:
    one = Compared("a", "q", ("x", "y"), (np.array([1]), np.array([2])), ((0, 1, 0.0),))
    noises = [
        one.group(0, 0).noise, one.group(1, 0).noise, one.group(0, 1).noise,
        dataclasses.replace(one, id="b").group(0, 0).noise,
    ]  # fmt: skip
    assert len({number for noise in noises for number in noise}) == 8
    assert one.group(0, 0).noise == noises[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("loss=pear", "loss is 'pear': it is one of pairs, nwise"),
        ("nwise.weigh=all", "nwise.weigh is 'all': it is one of programs, questions"),
        ("trainer.row_tokens=200", "too short for the two texts of a comparison, of up to max_tokens 128 each"),
        ("init_head=old", "init_head is 'old': it is one of auto, checkpoint, new"),
        ("data=mbpp", "the data source 'mbpp' has problems, not pairs"),
        ("over=cut", "over is 'cut': it is one of truncate, drop"),
        ("batch=0", "epochs, batch and evaluate_every are at least 1"),
        ("data_args={'count': 0}", "has no comparisons"),
    ],
)
def test_errors_speak_to_the_user(change: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        train_rm.run(get_config(f"tiny,data_args={{'count': 4}},{change}"), tmp_path)


def test_a_margin_term_needs_pass_rates(tmp_path: Path) -> None:
    row = {"id": 1, "instruction": "Write f.", "input": "", "chosen": "x", "rejected": "y"}
    store.append_jsonl(tmp_path / "pairs.jsonl", [row])
    config = get_config(f"7b,data_path={tmp_path / 'pairs.jsonl'}")
    assert _rm_data.load(config)[0].question_id == _rm_data.load(config)[0].question_id != ""
    with pytest.raises(ValueError, match=r"1 pairs do not tell theirs .*'1' for one"):
        _rm_data.load(get_config(f"7b,data_path={tmp_path / 'pairs.jsonl'},objective.margin=1.0"))


def test_a_run_whose_data_or_model_has_changed_is_refused(tmp_path: Path) -> None:
    rows = [
        {"id": f"p{n}", "instruction": f"Write f {n}.", "input": "", "chosen": f"return {n}", "rejected": "pass"}
        for n in range(8)
    ]
    path, model, run = tmp_path / "pairs.jsonl", tmp_path / "rm", tmp_path / "run"
    store.write_jsonl(path, rows)
    scoring.save_random(model, [row["instruction"] + row["chosen"] for row in rows])
    small = "steps=1,batch=4,trainer.rows=8,trainer.row_tokens=256,held_out.at_least=2,checkpoint.every=1"
    config = get_config(f"tiny,model={model},data=acecode_pairs,data_path={path},{small}")
    with config.unlocked():
        config.data_args = {}
    whole = train_rm.run(config, run)
    shutil.rmtree(whole)  # as if the run had not come to its end
    store.write_jsonl(path, [*rows[:-1], rows[-1] | {"chosen": "return 9"}])
    with pytest.raises(
        ValueError, match=r"begun with other comparisons than those of config\.data .* now: put that back"
    ):
        train_rm.run(config, run)
    store.write_jsonl(path, rows)
    model.rename(tmp_path / "kept")
    architecture, params = checkpoint.load(tmp_path / "kept")
    params["reward_da"] = params["reward_da"] * 2
    checkpoint.save(params, architecture, model, dtype=jnp.float32, tokenizer=tokenizer.load(tmp_path / "kept"))
    with pytest.raises(ValueError, match=r"begun with other weights than those of config\.model now: put that back"):
        train_rm.run(config, run)
    shutil.rmtree(model)
    (tmp_path / "kept").rename(model)
    train_rm.run(config, run)


def test_a_changed_config_is_refused(tmp_path: Path) -> None:
    store.write_json(tmp_path / "config.json", get_config("tiny").to_dict())
    assert store.save_config(tmp_path, get_config("tiny,checkpoint.every=3").to_dict(), train_rm.MAY_CHANGE).keys() == {
        "checkpoint.every"
    }
    with pytest.raises(ValueError, match="margin"):
        store.save_config(tmp_path, get_config("tiny,objective.margin=1.0").to_dict(), train_rm.MAY_CHANGE)
    with pytest.raises(presets.ConfigError, match=r"the presets are: tiny, 0\.5b, 7b, 32b"):
        get_config("70b")
