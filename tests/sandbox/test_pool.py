import asyncio
import concurrent.futures
import os
import signal
import threading
import time
import unittest.mock

import pytest

from acecoder_jax.sandbox import Job, Limits, Sandbox, SandboxError, pool, worker
from acecoder_jax.types import Status
from tests.sandbox.processes import alive, children

P, F, E, T, C = Status.PASS, Status.FAIL, Status.ERROR, Status.TIMEOUT, Status.CRASH
ADD = "def f(a, b=1):\n    return a + b"


def grade(sandbox, program, *tests, **more):
    return sandbox.submit(Job("job", program, tests, **more)).result(60)


def test_statuses(sandbox):
    verdict = grade(sandbox, ADD, "assert f(1) == 2", "assert f(1) == 3", "assert f('a') == 1", "assert f(", "g = f(1)")
    assert verdict.statuses == (P, F, E, E, P) and verdict.mode == "values"
    assert verdict.messages[0] == "" and "got 2" in verdict.messages[1] and "TypeError" in verdict.messages[2]


def test_time_and_memory_are_told(sandbox):
    small = grade(sandbox, ADD, "assert f(1) == 2")
    large = grade(
        sandbox, "import time\ndef f(n):\n    x = b'x' * n\n    time.sleep(0.2)\n    return len(x)", "assert f(1 << 26)"
    )
    assert 1 << 20 < small.memory_bytes < 1 << 26 < large.memory_bytes < 1 << 28
    assert small.time_s < 0.2 <= large.time_s


def test_judge(sandbox):
    tests = (
        "import math\nassert math.isclose(f(0.5, 0.5), 1)",
        "assert sorted([f(2), f(1)]) == [2, 3]",
        "assert f(1) + 1 == 4",
    )
    assert grade(sandbox, ADD, *tests).statuses == (P, P, F)


def test_a_program_that_does_not_load(sandbox):
    assert grade(sandbox, "def f(:", "assert f() == 1", "assert f() + 1 == 1").statuses == (E, E)
    assert grade(sandbox, "raise SystemExit(0)", "assert f() == 1").statuses == (C,)
    assert grade(sandbox, "x = 1", "assert f() == 1").statuses == (E,)


def test_timeouts_and_crashes_cost_one_test(sandbox):
    program = "import os\ndef f(x):\n    while x == 1: pass\n    if x == 2: os._exit(0)\n    return x"
    tests = tuple(f"assert f({x}) == {x}" for x in (0, 1, 3, 2, 4))
    assert grade(sandbox, program, *tests).statuses == (P, T, P, C, P)
    judged = tuple(f"assert f({x}) + 0 == {x}" for x in (0, 1, 3, 2, 4))
    assert grade(sandbox, program, *judged).statuses == (P, T, P, C, P)


def test_program_budget(sandbox):
    verdict = grade(sandbox, "def f(x):\n    while True: pass", *(f"assert f({x}) == 1" for x in range(30)))
    assert set(verdict.statuses) == {T} and verdict.time_s < 10


def test_mutated_arguments(sandbox):
    program = "def f(x):\n    x[0].append(1)\n    x.append(2)"
    tests = ("a = [[0]]\nb = a[0]\nf(a)\nassert a == [[0, 1], 2] and b == [0, 1]", "assert f([[0]]) is None")
    assert grade(sandbox, program, *tests).statuses == (P, P)


def test_iterators(sandbox):
    program = "def f(n):\n    i = 0\n    while i != n:\n        yield i\n        i += 1"
    tests = (
        "assert list(f(1000)) == list(range(1000))",
        "import itertools\nassert list(itertools.islice(f(-1), 3)) == [0, 1, 2]",
        "assert f(2) == [0, 1]",
        "assert 3 in f(5)",
    )
    assert grade(sandbox, program, *tests).statuses == (P, P, F, P)


def test_exceptions(sandbox):
    program = "class Odd(ValueError): pass\ndef f(x):\n    raise Odd('no ' + x)"
    test = "try:\n    f('a')\nexcept ValueError as e:\n    assert 'no a' in str(e)\nelse:\n    assert False"
    assert grade(sandbox, program, test, "assert f('a') == 1").statuses == (P, E)


def test_functions_as_arguments(sandbox):
    program = "def f(function, items):\n    return [function(item) for item in items]"
    tests = (
        "assert f(lambda x: x * 2, [1, 2]) == [2, 4]",
        "assert f(len, ['ab']) == [2]",
        "assert f(str, (1,)) == ['1']",
    )
    assert grade(sandbox, program, *tests).statuses == (P, P, P)


