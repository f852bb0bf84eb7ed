"""An answer of an evaluation: how it is asked for, its id, and its row in answers.jsonl."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from acecoder_jax import prompts
from acecoder_jax.benchmarks import Answer, Benchmark, Part, Task
from acecoder_jax.sandbox import Limits
from acecoder_jax.stages import _writing
from acecoder_jax.stages._judging import Judged
from acecoder_jax.store import Row
from acecoder_jax.writers import Request

STYLES = ("chat", "r1", "base")
GREEDY = -1  # the number of a problem's greedy answer beside its samples


class Source(Protocol):
    """Where answers come from, beside the writer that gives the replies."""

    def request(self, bench: Benchmark, task: Task, sample: int) -> Request:
        """For the sample-th answer to a task; its key is the answer's id."""
        ...

    def program(self, bench: Benchmark, task: Task, key: str, reply: str) -> str:
        """What is run of the reply to the request of this key."""
        ...

    def digest(self, bench: Benchmark, task: Task) -> str:
        """A short digest of how an answer to the task is asked for and read; "" where nobody is asked."""
        ...


@dataclasses.dataclass(frozen=True)
class Asking:
    """How a model is asked.

    style: "chat" as the benchmark asks chat models, "base" as it asks models that go on from a text, "r1" its chat with
    the R1-style system prompt, and the program looked for in the answer block. begins: whether the writer can begin the
    reply for the model; where it cannot, a chat's reply is neither begun nor stopped.
    """

    style: str
    temperature: float
    top_p: float
    max_tokens: int
    seed: int
    begins: bool = True

    def __post_init__(self) -> None:
        if self.style not in STYLES:
            raise ValueError(f"config.style is one of {', '.join(STYLES)}, not {self.style!r}")

    def request(self, bench: Benchmark, task: Task, sample: int) -> Request:
        """For the sample-th answer to a task; without noise for the one of the number GREEDY."""
        prompt = bench.prompt(task, "base" if self.style == "base" else "chat")
        messages = tuple(prompt.messages)
        if self.style == "r1":
            messages = ({"role": "system", "content": prompts.R1_SYSTEM_PROMPT}, *_without_system(messages))
        begun = not messages or (self.begins and self.style != "r1")
        name = answer_id(bench, task.id, sample)
        temperature = 0.0 if sample == GREEDY else self.temperature
        seed = _writing.request_seed(self.seed, "evaluate", name) if temperature > 0 else None
        return Request(
            key=name, messages=messages, temperature=temperature, top_p=self.top_p, max_tokens=self.max_tokens,
            seed=seed, prefix=prompt.start if begun else "", stop=prompt.stop if begun else (),
        )  # fmt: skip

    def program(self, bench: Benchmark, task: Task, key: str, reply: str) -> str:
        """What is run of the reply to the request of this key."""
        return bench.program(task, prompts.extract_answer(reply) if self.style == "r1" else reply)

    def digest(self, bench: Benchmark, task: Task) -> str:
        """A short digest of what the model is asked, and of what its program is found by."""
        asked = self.request(bench, task, GREEDY)
        return _short([[dict(one) for one in asked.messages], asked.prefix, asked.stop, dict(task.fields)])


def _without_system(messages: Sequence[Mapping[str, str]]) -> Iterator[Mapping[str, str]]:
    return (message for message in messages if message["role"] != "system")


def answer_id(bench: Benchmark, task: str, sample: int) -> str:
    """Of a row: "humaneval|HumanEval/0|0"."""
    return f"{bench.name}|{task}|{sample}"


@dataclasses.dataclass(frozen=True)
class Digests:
    """Of a task. tests: of what judges an answer, its tests and their limits. asked: see `Source.digest`."""

    tests: str
    asked: str


def judging(bench: Benchmark, task: Task) -> str:
    """A short digest of the tests that judge an answer to the task, with their limits: its own, where it has one."""
    if task.digest:
        return task.digest
    parts = {
        name: (part.tests, part.setup, part.entry_point, part.profile, part.below, _limits(bench, part))
        for name, part in task.parts.items()
    }
    return _short(parts)


def _limits(bench: Benchmark, part: Part) -> dict[str, float | None]:
    """Those that say something about the tests, and not about the machine."""
    limits = dataclasses.asdict(part.limits or Limits(**bench.sandbox.get("limits", {})))
    return {name: value for name, value in limits.items() if not (part.timed and name.endswith("_s"))}


def _short(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def to_row(bench: Benchmark, task: Task, sample: int, found: Judged, digests: Digests) -> Row:
    """Of answers.jsonl; of rejected.jsonl, with a reason, where there is no answer or no verdict."""
    row: Row = {"id": answer_id(bench, task.id, sample), "benchmark": bench.name, "task": task.id, "sample": sample}
    if found.reason:
        return row | {"reason": found.reason, "detail": found.detail}
    return row | {
        "passed": bench.passed(found.verdicts),
        "message": found.detail, "finish": found.reply.finish, "tokens": found.reply.completion_tokens,
        "reply": found.reply.text, "program": found.program, "tests": digests.tests,
        "asked": digests.asked,
        "statuses": {part: [one.value for one in verdict.statuses] for part, verdict in found.verdicts.items()},
        "modes": {part: verdict.mode for part, verdict in found.verdicts.items()},
    }  # fmt: skip


def to_answer(row: Row) -> Answer:
    """For the benchmark's official files."""
    return Answer(row["task"], row["sample"], row["reply"], row["program"])
