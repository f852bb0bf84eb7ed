"""Programs may import what Python's own library has, in every tier."""

import os
import subprocess
import sys

import pytest

from acecoder_jax.sandbox import Job, Limits, Sandbox, SandboxError

NOT_TRIED = {  # windows, tests of Python itself, and what acts when it is imported
    "antigravity", "idlelib", "this", "tkinter", "turtle", "turtledemo", "_tkinter",
}  # fmt: skip
NAMES = sorted(name for name in sys.stdlib_module_names if name not in NOT_TRIED and not name.startswith("__"))
EXTRA = ["concurrent.futures.process", "ctypes.util", "dbm.gnu", "dbm.ndbm", "importlib.metadata", "logging.handlers",
         "multiprocessing.pool", "os.path", "sqlite3.dump", "unittest.mock", "xml.etree.ElementTree"]  # fmt: skip
IMPORTABLE = """
import importlib, sys
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ImportError:
        continue
    print(name)
"""
PROGRAM = """
import importlib

def f(names):
    missing = []
    for name in names:
        try:
            importlib.import_module(name)
        except BaseException as error:
            missing.append((name, str(error)))
    return missing
"""
USES = """
import base64, bz2, gzip, hashlib, lzma, secrets, sqlite3, uuid, zipfile, zlib, io

def f(x):
    data = x.encode()
    assert base64.b64decode(base64.b64encode(data)) == data and len(secrets.token_bytes(4)) == 4
    for module in (bz2, gzip, lzma, zlib):
        assert module.decompress(module.compress(data)) == data
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('a', data)
    assert zipfile.ZipFile(file).read('a') == data
    row, = sqlite3.connect(':memory:').execute('select ? || 1', (x,))
    return [row[0], hashlib.sha256(data).hexdigest()[:8], uuid.UUID(int=1).hex[-1]]
"""


@pytest.fixture(scope="module", params=[1, 2, 3, 4])
def tier(request):
    try:
        with Sandbox(workers=1, limits=Limits(test_s=20, program_s=60), isolation=request.param, quiet=True) as sandbox:
            yield sandbox
    except SandboxError as error:
        pytest.skip(f"tier {request.param}: {error}")


@pytest.fixture(scope="module")
def importable():
    done = subprocess.run(
        [sys.executable, "-s", "-S", "-P", "-c", IMPORTABLE, *NAMES, *EXTRA],
        capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return done.stdout.split()


def test_all_that_can_be_imported_outside(tier, importable):
    assert len(importable) > 200
    verdict = tier.submit(Job("a", PROGRAM, (f"assert f({importable!r}) == []",), "f")).result(120)
    assert verdict.passed, verdict.messages


def test_compression_and_the_like_work(tier):
    verdict = tier.submit(Job("a", USES, ("assert f('abc') == ['abc1', 'ba7816bf', '1']",), "f")).result(120)
    assert verdict.passed, verdict.messages


def test_nothing_else_came_in_with_them(tier):
    if tier.report["tier"] > 2:
        pytest.skip("the other tiers have no root directory of their own")
    jail = tier._settings["jail"]
    own = {path for path in (*jail["readable"], *jail["links"]) if ".so" in os.path.basename(path)}
    assert jail["links"] and len(own) > 3
    folders = {os.path.dirname(path) for path in own if not path.startswith(tuple(jail["path"]))}
    outside = [os.path.join(folder, name) for folder in folders for name in os.listdir(folder)]
    program = "import os\ndef f(paths): return sorted(p for p in paths if os.path.isfile(p) or os.path.islink(p))"
    verdict = tier.submit(Job("a", program, (f"assert f({outside!r}) == {sorted(own & set(outside))!r}",), "f")).result(
        60
    )
    assert verdict.passed, verdict.messages
    program = "def f(paths):\n    for p in paths:\n        open(p, 'ab')"
    tries = "try:\n        f([p])\n        assert 0\n    except OSError:\n        pass"
    test = f"for p in {sorted(jail['links'])!r}:\n    {tries}"
    assert tier.submit(Job("a", program, (test,), "f")).result(60).passed
