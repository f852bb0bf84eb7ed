"""Seeds from Python source: each function and class of a folder, of an installed package, or of the standard library.

The id is the label and the dotted name, `stdlib_textwrap.dedent`; a name that is defined again gets #2, #3, in the
order of files and lines. Nothing is imported or run: files are parsed. Methods and inner functions do not come alone.
Where `docstrings`, one without a docstring is rejected; without `classes`, a class is.
"""

import ast
import collections
import contextlib
import importlib.machinery
import importlib.metadata
import importlib.util
import io
import os
import re
import sys
import sysconfig
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

from acecoder_jax.data.seeds import program
from acecoder_jax.types import Rejection, Seed

# Folders below the root that hold no seeds: tests, other people's packages, caches. Hidden ones do not either.
NOT_SOURCE = frozenset({"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"})
PYTHONS_LICENCE = "PSF-2.0"


def stdlib(label: str = "", **kinds: bool) -> Iterator[Seed | Rejection]:
    """The standard library of the Python that runs this. FileNotFoundError where it has no folder of sources."""
    root = Path(sysconfig.get_path("stdlib"))
    if not (root / "os.py").is_file():
        raise FileNotFoundError(f"this Python keeps no sources of its standard library at {root}")
    return _definitions(_files(root), label or "stdlib", PYTHONS_LICENCE, **kinds)


def folder(path: str, label: str = "", licence: str = "", **kinds: bool) -> Iterator[Seed | Rejection]:
    """The .py files of a folder, at any depth. FileNotFoundError where there is no folder; ValueError for no file."""
    root = Path(path)
    if not root.is_dir():
        raise FileNotFoundError(f"no folder of Python source at {path or repr(path)}")
    files = list(_files(root))
    if not files:
        raise ValueError(f"{root}: no .py file there, those of {', '.join(sorted(NOT_SOURCE))} left aside")
    return _definitions(files, label or root.resolve().name, licence, **kinds)


def package(name: str, label: str = "", licence: str = "", **kinds: bool) -> Iterator[Seed | Rejection]:
    """An installed package, or a part of one ("scipy.signal"), by the name that one imports; it is not imported.

    The licence is the one that the package's metadata names. FileNotFoundError for a package that is not installed;
    ValueError for one without Python source.
    """
    top, *inner = name.split(".")
    places = [place.joinpath(*inner) for place in _places(top)]
    files: list[tuple[str, Path]] = []
    for place in places:
        if place.is_dir():
            files += _files(place)
        elif (file := place.with_suffix(".py")).is_file():
            files.append(("", file))
    if not files:
        raise ValueError(f"the package {name!r} has no Python source in {', '.join(map(str, places))}")
    return _definitions(files, label or name, licence or licence_of(top), **kinds)


def _places(top: str) -> list[Path]:
    """Where a package is: its folders, or the file without its .py."""
    # The path is asked first: of a module that Python froze, find_spec tells no file. It knows editable installations.
    spec = importlib.machinery.PathFinder.find_spec(top) if top.isidentifier() else None
    if top.isidentifier() and top != "__main__":  # which is what happens to run
        with contextlib.suppress(ValueError):  # a module that was made by hand
            spec = spec or importlib.util.find_spec(top)
    if spec is None:
        raise FileNotFoundError(f"no package {top!r} is installed for {sys.executable}; for a folder, use that source")
    if spec.submodule_search_locations is not None:
        return [Path(place) for place in spec.submodule_search_locations]
    return [Path(spec.origin or top).with_suffix("")]


def licence_of(top: str) -> str:
    """The licence that the metadata of an installed package names, by the name that one imports; "" for none.

    Of the fields License-Expression, the classifiers and License, the first that there is.
    """
    if top in sys.stdlib_module_names:
        return PYTHONS_LICENCE
    names = sorted(set(importlib.metadata.packages_distributions().get(top, [])))
    return " AND ".join(filter(None, map(_licence_of_distribution, names)))


def _licence_of_distribution(name: str) -> str:
    about = importlib.metadata.metadata(name)
    if expression := about.get_all("License-Expression", []):
        return expression[0]
    kinds = [kind.rpartition(" :: ")[2] for kind in about.get_all("Classifier", []) if kind.startswith("License ::")]
    if kinds:
        return " OR ".join(kinds)
    lines = "".join(about.get_all("License", [])).strip().splitlines()  # some put the whole text there
    return lines[0].strip() if lines and lines[0].strip() != "UNKNOWN" else ""


def _files(root: Path) -> Iterator[tuple[str, Path]]:
    """The .py files below a folder, each with its dotted name there, in the order of paths; then closed folders."""
    closed: list[OSError] = []
    for place, folders, names in os.walk(root, onerror=closed.append):
        folders[:] = sorted(name for name in folders if name not in NOT_SOURCE and not name.startswith("."))
        for name in sorted(names):
            if name.endswith(".py"):
                path = Path(place, name)
                parts = path.relative_to(root).with_suffix("").parts
                yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path
    for path in (Path(error.filename) for error in closed):
        yield ".".join(path.relative_to(root).parts), path


def _definitions(
    files: Iterable[tuple[str, Path]], label: str, licence: str, docstrings: bool = True, classes: bool = True
) -> Iterator[Seed | Rejection]:
    seen: collections.Counter[str] = collections.Counter()
    for module, path in files:
        try:
            text = program.tidy(_text(path))
            found = list(program.definitions(program.parse(text)))
        except (ValueError, OSError) as error:
            reason = "not python" if isinstance(error, ValueError) else "unreadable"
            yield Rejection(f"{label}_{_file_name(module, path)}", reason, f"{path}: {error}")
            continue
        lines = text.split("\n")
        for node in found:
            name = ".".join(filter(None, [module, node.name]))
            seen[name] += 1
            id = f"{label}_{name}" + (f"#{seen[name]}" if seen[name] > 1 else "")
            if docstrings and ast.get_docstring(node, clean=False) is None:
                yield Rejection(id, "no docstring")
            elif not classes and isinstance(node, ast.ClassDef):
                yield Rejection(id, "a class")
            else:
                yield Seed(id, label, _source(lines, node), licence=licence)


def _file_name(module: str, path: Path) -> str:
    """What a file without a seed is called: "a.b.py", "a.b/__init__.py"; as it is at the top."""
    if not module:
        return path.name
    return f"{module}/{path.name}" if path.name == "__init__.py" else f"{module}{path.suffix}"


def _text(path: Path) -> str:
    """The text of a source file, in the encoding that it declares."""
    data = path.read_bytes()
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    except SyntaxError as error:
        raise ValueError(str(error)) from error
    return data.decode(encoding)


def _source(lines: list[str], node: program.Definition) -> str:
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    text = "\n".join(lines[first - 1 : node.end_lineno])
    # Not textwrap.dedent: a long string may hold lines that start further to the left.
    return re.sub(rf"^[ \t]{{1,{node.col_offset}}}", "", text, flags=re.MULTILINE) if node.col_offset else text
