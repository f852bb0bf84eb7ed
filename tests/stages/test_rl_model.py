"""What train_rl asks a reward model, what it keeps of it, and what it does when the alarm goes off."""

import dataclasses
import json
import types
from pathlib import Path

import jax
import pytest

from acecoder_jax import parallel, presets, rewards, tokenizer
from acecoder_jax.reward_models import checkpoint
from acecoder_jax.sampling.rollout import Scored
from acecoder_jax.stages import _rl_rows
from acecoder_jax.stages._rl_alarm import Alarm, Point
from acecoder_jax.stages._rl_model import Asked, Seen, check, open_judge, remembered
from acecoder_jax.stages._rl_steps import Steps
from acecoder_jax.types import Completion, Problem, Status, Verdict
from configs import rl_rm

P, F, I = Status.PASS, Status.FAIL, Status.INFRA  # noqa: E741
PROBLEMS = [Problem("p", "Write f(x): x plus one.", ("assert f(1)==2",))]
REPLY = "Here:\n```python\ndef f(x):\n    return x + 1\n```\nDone."
THOUGHT = f"<think>\nhm\n</think>\n<answer>{REPLY}</answer>"


def completion(text: str, sample: int = 0) -> Completion:
    return Completion("p", sample, 0, (1,), (2,), (-1.0,), (-1.0,), (1,), text, "stop")


def judge(reward_dir: Path, workdir: Path, knobs: str = ""):
    config = rl_rm.get_config(f"tiny,reward_model.row_tokens=256,reward_model.clip=5{knobs}")
    return open_judge(config, workdir, reward_dir, parallel.make_mesh())


