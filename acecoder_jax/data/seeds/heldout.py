"""The texts of evaluation benchmarks that no seed may share words with: HumanEval, MBPP, and any file of rows."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from acecoder_jax.data import _rows
from acecoder_jax.decontaminate import WHOLE_WORDS, Benchmarks, words

HUB = {  # hub id, configuration, splits: all of MBPP, for its own split is not the one that every harness takes
    "humaneval": ("openai/openai_humaneval", None, "test"),
    "mbpp": ("google-research-datasets/mbpp", "full", "train+test+validation+prompt"),
}
# Columns of questions and programs: those of HumanEval, MBPP, BigCodeBench, LiveCodeBench, AceCode and seeds.
TEXTS = (
    *("prompt", "canonical_solution", "text", "code", "complete_prompt", "instruct_prompt", "question_content"),
    *("question", "solution", "instruction", "program", "content"),
)
NAMES = ("task_id", "question_id", "id")


def benchmarks(names: Sequence[str], ngram: int) -> Benchmarks:
    """The n-grams of the benchmarks, each by its name in HUB or by the path of a file or folder of rows.

    FileNotFoundError for what is not there; ValueError for a row with none of the columns TEXTS, and for a benchmark
    without a text that is long enough to be found.
    """
    all_texts: list[tuple[str, str]] = []
    for name in names:
        texts = list(_texts(name))
        if not any(len(words(text)) >= WHOLE_WORDS for _, text in texts):
            raise ValueError(f"the benchmark {name} has no text that is long enough to compare with")
        all_texts += texts
    return Benchmarks(all_texts, ngram)


def _texts(name: str) -> Iterator[tuple[str, str]]:
    for where, row in _read(name):
        columns = [column for column in TEXTS if isinstance(row.get(column), str)]
        if not columns:
            raise ValueError(f"{where}: a row to compare with holds {', '.join(TEXTS)}, not {', '.join(sorted(row))}")
        problem = _problem(name, row, where)
        yield from ((problem, row[column]) for column in columns)


def _read(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if name in HUB:
        hub_id, config, split = HUB[name]
        return _rows.read_hub(hub_id, split, config)
    if not Path(name).exists():
        raise FileNotFoundError(f"no benchmark {name!r}: known by name are {', '.join(HUB)}, and no such file is there")
    return _rows.read_table(Path(name))


def _problem(name: str, row: dict[str, Any], where: str) -> str:
    """What a problem is called: its own id, with the benchmark's name where the id is but a number."""
    number = next((row[column] for column in NAMES if row.get(column) is not None), None)
    if number is None:
        return where
    return number if isinstance(number, str) and not number.isdecimal() else f"{Path(name).name.split('.')[0]}/{number}"
