"""What EvalPlus' reference programs return and how long they take: computed in the sandbox, kept on the disk.

The results are pickles that judges read, in the sandbox: this process never does.
"""

import dataclasses
import hashlib
import importlib.metadata
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from acecoder_jax import store
from acecoder_jax.benchmarks import _evalplus_jailed
from acecoder_jax.sandbox import Job, Limits, Sandbox

JAILED = Path(_evalplus_jailed.__file__).read_text()  # run there as text, in judges too
MEMORY_BYTES = 4 << 30  # what EvalPlus gives a program
LIMITS = Limits(test_s=300.0, program_s=300.0, memory_bytes=MEMORY_BYTES, output_bytes=1 << 28)


@dataclasses.dataclass(frozen=True)
class Problem:
    """A problem of EvalPlus' and its inputs.

    reference: a whole program. inputs: by part, each the source of a list of argument lists, where `inf` and `nan` may
    stand. tolerance: 0 for none but that of floats. rule: see _evalplus_jailed.compare.
    """

    id: str
    entry_point: str
    reference: str
    inputs: Mapping[str, str]
    tolerance: float
    rule: str


@dataclasses.dataclass(frozen=True)
class Result:
    """Of one input. data: a pickle in base64, (the input, the result) or, of a large result, (the input,).

    has_result: which of the two. seconds: of CPU time. floats: whether it is compared with a tolerance.
    """

    data: str
    has_result: bool
    seconds: float
    floats: bool


Truth = dict[str, dict[str, list[Result]]]  # by the problem's id and part


def find(name: str, problems: Sequence[Problem]) -> Truth:
    """The results of all problems: from the user's cache, or else from running the references now.

    name: of the benchmark. ValueError for references that do not run to their end on all their inputs.
    """
    rows = [dataclasses.asdict(problem) for problem in problems]
    versions = [sys.version, importlib.metadata.version("numpy")]
    key = hashlib.sha256(json.dumps([*versions, JAILED, rows]).encode()).hexdigest()[:16]
    path = store.user_cache() / "evalplus" / f"{name}-{key}.json"
    if not path.exists():
        print(f"{name}: running {len(problems)} reference programs, for {path}", file=sys.stderr)
        store.write_text(path, json.dumps(_record(problems)))
    found = store.read_json(path)
    return {id: {part: [Result(*one) for one in told] for part, told in parts.items()} for id, parts in found.items()}


def _record(problems: Sequence[Problem]) -> dict[str, dict[str, list]]:
    """What `record` prints, by id."""
    with Sandbox(preload=("numpy",), limits=LIMITS, quiet=True) as sandbox:
        verdicts = {verdict.id: verdict for verdict in sandbox.score(map(_job, problems))}
    if failed := [problem.id for problem in problems if not verdicts[problem.id].passed]:
        verdict = verdicts[failed[0]]
        raise ValueError(
            f"{len(failed)} of {len(problems)} reference programs do not run on their inputs, the first of them "
            f"{failed[0]}: {verdict.statuses[0]}: {verdict.messages[0]}"
        )
    return {problem.id: json.loads(verdicts[problem.id].messages[0]) for problem in problems}


def _job(problem: Problem) -> Job:
    asked = {
        "program": problem.reference,
        "entry_point": problem.entry_point,
        "not_none": problem.rule == "not none",
        "inputs": dict(problem.inputs),
    }
    test = json.dumps({"input": json.dumps(asked), "record": True})
    return Job(problem.id, f"{JAILED}\n\nrecord()\n", (test,), profile="stdin")
