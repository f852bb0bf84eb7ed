"""The part of `--config=FILE:preset,key=value,...` after the colon: a named set of values, and values set by hand.

A config file reads it like this:

    PRESETS = {"tiny": {"learning_rate": 1e-3, "mesh.fsdp": 1}, "7b": {}}

    def get_config(argument: str = "") -> ConfigDict:
        preset, overrides = presets.parse(argument, PRESETS, default="7b")
        config = ConfigDict({"learning_rate": 5e-7, "mesh": {"fsdp": -1}})
        presets.apply(config, PRESETS[preset])
        presets.apply(config, overrides)
        return config.lock()
"""

import ast
import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict


class ConfigError(Exception):
    """A preset, a key or a value that the config does not have.

    Not a ValueError: the flags library wraps those, raised while a config file loads, in a printed traceback.
    """


def parse(argument: str, known: Collection[str], default: str) -> tuple[str, dict[str, str]]:
    """("tiny,learning_rate=1,mesh.fsdp=2", ...) -> ("tiny", {"learning_rate": "1", "mesh.fsdp": "2"}).

    A comma begins a new key only where `key=` follows, so values may hold commas: "tiny,stop=(1, 2),seed=3".
    The preset may be left out; then it is `default`. Raises ConfigError for an unknown preset, listing those known.
    """
    first, *rest = re.split(r",(?=[\w.]+=)", argument)
    preset, pairs = ("", [first, *rest]) if "=" in first else (first, rest)
    preset = preset or default
    if preset not in known:
        raise ConfigError(f"unknown preset {preset!r}; the presets are: {', '.join(known)}")
    overrides = {}
    for pair in pairs:
        key, _, text = pair.partition("=")
        overrides[key] = text
    return preset, overrides


def apply(config: ConfigDict, overrides: Mapping[str, Any]) -> None:
    """Sets dotted keys that the config already has. Texts are read as the type of the value they replace.

    A dict takes the place of a whole branch; a dotted key changes one value in it and leaves the others.
    Raises ConfigError for an unknown key, naming the nearest, and for a value of another type.
    """
    for key, value in overrides.items():
        check_key(config, key)
        *path, last = key.split(".")
        holder = config
        for name in path:
            holder = holder[name]
        kind = holder.get_type(last)
        try:
            holder[last] = _convert(value, kind) if isinstance(value, str) else value
        except (TypeError, ValueError, SyntaxError) as error:
            raise ConfigError(f"config key {key!r} takes {_name(kind)}, not {value!r}") from error


def check_key(config: ConfigDict, key: str) -> None:
    """Raises ConfigError, naming the nearest key, when the config has no such dotted key."""
    known = list(_keys(config))
    if key not in known:
        holder = key.rpartition(".")[0]
        same_level = [name for name in known if name.rpartition(".")[0] == holder] or known
        hint = _hint(key, known)
        raise ConfigError(f"unknown config key {key!r}{hint or '; the keys are: ' + ', '.join(same_level)}")


def _keys(config: ConfigDict, prefix: str = "") -> Iterator[str]:
    for name in config:
        yield prefix + name
        if isinstance(config[name], ConfigDict):
            yield from _keys(config[name], f"{prefix}{name}.")


def _hint(word: str, known: Collection[str]) -> str:
    nearest = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if not nearest:  # perhaps the right last name under the wrong branch, or without its branch
        last = word.rpartition(".")[2]
        ends = {name.rpartition(".")[2]: name for name in known}
        nearest = [ends[end] for end in difflib.get_close_matches(last, ends, n=1, cutoff=0.6)]
    return f"; did you mean {nearest[0]!r}?" if nearest else ""


def _convert(text: str, kind: type) -> Any:
    if kind is str:
        return text
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError(text)
        return text.lower() == "true"
    if kind in (int, float):
        return kind(text)
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        if kind is type(None):  # a value not set yet has no type: what is not Python is text
            return text
        raise
    if kind is tuple and not isinstance(value, tuple):
        return tuple(value) if isinstance(value, list) else (value,)
    return value


def _name(kind: type) -> str:
    words = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "text",
        ConfigDict: "a dict",
    }
    return words.get(kind, f"a {kind.__name__}")
