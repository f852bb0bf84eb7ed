"""Two evaluations of the same problems, score by score: difference, interval, McNemar's test, problems won and lost.

python -m acecoder_jax.main --config=configs/compare.py --config.first=runs/before --config.second=runs/after
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from ml_collections import ConfigDict

from acecoder_jax import metrics, scoring, store
from acecoder_jax.scoring import Comparison
from acecoder_jax.stages._answers import GREEDY

MAY_CHANGE = ("first", "second", "scores", "seed")
Values = dict[str, dict[str, float]]  # by score and problem: the share of its answers that pass
Digests = dict[tuple[str, str], str]  # by benchmark and problem: of the tests that judged it


def run(config: ConfigDict, workdir: Path) -> None:
    """Compares on the problems that both have answered."""
    (first, tests), (second, others) = (read(config[key], f"config.{key}") for key in ("first", "second"))
    if unlike := sorted(one for one in tests if others.get(one, tests[one]) != tests[one]):
        (bench, task), count = unlike[0], len(unlike)
        raise ValueError(
            f"the two runs were judged by different tests or limits: {count} problems, {task} of {bench} for one"
        )
    names = choose(config.scores, first, second)
    found: dict[str, Comparison] = {}
    lines = ["score\ttask\tfirst\tsecond"]
    left_out = {}
    for name in names:
        a, b = first[name], second[name]
        shared = [task for task in a if task in b]
        left_out[name] = len(a.keys() ^ b.keys())
        if not shared:
            raise ValueError(f"the two runs have no problem of {name} in common")
        found[name] = scoring.compare({t: a[t] for t in shared}, {t: b[t] for t in shared}, config.seed)
        lines += [f"{name}\t{t}\t{a[t]:g}\t{b[t]:g}" for t in shared if a[t] != b[t]]
    rows = {name: dataclasses.asdict(one) | {"left_out": left_out[name]} for name, one in found.items()}
    store.write_json(workdir / "results.json", rows)
    store.write_text(workdir / "differences.tsv", "\n".join(lines) + "\n")
    report(found, left_out)


def read(folder: str, key: str) -> tuple[Values, Digests]:
    """What an evaluation's answers.jsonl says, and what judged its problems.

    ValueError or FileNotFoundError, naming the file and the row.
    """
    if not folder:
        raise ValueError(f"{key} is empty: name the workdir of an evaluation")
    path = Path(folder) / "answers.jsonl"
    if not path.is_file():
        raise FileNotFoundError(f"{key}: no file {path}: {folder} is no workdir of the stage evaluate")
    passed: dict[str, dict[str, list[bool]]] = {}
    digests: Digests = {}
    for line, row in store.scan_jsonl(path):
        if isinstance(row, str) or not {"benchmark", "task", "sample", "passed", "tests"} <= row.keys():
            raise ValueError(f"{path}, line {line}: {row if isinstance(row, str) else 'no row of an evaluation'}")
        if row["sample"] == GREEDY:  # of best_of_n, beside its samples
            continue
        digests[row["benchmark"], row["task"]] = row["tests"]
        for score, value in row["passed"].items():
            passed.setdefault(score, {}).setdefault(row["task"], []).append(value)
    return {score: {t: sum(all) / len(all) for t, all in tasks.items()} for score, tasks in passed.items()}, digests


def choose(wanted: Sequence[str], first: Values, second: Values) -> list[str]:
    """The scores to compare. ValueError for one that a run does not have."""
    shared = [name for name in first if name in second]
    if missing := [name for name in wanted if name not in shared]:
        raise ValueError(f"config.scores: {', '.join(missing)} is not in both runs; in both are {', '.join(shared)}")
    if not shared:
        raise ValueError(f"the two runs have no score in common: {', '.join(first)} and {', '.join(second)}")
    return list(wanted) or shared


def report(found: Mapping[str, Comparison], left_out: Mapping[str, int]) -> None:
    """Prints a row a score."""
    rows = [
        (
            name, one.n, f"{one.first:.3f}", f"{one.second:.3f}", f"{one.difference:+.3f}",
            f"{one.low:+.3f} .. {one.high:+.3f}", one.won, one.lost, "" if one.p is None else f"{one.p:.3g}",
            left_out[name],
        )
        for name, one in found.items()
    ]  # fmt: skip
    columns = ("score", "problems", "first", "second", "difference", "95%", "won", "lost", "McNemar p", "left out")
    metrics.table("second against first", columns, rows)
