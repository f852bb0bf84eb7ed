"""Scoring: order, batches by length, dropped texts, streams, and the way in for users."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import acecoder_jax
from acecoder_jax import parallel, tokenizer
from acecoder_jax.models import reward_head
from acecoder_jax.models.config import ModelConfig
from acecoder_jax.reward_models import checkpoint, scorer, texts

PROGRAM = "```python\ndef f(x):\n    return x{}\n```"
CONFIG = ModelConfig(
    vocab_size=400, hidden_size=16, intermediate_size=32, num_layers=2, num_heads=2, num_kv_heads=1, head_dim=8,
    initializer_range=0.2,
)  # fmt: skip


def pairs(count):
    return [(f"Question {i}: " + "more words " * (i * 7 % 11), PROGRAM.format(f" + {i}")) for i in range(count)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("rm") / "model"
    words = tokenizer.train_bpe([question + program for question, program in pairs(20)], 400)
    model = reward_head.RewardModel.make(dataclasses.replace(CONFIG, vocab_size=len(words)), jnp.float32, "none")
    decoder = model.model.init(jax.random.key(0))
    params = model.with_head(decoder, jax.random.key(1)) | {"reward_da": jax.random.normal(jax.random.key(2), (16, 1))}
    checkpoint.save(params, model.model.config, path, dtype=jnp.float32, tokenizer=words)
    return path


@pytest.fixture(scope="module")
def model(folder):
    return acecoder_jax.RewardModel.load(folder, dtype="float32", mesh={"fsdp": 8})


def one_by_one(model, asked):
    """Each text alone, through the forward pass itself."""
    there = reward_head.RewardModel.make(model.config, jnp.float32, "none")
    found = []
    for question, program in asked:
        tokens = texts.encode(model.words, question, program).tokens[None]
        ones = np.ones_like(tokens)
        found.append(float(there.scores(model.params, tokens, ones, np.arange(tokens.shape[1])[None])[0, -1]))
    return found


def test_scores_are_those_of_each_text_alone_in_the_order_asked(model):
    asked = pairs(90)  # more than a batch
    before = model.counts["scored"]
    found = model.score(asked)
    np.testing.assert_allclose(found, one_by_one(model, asked), atol=1e-4)
    assert np.std(found) > 0.1 and model.counts["scored"] - before == 90
    assert model.score([]) == []


def test_programs_of_one_question_share_it(model):
    asked = [(question, PROGRAM.format(f" - {k}" * (k % 5))) for question, _ in pairs(9) for k in range(9)]
    np.testing.assert_allclose(model.score(asked), one_by_one(model, asked), atol=1e-4)


def test_a_stream_gives_the_same_scores_by_number(model, monkeypatch):
    monkeypatch.setattr(scorer, "AHEAD", 1)
    asked, drawn = pairs(130), []

    def drawing():
        for i, pair in enumerate(asked):
            drawn.append(i)
            yield pair

    found, stream = {}, model.stream(drawing())
    for i, score in stream:
        found[i] = score
        assert len(drawn) <= (len(found) // scorer.BATCH + 2) * scorer.BATCH  # no more is read than the next batches
    assert sorted(found) == list(range(130))
    np.testing.assert_allclose([found[i] for i in range(130)], model.score(asked), atol=1e-5)


@pytest.mark.parametrize("window", [1, 8])
def test_equal_texts_have_one_score_whatever_stands_beside_them(folder, monkeypatch, window):
    model = acecoder_jax.RewardModel.load(folder, dtype="bfloat16", mesh={"fsdp": 8})
    monkeypatch.setattr(scorer, "AHEAD", window)
    asked = [pair for pair in pairs(70) for _ in range(3)]
    asked = asked[::3] + asked[1::3] + asked[2::3]
    for found in (model.score(asked), [score for _, score in sorted(model.stream(asked))]):
        assert found[:70] == found[70:140] == found[140:] and len(set(found)) > 30
    assert model.counts["scored"] == 420


def test_dropped_and_truncated_texts_are_counted(folder):
    asked = [
        ("Short.", PROGRAM.format("")),
        ("long " * 200, PROGRAM.format("")),
        ("Short.", PROGRAM.format(" + 1" * 99)),
    ]
    cut = acecoder_jax.RewardModel.load(folder, dtype="float32", mesh={"fsdp": 8}, max_tokens=64)
    found = cut.score(asked)
    assert found[0] is not None and found[1] is not None and found[2] is None
    assert cut.counts == {"scored": 2, "truncated": 1, "dropped": 1}
    dropping = acecoder_jax.RewardModel.load(folder, dtype="float32", mesh={"fsdp": 8}, max_tokens=64, over="drop")
    assert [score is None for score in dropping.score(asked)] == [False, True, True]
    assert dict(dropping.stream(asked))[2] is None


def test_row_lengths_are_few(folder):
    one = parallel.make_mesh(fsdp=1, devices=jax.devices()[:1])
    model = acecoder_jax.RewardModel.load(folder, dtype="float32", mesh=one, row_tokens=512, max_tokens=512)
    for count in (1, 2, 3, 5, 40, 90):
        model.score(pairs(count))
    for words in (30, 31, 60, 61):  # longer texts than most rows
        model.score([*pairs(3), ("many " * words, PROGRAM)])
    assert len(model._functions) > 1 and set(model._functions) <= {128, 256, 384, 512}
    assert all(one.run._cache_size() == 1 for one in model._functions.values())  # compiled once each


def test_bad_input_is_named(model, folder):
    with pytest.raises(ValueError, match="pair 1: the program is empty"):
        model.score([("a", "b"), ("a", "")])
    with pytest.raises(ValueError, match="max_tokens is 5000"):
        acecoder_jax.RewardModel.load(folder, mesh={"fsdp": 8}, max_tokens=5000)
    with pytest.raises(ValueError, match=r"^rows is 6: not a multiple of the 8 shards"):
        acecoder_jax.RewardModel.load(folder, mesh={"fsdp": 8}, rows=6)
    with pytest.raises(ValueError, match="read is 'first'"):
        acecoder_jax.RewardModel.load(folder, mesh={"fsdp": 8}, read="first")
    with pytest.raises(FileNotFoundError, match="no directory"):
        acecoder_jax.RewardModel.load(folder / "nothing")
    with pytest.raises(AttributeError, match="no attribute 'Other'"):
        acecoder_jax.Other()


def test_it_is_read_where_it_was_trained_to_be(model, folder, tmp_path):
    checkpoint.save(model.params, model.config, tmp_path, dtype=jnp.float32, tokenizer=model.words, read="end_of_turn")
    told = acecoder_jax.RewardModel.load(tmp_path, dtype="float32", mesh={"fsdp": 8})
    same = acecoder_jax.RewardModel.load(folder, dtype="float32", mesh={"fsdp": 8}, read="end_of_turn")
    assert told.rules["read"] == "end_of_turn" and model.rules["read"] == "last"
    assert told.score(pairs(3)) == same.score(pairs(3)) != model.score(pairs(3))
    with pytest.raises(ValueError, match="was trained with its score read at 'end_of_turn'"):
        acecoder_jax.RewardModel.load(tmp_path, mesh={"fsdp": 8}, read="last")


def test_a_model_on_the_disk_has_a_name(model):
    assert len(model.name) == 16
