"""samples.jsonl: a row an answer, {"task_id", "solution"}, the form that EvalPlus made common."""

from collections.abc import Sequence
from pathlib import Path

from acecoder_jax import store
from acecoder_jax.benchmarks import Answer


def write(folder: Path, answers: Sequence[Answer]) -> Path:
    """Writes FOLDER/samples.jsonl, the answers in their order; returns its path."""
    path = folder / "samples.jsonl"
    store.write_jsonl(path, ({"task_id": one.task, "solution": one.program} for one in answers))
    return path
