"""Modules that are looked up by their name: what the rooms of data sources, clusters, writers and others share."""

import inspect
import pkgutil
from collections.abc import Callable, Iterable
from typing import Any


def names(folders: Iterable[str]) -> list[str]:
    """Of the public modules of a package, by its __path__, in order."""
    return sorted(module.name for module in pkgutil.iter_modules(folders) if not module.name.startswith("_"))


def call(what: str, function: Callable[..., Any], knobs: dict[str, Any]) -> Any:
    """function(**knobs). ValueError for a knob that it does not take; it lists those that it takes.

    what: whose function it is, for the message: "the writer 'local'".
    """
    known = list(inspect.signature(function).parameters)
    if unknown := sorted(knobs.keys() - set(known)):
        raise ValueError(f"{what} takes {', '.join(known) or 'no knobs'}, not {', '.join(unknown)}")
    return function(**knobs)
