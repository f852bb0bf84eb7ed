"""Benchmarks answered while a policy is trained: in its rows, beside its training, without another compilation."""

import logging
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from acecoder_jax import data, tokenizer
from acecoder_jax.models import huggingface
from acecoder_jax.sampling import rollout as rollouts
from acecoder_jax.sampling.draw import SamplingParams
from acecoder_jax.sampling.engine import Engine
from acecoder_jax.sandbox import Sandbox
from acecoder_jax.stages import _in_loop
from configs.rl_rule import get_config
from tests.stages.runs import decided, kill_when, rl_args, start

TOY = {"name": "toy", "count": 6, "split": "train"}


def make(**knobs):
    asked = {"every": 2, "benchmarks_wanted": (TOY,), "first": 5, "style": "chat", "max_new_tokens": 32, "seed": 0}
    return _in_loop.make(**(asked | {"sandbox": {"workers": 1}} | knobs))


def engine_of(model: Path, **knobs) -> Engine:
    config, words = huggingface.load_config(str(model)), tokenizer.load(str(model))
    sizes = {"max_prompt_tokens": 80, "max_new_tokens": 32, "slots": 4} | knobs
    return Engine(config, words, seed=0, dtype=jnp.float32, **sizes)


def test_evaluations_between_rollouts_compile_nothing(small_policy, caplog):
    """Beside the greedy decode chunk, once, where nothing greedy was decoded before."""
    engine, params = engine_of(small_policy), huggingface.load_params(str(small_policy))[1]
    in_loop, nothing = make(), jax.tree.map(jnp.zeros_like, params)
    problems = data.load("toy", "", split="train", count=3)
    how = {"samples": 2, "sampling": SamplingParams(max_new_tokens=32), "purpose": "rollout"}
    with Sandbox(workers=1) as sandbox:
        engine.update(params)
        drawn = rollouts.sample_and_score(engine, sandbox, problems, rollout=0, **how)
        before = set(engine.compilations)
        first = in_loop.scores(engine)
        assert first["eval_missing"] == 0 and 0 < first["eval_toy"] <= 1  # some of the problems it knows by heart
        assert set(engine.compilations) - before == {"decode (greedy)"}
        with jax.log_compiles(), caplog.at_level(logging.WARNING):
            engine.update(nothing)
            assert in_loop.scores(engine) == {"eval_missing": 0, "eval_toy": 0}
            engine.update(params)
            again = rollouts.sample_and_score(engine, sandbox, problems, rollout=0, **how)
            assert in_loop.scores(engine) == first
            compiled = [record.message for record in caplog.records if "Finished XLA compilation" in record.message]
            jax.jit(lambda x: x * 3 + 1)(jnp.ones(7))
    assert compiled == [] and any("Finished XLA compilation" in record.message for record in caplog.records)
    assert [one.completion.tokens for one in again] == [one.completion.tokens for one in drawn]


def test_a_prompt_that_is_too_long_is_missing(small_policy):
    engine = engine_of(small_policy, max_prompt_tokens=24)
    engine.update(huggingface.load_params(str(small_policy))[1])
    found = make().scores(engine)
    assert found["eval_missing"] == 5 and math.isnan(found["eval_toy"])


def test_it_is_done_every_so_many_rollouts():
    assert [make().due(done) for done in range(1, 5)] == [False, True, False, True]
    assert not make(every=0).due(2) and make(every=0, benchmarks_wanted=({"name": "nothing"},)).benches == ()


def test_benchmarks_that_cannot_be_told_apart_are_refused():
    with pytest.raises(ValueError, match=r"config\.eval\.benchmarks: the entry {'first': 3} has no 'name'"):
        make(benchmarks_wanted=({"first": 3},))
    with pytest.raises(ValueError, match="two of them have the score toy"):
        make(benchmarks_wanted=(TOY, TOY))


def test_training_does_not_notice_nor_a_kill(small_policy: Path, tmp_path: Path):
    assert get_config("tiny").eval.every == 0
    evaluation = {"eval.every": 2, "eval.benchmarks": f"({TOY!r},)", "eval.first": 4, "rollouts": 3}
    start(*rl_args(small_policy, tmp_path / "with", **evaluation))
    start(*rl_args(small_policy, tmp_path / "without", rollouts=3))
    rows, plain = (decided(tmp_path / name) for name in ("with", "without"))
    seen = [{name for name in row if name.startswith("eval")} for row in rows]
    assert seen == [set(), {"eval_toy", "eval_missing", "eval_s"}, set()]
    kept = [{name: value for name, value in row.items() if not name.startswith("eval")} for row in rows]
    assert kept == plain

    # Killed after the evaluation, with no checkpoint to go on from: it is done again.
    killed = rl_args(small_policy, tmp_path / "killed", **evaluation | {"checkpoint.every": 9})
    measured = tmp_path / "killed" / "metrics.jsonl"
    kill_when(lambda: measured.exists() and measured.read_text().count("\n") >= 2, *killed)
    start(*killed)
    again = decided(tmp_path / "killed")
    assert [row | {"eval_s": 0} for row in again] == [row | {"eval_s": 0} for row in rows]
