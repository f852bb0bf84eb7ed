"""The hard quarter of a dataset, and preference pairs of its programs, by the published rules (acecoder_jax/curate.py).

Rows of AceCode-87K's schema in; out WORKDIR/hard.jsonl, those of the hard questions, and WORKDIR/pairs.jsonl in the
schema of AceCodePair-300K. It asks nobody and runs nothing, so every start does all of it anew.
"""

import collections
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from acecoder_jax import curate, ledger, metrics, prompts, store
from acecoder_jax.curate import ProgramPair
from acecoder_jax.stages import _work
from acecoder_jax.store import Row

MAY_CHANGE = ("dataset", "hard", "pairs")  # nothing that is there is used again
COLUMNS = {"question": str, "test_cases": list, "inferences": list}
INFERENCE: dict[str, Any] = {"model_name": str, "completion": str, "pass_rate": (int, float)}


def run(config: ConfigDict, workdir: Path) -> None:
    """Finds the hard questions, then writes both files."""
    store.remove_half_written(workdir)
    hard = curate.hard_subset(read(config.dataset), models=config.hard.models)
    tell_hard(hard)
    wanted = set(hard.ids)
    ledger.write_rows(workdir / "hard.jsonl", (row for row in read(config.dataset) if row["id"] in wanted))
    ledger.sort(workdir / "hard.jsonl")

    counts: collections.Counter[str] = collections.Counter()
    rows = pair_rows(config.dataset, config.pairs.to_dict(), hard.rated + hard.unrated, counts)
    total = ledger.write_rows(workdir / "pairs.jsonl", rows)
    ledger.sort(workdir / "pairs.jsonl")
    tell_pairs(counts)
    hard_row = {"questions": len(hard.ids), "rated": hard.rated, "unrated": hard.unrated}
    medians = {"median_mean": hard.median_mean, "median_std": hard.median_std} if hard.rated else {}
    store.write_json(
        workdir / "results.json", {"hard": hard_row | medians, "pairs": total, "counts": dict(sorted(counts.items()))}
    )


def read(path: str) -> Iterator[Row]:
    """The rows of the dataset. Raises ValueError for a row, or a program in it, that lacks a column."""
    for row in _work.stream_input(path, COLUMNS, "dataset"):
        for number, one in enumerate(row["inferences"]):
            record = one if isinstance(one, dict) else {}
            bad = [name for name, kind in INFERENCE.items() if not isinstance(record.get(name), kind)]
            if bad:
                raise ValueError(f"config.dataset: {path}: row {row['id']!r}, inference {number}: {bad[0]!r} is wrong")
        yield row


def pair_rows(path: str, rules: Mapping[str, Any], questions: int, counts: collections.Counter[str]) -> Iterator[Row]:
    """The rows of pairs.jsonl. Counts what they are made of, and the questions that gave none, by reason."""
    began = time.monotonic()
    with metrics.Progress(
        questions, "pairs", {"questions/s": "questions/s", "yield": "yield", "pairs": "pairs"}
    ) as bar:
        for number, row in enumerate(read(path), start=1):
            pairs = list(curate.make_pairs([row], **rules))
            counts["questions"] += 1
            counts["pairs"] += len(pairs)
            if pairs:
                counts["questions with pairs"] += 1
            elif rules["ascii_only"] and not row["question"].isascii():
                counts["not ascii"] += 1
            else:
                counts["no programs far enough apart"] += 1
            yield from (pair_row(row, pair) for pair in pairs)
            rate = number / max(time.monotonic() - began, 1e-9)
            shown = {"yield": counts["questions with pairs"] / number, "pairs": counts["pairs"]}
            bar.update(number, {"questions/s": rate} | shown)


def pair_row(question: Row, pair: ProgramPair) -> Row:
    """A row of AceCodePair-300K: the request with the question's first test, and the two programs as replies to it."""
    return {
        "id": pair.id,
        "instruction": prompts.program_request(question["question"], question["test_cases"][:1]),
        "input": "",
        "chosen": prompts.program_reply(pair.chosen),
        "rejected": prompts.program_reply(pair.rejected),
        "question_id": pair.question_id,
        "model_name": pair.model_name,
        "chosen_score": pair.chosen_score,
        "rejected_score": pair.rejected_score,
    }


def tell_hard(hard: curate.Hard) -> None:
    """Prints how the hard questions were found."""
    total = max(1, hard.rated)
    rows: list[tuple[object, ...]] = [
        ("rated", hard.rated, ""),
        ("hard", len(hard.ids), f"{len(hard.ids) / total:.1%}"),
        ("without a program of the models", hard.unrated, ""),
        ("median of mean pass rates", f"{hard.median_mean:.4f}", ""),
        ("median of deviations below it", f"{hard.median_std:.4f}", ""),
    ]
    metrics.table("hard questions", ("what", "count", "share"), rows)


def tell_pairs(counts: collections.Counter[str]) -> None:
    """Prints what pairs there are, and why other questions gave none."""
    total = max(1, counts["questions"])
    reasons = ("questions with pairs", "no programs far enough apart", "not ascii")
    rows: list[tuple[object, ...]] = [(name, counts[name], f"{counts[name] / total:.1%}") for name in reasons]
    each = counts["pairs"] / max(1, counts["questions with pairs"])
    rows.append(("pairs", counts["pairs"], f"{each:.2f} a question with pairs"))
    metrics.table("pairs", ("what", "count", "share"), rows)
