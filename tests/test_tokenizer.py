"""Training and loading tokenizers: every text round trips, the same ids whoever loads, errors that name the path."""

import hashlib
import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acecoder_jax import prompts, tokenizer

TEXTS = [
    "def add(xs):\n    return sum(xs)",
    "count the larger items of xs below seven, then repeat every word backwards",
    "assert add([1,2])==3",
] * 4
TRICKY = "It's 1234 café\u0301 ✓ 🦊\n\n  x = [1, 2]\r\n\t<|im_end|> <|im_start|>\n "


@pytest.fixture(scope="module")
def bpe():
    return tokenizer.train_bpe(TEXTS, 320)


def test_vocabulary_and_special_tokens(bpe):
    assert len(bpe) == 320
    # The special tokens come last, as in Qwen2.5: end of text, turn start, turn end.
    assert bpe.convert_tokens_to_ids(list(tokenizer.SPECIAL_TOKENS)) == [317, 318, 319]
    assert (bpe.pad_token_id, bpe.eos_token_id) == (317, 319)
    assert bpe.bos_token is None
    assert bpe.decode(bpe.encode("hi<|im_end|>"), skip_special_tokens=True) == "hi"


def test_merges_pay_and_digits_stand_alone(bpe):
    assert len(bpe.encode(" xs")) == 1
    assert len(bpe.encode("user\n")) == 2
    assert len(bpe.encode("2024")) == 4
    assert bpe.encode("xs") != bpe.encode("ys")


def test_few_texts_give_a_smaller_vocabulary():
    small = tokenizer.train_bpe(["aaaa"], 5000)
    assert tokenizer.SMALLEST_VOCABULARY < len(small) < 300


def test_a_vocabulary_below_the_bytes_is_refused():
    with pytest.raises(ValueError, match="vocab_size is 258: the bytes and special tokens alone are 259"):
        tokenizer.train_bpe(TEXTS, 258)


@settings(max_examples=100, deadline=None)
@given(st.text())
def test_any_text_round_trips(bpe, text):
    assert bpe.decode(bpe.encode(text)) == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize("with_model_config", [False, True])
def test_save_and_load(bpe, tmp_path, with_model_config):
    """A config.json of the model beside it makes transformers choose another class: the ids stay the same."""
    bpe.save_pretrained(tmp_path)
    if with_model_config:
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
    loaded = tokenizer.load(tmp_path)
    assert loaded.encode(TRICKY) == bpe.encode(TRICKY)
    assert loaded.get_vocab() == bpe.get_vocab()
    assert (loaded.eos_token, loaded.pad_token) == ("<|im_end|>", "<|endoftext|>")
    assert prompts.render_chat(loaded, prompts.chat("hi"), True) == prompts.render_chat(bpe, prompts.chat("hi"), True)


def test_training_is_the_same_in_another_process(bpe):
    program = (
        "import hashlib; from acecoder_jax import tokenizer;"
        f"bpe = tokenizer.train_bpe({TEXTS!r}, 320);"
        "print(hashlib.sha256(bpe.backend_tokenizer.to_str().encode()).hexdigest())"
    )
    here = hashlib.sha256(bpe.backend_tokenizer.to_str().encode()).hexdigest()
    for hash_seed in ("1", "2"):
        environment = {
            **os.environ,
            "PYTHONHASHSEED": hash_seed,
            "PYTHONPATH": str(Path(tokenizer.__file__).parents[1]),
        }
        there = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True)
        assert there.stdout.decode().strip() == here


def test_load_names_what_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no tokenizer in .*: it has no tokenizer.json"):
        tokenizer.load(tmp_path)
    (tmp_path / "vocab.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match=r"nor both vocab.json and merges.txt"):
        tokenizer.load(tmp_path)
    gone = tmp_path / "gone"
    with pytest.raises(FileNotFoundError, match=rf"no tokenizer at {gone}: there is no such directory"):
        tokenizer.load(gone)


@pytest.mark.real
@pytest.mark.skipif("ACECODER_MODEL" not in os.environ, reason="needs ACECODER_MODEL")
def test_a_trained_tokenizer_has_the_parts_of_the_real_one(bpe):
    real = tokenizer.load(os.environ["ACECODER_MODEL"])
    parts = json.loads(real.backend_tokenizer.to_str())
    ours = json.loads(bpe.backend_tokenizer.to_str())
    for part in ("normalizer", "pre_tokenizer", "decoder", "post_processor"):
        assert ours[part] == parts[part]
    assert (real.eos_token, real.pad_token) == (bpe.eos_token, bpe.pad_token)
    assert real.decode(real.encode("x = 12")) == "x = 12"
