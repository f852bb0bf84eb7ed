"""Many programs through one sandbox, 3% of them hostile: what leaks shows here.

    python bench/sandbox_soak.py --programs=100000

Memory, descriptors and processes of the whole family of processes, before and after. The last line is JSON.
"""

import argparse
import json
import os
import random
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from acecoder_jax.sandbox import Job, Limits, Sandbox  # noqa: E402

HOSTILE = sorted(p for p in (ROOT / "tests/sandbox/hostile").glob("*/*.py") if p.parent.name != "tests")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    limits = Limits(test_s=0.1, program_s=0.1, memory_bytes=256 << 20)
    with Sandbox(workers=options.workers, limits=limits) as sandbox:
        wrong = sum(verdict.passed is (verdict.id[0] == "x") for verdict in sandbox.score(jobs(1000)))
        before, start = family(os.getpid()), time.perf_counter()
        counts: dict[str, int] = {}
        rss_kib = []  # of each process, ten times on the way
        for number, verdict in enumerate(sandbox.score(jobs(options.programs))):
            if number % (options.programs // 10) == 0:
                rss_kib.append([rss(one) for one in (os.getpid(), *below(os.getpid()))])
            wrong += verdict.passed is (verdict.id[0] == "x")
            counts[verdict.statuses[0].value] = counts.get(verdict.statuses[0].value, 0) + 1
        elapsed = time.perf_counter() - start
        time.sleep(1)
        after = family(os.getpid())
    row = {"programs": options.programs, "seconds": round(elapsed, 1), "wrong": wrong, "statuses": counts}
    row |= {"rss_kib_on_the_way": rss_kib}
    print(json.dumps(row | {"before": before, "after": after, "left_after_close": len(below(os.getpid()))}))


def jobs(count: int):
    """Honest programs, and 3% hostile ones whose ids begin with x."""
    rng = random.Random(0)
    for number in range(count):
        if rng.random() < 0.03:
            yield Job(f"x{number}", rng.choice(HOSTILE).read_text(), ("assert solve(7) == 9731",), "solve")
        else:
            yield Job(f"h{number}", "def f(x):\n    return [x] * 3", (f"assert f({number}) == [{number}] * 3",), "f")


def below(pid: int) -> list[int]:
    """All processes under this one."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += [int(child), *below(int(child))]
    return found


def family(pid: int) -> dict[str, int]:
    """What this process and all under it hold."""
    total = {"processes": 0, "descriptors": 0, "rss_kib": 0}
    for one in (pid, *below(pid)):
        total["processes"] += 1
        total["descriptors"] += len(os.listdir(f"/proc/{one}/fd"))
        total["rss_kib"] += rss(one)
    return total


def rss(pid: int) -> int:
    """Resident memory of a process in KiB; 0 when it has gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4
    except OSError:
        return 0


if __name__ == "__main__":
    main()
