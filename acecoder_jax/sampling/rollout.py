"""From problems to scored completions: prompts, samples, programs, verdicts; scored while others still decode."""

import concurrent.futures
import dataclasses
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np

from acecoder_jax import hosts, prompts, store
from acecoder_jax.sampling.draw import SamplingParams
from acecoder_jax.sampling.engine import Engine, Request
from acecoder_jax.sampling.noise import stable_hash
from acecoder_jax.sandbox import Job, Sandbox
from acecoder_jax.scoring import pass_at_k
from acecoder_jax.stops import Stopped
from acecoder_jax.types import Completion, Problem, Record, Verdict

T = TypeVar("T", bound=Record)

LOOK_S = 0.2  # between looks at whether to go on waiting for verdicts

# How a policy is asked and where its program stands, by the kind of policy.
STYLES: dict[str, str | None] = {"chat": None, "r1": prompts.R1_SYSTEM_PROMPT}


@dataclasses.dataclass(frozen=True)
class Scored:
    """A completion and what the sandbox found of its program. score: what a reward model says of it, where one does."""

    completion: Completion
    verdict: Verdict
    score: float | None = None

    def to_json(self) -> dict[str, Any]:
        """As `from_json` takes it back."""
        row = {"completion": self.completion.to_json(), "verdict": self.verdict.to_json()}
        return row if self.score is None else row | {"score": self.score}

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> "Scored":
        """What `to_json` gave."""
        return cls(Completion.from_json(row["completion"]), Verdict.from_json(row["verdict"]), row.get("score"))


def prompt_tokens(tokenizer: Any, problem: Problem, style: str) -> tuple[int, ...]:
    """The prompt of a problem. style: "chat" (the bare question) or "r1" (think, then answer: for base models)."""
    if style not in STYLES:
        raise ValueError(f"unknown prompt style {style!r}; there are {list(STYLES)}")
    messages = prompts.chat(problem.question, system=STYLES[style])
    return tuple(prompts.render_chat(tokenizer, messages, add_generation_prompt=True))


def program_of(text: str, style: str) -> str:
    """The program in a reply; in the style "r1" it is looked for in the answer block alone."""
    return prompts.extract_code(prompts.extract_answer(text) if style == "r1" else text)


def split_by_length(
    problems: Sequence[Problem], tokenizer: Any, style: str, max_prompt_tokens: int
) -> tuple[list[Problem], list[str]]:
    """The problems whose prompt fits, and the ids of those whose prompt is longer than max_prompt_tokens."""
    fits = {problem.id: len(prompt_tokens(tokenizer, problem, style)) <= max_prompt_tokens for problem in problems}
    return [p for p in problems if fits[p.id]], [p.id for p in problems if not fits[p.id]]


def problems_at(problems: Sequence[Problem], count: int, seed: int, rollout: int) -> list[Problem]:
    """The prompts of a rollout, a function of (seed, rollout): each epoch shuffles anew and leaves out its remainder.

    ValueError when there are fewer problems than one rollout takes.
    """
    per_epoch = len(problems) // count
    if per_epoch == 0:
        raise ValueError(f"a rollout takes {count} problems, but there are only {len(problems)}")
    epoch, index = divmod(rollout, per_epoch)
    seed_words = np.frombuffer(stable_hash(seed, "order", epoch, size=16), np.uint32)
    order = np.random.default_rng(seed_words).permutation(len(problems))
    return [problems[i] for i in order[index * count : (index + 1) * count]]


@dataclasses.dataclass(frozen=True)
class Drawn:
    """Completions in the order of problems and samples, and the verdicts of this process's share, some still to come.

    name: by which the processes of a run exchange the verdicts; samples: of each problem.
    """

    completions: list[Completion]
    verdicts: list[Future[Verdict]]
    name: str
    samples: int

    def scored(self, check: Callable[[], None] = lambda: None) -> list[Scored]:
        """Waits for the verdicts. check: called while it waits; what it raises ends the waiting."""

        def mine() -> list[Verdict]:
            for future in self.verdicts:
                while not concurrent.futures.wait([future], timeout=LOOK_S).done:
                    check()
            return [future.result() for future in self.verdicts]

        verdicts = of_all(f"verdicts of {self.name}", Verdict, mine, self.samples, check)
        return [Scored(one, verdict) for one, verdict in zip(self.completions, verdicts, strict=True)]


def of_all(name: str, kind: type[T], mine: Callable[[], list[T]], samples: int, check: Callable[[], None]) -> list[T]:
    """What all processes have made of their shares of the problems, each in turn. Stopped where one of them has been.

    name: by which they exchange it. mine: makes this one's. samples: records of each problem.
    """
    try:
        made = mine()
    except Stopped:
        hosts.withhold(name)
        raise
    if jax.process_count() == 1:
        return made
    parts = hosts.exchange(name, [one.to_json() for one in made], check)
    return hosts.merge([[kind.from_json(row) for row in part] for part in parts], samples)


