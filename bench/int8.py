"""8-bit weights beside bfloat16 ones: speed, and greedy pass@1 on HumanEval, in one run of our engine.

    python bench/int8.py --model=Qwen2.5-Coder-0.5B-Instruct --data=HumanEval.jsonl.gz

The question is put as in bench/decode.py; answers of at most 384 tokens are judged by the sandbox. The last line is
JSON.
"""

import argparse
import gzip
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
from decode import questions

from acecoder_jax import prompts, tokenizer
from acecoder_jax.models import huggingface
from acecoder_jax.sampling.draw import SamplingParams
from acecoder_jax.sampling.engine import Engine, Request
from acecoder_jax.sandbox import Job, Sandbox

NEW_TOKENS = 384


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a directory with the weights")
    parser.add_argument("--data", required=True, help="HumanEval.jsonl.gz")
    parser.add_argument("--slots", type=int, default=32)
    options = parser.parse_args()
    with gzip.open(options.data, "rt") as file:
        tasks = [json.loads(line) for line in file]
    asked = questions(options.model, options.data)
    row: dict[str, Any] = {}
    for name in ("bfloat16", "int8"):
        row[name] = measure(options.model, options.slots, name == "int8", asked, tasks)
        print(name, json.dumps(row[name]), flush=True)
    row["points_lost"] = round(100 * (row["bfloat16"]["pass@1"] - row["int8"]["pass@1"]), 2)
    row["times_one_row"] = round(row["int8"]["one_row_tok_s"] / row["bfloat16"]["one_row_tok_s"], 2)
    row["times_many"] = round(row["int8"]["tok_s"] / row["bfloat16"]["tok_s"], 2)
    print(json.dumps(row | {"jax": jax.__version__, "slots": options.slots}))


def measure(model: str, slots: int, int8: bool, asked: list[list[int]], tasks: list[dict]) -> dict[str, Any]:
    words = tokenizer.load(model)
    config, params = huggingface.load_params(model)
    engine = Engine(
        config, words, slots=slots, max_prompt_tokens=max(map(len, asked)), max_new_tokens=NEW_TOKENS, seed=0, int8=int8
    )
    engine.update(params)
    del params
    greedy = SamplingParams(temperature=0.0, max_new_tokens=NEW_TOKENS)
    requests = [Request(task["task_id"], tuple(p), greedy) for task, p in zip(tasks, asked, strict=True)]
    list(engine.generate(requests[:1], "warm"))
    start = time.perf_counter()
    (one,) = engine.generate(requests[:1], "one")
    one_row_s = time.perf_counter() - start
    start = time.perf_counter()
    answers = {done.problem_id: done for done in engine.generate(requests, "all")}
    seconds = time.perf_counter() - start
    with Sandbox(workers=2) as sandbox:
        jobs = [job(task, answers[task["task_id"]].text) for task in tasks]
        passed = sum(verdict.passed for verdict in sandbox.score(jobs))
    return {
        "pass@1": round(passed / len(tasks), 4),
        "passed": passed,
        "tok_s": round(sum(len(done.tokens) for done in answers.values()) / seconds, 1),
        "one_row_tok_s": round(len(one.tokens) / one_row_s, 1),
    }


def job(task: dict, answer: str) -> Job:
    test = f"{task['test']}\ncheck({task['entry_point']})"
    return Job(task["task_id"], prompts.extract_code(answer), (test,), task["entry_point"])


if __name__ == "__main__":
    main()
