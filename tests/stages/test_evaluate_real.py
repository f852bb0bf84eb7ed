"""An evaluation of a real model on HumanEval, beside greedy continuations of the same prompts by `transformers`.

    export ACECODER_MODEL=DIR ACECODER_HUMANEVAL=HumanEval.jsonl.gz
    python -m pytest -m real -s tests/stages/test_evaluate_real.py

ACECODER_TORCH names a Python that has torch and transformers, where this one has no torch: that of
`bash bench/make_peer_env.sh transformers` will do.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from acecoder_jax import benchmarks, scoring, store, tokenizer
from acecoder_jax.stages._answers import Asking
from acecoder_jax.writers import local
from tests.stages.runs import start

PROMPTS, NEW_TOKENS = 20, 256
MOST_PROBLEMS = 4  # by which pass@1 may differ
ENGINE = {"slots": 32, "chunk": 16, "prefill_rows": 8, "prefill_width": 128}


@pytest.fixture(scope="module")
def real():
    if not {"ACECODER_MODEL", "ACECODER_HUMANEVAL"} <= os.environ.keys():
        pytest.skip("set ACECODER_MODEL to a model directory and ACECODER_HUMANEVAL to HumanEval.jsonl.gz")
    return os.environ["ACECODER_MODEL"], os.environ["ACECODER_HUMANEVAL"]


def transformers_greedy(folder: Path, model: str, prompts: list[list[int]], dtype: str, new: int) -> list[list[int]]:
    """The tokens that transformers writes, by a Python that has it."""
    python = os.environ.get("ACECODER_TORCH", sys.executable)
    if subprocess.run([python, "-c", "import torch, transformers"], capture_output=True).returncode:
        pytest.skip("no torch here: set ACECODER_TORCH to a Python that has torch and transformers")
    asked, written = folder / "asked.json", folder / "written.json"
    asked.write_text(json.dumps(
        {"model": model, "dtype": dtype, "prompts": prompts, "max_new_tokens": new, "batch": PROMPTS}
    ))  # fmt: skip
    script = Path(__file__).with_name("transformers_greedy.py")
    subprocess.run([python, str(script), str(asked), str(written)], check=True)
    return json.loads(written.read_text())


def requests(bench, first=None, new=NEW_TOKENS):
    """As the stage asks a chat model through the engine."""
    asking = Asking("chat", temperature=0.0, top_p=1.0, max_tokens=new, seed=0)
    return [asking.request(bench, task, 0) for task in bench.tasks[:first]]


def prompt_tokens(words, request) -> list[int]:
    chat = words.apply_chat_template(
        [dict(message) for message in request.messages], tokenize=True, add_generation_prompt=True, return_dict=False
    )
    return [*chat, *words.encode(request.prefix, add_special_tokens=False)]


@pytest.mark.real
def test_the_stages_greedy_tokens_are_those_of_transformers(real, tmp_path, monkeypatch):
    """In float32, 20 problems, under the evaluation's own prompts and the writer that it uses."""
    model, path = real
    bench, words = benchmarks.make("humaneval", path=path, plus=False), tokenizer.load(model)
    asked = requests(bench, PROMPTS)
    expected = transformers_greedy(tmp_path, model, [prompt_tokens(words, one) for one in asked], "float32", NEW_TOKENS)

    completions = {}
    reply_of = local.to_reply

    def noting(request, completion):
        completions[request.key] = completion
        return reply_of(request, completion)

    monkeypatch.setattr(local, "to_reply", noting)
    knobs = {"max_prompt_tokens": 1024, "max_new_tokens": NEW_TOKENS, "dtype": "float32", "engine": ENGINE}
    with local.Local(model=model, **knobs) as writer:
        replies = {reply.key: reply for reply in writer.write(asked)}
    assert len(replies) == PROMPTS and not any(reply.error for reply in replies.values())
    for request, theirs in zip(asked, expected, strict=True):
        ours = completions[request.key]
        assert list(ours.prompt_tokens) == prompt_tokens(words, request)
        assert list(ours.tokens) == theirs[: len(ours.tokens)], request.key
        stopped = len(ours.tokens) == len(theirs) or any(
            stop in words.decode(theirs[: len(ours.tokens)]) for stop in request.stop
        )
        assert stopped, f"{request.key}: ours ended early"


@pytest.mark.real
def test_humaneval_in_bfloat16_beside_transformers(real, tmp_path):
    """All 164: pass@1 within four problems of transformers' own answers. It tells how long the evaluation took."""
    model, path = real
    run, new = tmp_path / "run", 768
    command = ["--config=configs/evaluate.py:humaneval", f"--config.data_path={path}"]
    began = time.monotonic()
    done = start(*command, f"--config.model={model}", f"--workdir={run}", timeout_s=3000)
    seconds = time.monotonic() - began
    print(done.stdout)
    print(f"{seconds:.0f} s, start and compiling included")
    ours = passed(run)
    assert len(ours) == 164

    bench, words = benchmarks.make("humaneval", path=path, plus=False), tokenizer.load(model)
    asked = requests(bench, new=new)
    tokens = transformers_greedy(tmp_path, model, [prompt_tokens(words, one) for one in asked], "bfloat16", new)
    rows = []
    for request, task, written in zip(asked, bench.tasks, tokens, strict=True):
        text = words.decode(written, skip_special_tokens=True)
        ends = [at for stop in request.stop if (at := text.find(stop)) >= 0]
        reply = request.prefix + text[: min(ends, default=None)]
        rows.append({"task_id": task.id, "solution": bench.program(task, reply)})
    store.write_jsonl(tmp_path / "theirs.jsonl", rows)
    start(*command, f"--config.answers={tmp_path / 'theirs.jsonl'}", f"--workdir={tmp_path / 'theirs'}")
    theirs = passed(tmp_path / "theirs")

    won = sum(ours[task] and not theirs[task] for task in ours)
    lost = sum(theirs[task] and not ours[task] for task in ours)
    print(f"ours {sum(ours.values())}, transformers {sum(theirs.values())} of 164; won {won}, lost {lost}")
    assert abs(won - lost) <= MOST_PROBLEMS
    assert scoring.mcnemar(won, lost) > 0.05


def passed(workdir: Path) -> dict[str, bool]:
    return {row["task"]: row["passed"]["humaneval"] for row in store.stream_jsonl(workdir / "answers.jsonl")}
