"""The library profile: what it opens, in the tiers that have it, and that it opens nothing else."""

import contextlib
import pathlib
import socket
import time

import pytest

from acecoder_jax.sandbox import Job, Library, Limits, Sandbox, SandboxError
from acecoder_jax.sandbox.library import library_settings
from acecoder_jax.sandbox.settings import jail_settings
from acecoder_jax.stages.score import problem_of
from acecoder_jax.types import Status
from tests.sandbox.library_programs import FRESH, HELPERS, LEFT, REFUSED
from tests.sandbox.processes import below

P, F, E, T, C = Status.PASS, Status.FAIL, Status.ERROR, Status.TIMEOUT, Status.CRASH
HOSTILE = pathlib.Path(__file__).parent / "hostile"
LIMITS = Limits(test_s=1.0, program_s=20.0, memory_bytes=512 << 20, file_bytes=2 << 20)
OPEN = Library(packages=("numpy",), preload=("numpy",), threads=True, loopback=True, scratch_bytes=4 << 20)
CLOSED = Library()


@pytest.fixture(scope="module", params=[1, 2])
def opened(request):
    try:
        with Sandbox(workers=1, limits=LIMITS, isolation=request.param, library=OPEN, quiet=True) as sandbox:
            yield sandbox
    except SandboxError as error:
        pytest.skip(f"tier {request.param}: {error}")


def run(sandbox, program, *tests, limits=None):
    return sandbox.submit(Job("a", program, tests, profile="library", limits=limits)).result(120)


def attempt(text):
    return f"try:\n    {text}\nexcept (OSError, ValueError):\n    pass\nelse:\n    assert False, 'nothing refused it'"


# ---- what it opens


FILES = """
open('a', 'w').write('x')
os.makedirs('b/c')
shutil.copy2('a', 'b/c/d')
os.rename('b/c/d', 'e')
assert sorted(os.listdir('.')) == ['a', 'b', 'e'] and open('e').read() == 'x'
shutil.rmtree('b')
with tempfile.TemporaryDirectory() as folder:
    open(folder + '/a', 'w').close()
assert not os.path.exists(folder)
open(os.devnull, 'w').write('x')
assert len(open('/dev/urandom', 'rb').read(4)) == 4
"""
DATABASE = """
import sqlite3
with sqlite3.connect('a.db') as base:
    base.execute('create table t(a)')
assert os.path.exists('a.db')
"""
THREADS = """
from concurrent.futures import ThreadPoolExecutor
found = []
thread = threading.Thread(target=found.append, args=(1,))
thread.start()
thread.join()
assert found == [1] and list(ThreadPoolExecutor(8).map(abs, range(9))) == [*range(9)]
"""
SERVER = """
import http.server, urllib.request
server = http.server.HTTPServer(('localhost', 0), http.server.SimpleHTTPRequestHandler)
threading.Thread(target=server.handle_request, daemon=True).start()
open('a', 'w').write('x')
assert urllib.request.urlopen(f'http://localhost:{server.server_port}/a').read() == b'x'
"""


def test_files_threads_and_a_network_of_its_own(opened):
    verdict = run(
        opened,
        HELPERS,
        "assert os.listdir('.') == [] and os.listdir(tempfile.gettempdir()) == [os.path.basename(os.getcwd())]",
        *(FILES, DATABASE, THREADS, SERVER),
        "import asyncio\nassert asyncio.run(asyncio.sleep(0, 7)) == 7",
        "import numpy as np\nassert np.arange(4).sum() == 6",
        "assert os.path.expanduser('~') == tempfile.gettempdir()",
    )
    assert verdict.statuses == (P,) * 8, verdict.messages
    assert verdict.mode == "inside"


def test_how_tests_end(opened):
    tests = (
        "assert f(1) == 1",
        "assert f(1) == 2",
        "f(1, 2)",
        "while True: pass",
        "os._exit(0)",
        "x ===",
        "assert f(3) == 3",
    )
    verdict = run(opened, "import os\ndef f(x): return x", *tests)
    assert verdict.statuses == (P, F, E, T, C, E, P), verdict.messages


