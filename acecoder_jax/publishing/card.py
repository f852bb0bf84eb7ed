"""The dataset card: README.md with a YAML header, as the hub shows it."""

from collections.abc import Sequence
from typing import Any

import huggingface_hub

from acecoder_jax.data._columns import ACECODE, Table
from acecoder_jax.publishing import runs, summary
from acecoder_jax.publishing.summary import Summary

SIZES = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M"}
ABOUT = {
    "id": "names the row",
    "source": "where the seed came from",
    "question": "the whole user turn",
    "test_cases": "asserts that an oracle's program passes, as texts",
    "inferences": "sampled programs: `model_name`, `completion_id`, `completion`, `pass_rate`",
    "context_messages": "the chat that the programs answer, in a list",
    "n_tests_all": "tests imagined for the question, before filtering: what pass rates are divided by as a rule",
    "licence": "of the seed, where it is known",
    "instruction": "the question, with its first test",
    "input": "empty",
    "chosen": "the better program, in a markdown block",
    "rejected": "the worse program, in a markdown block",
    "question_id": "the question that the pair belongs to",
}


def write(
    counted: Summary, *, title: str, licence: str, made_by: Sequence[runs.Run], command: str, dropped: int, files: str
) -> str:
    """The text of the card.

    title: for people. licence: as the hub names it ("mit"); "" leaves it out and says so. made_by: the runs that made
    the rows. command: the one that publishes them. dropped: malformed rows that were left out. files: a glob of the
    Parquet files.
    """
    header = huggingface_hub.DatasetCardData(
        pretty_name=title,
        license=licence or None,
        task_categories=["text-generation"],
        tags=["code", "acecode", "preference" if counted.table is not ACECODE else "reinforcement-learning"],
        size_categories=[size(counted.rows)],
        configs=[{"config_name": "default", "data_files": [{"split": "train", "path": files}]}],
    )
    parts = [
        f"---\n{header.to_yaml()}\n---\n",
        f"# {title}\n",
        _opening(counted, dropped),
        "## Licences\n",
        _licences(counted, licence),
        *_counts(counted),
        "## Columns\n",
        _table(("column", "rows that have it", "what"), _columns(counted.table, counted)),
        "## How it was made\n",
        *[_run(run) for run in made_by],
        ""
        if made_by
        else "The workdirs of the stages that made the rows were not at hand when this card was written.\n",
        f"Published with\n\n```bash\n{command}\n```\n",
    ]
    return "\n".join(part for part in parts if part)


def size(rows: int) -> str:
    """The hub's name of a size."""
    return next((name for most, name in SIZES.items() if rows < most), "n>1M")


def _opening(counted: Summary, dropped: int) -> str:
    if counted.table is ACECODE:
        tests = sum(one["tests"] for one in counted.sources.values())
        what = f"{counted.rows:,} coding questions with {tests:,} tests"
        what += f" ({tests / max(1, counted.rows):.2f} a question)"
        if programs := sum(one["programs"] for one in counted.models.values()):
            what += f" and {programs:,} sampled programs with their pass rates"
    else:
        what = f"{counted.rows:,} preference pairs of programs for {counted.questions:,} instructions"
    left_out = f" {dropped:,} malformed rows of the input were left out." if dropped else ""
    return (
        f"{what}, in the schema of [{counted.table.hub_id}](https://huggingface.co/datasets/{counted.table.hub_id}) "
        f"([AceCoder](https://arxiv.org/abs/2502.01718)).{left_out}\n"
    )


def _licences(counted: Summary, licence: str) -> str:
    whole = f"The dataset as a whole: {licence}." if licence else "No licence was named for the dataset as a whole."
    rest = "The rows derive from seed programs, which keep their own licences; outputs of models may fall under theirs."
    return f"{whole} {rest}\n"


def _counts(counted: Summary) -> list[str]:
    parts = ["## Counts\n"]
    for title, heads, rows in summary.tables(counted):
        parts += [f"### {title.capitalize()}\n", _table(heads, rows)]
    return parts


def _columns(table: Table, counted: Summary) -> list[tuple[object, ...]]:
    order = [*table.columns, *sorted(counted.columns.keys() - table.columns.keys())]
    return [(f"`{name}`", counted.columns[name], ABOUT.get(name, "")) for name in order if counted.columns[name]]


def _run(run: runs.Run) -> str:
    settings = [(f"`{key}`", f"`{value!r}`") for key, value in sorted(run.settings.items()) if value not in ("", None)]
    commands = "\n".join(run.commands)
    told = f"```bash\n{commands}\n```\n\n" if commands else ""
    return f"### Stage `{run.stage}`\n\n{told}" + _table(("setting", "value"), settings)


def _table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines) + "\n"


def _cell(value: object) -> str:
    text = f"{value:,}" if isinstance(value, int) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
