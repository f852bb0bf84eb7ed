"""What filter and sample cost beyond the sandbox: 1,000 questions x 16 programs x 16 tests, all replies at hand.

    python bench/data.py [--questions=1000] [--programs=16] [--tests=16] [--rounds=3] [--workers=0]

Both stages run whole, from the questions' file to the last table, with a writer that answers at once. In turn with them
the sandbox alone judges the same jobs, start included. Bookkeeping is all that a stage takes beyond that: in seconds,
medians of the rounds, and in seconds of CPU, of all processes, which other work on the machine changes less. The last
line is JSON.
"""

import argparse
import contextlib
import dataclasses
import io
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self
from unittest import mock

from ml_collections import ConfigDict

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from acecoder_jax import prompts, store, writers
from acecoder_jax.sandbox import Job, Limits, Sandbox
from acecoder_jax.stages import filter as filtering
from acecoder_jax.stages import sample
from acecoder_jax.store import Row
from acecoder_jax.types import Status
from acecoder_jax.writers import Reply, Request
from configs import filter as filter_config
from configs import sample as sample_config

# As long as programs of such datasets are, with a docstring and more than one function; {skew} makes some wrong.
PROGRAM = '''from collections import defaultdict


def split(values, width):
    """The values in groups of `width`; the last one may be shorter."""
    return [values[start : start + width] for start in range(0, len(values), width)]


def {name}(values, width):
    """
    Sums of the groups of a list, counted by their remainder.

    Args:
        values (list of int): what to group.
        width (int): how many values are in a group.

    Returns:
        list: pairs of a remainder and how often it came up, in order.
    """
    # Variant {variant}: counts first, then puts the remainders in order.
    counts = defaultdict(int)
    for group in split(values, width):
        total = sum(group) + {skew}
        counts[total % {modulus}] += 1
    return [[remainder, counts[remainder]] for remainder in sorted(counts)]
'''
AFTER = "\n```\n\nThe function groups the values, adds each group up and counts the remainders. It takes linear time."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=1000)
    parser.add_argument("--programs", type=int, default=16)
    parser.add_argument("--tests", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=0, help="of the sandbox; 0: one a core")
    flags = parser.parse_args()
    rows = [question(number, flags.tests) for number in range(flags.questions)]
    result: dict[str, Any] = {"questions": flags.questions, "tests": flags.tests, "cores": os.cpu_count()}
    for name, programs in (("filter", 1), ("sample", flags.programs)):
        result |= {
            f"{name}_{key}": value for key, value in measure(name, rows, programs, flags.rounds, flags.workers).items()
        }
    print(json.dumps(result))


def measure(name: str, rows: list[Row], programs: int, rounds: int, workers: int) -> dict[str, float]:
    """What the stage takes, and the sandbox alone."""
    config = stage_config(name, programs, workers)
    limits = Limits(**config.limits)
    jobs = [
        Job(f"{row['id']}|{k}", program(row["number"], k), tuple(row["test_cases"]), row["entry_point"])
        for row in rows
        for k in range(programs)
    ]
    found: dict[str, list[Taken]] = {"sandbox": [], "stage": []}
    for _ in range(rounds):
        found["sandbox"].append(sandbox_alone(jobs, limits, workers))
        found["stage"].append(stage(name, config, rows))
        print(f"{name}: " + ", ".join(f"{what} {took[-1].s:.2f} s" for what, took in found.items()), file=sys.stderr)
    if len({took.passes for rounds_of in found.values() for took in rounds_of}) > 1:
        raise SystemExit(f"{name}: not as many tests passed each time: {found}")
    s, cpu_s, sandbox_s, sandbox_cpu_s = (
        statistics.median(getattr(took, key) for took in found[what])
        for what in ("stage", "sandbox")
        for key in ("s", "cpu_s")
    )
    return {
        "programs": programs, "questions_per_s": round(len(rows) / s, 2), "programs_per_s": round(len(jobs) / s, 1),
        "s": round(s, 3), "sandbox_s": round(sandbox_s, 3), "bookkeeping_share": round(1 - sandbox_s / s, 4),
        "cpu_s": round(cpu_s, 3), "sandbox_cpu_s": round(sandbox_cpu_s, 3),
        "bookkeeping_cpu_share": round(1 - sandbox_cpu_s / cpu_s, 4),
    }  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Taken:
    """Seconds, seconds of CPU of this process and those that it waited for, and how many tests passed."""

    s: float
    cpu_s: float
    passes: int


def clock() -> tuple[float, float]:
    times = os.times()
    return time.perf_counter(), times.user + times.system + times.children_user + times.children_system


def sandbox_alone(jobs: list[Job], limits: Limits, workers: int) -> Taken:
    start, cpu = clock()
    with Sandbox(workers=workers, limits=limits, quiet=True) as sandbox:
        passes = sum(verdict.statuses.count(Status.PASS) for verdict in sandbox.score(jobs))
    end, cpu_end = clock()
    return Taken(end - start, cpu_end - cpu, passes)


def stage(name: str, config: ConfigDict, rows: list[Row]) -> Taken:
    run = {"filter": filtering.run, "sample": sample.run}[name]
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(writers, "make", Ready):
        workdir = Path(folder)
        config.questions = str(workdir / "questions.jsonl")
        store.write_jsonl(config.questions, rows)
        start, cpu = clock()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            run(config, workdir / "run")
        end, cpu_end = clock()
        if name == "sample":
            passes = sum(row["passed"] for row in store.stream_jsonl(workdir / "run" / "programs.jsonl"))
        else:
            judged = store.stream_jsonl(workdir / "run" / "oracle.jsonl")
            passes = sum(one["statuses"].count("pass") for row in judged for one in row["programs"])
    return Taken(end - start, cpu_end - cpu, passes)


def stage_config(name: str, programs: int, workers: int) -> ConfigDict:
    config = filter_config.get_config("recipe") if name == "filter" else sample_config.get_config("recipe")
    config.sandbox.workers = workers
    if name == "sample":
        config.samples = programs
    return config


class Ready:
    """A writer that has all replies at hand. It is `writers.make` too."""

    model = "ready"

    def __init__(self, _: str, **knobs: Any):
        pass

    def write(self, requests: Iterable[Request]) -> Iterator[Reply]:
        """A reply to each at once."""
        for request in requests:
            number, k = request.key.split("|")
            text = prompts.PROGRAM_START + program(int(number[1:]), int(k)) + AFTER
            yield Reply(request.key, text, "stop")

    def close(self) -> None:
        """There is nothing to give back."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        pass


# ---- questions and programs


def question(number: int, tests: int) -> Row:
    """A question with its right tests."""
    space: dict[str, Any] = {}
    exec(program(number, 0), space)
    name = f"grouped_{number}"
    asserts = []
    for k in range(tests):
        values = [(number * 7 + k * 13 + i * i) % 97 for i in range(4 + k)]
        asserts.append(f"assert {name}({values}, {k % 4 + 1}) == {space[name](values, k % 4 + 1)}")
    text = (
        f"Write {name}(values, width): group the list, add each group up, count the sums by remainder of {number + 2}."
    )
    row = {"id": f"q{number:06}", "number": number, "source": "bench", "question": text, "test_cases": asserts}
    return row | {"entry_point": name, "n_tests_all": tests + 2}


def program(number: int, variant: int) -> str:
    """The right one for even variants, else one that is wrong about some tests."""
    text = PROGRAM.format(name=f"grouped_{number}", variant=variant, skew=variant % 2, modulus=number + 2)
    return text.strip("\n")


if __name__ == "__main__":
    main()