def test_results_that_are_not_plain_data_fail(sandbox):
    program = "class Any:\n    def __eq__(self, other): return True\ndef f(x=0): return Any() if x == 0 else f"
    assert grade(sandbox, program, "assert f() == 1", "assert [f()] == [1]", "assert f(1)").statuses == (F, F, F)
    assert grade(sandbox, program, "try:\n    f()\nexcept Exception:\n    pass").statuses == (F,)


def test_inside_mode_is_named_and_earns_nothing(sandbox, inside_sandbox):
    program = "class Node:\n    def __init__(self, x): self.x = x\ndef f(node): return node.x"
    tests = ("assert f(Node(3)) == 3", "assert f(Node(3)) == 4")
    verdict = grade(sandbox, program, *tests)
    assert verdict.statuses == (F, F) and verdict.mode == "inside" and "allow_inside" in verdict.messages[0]
    verdict = grade(inside_sandbox, program, *tests)
    assert verdict.statuses == (P, F) and verdict.mode == "inside"


def test_setup_runs_before_each_test(sandbox):
    tests = ("x.append(1)\nassert f(len(x)) == 2", "assert f(len(x)) == 1")
    assert grade(sandbox, ADD, *tests, setup="x = []").statuses == (P, P)


def test_score_streams_all_jobs(sandbox):
    jobs = (Job(str(n), ADD, (f"assert f({n}) == {n + 1}",)) for n in range(300))
    verdicts = list(sandbox.score(jobs, window=50))
    assert sorted(int(verdict.id) for verdict in verdicts) == list(range(300))
    assert all(verdict.passed for verdict in verdicts)


