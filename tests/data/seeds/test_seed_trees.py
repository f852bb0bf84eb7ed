"""Python source: a folder made by hand, installed packages, and modules of the real standard library."""

import ast
import itertools
import os
import sys
import sysconfig
import textwrap
from pathlib import Path

import pytest

from acecoder_jax.data.seeds import trees
from acecoder_jax.types import Rejection, Seed

SOURCE = '''\
import functools

@functools.cache
def fib(n):
    """Fibonacci."""
    return n if n < 2 else fib(n - 1) + fib(n - 2)  # slow

class Stack:
    """A stack."""

    def push(self, x):
        """Not a seed of its own."""

def bare():
    return 1

if functools:
    async def fib(n):
        """Again.
not indented
        """
        return n
'''


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "mylib"
    for name, text in {
        "__init__.py": 'def top():\n    """At the top."""\n',
        "a.py": SOURCE,
        "sub/b.py": 'def f():\n    """In a module below."""\n',
        "sub/broken.py": "def f(:\n",
        "sub/latin.py": '# -*- coding: latin-1 -*-\ndef g():\n    """caf\xe9"""\n',
        "sub/notes.txt": "no source",
        "tests/test_a.py": 'def test():\n    """Left aside."""\n',
        ".hidden/c.py": 'def h():\n    """Left aside."""\n',
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("latin-1"))
    return root


def test_a_folder(tree):
    rows = {row.id: row for row in trees.folder(str(tree), licence="MIT")}
    assert list(rows) == [
        *("mylib_top", "mylib_a.fib", "mylib_a.Stack", "mylib_a.bare", "mylib_a.fib#2"),
        *("mylib_sub.b.f", "mylib_sub.broken.py", "mylib_sub.latin.g"),
    ]
    fib = SOURCE[SOURCE.index("@") : SOURCE.index("\n\nclass")]
    assert rows["mylib_a.fib"] == Seed("mylib_a.fib", "mylib", fib, licence="MIT")
    assert rows["mylib_a.fib#2"].program == 'async def fib(n):\n    """Again.\nnot indented\n    """\n    return n'
    assert rows["mylib_a.bare"] == Rejection("mylib_a.bare", "no docstring")
    assert "caf\xe9" in rows["mylib_sub.latin.g"].program
    broken = rows["mylib_sub.broken.py"]
    assert broken.reason == "not python" and broken.detail.endswith("broken.py: invalid syntax (line 1)")


def test_files_that_cannot_be_read_have_names_of_their_own(tree, monkeypatch):
    (tree / "sub.py").write_text("def f(:")
    (tree / "sub" / "__init__.py").write_text("def f(:")
    real = os.scandir

    def scandir(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    (tree / "closed").mkdir()
    monkeypatch.setattr(os, "scandir", scandir)
    rows = [row for row in trees.folder(str(tree)) if isinstance(row, Rejection)]
    unread = {row.id: row.reason for row in rows if row.reason in ("not python", "unreadable")}
    broken = dict.fromkeys(("mylib_sub.py", "mylib_sub/__init__.py", "mylib_sub.broken.py"), "not python")
    assert unread == broken | {"mylib_closed": "unreadable"}


def test_what_is_wanted_of_a_folder(tree):
    all_of_it = {row.id: row for row in trees.folder(str(tree), label="x", docstrings=False, classes=False)}
    assert isinstance(all_of_it["x_a.bare"], Seed)
    assert all_of_it["x_a.Stack"] == Rejection("x_a.Stack", "a class")


def test_a_folder_that_is_not_there_and_one_without_source(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder of Python source at .*none"):
        list(trees.folder(str(tmp_path / "none")))
    with pytest.raises(ValueError, match=r"no \.py file"):
        list(trees.folder(str(tmp_path)))


def test_real_modules_are_seeds_that_are_the_functions_of_that_module():
    (dedent,) = [row for row in trees.package("textwrap") if row.id == "textwrap_dedent"]
    assert dedent.licence == "PSF-2.0" and dedent.source == "textwrap"
    namespace = dict(vars(textwrap))
    exec(dedent.program, namespace)
    assert namespace["dedent"] is not textwrap.dedent and namespace["dedent"]("  a\n  b") == "a\nb"


def test_every_seed_of_some_real_packages_parses_and_has_an_id_of_its_own():
    for name in ("json", "heapq", "statistics", "posixpath", "email.mime", "concurrent.futures"):
        rows = list(trees.package(name, docstrings=False))
        assert len({row.id for row in rows}) == len(rows) > 5
        for row in rows:
            assert isinstance(row, Seed) and row.source == name
            (node,) = ast.parse(row.program).body
            assert row.id.startswith(f"{name}_") and row.id.split("#")[0].endswith(node.name)
    assert "posixpath_normpath#2" in {row.id for row in trees.package("posixpath")}


def test_the_standard_library(monkeypatch, tmp_path):
    first = list(itertools.islice(trees.stdlib(), 20))
    assert all(row.id.startswith("stdlib_") for row in first)
    assert {row.licence for row in first if isinstance(row, Seed)} == {"PSF-2.0"}
    assert all(row.reason == "no docstring" for row in first if isinstance(row, Rejection))
    real = Path(sysconfig.get_path("stdlib"))
    for name in ("os.py", "textwrap.py", "json", "test"):
        (tmp_path / name).symlink_to(real / name)
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    rows = {row.id for row in trees.stdlib()}
    assert {"stdlib_textwrap.dedent", "stdlib_os.walk", "stdlib_textwrap.TextWrapper"} <= rows
    (tmp_path / "os.py").unlink()
    with pytest.raises(FileNotFoundError, match="keeps no sources of its standard library"):
        trees.stdlib()


def test_packages_that_are_not_installed_or_have_no_source():
    with pytest.raises(FileNotFoundError, match="no package 'nobodys_package' is installed"):
        trees.package("nobodys_package")
    with pytest.raises(FileNotFoundError, match="no package 'my-folder'"):
        trees.package("my-folder")
    with pytest.raises(FileNotFoundError, match="no package '__main__'"):
        trees.package("__main__")
    for name in ("sys", "json.nothing"):
        with pytest.raises(ValueError, match=f"'{name}' has no Python source"):
            trees.package(name)


@pytest.mark.parametrize(
    ("fields", "licence"),
    [
        ("License-Expression: MIT OR Apache-2.0\nLicense: other", "MIT OR Apache-2.0"),
        ("License: long text\nClassifier: License :: OSI Approved :: MIT License", "MIT License"),
        ("License: BSD 3-Clause\n        Copyright ...", "BSD 3-Clause"),
        ("License: UNKNOWN", ""),
        ("Summary: none named", ""),
    ],
)
def test_the_licence_of_a_package(monkeypatch, tmp_path, fields, licence):
    package = tmp_path / "madeup"
    about = tmp_path / "madeup_dist-1.0.dist-info"
    package.mkdir()
    about.mkdir()
    (package / "__init__.py").write_text('def f():\n    """Doc."""\n')
    (about / "METADATA").write_text(f"Metadata-Version: 2.4\nName: madeup-dist\nVersion: 1.0\n{fields}\n")
    (about / "top_level.txt").write_text("madeup\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    (seed,) = trees.package("madeup")
    assert (seed.id, seed.source, seed.licence) == ("madeup_f", "madeup", licence)
    (own,) = trees.package("madeup", licence="mine")
    assert own.licence == "mine"
    assert "madeup" not in sys.modules
