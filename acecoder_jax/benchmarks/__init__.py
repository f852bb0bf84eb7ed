"""Benchmarks: problems, how a model is asked, where its program stands, what judges it. One file each, by name.

    bench = benchmarks.make("humaneval", path="HumanEval.jsonl.gz")
    for task in bench.tasks:
        prompt = bench.prompt(task, "chat")
        ...                                     # a model goes on from it: reply
        jobs = task.jobs(bench.program(task, reply), name)

A benchmark's file has make(**knobs) -> Benchmark.
"""

import dataclasses
import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from acecoder_jax import plugins
from acecoder_jax.sandbox import Job, Limits
from acecoder_jax.types import Verdict

KINDS = ("chat", "base")  # models that take turns, and models that go on from a text


@dataclasses.dataclass(frozen=True)
class Part:
    """Tests of a task that are counted together, such as EvalPlus' "base" and "plus". The fields are those of Job.

    wrap: what is run for a program, where that is not the program as it is. below: what stands below it where it runs,
    in its own process: what the tests call it by. timed: whether its time limits are of what a reference took on this
    machine, so that elsewhere they are others.
    """

    tests: tuple[str, ...]
    setup: str = ""
    entry_point: str | None = None
    profile: str = "grading"
    limits: Limits | None = None
    wrap: Callable[[str], str] | None = None
    below: str = ""
    timed: bool = False

    def job(self, name: str, program: str) -> Job:
        """For the sandbox."""
        whole = self.wrap(program) if self.wrap else program
        whole = f"{whole}\n\n{self.below}" if self.below else whole
        return Job(name, whole, self.tests, self.entry_point, self.setup, self.profile, self.limits)


@dataclasses.dataclass(frozen=True)
class Task:
    """A problem of a benchmark.

    id: as the benchmark itself names it ("HumanEval/0", "Mbpp/2"). statement: what the model is to read, as the
    benchmark gives it: the beginning of a program, or a text. parts: what judges an answer, by name.
    solution: the reference program, whole, where there is one. fields: what else the benchmark's own files say of it,
    for its `prompt` and `official`. digest: of what its parts are made from (tests,
    limits, the code around a program), where reading them takes long ("": it does not, and they speak for themselves).
    """

    id: str
    statement: str
    parts: Mapping[str, Part]
    solution: str = ""
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    digest: str = ""

    def jobs(self, program: str, name: str) -> dict[str, Job]:
        """For the sandbox, by part. name: of the answer; the jobs are called `<name>/<part>`."""
        return {part: one.job(f"{name}/{part}", program) for part, one in self.parts.items()}


@dataclasses.dataclass(frozen=True)
class Prompt:
    """How a model is asked. messages: a chat's turns; () for a model that goes on from `start` alone.

    start: how the reply begins; it is part of the text that `Benchmark.program` reads. stop: what ends the reply.
    """

    messages: tuple[Mapping[str, str], ...]
    start: str = ""
    stop: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Answer:
    """A model's answer to a task, for the official files. reply: with the prompt's start; program: found in it."""

    task: str
    sample: int
    reply: str
    program: str


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """tasks: in the benchmark's own order. scores: what is reported, each with the parts that have to pass together.

    prompt(task, kind): kind is one of KINDS. program(task, reply): what is run. official(folder, answers): writes the
    files that the benchmark's own package scores, and returns the path that it is given.
    sandbox: what the sandbox has to be made with: `preload`, `allow_inside`, `limits` (a dict of Limits' fields).
    """

    name: str
    tasks: tuple[Task, ...]
    scores: Mapping[str, tuple[str, ...]]
    prompt: Callable[[Task, str], Prompt]
    program: Callable[[Task, str], str]
    official: Callable[[Path, Sequence[Answer]], Path]
    sandbox: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def passed(self, verdicts: Mapping[str, Verdict]) -> dict[str, bool]:
        """Score by score, whether an answer passes, of the verdicts on all parts of its task."""
        return {score: all(verdicts[part].passed for part in parts) for score, parts in self.scores.items()}


def make(name: str, **knobs: Any) -> Benchmark:
    """The benchmark of a name. ValueError for an unknown name or knob; it lists those that exist."""
    if name not in (names := plugins.names(__path__)):
        raise ValueError(f"unknown benchmark {name!r}; acecoder_jax/benchmarks has {', '.join(names)}")
    module = importlib.import_module(f"{__name__}.{name}")
    return plugins.call(f"the benchmark {name!r}", module.make, knobs)


def make_entry(entry: Mapping[str, Any], key: str) -> Benchmark:
    """`make` of an entry of the list config.KEY: {"name": ..., **knobs}. ValueError for one without a name."""
    if "name" not in entry:
        raise ValueError(f"config.{key}: the entry {dict(entry)} has no 'name'")
    return make(**entry)
