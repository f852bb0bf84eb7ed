"""What the tests of the stages share."""

from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from acecoder_jax import store, tokenizer
from acecoder_jax.models.config import ModelConfig
from acecoder_jax.models.reward_head import RewardModel
from acecoder_jax.reward_models import checkpoint
from tests.stages.runs import SFT, TINY_MODEL, start


@pytest.fixture(scope="session")
def small_policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a small policy after supervised steps on a few problems."""
    workdir = tmp_path_factory.mktemp("sft")
    start(SFT, *TINY_MODEL, f"--workdir={workdir}")
    rows = store.read_jsonl(workdir / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(1, 101))
    assert rows[-1]["loss"] < rows[0]["loss"] / 2
    return workdir / "model"


@pytest.fixture(scope="session")
def reward_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward model that was never trained, with a tokenizer of its own."""
    words = tokenizer.train_bpe(["def f(x):\n    return x + 1\n", "Write a function that adds two numbers."] * 4, 320)
    config = ModelConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=32, num_layers=1, num_heads=2, num_kv_heads=1,
        head_dim=8, initializer_range=0.3,
    )  # fmt: skip
    model = RewardModel.make(config, jnp.float32, "none")
    params = model.with_head(model.model.init(jax.random.key(0)), jax.random.key(1))
    path = tmp_path_factory.mktemp("rm") / "model"
    checkpoint.save(params, model.model.config, path, dtype=jnp.float32, tokenizer=words)
    return path
