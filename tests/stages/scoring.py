"""A reward model for tests of the stages: its score is a function of the texts alone."""

import collections

import jax
import jax.numpy as jnp

from acecoder_jax import tokenizer
from acecoder_jax.models import reward_head
from acecoder_jax.models.config import ModelConfig
from acecoder_jax.reward_models import checkpoint
from acecoder_jax.stages import _reward_model

NAME = "0123456789abcdef last 2048 truncate bfloat16"


class FakeScorer:
    """score_of: from question and program to a score, None (dropped). batch: pairs that are scored together."""

    def __init__(self, score_of, batch=3):
        self.score_of, self.batch = score_of, batch
        self.counts = collections.Counter()
        self.seen = []

    def stream(self, pairs):
        waiting = []
        for index, pair in enumerate(pairs):
            waiting.append((index, pair))
            if len(waiting) == self.batch:
                yield from self._scores(waiting)
                waiting = []
        yield from self._scores(waiting)

    def _scores(self, waiting):
        for index, pair in reversed(waiting):
            self.seen.append(pair)
            score = self.score_of(*pair)
            self.counts["dropped" if score is None else "scored"] += 1
            yield index, score


def install(monkeypatch, score_of, name=NAME):
    """Has the stages use a fake reward model of this name."""
    scorer = FakeScorer(score_of)
    monkeypatch.setattr(_reward_model, "identify", lambda config: _reward_model.Identity(*name.split(" ", 1)))
    monkeypatch.setattr(_reward_model, "load", lambda config: scorer)
    return scorer


def save_random(directory, samples):
    """Saves a small reward model of random weights whose tokenizer has read the texts."""
    words = tokenizer.train_bpe(samples, 400)
    config = ModelConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=32, num_layers=2, num_heads=2, num_kv_heads=1,
        head_dim=8, initializer_range=0.2,
    )  # fmt: skip
    model = reward_head.RewardModel.make(config, jnp.float32, "none")
    params = model.with_head(model.model.init(jax.random.key(0)), jax.random.key(1))
    params |= {"reward_da": jax.random.normal(jax.random.key(2), (16, 1))}
    checkpoint.save(params, model.model.config, directory, dtype=jnp.float32, tokenizer=words)
    return directory
