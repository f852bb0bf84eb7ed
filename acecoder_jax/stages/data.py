"""Datasets of the published schemas: inspect, convert (JSONL, Parquet, TFDS), publish (Parquet, a card, the hub).

python -m acecoder_jax.main --config=configs/data.py:inspect --config.input=IN.jsonl
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from ml_collections import ConfigDict

from acecoder_jax import metrics, store, tokenizer
from acecoder_jax.publishing import card, push, runs, write
from acecoder_jax.publishing.rows import Source
from acecoder_jax.publishing.summary import CountTokens, Summary, tables
from acecoder_jax.publishing.whole import whole
from acecoder_jax.store import Row

MAY_CHANGE = ("show_rows", "push_to", "private", "dry_run", "message")
MAX_REPORTED = 20
FORMATS = {"jsonl": (".jsonl", ".jsonl.gz"), "parquet": (".parquet",), "tfds": ("",)}
TEXT_SHOWN = 400  # characters of a text in a printed row


def run(config: ConfigDict, workdir: Path) -> None:
    """Does the task of the config; WORKDIR/results.json has the counts."""
    tasks = {"inspect": inspect, "convert": convert, "publish": publish}
    if config.task not in tasks:
        raise ValueError(f"config.task is one of {', '.join(tasks)}, not {config.task!r}")
    source = Source(config.input, config.kind, config.hub_id, config.split)
    print(f"{config.task}: {source.name}, rows of {source.table.name}")
    tasks[config.task](config, workdir, source)


# ---- inspect


def inspect(config: ConfigDict, workdir: Path, source: Source) -> None:
    """Prints counts, sources, models, pass rates, lengths, some rows, and every problem that the rows have."""
    summary, malformed = Summary(source.table, token_counter(config.tokenizer)), Malformed(config.input)
    shown: list[Row] = []
    for row in metrics.watched(source.rows(malformed), "inspect"):
        summary.add(row)
        if len(shown) < config.show_rows:
            shown.append(row)
    for title, heads, rows in tables(summary):
        metrics.table(title, heads, rows)
    for row in shown:
        metrics.table(f"row {row['id']}", ("column", "value"), [(name, short(value)) for name, value in row.items()])
    print(f"{summary.rows} good rows, {summary.questions} questions, {malformed.count} malformed rows")
    store.write_json(
        workdir / "results.json", summary.to_json() | {"malformed": malformed.count, "first": malformed.first}
    )


def token_counter(path_or_hub_id: str) -> CountTokens | None:
    """Tokens of each text by this tokenizer; None where none is named."""
    if not path_or_hub_id:
        return None
    words = tokenizer.load(path_or_hub_id)
    return lambda texts: [len(ids) for ids in words(list(texts), add_special_tokens=False)["input_ids"]]


def short(value: object) -> str:
    """A value as it is shown: its beginning where it is long."""
    text = value if isinstance(value, str) else json.dumps(value, indent=1, ensure_ascii=False)
    return text if len(text) <= TEXT_SHOWN else f"{text[:TEXT_SHOWN]} … ({len(text):,} characters)"


# ---- convert


def convert(config: ConfigDict, workdir: Path, source: Source) -> None:
    """Writes the rows in another format, whole or not at all."""
    kind, output = format_of(config.format, config.output), Path(config.output)
    if done_before(workdir, output):
        return
    if output.exists() and kind != "tfds":
        raise ValueError(f"config.output: {output} is there already: delete it, or name another")
    summary, schema = Summary(source.table), write.Schema(source.table)
    for row in first_look(config, source):
        summary.add(row)
        schema.add(row)
    rows = metrics.watched(source.rows(Malformed()), "convert", summary.rows)
    made = output / source.table.name if kind == "tfds" else output
    # Before the output, whose being there tells the next start that all is done.
    results = summary.to_json() | {"output": str(output), "format": kind, "written": str(made)}
    store.write_json(workdir / "results.json", results)
    if kind == "tfds":
        from acecoder_jax.publishing import tfds_build  # slow to import

        made = tfds_build.build(source, output, bad=Malformed())
    else:
        with whole(output) as temporary:
            if kind == "parquet":
                write.write_parquet(temporary, rows, schema.finish())
            else:
                write.write_jsonl(temporary, rows)
    metrics.table("converted", ("what", ""), [("rows", summary.rows), ("format", kind), ("written", made)])


def format_of(name: str, output: str) -> str:
    """The format that the config names, or that the output's ending tells. ValueError for none or an unknown one."""
    if not output:
        raise ValueError("config.output is empty: name the file, or for format=tfds the folder, to write")
    told = [kind for kind, endings in FORMATS.items() for ending in endings if ending and output.endswith(ending)]
    if name and name not in FORMATS:
        raise ValueError(f"config.format is one of {', '.join(FORMATS)}, not {name!r}")
    kind = name or (told[0] if told else "")
    if not kind:
        raise ValueError(f"config.output: {output} ends in none of .jsonl, .jsonl.gz, .parquet: name config.format")
    if told != ([] if kind == "tfds" else [kind]):
        endings = " or ".join(filter(None, FORMATS[kind])) or "no such ending: it is a folder"
        raise ValueError(f"config.output: {output}: an output of format {kind} has {endings}")
    return kind


