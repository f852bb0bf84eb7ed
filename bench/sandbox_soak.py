"""Many programs through one sandbox, 3% of them hostile: what leaks and what is judged wrongly shows here.

    python bench/sandbox_soak.py --programs=100000

Memory, descriptors and processes of the whole family of processes, before and after. The last line is JSON. In it,
"wrong" counts honest programs that did not pass and hostile ones that did; infra verdicts, which say nothing about a
program, are counted apart, and both by the kind of the program's tests.
"""

import argparse
import collections
import contextlib
import json
import os
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from acecoder_jax.sandbox import Job, Limits, Sandbox  # noqa: E402
from acecoder_jax.types import Verdict  # noqa: E402

# Tier 4 does not promise that files cannot be read.
HOSTILE = sorted(p for p in (ROOT / "tests/sandbox/hostile").glob("*/*.py") if p.stem != "reading_files")
KINDS = {"constant": 0.60, "judge": 0.25, "stdin": 0.05, "several": 0.07, "hostile": 0.03}  # shares of the programs
HOSTILE_TESTS = ("assert solve(7) == 9731", "import math\nassert math.isclose(solve(9), 4417)")
WARM_UP = 1000  # programs before the first look at memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    limits = Limits(test_s=0.1, program_s=0.1, memory_bytes=256 << 20)
    counts = Counts()
    with Sandbox(workers=options.workers, limits=limits) as sandbox:
        for verdict in sandbox.score(jobs(min(WARM_UP, options.programs), seed=1)):
            counts.add(verdict)
        time.sleep(1)  # what waits ahead is there again
        before, start = family(os.getpid()), time.perf_counter()
        rss_kib = []  # of each process, ten times on the way
        for number, verdict in enumerate(sandbox.score(jobs(options.programs, seed=0))):
            if number % max(1, options.programs // 10) == 0:
                rss_kib.append([rss(one) for one in (os.getpid(), *below(os.getpid()))])
            counts.add(verdict)
        elapsed = time.perf_counter() - start
        time.sleep(1)
        after = family(os.getpid())
    row = {"programs": options.programs, "seconds": round(elapsed, 1)} | counts.to_json()
    row |= {"rss_kib_on_the_way": rss_kib}
    print(json.dumps(row | {"before": before, "after": after, "left_after_close": len(below(os.getpid()))}))


class Counts:
    """What became of the programs, the ones of the warm-up included."""

    def __init__(self) -> None:
        self.kinds, self.statuses = collections.Counter[str](), collections.Counter[str]()
        self.wrong, self.infra = collections.Counter[str](), collections.Counter[str]()
        self.wrong_ids: list[str] = []

    def add(self, verdict: Verdict) -> None:
        """Count a verdict, whose id begins with the kind of its program."""
        kind = verdict.id.split()[0]
        self.kinds[kind] += 1
        self.statuses.update(status.value for status in verdict.statuses)
        if verdict.infra:
            self.infra[kind] += 1
        elif verdict.passed is (kind == "hostile"):
            self.wrong[kind] += 1
            self.wrong_ids.append(f"{verdict.id}: {[status.value for status in verdict.statuses]}")

    def to_json(self) -> dict[str, object]:
        """Totals, and where they are not 0 how they fall on the kinds."""
        row: dict[str, object] = {"kinds": self.kinds, "test_statuses": self.statuses}
        row |= {"wrong": self.wrong.total(), "wrong_by_kind": self.wrong, "wrong_first": self.wrong_ids[:10]}
        return row | {"infra": self.infra.total(), "infra_by_kind": self.infra}


def jobs(count: int, seed: int) -> Iterator[Job]:
    """Programs of all kinds. Those of every kind but the hostile one pass their tests."""
    rng = random.Random(seed)
    for number in range(count):
        kind = rng.choices(list(KINDS), list(KINDS.values()))[0]
        if kind == "hostile":
            path = rng.choice(HOSTILE)
            identity = f"hostile {seed}-{number} {path.parent.name}/{path.stem}"
            yield hostile(identity, path, rng)
        else:
            yield honest(f"{kind} {seed}-{number}", kind, number)


def honest(identity: str, kind: str, number: int) -> Job:
    """A program that passes."""
    program = "def f(x):\n    return [x] * 3"
    constant = f"assert f({number}) == [{number}] * 3"
    judged = f"import math\nassert math.prod(f({number})) == {number}**3\nassert sorted(f(2)) == [2, 2, 2]"
    if kind == "stdin":
        test = json.dumps({"input": f"{number}\n1 2 3\n", "output": f"{number + 6}\n"})
        script = "x = int(input())\nprint(x + sum(map(int, input().split())))"
        return Job(identity, script, (test,), profile="stdin")
    tests = {"constant": (constant,), "judge": (judged,), "several": (constant, judged, constant, judged)}[kind]
    return Job(identity, program, tests, "f")


def hostile(identity: str, path: Path, rng: random.Random) -> Job:
    """A program that must not pass, with tests of one kind or of both; or a script, or a test, that must not."""
    source = path.read_text()
    if path.parent.name == "scripts":
        return Job(identity, source, (json.dumps({"input": "731\n", "output": "9731\n"}),), profile="stdin")
    if path.parent.name == "tests":
        return Job(identity, "def solve(x):\n    return 5 if x == 7 else x", (source, "assert solve(7) == 5"), "solve")
    return Job(identity, source, rng.choice((HOSTILE_TESTS[:1], HOSTILE_TESTS[1:], HOSTILE_TESTS)), "solve")


def below(pid: int) -> list[int]:
    """All processes under this one. Some end while they are counted."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split():
                found += [int(child), *below(int(child))]
    return found


def family(pid: int) -> dict[str, int]:
    """What this process and all under it hold."""
    total = {"processes": 0, "descriptors": 0, "rss_kib": 0}
    for one in (pid, *below(pid)):
        with contextlib.suppress(OSError):
            total["descriptors"] += len(os.listdir(f"/proc/{one}/fd"))
            total["rss_kib"] += rss(one)
            total["processes"] += 1
    return total


def rss(pid: int) -> int:
    """Resident memory of a process in KiB; 0 when it has gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024
    except OSError:
        return 0


if __name__ == "__main__":
    main()
