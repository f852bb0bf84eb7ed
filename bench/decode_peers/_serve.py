"""What every contestant of bench/decode.py does: read requests from stdin, a JSON object a line, and answer each."""

import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any


def serve(generate: Callable[..., list[list[int]]], about: dict[str, Any]) -> None:
    """generate(prompts, max_new_tokens, end) -> the token ids that each row wrote, the end token included."""
    out, sys.stdout = sys.stdout, sys.stderr
    print(json.dumps(about), file=out, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        start = time.perf_counter()
        rows = generate(**request)
        seconds = time.perf_counter() - start
        peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        answer = {"seconds": seconds, "tokens": sum(map(len, rows)), "peak_gib": round(peak_gib, 2)}
        print(json.dumps(answer), file=out, flush=True)


def until(row: list[int], ends: tuple[int, ...]) -> list[int]:
    """The tokens up to the first end token, which is included."""
    return next((row[: at + 1] for at, token in enumerate(row) if token in ends), row)
