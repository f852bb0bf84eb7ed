"""What every contestant of bench/decode.py does: generate when it is asked to, and count what it wrote."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import contest


def serve(generate: Callable[..., list[list[int]]], about: dict[str, Any]) -> None:
    """generate(prompts, max_new_tokens, end) -> the token ids that each row wrote, the end token included."""
    contest.serve(lambda **request: {"tokens": sum(map(len, generate(**request)))}, about)


def until(row: list[int], ends: tuple[int, ...]) -> list[int]:
    """The tokens up to the first end token, which is included."""
    return next((row[: at + 1] for at, token in enumerate(row) if token in ends), row)
