"""Benchmarks that a policy answers while it is trained, with the engine that draws its rollouts."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from acecoder_jax import benchmarks, hosts
from acecoder_jax.benchmarks import Benchmark, Task
from acecoder_jax.sampling import rollout as rollouts
from acecoder_jax.sampling.engine import Engine
from acecoder_jax.sandbox import Limits, Sandbox
from acecoder_jax.stages import _judging
from acecoder_jax.stages._answers import Asking, answer_id
from acecoder_jax.types import Record
from acecoder_jax.writers import Reply, Request, local


@dataclasses.dataclass(frozen=True)
class Answered(Record):
    """Whether the answer to a task passes, score by score, in their order; () where there is no answer or verdict."""

    task: str
    passed: tuple[bool, ...]


@dataclasses.dataclass(frozen=True)
class InLoop:
    """Greedy answers after every `every`-th rollout; 0: never. sandbox: the other arguments of each one's Sandbox."""

    every: int
    benches: tuple[tuple[Benchmark, tuple[Task, ...]], ...]
    asking: Asking
    sandbox: Mapping[str, Any]

    def due(self, rollouts_done: int) -> bool:
        """Whether to evaluate now."""
        return self.every > 0 and rollouts_done % self.every == 0

    def scores(self, engine: Engine, check: Callable[[], None] = lambda: None) -> dict[str, float]:
        """{"eval_humaneval": greedy pass@1, ..., "eval_missing": answers that are in none}, with the engine's weights.

        Each process of a run answers its share; all of them return everything. check: called while it works; what it
        raises ends it.
        """
        row: dict[str, float] = {"eval_missing": 0.0}
        for bench, tasks in self.benches:
            answered = rollouts.of_all(
                f"evaluation of {bench.name}", Answered,
                functools.partial(self._share, bench, hosts.share(tasks), engine, check), 1, check,
            )  # fmt: skip
            judged = [one.passed for one in answered if one.passed]
            row["eval_missing"] += len(answered) - len(judged)
            for number, score in enumerate(bench.scores):
                values = [passed[number] for passed in judged]
                row[f"eval_{score}"] = float(np.mean(values)) if values else float("nan")
        return row

    def _share(
        self, bench: Benchmark, tasks: Sequence[Task], engine: Engine, check: Callable[[], None]
    ) -> list[Answered]:
        """In one process, in the order of the tasks."""
        wants = dict(bench.sandbox)
        passed: dict[str, tuple[bool, ...]] = {}
        with Sandbox(limits=Limits(**wants.pop("limits", {})), quiet=True, **self.sandbox, **wants) as sandbox:
            for found in _judging.judge(
                Hand(engine, check), sandbox, ((self.asking.request(bench, task, 0), task) for task in tasks),
                lambda task, text: self.asking.program(bench, task, answer_id(bench, task.id, 0), text),
                lambda task, program: task.jobs(program, answer_id(bench, task.id, 0)),
                check,
            ):  # fmt: skip
                passed[found.one.id] = () if found.reason else tuple(bench.passed(found.verdicts).values())
        return [Answered(task.id, passed[task.id]) for task in tasks]


@dataclasses.dataclass(frozen=True)
class Hand:
    """An engine that others use too, as a writer. check: see `Engine.generate`."""

    engine: Engine
    check: Callable[[], None]

    def write(self, requests: Iterable[Request]) -> Iterator[Reply]:
        """A reply for each request as it finishes; an error for one that the engine refuses, such as a long prompt."""
        asked = {request.key: request for request in requests}
        wanted = [local.to_engine(self.engine.tokenizer, request) for request in asked.values()]
        for completion in self.engine.generate(wanted, "evaluate", self.check):
            yield local.to_reply(asked[completion.problem_id], completion)


def make(
    *, every: int, benchmarks_wanted: Sequence[Mapping[str, Any]], first: int, style: str, max_new_tokens: int,
    seed: int, sandbox: Mapping[str, Any],
) -> InLoop:  # fmt: skip
    """benchmarks_wanted: each with a name and arguments of `benchmarks.make`. first: problems of each; 0: all.

    Nothing is loaded where `every` is 0. ValueError for a benchmark without a name, and for two that share a score.
    """
    found = []
    for entry in benchmarks_wanted if every else ():
        bench = benchmarks.make_entry(entry, "eval.benchmarks")
        found.append((bench, bench.tasks[: first or None]))
    scores = [score for bench, _ in found for score in bench.scores]
    if twice := sorted({score for score in scores if scores.count(score) > 1}):
        raise ValueError(f"config.eval.benchmarks: two of them have the score {', '.join(twice)}")
    asking = Asking(style, 0.0, 1.0, max_new_tokens, seed)
    return InLoop(every, tuple(found), asking, dict(sandbox))
