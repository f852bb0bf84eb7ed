"""Jobs with megabytes of tests, as those of LiveCodeBench are."""

import concurrent.futures
import json

from acecoder_jax.sandbox import Job, Limits, Sandbox
from acecoder_jax.sandbox.worker import DEPTH, HELD_BYTES, Task, Worker


def test_jobs_of_many_megabytes():
    program = "import sys\nprint(len(sys.stdin.read()))"
    sizes = [12 << 20, 5, 7 << 20, 6]
    tests = [json.dumps({"input": "x" * size, "output": str(size)}) for size in sizes]
    jobs = [Job(str(at), program, (test,), profile="stdin") for at, test in enumerate(tests)]
    with Sandbox(workers=1, limits=Limits(test_s=2.0, program_s=4.0), quiet=True) as sandbox:
        assert all(verdict.passed for verdict in sandbox.score(jobs))


def test_a_worker_holds_few_of_the_large_jobs():
    worker = object.__new__(Worker)  # without its process
    worker.started, worker.slow = True, False

    def has_room(*sizes):
        job = Job("a", "", ())
        worker.held = {at: Task(job, concurrent.futures.Future(), bytes(size)) for at, size in enumerate(sizes)}
        return worker.has_room

    assert has_room() and has_room(*[1000] * (DEPTH - 1)) and not has_room(*[1000] * DEPTH)
    assert has_room(HELD_BYTES - 1) and not has_room(HELD_BYTES) and not has_room(HELD_BYTES - 1, 1)
    worker.slow = True
    assert not has_room()