def test_threads_and_asyncio(sandbox):
    jobs = [Job(str(n), ADD, ("assert f(1) == 2",)) for n in range(40)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        verdicts = list(pool.map(lambda job: sandbox.submit(job).result(60), jobs))
    assert all(verdict.passed for verdict in verdicts)

    async def gather():
        return await asyncio.gather(*(asyncio.wrap_future(sandbox.submit(job)) for job in jobs))

    assert all(verdict.passed for verdict in asyncio.run(gather()))


def test_a_hung_program_does_not_delay_those_behind_it():
    with Sandbox(workers=2, limits=Limits(test_s=2, program_s=3), quiet=True) as sandbox:
        hung = sandbox.submit(Job("hung", "def f():\n    while True: pass", ("assert f()",)))
        quick = [sandbox.submit(Job(str(n), ADD, ("assert f(1) == 2",))) for n in range(60)]
        assert all(future.result(60).passed for future in quick)
        assert not hung.done()
        assert hung.result(60).statuses == (T,)


@pytest.mark.parametrize("who", ["supervisor", "zygote"])
def test_killed_processes_are_replaced_and_their_programs_run_again(who):
    with Sandbox(workers=1, quiet=True) as sandbox:
        program = "import time\ndef f():\n    time.sleep(0.4)\n    return 1"
        future = sandbox.submit(Job("job", program, ("assert f() == 1",)))
        time.sleep(0.2)
        supervisor = sandbox._pool[0].process.pid
        victim = supervisor if who == "supervisor" else children(supervisor)[0]
        os.kill(victim, signal.SIGKILL)
        assert future.result(60).passed
        assert grade(sandbox, ADD, "assert f(1) == 2").passed


def test_close_leaves_nothing_behind():
    before = set(children(os.getpid()))
    sandbox = Sandbox(workers=2, quiet=True).start()
    family = [pid for worker in sandbox._pool for pid in (worker.process.pid, *children(worker.process.pid))]
    future = sandbox.submit(Job("hung", "def f():\n    while True: pass", ("assert f()",)))
    time.sleep(0.2)
    sandbox.close()
    assert future.cancelled() or future.done()
    assert set(children(os.getpid())) <= before
    assert not any(alive(pid) for pid in family)
    assert "sandbox" not in {thread.name for thread in threading.enumerate() if not thread.is_alive()}
    with pytest.raises(SandboxError):
        sandbox.submit(Job("late", ADD, ()))


READY = """
import socket, sys, time
host = socket.socket(fileno=int(sys.argv[1]))
host.sendall(b'{"ready": true}\\n')
"""


@pytest.mark.parametrize("stuck", ["while True: pass", "time.sleep(1000)"])
def test_a_stuck_worker_is_killed_and_its_job_given_up_as_infra(monkeypatch, stuck):
    monkeypatch.setattr(worker, "_BOOT", READY + stuck)
    monkeypatch.setattr(worker, "SLACK_S", 0.2)
    monkeypatch.setattr(worker, "WALL_SLACK", 2)
    monkeypatch.setattr(pool, "LOOK_S", 0.1)
    with Sandbox(workers=1, limits=Limits(test_s=0.05, program_s=0.1), quiet=True) as sandbox:
        before = sandbox._pool[0].process.pid
        verdict = sandbox.submit(Job("job", ADD, ("assert f(1) == 2",))).result(60)
        assert verdict.statuses == (Status.INFRA,) and "stuck" in verdict.messages[0]
        assert not alive(before)


def test_a_worker_that_is_idle_or_waited_for_a_core_is_not_stuck(monkeypatch):
    monkeypatch.setattr(pool, "LOOK_S", 0.05)
    monkeypatch.setattr(worker, "SLACK_S", 0.2)
    with Sandbox(workers=1, limits=Limits(test_s=0.1, program_s=0.1), quiet=True) as sandbox:
        before = sandbox._pool[0].process.pid
        time.sleep(0.6)
        os.kill(before, signal.SIGSTOP)
        future = sandbox.submit(Job("job", ADD, ("assert f(1) == 2",)))
        time.sleep(0.9)
        os.kill(before, signal.SIGCONT)
        assert future.result(60).passed and sandbox._pool[0].process.pid == before


def test_a_worker_that_does_not_start_again_is_tried_again(monkeypatch):
    monkeypatch.setattr(pool, "PAUSES_S", (0.05, 0.05, 30.0))
    with Sandbox(workers=1, quiet=True) as sandbox:
        boot = worker._BOOT
        monkeypatch.setattr(worker, "_BOOT", "raise SystemExit(3)")
        sandbox._pool[0].process.kill()
        future = sandbox.submit(Job("job", ADD, ("assert f(1) == 2",)))
        time.sleep(0.08)
        monkeypatch.setattr(worker, "_BOOT", boot)
        assert future.result(60).passed


@pytest.mark.parametrize("how", ["exits", "no process"])
def test_a_sandbox_without_workers_fails_what_waits_and_what_comes(monkeypatch, how):
    monkeypatch.setattr(pool, "PAUSES_S", (0.01, 0.01))
    with Sandbox(workers=1, quiet=True) as sandbox:
        if how == "exits":
            monkeypatch.setattr(worker, "_BOOT", "raise SystemExit(3)")
        else:
            monkeypatch.setattr(worker.subprocess, "Popen", unittest.mock.Mock(side_effect=OSError("no more")))
        future = sandbox.submit(Job("hung", "def f():\n    while True: pass", ("assert f()",)))
        sandbox._pool[0].process.kill()
        with pytest.raises(SandboxError, match="exit code 3" if how == "exits" else "no more"):
            future.result(30)
        with pytest.raises(SandboxError, match="did not start"):
            sandbox.submit(Job("job", ADD, ("assert f(1) == 2",)))


def test_a_worker_that_is_slow_to_start_again_does_not_hold_up_the_others(monkeypatch):
    with Sandbox(workers=2, limits=Limits(test_s=0.3, program_s=2), quiet=True) as sandbox:
        monkeypatch.setattr(worker, "_BOOT", "import time\ntime.sleep(1000)")
        sandbox._pool[0].process.kill()
        start = time.monotonic()
        verdicts = [sandbox.submit(Job(str(n), ADD, ("assert f(1) == 2",))).result(60) for n in range(20)]
        assert all(verdict.passed for verdict in verdicts) and time.monotonic() - start < 30


def test_a_job_that_breaks_the_supervisor_is_infra_and_the_worker_goes_on():
    with Sandbox(workers=1, quiet=True) as sandbox:
        before = sandbox._pool[0].process.pid
        verdict = sandbox.submit(Job("job", ADD, (5, "assert f(1) == 2"))).result(60)
        assert verdict.statuses == (Status.INFRA,) * 2 and "TypeError" in verdict.messages[0]
        assert grade(sandbox, ADD, "assert f(1) == 2").passed and sandbox._pool[0].process.pid == before


def test_nobody_waits_for_a_thread_that_has_failed(monkeypatch):
    with Sandbox(workers=1, quiet=True) as sandbox:
        monkeypatch.setattr(sandbox, "_read", unittest.mock.Mock(side_effect=KeyError("n")))
        with pytest.raises(SandboxError, match="KeyError"):
            sandbox.submit(Job("job", ADD, ("assert f(1) == 2",))).result(60)


def test_bad_arguments(sandbox):
    for workers in (-1, 1.5, "2"):
        with pytest.raises(ValueError, match="workers"):
            Sandbox(workers=workers)
    with pytest.raises(ValueError, match="window"):
        next(sandbox.score([], window=-1))
    with pytest.raises(ValueError, match="test_s"):
        Limits(test_s=0)
    with pytest.raises(ValueError, match="stop"):
        Sandbox(stop="sometimes")
    with pytest.raises(ValueError, match="profile"):
        Job("a", "", (), profile="magic")
