"""Benchmarks answered while a policy is trained: in its rows, beside its training, without another compilation."""

import logging
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from acecoder_jax import store, tokenizer
from acecoder_jax.models import huggingface
from acecoder_jax.sampling.engine import Engine
from acecoder_jax.stages import _in_loop
from configs.rl_rule import get_config
from tests.stages.runs import MEASURED, rl_args, start

TOY = {"name": "toy", "count": 6, "split": "train"}


def make(**knobs):
    asked = {"every": 2, "benchmarks_wanted": (TOY,), "first": 5, "style": "chat", "max_new_tokens": 32, "seed": 0}
    return _in_loop.make(**(asked | {"sandbox": {"workers": 1}} | knobs))


def engine_of(model: Path, **knobs) -> Engine:
    config, words = huggingface.load_config(str(model)), tokenizer.load(str(model))
    sizes = {"max_prompt_tokens": 80, "max_new_tokens": 32, "slots": 4} | knobs
    return Engine(config, words, seed=0, dtype=jnp.float32, **sizes)


def test_later_evaluations_compile_nothing(small_policy, caplog):
    engine, params = engine_of(small_policy), huggingface.load_params(str(small_policy))[1]
    in_loop, nothing = make(), jax.tree.map(jnp.zeros_like, params)
    engine.update(params)
    first = in_loop.scores(engine)
    assert first["eval_missing"] == 0 and 0 < first["eval_toy"] <= 1  # some of the problems it knows by heart
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        engine.update(nothing)
        assert in_loop.scores(engine) == {"eval_missing": 0, "eval_toy": 0}
        engine.update(params)
        assert in_loop.scores(engine) == first
        compiled = [record.message for record in caplog.records if "Finished XLA compilation" in record.message]
        jax.jit(lambda x: x * 3 + 1)(jnp.ones(7))
    assert compiled == [] and any("Finished XLA compilation" in record.message for record in caplog.records)


def test_a_prompt_that_is_too_long_is_missing(small_policy):
    engine = engine_of(small_policy, max_prompt_tokens=24)
    engine.update(huggingface.load_params(str(small_policy))[1])
    found = make().scores(engine)
    assert found["eval_missing"] == 5 and math.isnan(found["eval_toy"])


def test_it_is_done_every_so_many_rollouts():
    assert [make().due(done) for done in range(1, 5)] == [False, True, False, True]
    assert not make(every=0).due(2) and make(every=0, benchmarks_wanted=({"name": "nothing"},)).benches == ()


def test_two_benchmarks_with_one_score_are_refused():
    with pytest.raises(ValueError, match="two of them have the score toy"):
        make(benchmarks_wanted=(TOY, TOY))


def test_training_does_not_notice(small_policy: Path, tmp_path: Path):
    assert get_config("tiny").eval.every == 0
    evaluation = {"eval.every": 2, "eval.benchmarks": f"({TOY!r},)", "eval.first": 4, "rollouts": 3}
    start(*rl_args(small_policy, tmp_path / "with", **evaluation))
    start(*rl_args(small_policy, tmp_path / "without", rollouts=3))
    rows, plain = (store.read_jsonl(tmp_path / name / "metrics.jsonl") for name in ("with", "without"))
    seen = [{name for name in row if name.startswith("eval")} for row in rows]
    assert seen == [set(), {"eval_toy", "eval_missing", "eval_s"}, set()]
    hidden = {"eval_toy", "eval_missing", "eval_s"} | MEASURED
    assert [{k: v for k, v in row.items() if k not in hidden} for row in rows] == [
        {k: v for k, v in row.items() if k not in hidden} for row in plain
    ]
