"""The engine on a real model: greedy continuations of HumanEval prompts, against `transformers` in float32.

ACECODER_MODEL=DIR ACECODER_HUMANEVAL=HumanEval.jsonl.gz python -m pytest -m real tests/sampling/test_engine_real.py
"""

import gzip
import json
import os

import jax.numpy as jnp
import pytest

from acecoder_jax import prompts, tokenizer
from acecoder_jax.models import huggingface
from acecoder_jax.sampling.draw import SamplingParams
from acecoder_jax.sampling.engine import Engine, Request

PROMPTS, NEW_TOKENS = 20, 64


@pytest.mark.real
def test_greedy_tokens_are_those_of_transformers():
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM

    if not {"ACECODER_MODEL", "ACECODER_HUMANEVAL"} <= os.environ.keys():
        pytest.skip("set ACECODER_MODEL to a model directory and ACECODER_HUMANEVAL to HumanEval.jsonl.gz")
    directory = os.environ["ACECODER_MODEL"]
    with gzip.open(os.environ["ACECODER_HUMANEVAL"], "rt") as lines:
        questions = [json.loads(line)["prompt"] for line, _ in zip(lines, range(PROMPTS), strict=False)]
    words = tokenizer.load(directory)
    rendered = [prompts.render_chat(words, prompts.chat(question), True) for question in questions]

    theirs = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    padded = words.pad({"input_ids": rendered}, padding_side="left", return_tensors="pt")
    generated = theirs.generate(**padded, max_new_tokens=NEW_TOKENS, do_sample=False, repetition_penalty=1.0)
    expected = [row[padded["input_ids"].shape[1] :].tolist() for row in generated]
    del theirs

    config, params = huggingface.load_params(directory)
    engine = Engine(
        config, words, slots=8, max_prompt_tokens=max(map(len, rendered)), max_new_tokens=NEW_TOKENS, seed=0,
        dtype=jnp.float32,
    )  # fmt: skip
    engine.update(params)
    greedy = SamplingParams(temperature=0.0, max_new_tokens=NEW_TOKENS)
    requests = [Request(str(i), tuple(prompt), greedy) for i, prompt in enumerate(rendered)]
    answers = {completion.problem_id: list(completion.tokens) for completion in engine.generate(requests, "test")}
    assert len(answers) == PROMPTS
    for i, tokens in enumerate(expected):
        ours = answers[str(i)]
        assert ours == tokens[: len(ours)], f"prompt {i}"
        assert len(ours) == NEW_TOKENS or ours[-1] in engine.stop_ids