# ---- publish


def publish(config: ConfigDict, workdir: Path, source: Source) -> None:
    """WORKDIR/dataset: Parquet files and the card; pushed where push_to names a repository and dry_run is off."""
    if config.push_to and not config.dry_run:
        push.token()  # a missing one is told before the work
    folder = workdir / "dataset"
    if not folder.exists():
        prepare(config, source, folder, workdir)
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    listed = [(str(file.relative_to(folder)), f"{file.stat().st_size:,}") for file in files]
    metrics.table(str(folder), ("file", "bytes"), listed)
    if not config.push_to:
        print("config.push_to names no repository: nothing is pushed")
    elif config.dry_run:
        kind = "private" if config.private else "public"
        print(
            f"dry run: these files would go to the dataset {config.push_to} ({kind} if new); --config.dry_run=False "
            "pushes"
        )
    else:
        print(f"pushed: {push.push(folder, config.push_to, private=config.private, message=config.message)}")


def prepare(config: ConfigDict, source: Source, folder: Path, workdir: Path) -> None:
    """Makes the folder, whole or not at all, and results.json."""
    malformed = Malformed(config.input)
    summary, schema, sizes = Summary(source.table), write.Schema(source.table), []
    for row in first_look(config, source, malformed):
        summary.add(row)
        schema.add(row)
        sizes.append(len(json.dumps(row)))
    if not summary.rows:
        raise ValueError(f"{source.name}: there is no good row to publish")
    made_by = runs.find(Path(config.input)) if config.input else []
    text = card.write(
        summary, title=config.title or Path(source.name).name, licence=config.licence, made_by=made_by,
        command=runs.shown(sys.argv), dropped=malformed.count, files="data/train-*",
    )  # fmt: skip
    store.write_json(workdir / "results.json", summary.to_json() | {"malformed": malformed.count})
    with whole(folder) as temporary:
        (temporary / "data").mkdir(parents=True)
        rows = metrics.watched(source.rows(Malformed()), "publish", summary.rows)
        write.write_shards(temporary / "data", rows, schema.finish(), write.cut(sizes, config.shard_bytes))
        store.write_text(temporary / "README.md", text)


# ---- what they share


class Malformed:
    """Counts bad rows, and prints the first of them where it has a name to print."""

    def __init__(self, name: str | None = None):
        self.count, self.first, self._name = 0, list[str](), name

    def __call__(self, told: str) -> None:
        """Takes note of a bad row."""
        self.count += 1
        if len(self.first) < MAX_REPORTED:
            self.first.append(told)
            if self._name is not None:
                print(f"malformed row: {told}")


def first_look(config: ConfigDict, source: Source, malformed: Malformed | None = None) -> Iterator[Row]:
    """The good rows, all of them; at the end a ValueError where there are others that may not be skipped."""
    malformed = malformed or Malformed(config.input)
    yield from metrics.watched(source.rows(malformed), "check")
    if malformed.count and not config.skip_malformed:
        raise ValueError(
            f"{malformed.count} malformed rows in {source.name}, {malformed.first[0]}; "
            "--config.skip_malformed=True leaves them out"
        )


def done_before(workdir: Path, output: Path) -> bool:
    """Whether an earlier start has written this output; says so."""
    path = workdir / "results.json"
    results = store.read_json(path) if path.exists() else {}
    # TFDS puts a folder for each version into `written`.
    written = Path(results.get("written", ""))
    done = results.get("output") == str(output) and written.exists() and (written.is_file() or any(written.iterdir()))
    if done:
        print(f"already converted: {results['written']}")
    return done
