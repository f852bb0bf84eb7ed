"""What a reward model reads: the rendering, the place of the score, and texts over the cutoff."""

import numpy as np
import pytest

from acecoder_jax import tokenizer
from acecoder_jax.reward_models import texts

QUESTION = "Add two numbers and return their sum, please."
PROGRAM = "```python\ndef add(a, b):\n    return a + b\n```"


@pytest.fixture(scope="module")
def words():
    return tokenizer.train_bpe([QUESTION, PROGRAM], 320)


def test_the_score_is_read_at_the_last_token_or_at_the_end_of_the_turn(words):
    last = texts.encode(words, QUESTION, PROGRAM)
    assert not last.truncated and last.tokens.dtype == np.int32
    assert words.decode(last.tokens) == (
        f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n{PROGRAM}<|im_end|>\n"
    )
    assert words.decode(last.tokens[: last.prompt]).endswith("<|im_end|>\n<|im_start|>assistant\n")
    end = texts.encode(words, QUESTION, PROGRAM, read="end_of_turn")
    assert end.tokens.tolist() == last.tokens.tolist()[:-1] and end.tokens[-1] == words.eos_token_id


def test_a_long_text_loses_the_beginning_of_its_question_and_nothing_of_its_program(words):
    whole = len(texts.encode(words, QUESTION, PROGRAM).tokens)
    cut = texts.encode(words, QUESTION, PROGRAM, max_tokens=whole - 4)
    assert cut.truncated and len(cut.tokens) <= whole - 4
    text = words.decode(cut.tokens)
    asked = text.removeprefix("<|im_start|>user\n").split("<|im_end|>")[0]
    assert asked and QUESTION.endswith(asked) and PROGRAM in text
    assert texts.encode(words, QUESTION, PROGRAM, max_tokens=whole - 4, over="drop") is None
    assert not texts.encode(words, QUESTION, PROGRAM, max_tokens=whole, over="drop").truncated


def test_a_program_that_does_not_fit_is_left_out(words):
    assert texts.encode(words, QUESTION, PROGRAM, max_tokens=20) is None


def test_a_question_is_rendered_once_for_several_programs(words, monkeypatch):
    asked, render = [], texts.prompts.render_chat

    def counting(tokenizer, turns, add_generation_prompt):
        asked.append(add_generation_prompt)
        return render(tokenizer, turns, add_generation_prompt)

    alone = [texts.encode(words, QUESTION, f"{PROGRAM}{n}") for n in range(3)]
    monkeypatch.setattr(texts.prompts, "render_chat", counting)
    known = {}
    together = [texts.encode(words, QUESTION, f"{PROGRAM}{n}", prompts_of=known) for n in range(3)]
    assert asked.count(True) == 1 and asked.count(False) == 3
    for one, other in zip(alone, together, strict=True):
        assert one.prompt == other.prompt and one.tokens.tolist() == other.tokens.tolist()


def test_what_cannot_be_scored_is_said(words):
    with pytest.raises(ValueError, match="the program is empty"):
        texts.encode(words, QUESTION, " \n")
    with pytest.raises(ValueError, match="the question is empty"):
        texts.encode(words, "", PROGRAM)
    with pytest.raises(ValueError, match="read is 'first': it is one of last, end_of_turn"):
        texts.encode(words, QUESTION, PROGRAM, read="first")
    with pytest.raises(ValueError, match="over is 'keep': it is one of truncate, drop"):
        texts.encode(words, QUESTION, PROGRAM, over="keep")
    assert texts.encode(words, "half a \ud83d character", PROGRAM) is not None


def test_a_template_without_an_end_of_turn(words):
    class Odd:
        chat_template = "odd"
        eos_token_id = 10_000

        def apply_chat_template(self, messages, **knobs):
            return [1, 2, 3]

    with pytest.raises(ValueError, match="ends no turn with the tokenizer's EOS token"):
        texts.encode(Odd(), QUESTION, PROGRAM, read="end_of_turn")
