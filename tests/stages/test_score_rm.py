import json

import pytest

import acecoder_jax
from acecoder_jax import presets, store
from acecoder_jax.stages import _reward_model, score
from configs.score import get_config
from tests.stages import scoring
from tests.stages.runs import start

ROWS = [
    {"id": name, "question": f"Write f. {number}", "program": f"```python\ndef f():\n    return {number}\n```"}
    for number, name in enumerate("abcdefg")
]


def last_digit(question, program):
    """The number in the program; none for 3, which is too long."""
    number = int(program.split()[-2])
    return None if number == 3 else float(number)


@pytest.fixture
def config(tmp_path):
    config = get_config("rm")
    with config.unlocked():
        config.input, config.output = str(tmp_path / "in.jsonl"), str(tmp_path / "out.jsonl")
    return config


def write(tmp_path, *rows):
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def written(tmp_path):
    return {row["id"]: row for row in store.read_jsonl(tmp_path / "out.jsonl")}


def results(tmp_path):
    return json.loads((tmp_path / "results.json").read_text())


def test_scores_are_written_batch_by_batch_and_summed_up(config, tmp_path, monkeypatch):
    write(tmp_path, *ROWS)
    scoring.install(monkeypatch, last_digit)
    score.run(config, tmp_path)
    rows = written(tmp_path)
    assert list(rows) == [*"cba", *"fed", "g"]  # as its batches were done
    assert rows["c"] == {"id": "c", "score": 2.0, "reward_model": scoring.NAME}
    assert rows["d"] == {
        "id": "d", "score": None, "reward_model": scoring.NAME, "dropped": "the program is longer than 2048 tokens",
    }  # fmt: skip
    found = results(tmp_path)
    assert (found["count"], found["mean"]) == (6, 3.0) and found["std"] == pytest.approx((28 / 6) ** 0.5)
    assert (
        found["dropped"] == {"the program is longer than 2048 tokens": 1}
        and found["fingerprint"] == scoring.NAME.split()[0]
    )
    assert found["this_start"]["pairs"] == 7 and found["this_start"]["pairs_per_s"] > 0


def test_it_goes_on_where_it_was_stopped(config, tmp_path, monkeypatch):
    write(tmp_path, *ROWS)

    def stopping(question, program):
        if len(scorer.seen) > 4:
            raise KeyboardInterrupt
        return last_digit(question, program)

    scorer = scoring.install(monkeypatch, stopping)
    with pytest.raises(KeyboardInterrupt):
        score.run(config, tmp_path)
    with open(config.output, "a") as file:
        file.write('{"id": "e", "sco')  # a row torn by a kill
    assert not (tmp_path / "results.json").exists()
    scorer = scoring.install(monkeypatch, last_digit)
    score.run(config, tmp_path)
    assert len(scorer.seen) == 3 and {one: row["score"] for one, row in written(tmp_path).items()} == {
        "a": 0.0, "b": 1.0, "c": 2.0, "d": None, "e": 4.0, "f": 5.0, "g": 6.0,
    }  # fmt: skip
    whole = results(tmp_path)
    score.run(config, tmp_path)  # nothing is left: no model is loaded
    again = results(tmp_path)
    assert again.pop("this_start") == {} and again == {key: whole[key] for key in again} and len(scorer.seen) == 3


def test_dropped_by_the_length_of_both(config, tmp_path, monkeypatch):
    write(tmp_path, ROWS[3])
    with config.unlocked():
        config.reward.over, config.reward.max_tokens = "drop", 1024
    scoring.install(monkeypatch, last_digit)
    score.run(config, tmp_path)
    assert written(tmp_path)["d"]["dropped"] == "question and program are longer than 1024 tokens"
    assert results(tmp_path)["mean"] is None


@pytest.mark.parametrize("score_of_it", [float("nan"), float("-inf")])
def test_a_score_that_is_no_number_names_its_row(score_of_it, config, tmp_path, monkeypatch):
    write(tmp_path, *ROWS[:2])
    scoring.install(monkeypatch, lambda question, program: score_of_it if question.endswith("1") else 1.0)
    with pytest.raises(ValueError, match=f"score of 'b' is {score_of_it}: its checkpoint is no good"):
        score.run(config, tmp_path)
    assert "b" not in written(tmp_path)


def test_malformed_rows_are_named(config, tmp_path, monkeypatch, capsys):
    empty = {"id": "e", "question": "Q", "program": " \n"}
    write(tmp_path, ROWS[0], {"id": "q", "program": "x"}, empty, ROWS[0], {"id": "n", "question": 1, "program": ""})
    scoring.install(monkeypatch, last_digit)
    with pytest.raises(ValueError, match="4 malformed rows"):
        score.run(config, tmp_path)
    told = [line.split(", line ")[1] for line in capsys.readouterr().out.splitlines() if "malformed row" in line]
    assert told == [
        "2, id 'q': no 'question'",
        "3, id 'e': 'program' is empty",
        "4, id 'a': the id has been used by a row before",
        "5, id 'n': 'question' is not a string",
    ]
    with config.unlocked():
        config.skip_malformed = True
    score.run(config, tmp_path)
    assert list(written(tmp_path)) == ["a"]


