"""Programs out of replies, and the rendering of chats, against hand-written expectations."""

import os

import pytest

from acecoder_jax import prompts, tokenizer

REPLIES = {
    "one block": ("Sure:\n```python\nx = 1\n```\nDone.", "x = 1"),
    "the last python block": ("```python\nx = 1\n```\nBetter:\n```python\nx = 2\n```", "x = 2"),
    "python before a later block": ("```python\nx = 1\n```\n```text\nout\n```", "x = 1"),
    "py": ("```py\nx = 1\n```", "x = 1"),
    "python3": ("```python3\nx = 1\n```", "x = 1"),
    "capital": ("``` Python\nx = 1\n```", "x = 1"),
    "more info after the language": ("```python title=a.py\nx = 1\n```", "x = 1"),
    "any fence": ("```\nx = 1\n```\nand\n```\nx = 2\n```", "x = 2"),
    "tildes": ("~~~python\nx = 1\n~~~", "x = 1"),
    "no fence": ("x = 1\ny = 2\n", "x = 1\ny = 2\n"),
    "cut short": ("First:\n```python\nx = 1\n```\nNow:\n```python\ndef f():\n    return", "def f():\n    return"),
    "cut at the opening": ("```python\nx = 1\n```\n```python", "x = 1"),
    "empty block": ("```python\nx = 1\n```\n```python\n\n```", "x = 1"),
    "carriage returns": ("```python\r\nx = 1\r\ny = 2\r\n```\r\n", "x = 1\ny = 2"),
    "indent": ("1. Code:\n   ```python\n   def f():\n       return 1\n   ```\n", "def f():\n    return 1"),
    "four marks": ("````python\ns = 1\n```\n````", "s = 1\n```"),
    "marks in a short string": ('```python\ns = "```"\nt = 1\n```', 's = "```"\nt = 1'),
    "block in a docstring": (
        '```python\ndef f():\n    """Like so:\n    ```python\n    f()\n    ```\n    """\n    return 1\n```\nBye.',
        'def f():\n    """Like so:\n    ```python\n    f()\n    ```\n    """\n    return 1',
    ),
    "string never closed, then a good block": (
        '```python\ns = """oops\n```\nFixed:\n```python\ns = """fine"""\n```',
        's = """fine"""',
    ),
    "quotes in a comment open nothing": ('```python\nx = 1  # """\n```\n"""', 'x = 1  # """'),
    "first block never closed": ("```python\nx = 1\n```python\nx = 2\n```", "x = 2"),
}


@pytest.mark.parametrize("case", REPLIES)
def test_extract_code(case):
    text, code = REPLIES[case]
    assert prompts.extract_code(text) == code


def test_extract_code_of_many_fences_and_quotes():
    """A policy that babbles: each string is left open by its block, so the fences pair up."""
    assert prompts.extract_code('"""\n```\n' * 500) == '"""'


START = prompts.PROGRAM_START
STARTED = {
    "closed": (f"{START}x = 1\n```\nDone.", "x = 1"),
    "cut short": (f"{START}def f():\n    return", "def f():\n    return"),
    "an example below": (f"{START}x = 1\n```\nUse it so:\n```python\nprint(x)\n```", "x = 1"),
    "opened twice": (f"{START}```python\nx = 1\n```", "x = 1"),
    "nothing came": (START, ""),
    "begun anew": ("Sure.\n```python\nx = 1\n```\nBetter:\n```python\nx = 2\n```", "x = 2"),
    "carriage returns": (f"{START}x = 1\r\ny = 2\r\n```", "x = 1\ny = 2"),
    "block in a docstring": (
        f'{START}def f():\n    """\n    ```\n    f()\n    ```\n    """\n```\nBye.',
        'def f():\n    """\n    ```\n    f()\n    ```\n    """',
    ),
}


@pytest.mark.parametrize("case", STARTED)
def test_extract_started_code(case):
    text, code = STARTED[case]
    assert prompts.extract_started_code(text, START) == code


def test_a_request_shows_question_and_tests():
    asked = prompts.program_request("\nAdd two numbers.\n", [" assert add(1, 2) == 3\n", "assert add(0, 0) == 0"])
    assert asked.endswith("\n\nAdd two numbers.\nassert add(1, 2) == 3\nassert add(0, 0) == 0\n")
    assert "self-contained Python script" in asked and "markdown code block" in asked
    assert prompts.extract_code(prompts.program_reply("x = 1\ny = 2")) == "x = 1\ny = 2"


def test_extract_answer():
    assert prompts.extract_answer("<think>no</think><answer>\nyes\n</answer>") == "yes"
    assert prompts.extract_answer("<answer>a</answer> or <answer>b</answer>.") == "b"
    assert prompts.extract_answer("<think>t</think><answer>cut sho") == "cut sho"
    assert prompts.extract_answer("no tags") == "no tags"


def test_r1_prompt_names_the_tags_that_extract_answer_reads():
    assert all(tag in prompts.R1_SYSTEM_PROMPT for tag in ("<think>", "</think>", "<answer>", "</answer>", "```python"))


def test_chat():
    assert prompts.chat("q") == [{"role": "user", "content": "q"}]
    assert prompts.chat("q", "s") == [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]


@pytest.fixture(scope="module")
def bpe():
    return tokenizer.train_bpe(["add two numbers"] * 3, 300)


def test_render_chat_is_the_qwen_format(bpe):
    tokens = prompts.render_chat(bpe, prompts.chat("hi", "s"), add_generation_prompt=True)
    assert type(tokens) is list and all(type(token) is int for token in tokens)
    assert bpe.decode(tokens) == (
        "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    )
    reply = [*prompts.chat("hi"), {"role": "assistant", "content": "yo"}]
    assert bpe.decode(prompts.render_chat(bpe, reply, add_generation_prompt=False)) == (
        "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nyo<|im_end|>\n"
    )


def test_the_prompt_is_a_prefix_of_the_whole_chat(bpe):
    prompt = prompts.render_chat(bpe, prompts.chat("add"), add_generation_prompt=True)
    reply = [*prompts.chat("add"), {"role": "assistant", "content": "numbers"}]
    whole = prompts.render_chat(bpe, reply, add_generation_prompt=False)
    newline = bpe.encode("\n")
    assert whole == prompt + bpe.encode("numbers") + [bpe.eos_token_id] + newline


def test_render_chat_without_a_template(bpe):
    class Bare:
        chat_template = None
        name_or_path = "bare"

    with pytest.raises(ValueError, match="'bare' has no chat template"):
        prompts.render_chat(Bare(), prompts.chat("hi"), add_generation_prompt=True)


@pytest.mark.real
@pytest.mark.skipif("ACECODER_MODEL" not in os.environ, reason="needs ACECODER_MODEL")
def test_render_chat_of_the_real_tokenizer():
    real = tokenizer.load(os.environ["ACECODER_MODEL"])
    tokens = prompts.render_chat(real, prompts.chat("hi", "s"), add_generation_prompt=True)
    # <|im_start|> system \n s <|im_end|> \n <|im_start|> user \n hi <|im_end|> \n <|im_start|> assistant \n
    assert tokens == [151644, 8948, 198, 82, 151645, 198, 151644, 872, 198, 6023, 151645, 198, 151644, 77091, 198]
