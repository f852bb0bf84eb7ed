"""Where a run of reinforcement learning goes on, decided from what is on the disk."""

import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acecoder_jax import store
from acecoder_jax.sampling import rollout as rollouts
from acecoder_jax.stages import _rl_resume, train_rl
from acecoder_jax.stages._results import Results
from acecoder_jax.training import logp_file
from acecoder_jax.training.checkpoint import Position
from acecoder_jax.training.trainer import Start
from configs.rl_rule import get_config

AHEAD = "tiny,off_policy_steps=1,algorithm_args.importance_cap=2.0,rollouts=9"
UPDATE = {"loss": 1.0, "entropy": 2.0, "skipped": 0.0, "in_a_row": 0.0}


def about(behavior: bool = False, ahead: str = "") -> dict[str, Any]:
    return {"updates": [], "behavior": behavior, "ahead": ahead}


def write(workdir: Path, number: int, config: str) -> None:
    """A rollout and its log-probs."""
    rollouts.save(_rl_resume.rollout_path(workdir, number), [], {"config": config})
    file, logp = _rl_resume.rollout_path(workdir, number), _rl_resume.logp_path(workdir, number)
    logp_file.save(logp, file, [np.zeros(1, np.float32)], None)


def test_only_a_rollout_that_was_drawn_ahead_under_this_config_has_to_be_there(tmp_path: Path) -> None:
    config = get_config(AHEAD)
    mine = _rl_resume.digest(config)
    assert _rl_resume.lacks(config, tmp_path, 9, Position(3), about()) == ""  # the last one of a run that was extended
    assert _rl_resume.lacks(config, tmp_path, 9, Position(3), about(ahead="of another config")) == ""
    assert "000003.jsonl, was drawn ahead" in _rl_resume.lacks(config, tmp_path, 9, Position(3), about(ahead=mine))
    write(tmp_path, 3, "another")
    assert "000003.jsonl, was drawn ahead" in _rl_resume.lacks(config, tmp_path, 9, Position(3), about(ahead=mine))
    write(tmp_path, 3, mine)
    assert _rl_resume.lacks(config, tmp_path, 9, Position(3), about(ahead=mine)) == ""


def test_within_a_rollout_the_next_one_or_its_weights_have_to_be_there(tmp_path: Path) -> None:
    config, within = get_config(AHEAD), Position(3, 2)
    mine = _rl_resume.digest(config)
    write(tmp_path, 3, mine)
    assert "000004.jsonl, was drawn ahead" in _rl_resume.lacks(config, tmp_path, 9, within, about(ahead=mine))
    assert _rl_resume.lacks(config, tmp_path, 9, within, about(behavior=True, ahead=mine)) == ""
    assert _rl_resume.lacks(config, tmp_path, 4, within, about(ahead=mine)) == ""  # there is no next one
    write(tmp_path, 4, mine)
    assert _rl_resume.lacks(config, tmp_path, 9, within, about(ahead=mine)) == ""
    _rl_resume.rollout_path(tmp_path, 4).unlink()
    write(tmp_path, 3, "another")  # the rest of this one is left out, and the next drawn with the weights of then
    assert _rl_resume.lacks(config, tmp_path, 9, within, about()) == ""
    on_policy = get_config("tiny,rollouts=9")
    write(tmp_path, 3, _rl_resume.digest(on_policy))
    assert _rl_resume.lacks(on_policy, tmp_path, 9, within, about()) == ""


def start(position: Position, **said: Any) -> Start:
    return Start(None, position, about(behavior=True) | said, "old weights")  # type: ignore[arg-type]


@pytest.mark.parametrize("there", [True, False])
def test_a_rollout_that_is_cut_leaves_no_weights_and_a_row(there: bool) -> None:
    collector: Any = types.SimpleNamespace(has=lambda number: there)
    found = _rl_resume.go_on(start(Position(3, 1), updates=[UPDATE]), collector)
    if there:
        assert found == (Position(3, 1), [UPDATE], "old weights", None)
    else:
        row = {"loss": 1.0, "entropy": 2.0, "skipped_updates": 0, "cut_after": 1}
        assert found == (Position(4), [], None, row)


def test_a_restored_checkpoint_0_is_no_new_beginning(tmp_path: Path) -> None:
    fresh = Start(None, Position(0), {}, None)  # type: ignore[arg-type]
    assert not _rl_resume.begins_again(fresh, tmp_path)
    write(tmp_path, 0, "a")
    assert _rl_resume.begins_again(fresh, tmp_path)
    assert not _rl_resume.begins_again(start(Position(0)), tmp_path)


def test_what_decides_a_rollout() -> None:
    plain = _rl_resume.digest(get_config("tiny"))
    for same in ("sandbox.workers=3", "mesh.fsdp=2", "checkpoint.every=7", "table_rows=1"):
        assert _rl_resume.digest(get_config(f"tiny,{same}")) == plain
    for other in ("sandbox.allow_inside=True", "sampling.temperature=0.5", "seed=1"):
        assert _rl_resume.digest(get_config(f"tiny,{other}")) != plain


def test_the_model_of_another_config_is_written_over(tmp_path: Path) -> None:
    config, results, log = get_config("tiny"), Results(tmp_path), []

    def write() -> None:
        (tmp_path / "model").mkdir(exist_ok=True)
        log.append("written")

    train_rl.export(config, results, 4, write)
    train_rl.export(config, results, 4, write)
    assert len(log) == 1
    train_rl.export(get_config("tiny,optimizer.learning_rate=1e-3"), results, 4, write)
    assert len(log) == 2

    def killed() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_rl.export(config, results, 5, killed)
    train_rl.export(config, results, 5, write)
    assert len(log) == 3
    (tmp_path / "model").rmdir()
    train_rl.export(config, results, 5, write)
    assert len(log) == 4


def test_scores_of_another_config_are_taken_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[tuple[str, Any]] = []
    engine: Any = types.SimpleNamespace(update=lambda params: log.append(params))
    stop: Any = types.SimpleNamespace(check=None)
    monkeypatch.setattr(train_rl.rollouts, "evaluate", lambda *_, **__: {"pass@1": 0.5})

    def measured(when: str, rollout: int, change: str = "seed=0") -> int:
        log.clear()
        config = get_config(f"tiny,{change}")
        train_rl.measure(config, Results(tmp_path), engine, None, ["one"], stop, when, rollout, lambda: "w")  # type: ignore[arg-type,list-item,return-value]
        return len(log)

    assert measured("before", 0) == 1 and measured("before", 0) == 0
    assert measured("before", 0, "optimizer.learning_rate=1e-3") == 0  # the same policy to begin with
    assert measured("before", 0, "heldout_samples=3") == 1
    assert store.read_json(tmp_path / "results.json")["heldout"] == {"before": {"pass@1": 0.5}}
    assert measured("after", 4) == 1 and measured("after", 4) == 0
    assert measured("after", 4, "optimizer.learning_rate=1e-3") == 1 and measured("after", 5) == 1
    Results(tmp_path).add("after", 5, "of a config without held-out problems")
    assert store.read_json(tmp_path / "results.json")["heldout"].keys() == {"before"}