def test_outputs_of_others_are_refused(config, tmp_path, monkeypatch):
    write(tmp_path, *ROWS)
    scoring.install(monkeypatch, last_digit)
    verdict = {"id": "a", "statuses": ["pass"], "messages": [""], "pass_rate": 1.0, "mode": "values", "time_s": 0.0}
    for row in (verdict, {"id": "a", "score": "high", "reward_model": scoring.NAME}, {"id": "a", "score": 1.0}):
        store.write_jsonl(config.output, [row])
        with pytest.raises(ValueError, match="first line is no score"):
            score.run(config, tmp_path)
    store.write_jsonl(config.output, [{"id": "a", "score": 1.0, "reward_model": "other"}])
    with pytest.raises(ValueError, match=r"'a' was scored by another reward model .*dtype: other"):
        score.run(config, tmp_path)


@pytest.mark.parametrize("change", ["read=end_of_turn", "max_tokens=512", "over=drop", "dtype=float32"])
def test_scores_by_other_rules_are_refused(change, config, tmp_path):
    write(tmp_path, ROWS[0])
    model = scoring.save_random(tmp_path / "rm", [ROWS[0]["program"]])
    with config.unlocked():
        config.reward_model = str(model)
    name = _reward_model.identify(config).name
    assert name.split()[1:] == ["last", "2048", "truncate", "bfloat16"]
    store.write_jsonl(config.output, [{"id": "a", "score": 1.0, "reward_model": name}])
    score.run(config, tmp_path)  # nothing is left to score
    presets.apply(config.unlock(), {f"reward.{change.split('=')[0]}": change.split("=")[1]})
    with pytest.raises(ValueError, match=f"by other rules .*dtype: {name}"):
        score.run(config, tmp_path)


def test_a_reward_model_has_to_be_named(config, tmp_path):
    write(tmp_path, *ROWS)
    with pytest.raises(ValueError, match="reward_model is empty"):
        score.run(config, tmp_path)
    assert not (tmp_path / "out.jsonl").exists()


def test_rows_that_the_mesh_does_not_divide_are_refused(config, tmp_path):
    write(tmp_path, *ROWS)
    with config.unlocked():
        config.reward_model = str(scoring.save_random(tmp_path / "rm", [ROWS[0]["program"]]))
        config.reward.rows = 6
    with pytest.raises(ValueError, match=r"reward\.rows is 6: not a multiple of the 8 shards"):
        score.run(config, tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("max_tokens=8192", r"reward\.max_tokens is 8192: it is 1 at least, and reward\.row_tokens, 4096, at most"),
        ("over=cut", "over is 'cut': it is one of truncate, drop"),
        ("dtype=bf17", r"reward\.dtype is 'bf17'"),
        ("attention=foo", "unknown attention 'foo'"),
    ],
)
def test_knobs_that_could_not_work_are_refused_before_anything_is_loaded(change, message, config, tmp_path):
    with config.unlocked():
        config.reward_model = str(scoring.save_random(tmp_path / "rm", [ROWS[0]["program"]]))
    presets.apply(config.unlock(), {f"reward.{change.split('=')[0]}": change.split("=")[1]})
    with pytest.raises(ValueError, match=message):
        _reward_model.identify(config)


def test_a_tokenizer_without_a_chat_template_is_refused_before_anything_is_loaded(config, tmp_path):
    folder = scoring.save_random(tmp_path / "rm", [ROWS[0]["program"]])
    for path in folder.glob("*.jinja"):
        path.unlink()
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "chat_template"}))
    with config.unlocked():
        config.reward_model = str(folder)
    with pytest.raises(ValueError, match="has no chat template"):
        _reward_model.identify(config)


def test_the_command_with_a_reward_model_of_random_weights(tmp_path):
    write(tmp_path, *ROWS)
    model = scoring.save_random(tmp_path / "rm", [text for row in ROWS for text in (row["question"], row["program"])])
    flags = ("--config=configs/score.py:rm,reward.dtype=float32", f"--workdir={tmp_path / 'run'}")
    flags += (f"--config.input={tmp_path / 'in.jsonl'}", f"--config.output={tmp_path / 'out.jsonl'}")
    start(*flags, f"--config.reward_model={model}")
    expected = acecoder_jax.RewardModel.load(model, dtype="float32").score(
        [(row["question"], row["program"]) for row in ROWS]
    )
    assert [written(tmp_path)[row["id"]]["score"] for row in ROWS] == pytest.approx(expected, abs=1e-4)
    assert results(tmp_path / "run")["count"] == 7
