"""How a file was made: the runs whose workdirs it and its forerunners lie in, with their configs and commands.

A workdir holds config.json and starts.jsonl; a config names the file that its stage read. Following these leads from a
dataset back to its seeds.
"""

import dataclasses
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from acecoder_jax import store

HIDDEN = re.compile(r"(?i)(token|secret|password|api_?key)|://[^/@\s]+:[^/@\s]+@|\b(hf_|sk-)[A-Za-z0-9_-]{8,}")


@dataclasses.dataclass(frozen=True)
class Run:
    """One stage in one workdir. settings: the config, flat, without what could be a secret."""

    workdir: Path
    stage: str
    settings: Mapping[str, Any]
    commands: tuple[str, ...]


def find(path: Path) -> list[Run]:
    """The runs behind a file or folder, the first stage first; [] where its folder is no workdir."""
    found: dict[Path, Run] = {}
    _follow(path, found)
    return list(reversed(found.values()))


def _follow(path: Path, found: dict[Path, Run]) -> None:
    workdir = next((folder for folder in (path, path.parent) if (folder / "config.json").is_file()), None)
    if workdir is None or workdir.resolve() in found:
        return
    run = read(workdir)
    found[workdir.resolve()] = run
    for value in run.settings.values():
        if isinstance(value, str) and value and "\n" not in value and len(value) < 1000 and Path(value).exists():
            _follow(Path(value), found)


def read(workdir: Path) -> Run:
    """What a workdir tells of its run. FileNotFoundError where there is no config."""
    settings = store.flatten(store.read_json(workdir / "config.json"))
    starts = store.read_jsonl(workdir / "starts.jsonl") if (workdir / "starts.jsonl").exists() else []
    commands = dict.fromkeys(shown(start["command"]) for start in starts if start.get("command"))
    kept = {key: value for key, value in settings.items() if key != "stage" and not _secret(key, value)}
    return Run(workdir, str(settings.get("stage", "")), kept, tuple(commands))


def shown(words: Sequence[str]) -> str:
    """A start's sys.argv as it would be typed; a word that could hold a secret is left out."""
    typed = ["…" if HIDDEN.search(word) else shlex.quote(word) for word in words[1:]]
    return " ".join(["python -m acecoder_jax.main", *typed])


def _secret(key: str, value: Any) -> bool:
    # max_new_tokens is none: a name must end in the word itself.
    named = re.search(r"(?i)(^|[._])(token|secret|password|api_?key)$", key)
    return bool(named and isinstance(value, str)) or (isinstance(value, str) and bool(HIDDEN.search(value)))
