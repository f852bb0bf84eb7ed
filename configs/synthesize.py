"""Imagine questions and tests from seed programs: the first stage of the data.

    python -m acecoder_jax.main --config=configs/synthesize.py:tiny                  # a server on loopback
    OPENAI_API_KEY=... python -m acecoder_jax.main --config=configs/synthesize.py:gpt-4o-mini --config.budget_usd=350

| preset | seeds | writer |
| --- | --- | --- |
| gpt-4o-mini | Evol, OSS and 50,000 of Stack, from the hub | gpt-4o-mini, as AceCoder's: about 300 USD |
| gpt-4o-mini-batch | the same | the same through the Batch API: half the price, within a day |
| stdlib | 300 functions of Python's standard library | an endpoint on loopback (launch/llama_server.sh) |
| tiny | 20 of it | the same |
"""

from typing import Any

from ml_collections import ConfigDict

from acecoder_jax import presets

# Any OpenAI-compatible endpoint.
ENDPOINT: dict[str, Any] = {
    "base_url": "https://api.openai.com/v1",
    "model": "gpt-4o-mini",
    "key_env": "OPENAI_API_KEY",  # the environment variable with the key; "" for an endpoint that asks for none
    "concurrency": 32,  # requests under way at most
    "timeout_s": 900.0,  # of an attempt in all
    "stall_s": 120.0,  # of silence in a stream, its beginning included
    "stream": True,  # take replies piece by piece: a lost connection loses only what had not come
    "attempts": 8,  # of a request at most; waits between them begin at backoff_s and double up to backoff_cap_s
    "backoff_s": 1.0,
    "backoff_cap_s": 60.0,
    "patience_s": 900.0,  # how long a request waits in all for a rate limit
    "failures_in_a_row": 20,  # so many requests without a text end the run
    # How a reply is held to be JSON: "schema", "object_schema" (llama-cpp-python), "object" or "none". What the
    # endpoint does not know is left for the next of them.
    "json": "schema",
    # How a reply is begun for the model: "none", "message" (a last message that the endpoint goes on from), "continue"
    # (the same with vLLM's flags).
    "prefix": "none",
    "price_in_usd": 0.0,  # of a million tokens
    "price_out_usd": 0.0,
    "cache": "",  # a folder for replies, which runs may share; "": WORKDIR/replies
}
# The Batch API of an endpoint that has one.
BATCH: dict[str, Any] = {
    **{
        key: ENDPOINT[key] for key in ("base_url", "model", "key_env", "json", "attempts", "backoff_s", "backoff_cap_s")
    },
    "timeout_s": 300.0,  # of an upload or a download
    "batch_requests": 20_000,  # at most 50,000, and 200 MB
    "open_batches": 4,  # at a time; the budget is looked at before each
    "poll_s": 30.0,
    "price_in_usd": 0.0,
    "price_out_usd": 0.0,
    "folder": "",  # for batches and their replies; "": WORKDIR/batches
}
# A checkpoint through the decoding engine.
LOCAL: dict[str, Any] = {
    "model": "",  # a Hugging Face directory or hub id
    "max_prompt_tokens": 4096,
    "max_new_tokens": 8192,
    "seed": 0,
    "dtype": "bfloat16",
    "decode_mesh": {"data": -1, "fsdp": 1, "tensor": 1},
    # As in configs/rl_rule.py.
    "engine": {
        "slots": 64,
        "chunk": 16,
        "prefill_rows": 8,
        "prefill_width": 128,
        "prefill_calls": 2,
        "cache_tokens": 0,
        "int8": False,
        "backend": "auto",
    },
}

LOOPBACK = {
    "endpoint.base_url": "http://127.0.0.1:8000/v1",
    "endpoint.model": "local",
    "endpoint.key_env": "",
    "endpoint.concurrency": 8,
    "endpoint.stream": False,
    "endpoint.timeout_s": 3600.0,  # a CPU takes its time
    "max_tokens": 2048,
}
RECIPE = {
    "sources": ({"source": "evol"}, {"source": "oss"}, {"source": "stack"}),
    "endpoint.price_in_usd": 0.15,
    "endpoint.price_out_usd": 0.60,
    "batch.price_in_usd": 0.075,
    "batch.price_out_usd": 0.30,
}
PRESETS: dict[str, dict[str, Any]] = {
    "gpt-4o-mini": RECIPE,
    "gpt-4o-mini-batch": RECIPE | {"writer": "batch"},
    "stdlib": LOOPBACK | {"sources": ({"source": "stdlib", "classes": False, "count": 300},)},
    "tiny": LOOPBACK
    | {
        "sources": ({"source": "stdlib", "classes": False, "count": 20, "max_characters": 1000},),
        "seeds.decontaminate": (),
    }
    | {"tests_asked": 8, "min_tests": 2, "max_tokens": 768},
}


def get_config(argument: str = "") -> ConfigDict:
    preset, overrides = presets.parse(argument, PRESETS, default="gpt-4o-mini")
    config = ConfigDict(
        {
            "stage": "synthesize",
            "seed": 0,
            # Where seeds come from, each with arguments of its own of acecoder_jax.data.seeds.load; those in `seeds`
            # are for all. decontaminate: benchmarks of which no seed and no question may hold a piece;
            # near_duplicates: the similarity from which on one of two seeds goes.
            "sources": ({"source": "stdlib"},),
            "seeds": {"decontaminate": ("humaneval", "mbpp"), "near_duplicates": 0.8},
            "temperature": 0.7,
            "top_p": 1.0,
            "max_tokens": 8192,  # of a reply
            "tests_asked": 20,
            "min_tests": 5,  # a question with fewer valid ones is rejected
            "budget_usd": 0.0,  # of all starts of the run together; 0: no limit
            "writer": "endpoint",  # or batch, local
            "endpoint": ENDPOINT,
            "batch": BATCH,
            "local": LOCAL,
            "cluster": "local",  # who does the work: acecoder_jax/cluster/
            "cluster_args": {},
        }
    )
    presets.apply(config, PRESETS[preset])
    presets.apply(config, overrides)
    return config.lock()
