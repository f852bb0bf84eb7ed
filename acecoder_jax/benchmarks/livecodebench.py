"""LiveCodeBench: problems of programming contests by date (Jain et al. 2024, arXiv 2403.07974), code generation.

A problem's tests give a script its stdin and compare what it prints, or call a method of the class Solution. Verdicts
are those of the package nvidia-livecodebench (docs/livecodebench.md says where they are not, on purpose).
"""

import datetime
import os
from collections.abc import Sequence
from pathlib import Path

from acecoder_jax import store
from acecoder_jax.benchmarks import Answer, Benchmark, Task
from acecoder_jax.benchmarks import _livecode_prompts as prompts
from acecoder_jax.benchmarks import _livecode_rows as rows

HUB_ID = "livecodebench/code_generation_lite"
FILES = ("test.jsonl", "test2.jsonl", "test3.jsonl", "test4.jsonl", "test5.jsonl", "test6.jsonl")
RELEASES = {f"release_v{number}": FILES[:number] for number in range(1, len(FILES) + 1)}


def make(
    path: str | os.PathLike[str] | None = None,
    release: str = "release_v4",
    start_date: str = "",
    end_date: str = "",
    extract: str = "last",
    timeout_s: float = 6.0,
    hub_id: str = HUB_ID,
) -> Benchmark:
    """The problems of a release whose contests lie between two days, both included ("2024-09-30"; "": no bound).

    path: a folder that holds the files of the hub's dataset, of which the release takes the first so many, or a single
    .jsonl file of the same columns, which is read whole, whatever the release; None: the hub. extract: "last" or
    "first", how a chat's program is found. timeout_s: CPU seconds of a test.
    FileNotFoundError for files that are not there; ValueError for an unknown release or extract, a bad date or row,
    and where no problem is left.
    """
    if extract not in prompts.EXTRACTS:
        raise ValueError(f"livecodebench: extract is one of {', '.join(prompts.EXTRACTS)}, not {extract!r}")
    first, last = (_day(name, text) for name, text in (("start_date", start_date), ("end_date", end_date)))
    found: dict[str, Task] = {}
    for row in rows.scan(_files(path, release, hub_id)):
        day = rows.day_of(row.fields["contest_date"], row.where)
        if (first and day < first) or (last and day > last):
            continue
        identity = row.fields["question_id"]
        if identity in found:
            raise ValueError(f"{row.where}: the question_id appears twice")
        parts = rows.Parts(row, timeout_s)
        found[identity] = Task(identity, row.fields["question_content"], parts, fields=row.fields, digest=parts.digest)
    if not found:
        raise ValueError(f"livecodebench: {path or hub_id} has no problem of {release}, {start_date} to {end_date}")
    tasks = tuple(found[identity] for identity in sorted(found))

    def official(folder: Path, answers: Sequence[Answer]) -> Path:
        return write_official(folder, tasks, answers)

    return Benchmark(
        name="livecodebench",
        tasks=tasks,
        scores={"livecodebench": (rows.PART,)},
        prompt=prompts.prompt,
        program=lambda task, reply: prompts.program(task, reply, extract),
        official=official,
        sandbox={"preload": ("numpy",)},  # what its package brings and programs use
    )


def write_official(folder: Path, tasks: Sequence[Task], answers: Sequence[Answer]) -> Path:
    """Writes FOLDER/livecodebench.json, a list with a row a problem that was answered; returns its path.

    The form of the package's own output: its custom_evaluator takes it as --custom_output_file, where there is a row
    for every problem of the release and dates that it is called with.
    """
    of_task: dict[str, list[Answer]] = {task.id: [] for task in tasks}
    for answer in answers:
        of_task[answer.task].append(answer)
    found = []
    for task in tasks:
        ours = sorted(of_task[task.id], key=lambda answer: answer.sample)
        if ours:
            date = datetime.datetime.fromisoformat(task.fields["contest_date"]).isoformat()
            lists = {"output_list": [one.reply for one in ours], "code_list": [one.program for one in ours]}
            found.append({**task.fields, "contest_date": date, **lists})
    path = folder / "livecodebench.json"
    store.write_json(path, found)
    return path


def _day(name: str, text: str) -> datetime.date | None:
    return rows.day_of(text, f"livecodebench: {name}") if text else None


def _files(path: str | os.PathLike[str] | None, release: str, hub_id: str) -> list[Path]:
    if release not in RELEASES:
        raise ValueError(f"livecodebench: the releases are {', '.join(RELEASES)}, not {release!r}")
    if path is None:
        return [_from_hub(hub_id, name) for name in RELEASES[release]]
    place = Path(path)
    if not place.exists():
        raise FileNotFoundError(f"no LiveCodeBench file or folder at {place}")
    if place.is_dir():
        files = [place / name for name in RELEASES[release]]
        if missing := [file.name for file in files if not file.is_file()]:
            raise FileNotFoundError(f"{place} lacks {', '.join(missing)} of {release}")
        return files
    if place.suffix != ".jsonl":
        raise ValueError(f"{place}: a LiveCodeBench file ends in .jsonl, and is not packed: it is read line by line")
    return [place]


def _from_hub(hub_id: str, name: str) -> Path:
    """A file of the hub's dataset, from the cache where it is there. (`datasets` runs no scripts, and it is one.)"""
    import huggingface_hub  # slow to import
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(huggingface_hub.hf_hub_download(hub_id, name, repo_type="dataset"))
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise FileNotFoundError(
            f"{name} of the dataset {hub_id} could not be had from the hub ({error}); or name a local copy by its path"
        ) from error