def test_packages_that_are_not_listed_are_not_there(opened):
    verdict = run(opened, "", "import numpy.linalg", "import ml_collections", "import pytest", "import pip")
    assert verdict.statuses == (P, E, E, E), verdict.messages


# ---- that it opens nothing else


def test_everything_else_is_refused(opened):
    verdict = run(opened, HELPERS, *(attempt(text) for text in REFUSED.values()))
    wrong = [(name, s, m) for name, s, m in zip(REFUSED, verdict.statuses, verdict.messages, strict=True) if s is not P]
    assert not wrong


def test_threads_and_network_only_where_they_are_asked_for():
    with _or_skip(CLOSED) as sandbox:
        verdict = run(
            sandbox,
            HELPERS,
            "open('a', 'w').write('x')",
            "try:\n    threading.Thread(target=print).start()\nexcept RuntimeError:\n    pass\nelse:\n    assert False",
            attempt("socket.socket(socket.AF_INET)"),
            attempt("raw(56, 0x3D0F00, 0, 0, 0, 0)"),
            attempt("os._exit(0) if os.fork() == 0 else None"),
            "import numpy",
        )
    assert verdict.statuses == (P, P, P, P, P, E), verdict.messages


@contextlib.contextmanager
def _or_skip(library):
    try:
        with Sandbox(workers=1, limits=LIMITS, library=library, quiet=True) as sandbox:
            yield sandbox
    except SandboxError as error:
        pytest.skip(str(error))


def test_the_hosts_network_is_not_there(opened):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        verdict = run(
            opened,
            HELPERS,
            attempt(f"socket.create_connection(('127.0.0.1', {port}), 0.2)"),
            attempt("socket.create_connection(('1.1.1.1', 80), 0.2)"),
            attempt("socket.create_connection(('example.com', 80), 0.2)"),
            attempt("socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('10.0.0.1', 53))"),
        )
        server.settimeout(0.1)
        with pytest.raises(TimeoutError):
            server.accept()
    assert verdict.statuses == (P,) * 4, verdict.messages


def test_hostile_programs_earn_nothing_in_it_either(opened):
    supervisor = opened._pool[0].process.pid
    run(opened, "", "pass")
    time.sleep(0.2)  # from now on a player waits ahead
    started, before = len(below(supervisor)), litter()
    names = [path for room in ("escape", "resources", "exits") for path in sorted((HOSTILE / room).glob("*.py"))]
    assert len(names) > 40
    wrong = []
    few = Limits(test_s=0.2, program_s=1.0, memory_bytes=256 << 20, file_bytes=1 << 20)
    for path in names:
        if path.stem in ("sockets", "symlinks"):
            continue  # they count any; those that there may be are tried above
        verdict = run(opened, path.read_text(), "assert solve(7) == 9731", limits=few)
        if verdict.statuses[0] in (P, Status.INFRA):
            wrong.append((path.stem, verdict.statuses, verdict.messages))
        honest = run(opened, HELPERS, "assert os.listdir('.') == []\nopen('a', 'w').write('x' * 1000)", limits=few)
        if not honest.passed:
            wrong.append((path.stem, "the next honest program", honest.statuses, honest.messages))
    assert not wrong
    assert opened._pool[0].process.pid == supervisor, "the supervisor had to be replaced"
    deadline = time.monotonic() + 5
    while len(below(supervisor)) != started and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(below(supervisor)) == started and litter() == before


def litter():
    places = ("/tmp", "/var/tmp", "/dev/shm", ".", "/")
    return sorted(str(p) for place in places for p in pathlib.Path(place).glob("*acecoder_hostile*"))


# ---- one program after the other


@pytest.mark.parametrize("name", LEFT)
def test_nothing_is_left_for_the_next_program(opened, name):
    supervisor = opened._pool[0].process.pid
    first = run(opened, HELPERS, LEFT[name])
    assert first.statuses[0] is not Status.INFRA
    verdict = run(opened, HELPERS, FRESH, "assert os.listdir('.') == []")
    assert verdict.passed, (first.messages, verdict.messages)
    assert opened._pool[0].process.pid == supervisor


