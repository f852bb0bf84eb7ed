"""Our engine in bfloat16, as bench/decode.py asks for it."""

import functools
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import machine
from _serve import serve

from acecoder_jax import memory, tokenizer
from acecoder_jax.models import huggingface
from acecoder_jax.sampling.draw import SamplingParams
from acecoder_jax.sampling.engine import Engine, Request

memory.use_huge_pages()  # as acecoder_jax.main does
model_dir, prompt_tokens = sys.argv[1], int(sys.argv[2])
knobs = json.loads(sys.argv[3]) if len(sys.argv) > 3 else {}
words = tokenizer.load(model_dir)
config, params = huggingface.load_params(model_dir)


class Endless:
    """The tokenizer without an end: all rows write as much as they may."""

    eos_token_id = None

    def convert_tokens_to_ids(self, token: str) -> None:
        """No token ends an answer."""

    def __getattr__(self, name: str) -> object:
        return getattr(words, name)


@functools.cache
def engine(slots: int, max_new_tokens: int, end: bool) -> Engine:
    """An engine with these numbers, and the weights."""
    made = Engine(
        config, words if end else Endless(), slots=slots, max_prompt_tokens=prompt_tokens,
        max_new_tokens=max_new_tokens, seed=0, **knobs,
    )  # fmt: skip
    made.update(params)
    return made


def generate(prompts: list[list[int]], max_new_tokens: int, end: bool, rows: int) -> list[list[int]]:
    """All prompts at once, over `rows` slots."""
    sampling = SamplingParams(max_new_tokens=max_new_tokens)
    requests = [Request(str(n), tuple(prompt), sampling) for n, prompt in enumerate(prompts)]
    return [list(done.tokens) for done in engine(rows, max_new_tokens, end).generate(requests, "bench")]


def prefill_s(prompts: list[list[int]], samples: int) -> float:
    """Seconds that reading the prompts takes, with that many samples of each."""
    one, spent = engine(32, 1, False), []
    call = one._call

    def timed(name: str, *args: Any, **kw: Any) -> Any:
        start = time.perf_counter()
        out = jax.block_until_ready(call(name, *args, **kw))
        if name.startswith(("prefill", "copy")):
            spent.append(time.perf_counter() - start)
        return out

    one._call = timed  # type: ignore[method-assign]
    requests = [
        Request(str(n), tuple(p), SamplingParams(max_new_tokens=1), s)
        for n, p in enumerate(prompts)
        for s in range(samples)
    ]
    list(one.generate(requests, "bench"))
    one._call = call  # type: ignore[method-assign]
    return sum(spent)


if __name__ == "__main__":
    numbers: dict[str, Any] = machine.rates()
    numbers["params"] = sum(leaf.size for leaf in jax.tree.leaves(params))
    numbers["layer_params"] = sum(leaf.size for leaf in jax.tree.leaves(params["layers"]))
    numbers["kv_bytes_a_token"] = engine(32, 128, False).token_bytes
    numbers["kv_mib_computed"] = engine(32, 128, False).cache_bytes / 2**20
    numbers["kv_mib_allocated"] = sum(leaf.nbytes for leaf in jax.tree.leaves(engine(32, 128, False)._empty())) / 2**20
    numbers["knobs"] = knobs
    if os.environ.get("GROUPS"):
        prompts = json.loads(Path(os.environ["GROUPS"]).read_text())
        lone = [[token, *p[1:]] for p in prompts for token in range(1000, 1008)]
        prefill_s(prompts[:8], 1)
        numbers["groups"] = {"shared_s": prefill_s(prompts, 8), "apart_s": prefill_s(lone, 1)}
    numbers["jax"] = jax.__version__
    serve(generate, numbers)