@pytest.fixture(scope="module")
def whole(reward_dir, tmp_path_factory):
    return judge(reward_dir, tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize(
    ("style", "text", "reply", "reads"),
    [
        ("chat", "reply", REPLY, REPLY),
        ("r1", "reply", THOUGHT, REPLY),
        ("chat", "program", REPLY, "```python\ndef f(x):\n    return x + 1\n```"),
        ("r1", "program", THOUGHT, "```python\ndef f(x):\n    return x + 1\n```"),
        ("chat", "program", "", ""),
    ],
)
def test_what_it_reads_of_a_reply(whole, style, text, reply, reads):
    assert dataclasses.replace(whole, style=style, text=text).reads(completion(reply)) == reads


def test_scores_are_kept_for_the_same_texts_and_the_same_rules(reward_dir, tmp_path, capsys):
    one = judge(reward_dir, tmp_path)
    answers = [completion(REPLY), completion(" \n", 1), completion(REPLY + " x" * 400, 2)]
    asked = one.ask(3, PROBLEMS, answers)
    assert asked.scores[1] == -5.0  # nothing to read: the lowest that counts
    assert asked.scores[2] is None and isinstance(asked.scores[0], float)  # the reply alone is too long
    assert asked.scores[0] == pytest.approx(one.model.score([(PROBLEMS[0].question, REPLY)])[0], abs=1e-5)
    path = tmp_path / "scores" / "000003.json"
    row = json.loads(path.read_text())
    path.write_text(json.dumps(row | {"scores": {"p/0": 7.0, "p/1": 8.0, "p/2": None}}))
    assert one.ask(3, PROBLEMS, answers).scores == [7.0, 8.0, None]  # from the disk
    others = [completion(REPLY + "!"), *answers[1:]]
    assert one.ask(3, PROBLEMS, others).scores[0] not in (7.0, asked.scores[0])
    assert one.ask(3, PROBLEMS, answers) == asked  # the file is of the others by now
    path.write_text("{")
    assert one.ask(3, PROBLEMS, answers) == asked
    path.write_text(json.dumps(row | {"scores": {"p/0": 7.0, "p/1": 8.0, "p/2": None}}))
    end = judge(reward_dir, tmp_path, ",reward_model.read=end_of_turn")
    assert end.ask(3, PROBLEMS, answers).scores[0] not in (7.0, asked.scores[0])


def test_a_slice_of_the_mesh_gives_the_same_scores(reward_dir, whole, tmp_path):
    part = judge(reward_dir, tmp_path, ",reward_model.devices=2")
    assert part.mesh.devices.size == 2 and whole.mesh.devices.size == jax.device_count() == 8
    answers = [completion(REPLY + "#" * n, n) for n in range(5)]
    with jax.set_mesh(parallel.make_mesh()):  # as within the run
        assert part.ask(0, PROBLEMS, answers).scores == pytest.approx(whole.ask(0, PROBLEMS, answers).scores, abs=1e-5)


def test_a_place_that_the_model_was_not_trained_with_is_refused_before_anything_is_loaded(reward_dir, tmp_path):
    config, params = checkpoint.load(reward_dir)
    checkpoint.save(params, config, tmp_path / "rm", tokenizer=tokenizer.load(reward_dir), read="end_of_turn")
    check(rl_rm.get_config(f"tiny,reward_model.model={tmp_path / 'rm'}"))
    with pytest.raises(ValueError, match=r"read is 'last', but .* read at 'end_of_turn'"):
        check(rl_rm.get_config(f"tiny,reward_model.model={tmp_path / 'rm'},reward_model.read=last"))
    assert judge(tmp_path / "rm", tmp_path).rules["read"] == "end_of_turn"


def test_the_rules_knobs_can_be_set():
    config = rl_rm.get_config("7b,reward_args.weight_rule=1.0,reward_args.rule.kind=pass_rate_bonus")
    presets.apply(config, {"reward_args.rule.full_pass_bonus": 0.25})
    reward = rewards.make(config.reward, **config.reward_args.to_dict())
    scored = [Scored(completion(REPLY), Verdict("p/0", (P,)), 2.0)]
    assert reward(PROBLEMS, scored) == [2.0 + 1.0 + 0.25]


def test_a_score_that_is_no_number_names_its_completion(whole, monkeypatch):
    monkeypatch.setattr(whole.model, "score", lambda pairs: [float("nan")] * len(pairs))
    with pytest.raises(ValueError, match="score of 'p/4' is nan"):
        whole.ask(9, PROBLEMS, [completion(REPLY, 4)])


def test_a_rollout_weighed_by_hand(whole):
    statuses = [(P, P), (P, F), (F, F), (I, P), ()]
    scored = [Scored(completion(REPLY, n), Verdict(f"p/{n}", one)) for n, one in enumerate(statuses)]
    asked = Asked([3.0, 9.0, 1.0, None, 3.0], truncated=1)
    weighed, seen, row = whole.weigh(scored, asked, Seen())
    assert [one.score for one in weighed] == [3.0, 5.0, 1.0, None, 3.0]
    assert seen.moments.count == 4 and seen.moments.mean == 3.0
    assert row["model_score_mean"] == 4.0 and row["model_score_std"] == pytest.approx(3.0)
    assert row["model_dropped_share"] == pytest.approx(0.2) and row["model_truncated_share"] == pytest.approx(0.2)
    assert row["hacking_alarm"] == 0.0
    # (3, 1), (9, 0.5), (1, 0): products -0.667, squares 34.667 and 0.5
    assert row["model_rule_correlation"] == pytest.approx(1.0 / (34.6667 * 0.5) ** 0.5, rel=1e-4)
    assert seen.history == (Point(4.0, 3.0, pytest.approx(1 / 3)),)
    assert Seen.from_json(json.loads(json.dumps(seen.to_json()))) == seen


def test_what_another_judge_said_is_forgotten_aloud(whole, capsys):
    _, seen, _ = whole.weigh([Scored(completion(REPLY), Verdict("p/0", (P,)))], Asked([3.0], truncated=0), Seen())
    about = {"seen": seen.to_json()}
    assert remembered(about, whole) == remembered(about, None) == seen and remembered({}, whole) == Seen()
    assert not capsys.readouterr().out
    other = dataclasses.replace(whole, scale=dataclasses.replace(whole.scale, clip=9.0))
    assert remembered(about, other) == Seen()
    assert "clip 5.0) and is " in capsys.readouterr().out


def test_correlation_by_hand():
    assert _rl_rows.correlation([(1, 0), (2, 1), (3, 1)]) == pytest.approx(3**0.5 / 2)
    assert _rl_rows.correlation([(1, 0), (2, -1)]) == pytest.approx(-1)
    for undefined in ([], [(1, 2)], [(1, 1), (1, 2)]):
        assert _rl_rows.correlation(undefined) is None


@pytest.mark.parametrize("stop", [False, True])
def test_when_the_alarm_goes_off_the_run_says_so_and_stops_if_it_is_told_to(whole, stop):
    alarm = Alarm(window=2, score_rise=0.1, pass_fall=0.1, stop=stop)
    saved, said = [], []
    timeline = types.SimpleNamespace(phase=lambda name: parallel.LAUNCHES)
    trainer = types.SimpleNamespace(keep=lambda *args: saved.append((args[2], args[4]["seen"], args[-1])))
    checkpoints = types.SimpleNamespace(wait=lambda: None, last_good="the last good one is 4")
    parts = types.SimpleNamespace(
        judge=dataclasses.replace(whole, alarm=alarm), timeline=timeline, trainer=trainer, checkpoints=checkpoints,
        stop=None,
    )  # fmt: skip
    steps = Steps(None, None, parts, None, None, 4, [], None)
    steps.look_out(said.append)
    assert not said and not saved
    steps.seen = Seen(history=(Point(1.0, 2.0, 0.5), Point(1.4, 2.0, 0.3)))
    if stop:
        with pytest.raises(
            RuntimeError, match=r"mean score has risen.*the last good one is 4; with --config.alarm.stop"
        ):
            steps.look_out(said.append)
        assert saved == [((4, 0), steps.seen.to_json(), True)]
    else:
        steps.look_out(said.append)
        assert not saved
    assert said[0].startswith("warning: after rollout 4 the reward model's mean score has risen from 1 to 1.4")