def test_what_a_program_may_write_is_capped(opened):
    verdict = run(
        opened,
        HELPERS,
        "try:\n    for n in range(100):\n        open(str(n), 'wb').write(bytes(1 << 20))\nexcept OSError as error:\n"
        "    assert error.errno == 28 and n <= 4",
        attempt("open('a', 'wb').write(bytes(3 << 20))"),
    )
    assert verdict.statuses == (P, P), verdict.messages


def test_a_bomb_of_threads_ends(opened):
    bomb = (
        "import threading, time\nthreading.stack_size(32768)\n"
        "while True:\n    threading.Thread(target=time.sleep, args=(1000,)).start()"
    )
    verdict = run(opened, bomb, "pass", limits=Limits(test_s=5.0, program_s=5.0, memory_bytes=8 << 30))
    assert verdict.statuses == (C,) and ("more than" in verdict.messages[0] or "thread" in verdict.messages[0])
    assert run(opened, "", "pass").passed


# ---- the other profiles


NOT_THERE = (
    "open('/tmp/x', 'w')", "os.mkdir('/tmp/x')", "open('/dev/null', 'w')", "socket.socketpair()", "socket.socket()",
    "threading.Thread(target=print).start()", "os.pipe()", "os.chdir('/tmp')", "open('/etc/hosts')",
    "os.listdir('/tmp')",
)  # fmt: skip


def test_the_other_profiles_are_as_without_it(opened):
    tier = opened.report["tier"]
    assert opened._settings["jail"] == jail_settings(tier, 4, ())[0]
    assert "library" not in opened._settings["jail"]
    program = HELPERS + "def f(text):\n    eval(text)\n"
    tests = [
        f"try:\n    f({text!r})\nexcept (OSError, RuntimeError):\n    pass\nelse:\n    assert False"
        for text in NOT_THERE
    ]
    tests += ["assert f('1') is None", "import os\nassert 'HOME' not in os.environ"]
    verdict = opened.submit(Job("a", program, tuple(tests), "f")).result(60)
    assert verdict.statuses == (P,) * 12, verdict.messages
    assert verdict.mode == "values"


# ---- what is refused


def test_only_a_sandbox_that_was_given_a_library_has_it(sandbox):
    with pytest.raises(SandboxError, match="given a Library"):
        sandbox.submit(Job("a", "", ("pass",), profile="library"))


def test_other_tiers_do_not_have_it():
    for tier in (3, 4):
        with pytest.raises(SandboxError, match="needs isolation tier 1 or 2"):
            library_settings(CLOSED, tier)


@pytest.mark.parametrize(
    ("library", "told"),
    [
        (Library(packages=("no-such-package",)), "not installed"),
        (Library(preload=("no_such_module",)), "not installed"),
        (Library(readable=("/no/such/place",)), "no absolute path"),
        (Library(readable=("data",)), "no absolute path"),
    ],
)
def test_what_is_not_there_is_told(library, told):
    with pytest.raises(SandboxError, match=told):
        library_settings(library, 2)


def test_a_scratch_directory_has_a_size():
    with pytest.raises(ValueError, match="scratch_bytes"):
        Library(scratch_bytes=0)


def test_the_score_stage_does_not_take_it():
    row = {"id": "a", "program": "", "tests": [], "profile": "library"}
    assert "evaluat" in problem_of(row) and problem_of(row | {"profile": "stdin"}) == ""


def test_files_of_data_may_be_read():
    with _or_skip(Library(readable=(str(HOSTILE),))) as sandbox:
        verdict = run(
            sandbox,
            HELPERS,
            f"assert 'tests' in os.listdir({str(HOSTILE)!r})",
            attempt(f"open({str(HOSTILE / 'x')!r}, 'w')"),
            attempt(f"open({str(HOSTILE.parent / 'conftest.py')!r})"),
        )
    assert verdict.statuses == (P, P, P), verdict.messages