def draw(
    engine: Engine,
    sandbox: Sandbox,
    problems: Sequence[Problem],
    *,
    samples: int,
    sampling: SamplingParams,
    purpose: str,
    rollout: int = 0,
    style: str = "chat",
    check: Callable[[], None] = lambda: None,
) -> Drawn:
    """`samples` completions of each problem; returns as soon as the last one is written.

    A program goes to the sandbox as soon as it is written, while others still decode. A verdict that is infra after
    the sandbox's own retries stays infra. check: called between steps of the engine; what it raises ends the decoding.
    ValueError for a prompt that the engine refuses.

    Each process of a run draws and scores its share of the problems; all of them return everything. Where one is
    stopped, all are.
    """
    if len({problem.id for problem in problems}) < len(problems):
        raise ValueError("two problems of a rollout have the same id: their samples would be the same")
    verdicts: list[Future[Verdict]] = []

    def mine() -> list[Completion]:
        drawn = _draw_share(
            engine, sandbox, hosts.share(problems), samples=samples, sampling=sampling, purpose=purpose,
            rollout=rollout, style=style, check=check,
        )  # fmt: skip
        verdicts.extend(verdict for _, verdict in drawn)
        return [completion for completion, _ in drawn]

    name = f"{purpose} {rollout}"
    return Drawn(of_all(f"completions of {name}", Completion, mine, samples, check), verdicts, name, samples)


def _draw_share(
    engine: Engine, sandbox: Sandbox, problems: Sequence[Problem], *, samples: int, sampling: SamplingParams,
    purpose: str, rollout: int, style: str, check: Callable[[], None],
) -> list[tuple[Completion, Future[Verdict]]]:  # fmt: skip
    """`draw` in one process."""
    by_id = {problem.id: problem for problem in problems}
    requests = [
        Request(problem.id, tokens, sampling, sample, rollout)
        for problem in problems
        for tokens in [prompt_tokens(engine.tokenizer, problem, style)]
        for sample in range(samples)
    ]
    pending: dict[str, tuple[Completion, Future[Verdict]]] = {}
    for completion in engine.generate(requests, purpose, check):
        if completion.error:
            raise ValueError(completion.error)
        problem = by_id[completion.problem_id]
        job = Job(
            id=completion.id,
            program=program_of(completion.text, style),
            tests=problem.tests,
            entry_point=problem.entry_point,
            setup=problem.setup,
        )
        pending[completion.id] = (completion, sandbox.submit(job))
    return [pending[f"{request.problem_id}/{request.sample}"] for request in requests]


def sample_and_score(
    engine: Engine,
    sandbox: Sandbox,
    problems: Sequence[Problem],
    *,
    check: Callable[[], None] = lambda: None,
    **how: Any,
) -> list[Scored]:
    """`draw`, and the verdicts."""
    return draw(engine, sandbox, problems, check=check, **how).scored(check)


def path_of(folder: Path, number: int) -> Path:
    """Where a rollout is written."""
    return folder / f"{number:06d}.jsonl"


def save(path: Path, scored: Sequence[Scored], said: dict[str, Any]) -> None:
    """Writes a rollout, whole or not at all: a row of what there is to say about it, then a row a sample."""
    store.write_jsonl(path, [said, *(one.to_json() for one in scored)])


def about(path: Path) -> dict[str, Any]:
    """What there is to say about a saved rollout."""
    return next(store.stream_jsonl(path))


def drawn_under(path: Path, config: str) -> bool:
    """Whether there is a saved rollout of this config (its digest)."""
    return path.exists() and about(path)["config"] == config


def load(path: Path) -> tuple[dict[str, Any], list[Scored]]:
    """A rollout as it was saved: (about, samples)."""
    said, *rows = store.read_jsonl(path)
    return said, [Scored.from_json(row) for row in rows]


def evaluate(
    engine: Engine,
    sandbox: Sandbox,
    problems: Sequence[Problem],
    *,
    samples: int,
    max_new_tokens: int,
    style: str = "chat",
    purpose: str = "evaluate",
    check: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """Greedy pass@1, and pass@k of k = `samples` samples at temperature 1 (left out below 2 samples).

    Samples whose sandbox broke are left out of the counts. The noise is the same at every call, so two policies are
    compared on the same draws. check: called while it works; what it raises ends it.
    """
    scores: dict[str, float] = {}
    for k, temperature in ((1, 0.0), (samples, 1.0)):
        if temperature > 0 and k < 2:
            continue  # nothing to sample, or a second pass@1
        sampling = SamplingParams(temperature=temperature, max_new_tokens=max_new_tokens)
        scored = sample_and_score(
            engine, sandbox, problems, samples=k, sampling=sampling, purpose=purpose, style=style, check=check
        )
        by_problem: dict[str, list[bool]] = {}
        for one in scored:
            if not one.verdict.infra:
                by_problem.setdefault(one.completion.problem_id, []).append(one.verdict.passed)
        rates = [pass_at_k(len(passed), sum(passed), min(k, len(passed))) for passed in by_problem.values()]
        if not rates:
            raise ValueError("the sandbox broke on every program of an evaluation; see what its workers print")
        scores[f"pass@{k}"] = float(np.mean(rates))
    return scores
