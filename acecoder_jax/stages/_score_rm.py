"""The stage `score` with a reward model: pairs of question and program in, their scores out, resumable.

    python -m acecoder_jax.main --config=configs/score.py:rm --config.reward_model=DIR \\
        --config.input=IN.jsonl --config.output=OUT.jsonl
"""

import time
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from acecoder_jax import metrics, store
from acecoder_jax.stages import _reward_model, _score_files
from acecoder_jax.stages._reward_model import Pair
from acecoder_jax.store import Row

COLUMNS = {"score": "mean score", "pairs_per_s": "pairs/s"}


def run(config: ConfigDict, workdir: Path) -> None:
    """Scores every pair of the input that the output does not have yet."""
    good, malformed = _score_files.check(config.input, problem_of, config.skip_malformed)
    identity = _reward_model.identify(config)
    name = identity.name
    scores = take_up(config.output, good, name)
    print(f"{len(good)} pairs to score, {len(scores)} done before, {malformed} malformed")
    this_start = score(config, name, good - scores.keys(), scores) if good - scores.keys() else {}
    found = summary(scores) | {
        "reward_model": config.reward_model,
        "fingerprint": identity.fingerprint,
        "this_start": this_start,
    }
    told = [(key, f"{value:.4g}" if isinstance(value, float) else value) for key, value in found.items() if value != {}]
    metrics.table("scores", ("what", "value"), told)
    store.write_json(workdir / "results.json", found)


def score(config: ConfigDict, name: str, wanted: Set[str], scores: dict[str, float | str]) -> dict[str, Any]:
    """Scores the pairs with these ids, each written with its batch and added to `scores`; what this took."""
    model = _reward_model.load(config)
    start, began, number, total = len(scores), time.monotonic(), 0, 0.0
    with metrics.Progress(start + len(wanted), "score", COLUMNS, start=start) as progress:
        rows = _reward_model.score(model, name, pairs(config.input, wanted), config.output, config.reward)
        for count, row in enumerate(rows, start=1):
            scores[row["id"]] = outcome(row)
            if row["score"] is not None:
                number, total = number + 1, total + row["score"]
            seen = {"pairs_per_s": count / (time.monotonic() - began), "score": total / max(number, 1)}
            progress.update(start + count, seen)
    rate = len(wanted) / (time.monotonic() - began)
    return {"pairs": len(wanted), "pairs_per_s": rate, "truncated": model.counts["truncated"]}


def summary(scores: dict[str, float | str]) -> dict[str, Any]:
    """The content of results.json on all pairs of the input. scores: by id, or why there is none.

    std: the standard deviation of the scores there are (divided by their number).
    """
    values = np.array([value for value in scores.values() if not isinstance(value, str)], np.float64)
    reasons = [value for value in scores.values() if isinstance(value, str)]
    mean, std = (float(values.mean()), float(values.std())) if len(values) else (None, None)
    dropped = {reason: reasons.count(reason) for reason in sorted(set(reasons))}
    return {"count": len(values), "mean": mean, "std": std, "dropped": dropped}


def problem_of(row: Row) -> str:
    """What is wrong with a row of the input; "" for nothing."""
    if problem := _score_files.texts_missing(row, ("id", "question", "program")):
        return problem
    return next((f"{key!r} is empty" for key in ("question", "program") if not row[key].strip()), "")


def pairs(path: str, wanted: Set[str]) -> Iterator[Pair]:
    """The rows with these ids, each once."""
    for row in _score_files.wanted_rows(path, set(wanted), problem_of):
        yield Pair(row["id"], row["question"], row["program"])


def take_up(path: str, good: Set[str], name: str) -> dict[str, float | str]:
    """What the output holds of the good rows, by id. ValueError for one of another name."""
    rows = _reward_model.check_same(_score_files.take_up(path, _reward_model.is_row, "score"), path, name)
    return {row["id"]: outcome(row) for row in rows if row["id"] in good}


def outcome(row: Row) -> float | str:
    """The score of a row, or why there is none."""
    return row["dropped"] if row["score"] is None else row["score"]
