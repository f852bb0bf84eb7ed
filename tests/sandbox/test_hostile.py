"""Every hostile program, in every tier that the machine allows, earns nothing, and the honest one after it passes."""

import json
import pathlib
import time

import pytest

from acecoder_jax.sandbox import Job, Limits, Sandbox, SandboxError
from acecoder_jax.types import Status
from tests.sandbox.processes import below

HERE = pathlib.Path(__file__).parent / "hostile"
PROGRAMS = sorted(path for path in HERE.glob("*/*.py") if path.parent.name not in ("tests", "scripts"))
SCRIPTS = sorted(HERE.glob("scripts/*.py"))
TESTS = sorted(HERE.glob("tests/*.py"))
TASK = ("assert solve(7) == 9731", "import math\nassert math.isclose(solve(9), 4417)", "assert 0.5 in solve(8)")
HONEST = (
    "import math, heapq, collections\ndef f(x):\n    print(x)\n    items = sorted(collections.Counter([x, 1]).keys())\n"
    "    return math.floor(math.sqrt(sum(range(5)))) + len(items) + x"
)
HONEST_TESTS = ("assert f(4) == 9", "assert [f(4)] == [9]")
SCRIPT = "import sys\nprint(9000 + int(sys.stdin.read()))"
SOLVE = "def solve(x):\n    while x == 'endless': pass\n    return 5 if x == 7 else x"
SLOW = "import time\nstart = time.process_time()\nwhile time.process_time() - start < 0.05: pass\n"
LIMITS = Limits(test_s=0.1, program_s=1.5, memory_bytes=256 << 20, wall_factor=2)


@pytest.fixture(scope="module", params=[1, 2, 3, 4])
def tier(request):
    try:
        with Sandbox(workers=1, limits=LIMITS, isolation=request.param, quiet=True) as sandbox:
            yield sandbox
    except SandboxError as error:
        pytest.skip(f"tier {request.param}: {error}")


def litter():
    return [
        str(p)
        for place in ("/tmp", "/var/tmp", "/dev/shm", ".", "/")
        for p in pathlib.Path(place).glob("*acecoder_hostile*")
    ]


def test_there_are_enough():
    assert len(PROGRAMS) >= 60 and len(TESTS) >= 10 and len(SCRIPTS) >= 10


def test_hostile_programs_earn_nothing_and_leave_nothing(tier):
    before = litter()
    supervisor = tier._pool[0].process.pid
    assert tier.submit(Job("first", HONEST, HONEST_TESTS, "f")).result(60).passed
    time.sleep(0.2)  # from now on a player waits ahead
    started = len(below(supervisor))
    futures = []
    for path in PROGRAMS:
        futures.append((path, tier.submit(Job(path.stem, path.read_text(), TASK, "solve"))))
        futures.append((path, tier.submit(Job("honest", HONEST, HONEST_TESTS, "f"))))
    wrong = []
    for path, future in futures:
        verdict = future.result(120)
        if verdict.id == "honest" and not verdict.passed:
            wrong.append((path.stem, "the next honest program", verdict.statuses, verdict.messages))
        if verdict.id != "honest" and set(verdict.statuses) & {Status.PASS, Status.INFRA}:
            wrong.append((path.stem, verdict.statuses, verdict.messages))
    assert not wrong
    assert tier._pool[0].process.pid == supervisor, "the supervisor had to be replaced"
    deadline = time.monotonic() + 5
    while len(below(supervisor)) != started and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(below(supervisor)) == started
    assert litter() == before


def test_hostile_scripts_earn_nothing(tier):
    supervisor = tier._pool[0].process.pid
    test = (json.dumps({"input": "731\n", "output": "9731\n"}),)
    wrong = []
    for path in SCRIPTS:
        hostile = tier.submit(Job(path.stem, path.read_text(), test, profile="stdin")).result(60)
        if set(hostile.statuses) & {Status.PASS, Status.INFRA}:
            wrong.append((path.stem, hostile.statuses, hostile.messages))
        if not tier.submit(Job("honest", SCRIPT, test, profile="stdin")).result(60).passed:
            wrong.append((path.stem, "the next honest script"))
    assert not wrong
    assert tier._pool[0].process.pid == supervisor, "the supervisor had to be replaced"
    assert peak_bytes(supervisor) < 150 << 20


def peak_bytes(pid):
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmHWM"))


@pytest.mark.parametrize("program", [SOLVE, SLOW + SOLVE], ids=["quick", "slow to load"])
def test_hostile_tests_spoil_only_themselves(tier, program):
    before = litter()
    wrong = []
    for path in TESTS:
        if path.stem == "reading_files" and tier.report["tier"] == 4:
            continue  # the one thing that tier 4 does not promise
        others = ("assert solve(7) == 5", "assert solve(7) + 0 == 5")
        verdict = tier.submit(Job(path.stem, program, (*others, path.read_text(), *others), "solve")).result(120)
        if verdict.statuses[:2] + verdict.statuses[3:] != (Status.PASS,) * 4:
            wrong.append((path.stem, verdict.statuses, verdict.messages))
        if verdict.statuses[2] in (Status.PASS, Status.INFRA):
            wrong.append((path.stem, verdict.statuses[2]))
    assert not wrong
    assert litter() == before


def test_many_hostile_tests_leave_the_others_their_time(tier):
    hostile = [(HERE / "tests" / f"{name}.py").read_text() for name in ("endless", "sleeping", "exiting") * 8]
    others = ("assert solve(7) == 5", "assert solve(7) + 0 == 5")
    verdict = tier.submit(Job("many", SLOW + SOLVE, (*hostile, *others), "solve")).result(120)
    assert verdict.statuses[-2:] == (Status.PASS,) * 2, verdict.messages
    assert set(verdict.statuses[:-2]) == {Status.TIMEOUT, Status.CRASH}
