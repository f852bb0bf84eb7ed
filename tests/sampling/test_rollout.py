"""Problems to scored completions, with an engine and a sandbox that do as they are told."""

import dataclasses
import types
from concurrent.futures import Future
from typing import Any

import pytest

from acecoder_jax import prompts
from acecoder_jax.sampling import rollout
from acecoder_jax.sampling.draw import SamplingParams
from acecoder_jax.types import Completion, Problem, Status, Verdict

PROBLEMS = [Problem(f"toy/{i}", f"Write f{i}.", (f"assert f{i}() == {i}",), f"f{i}", "import math") for i in range(3)]


class FakeEngine:
    """Answers requests last to first; the reply is a program that returns the sample's number."""

    def __init__(self, tokenizer: Any):
        self.tokenizer = tokenizer
        self.log: list[str] = []
        self.asked: list[tuple[str, list]] = []

    def update(self, params: Any) -> None:
        self.log.append(f"took {params}")

    def generate(self, requests: list, purpose: str, check: Any = lambda: None):
        self.asked.append((purpose, requests))
        for request in reversed(requests):
            check()
            self.log.append(f"decoded {request.problem_id}/{request.sample}")
            text = f"Sure:\n```python\nreturn {request.sample}\n```\n"
            yield Completion(
                request.problem_id, request.sample, request.rollout, request.prompt_tokens, (1, 2), (-0.1, -0.2),
                (-0.1, -0.2), (1, 1), text, "stop",
            )  # fmt: skip


class FakeSandbox:
    """Judges nothing until it has `expected` jobs, then each at once. status: job id -> what its one test says."""

    def __init__(self, log: list[str], expected: int, status: Any = lambda name: Status.PASS):
        self.log, self.expected, self.status = log, expected, status
        self.jobs: list[tuple[Any, Future]] = []

    def submit(self, job: Any) -> Future:
        self.log.append(f"submitted {job.id}")
        self.jobs.append((job, Future()))
        if len(self.jobs) >= self.expected:
            for submitted, future in self.jobs:
                if not future.done():
                    future.set_result(Verdict(submitted.id, (self.status(submitted.id),)))
        return self.jobs[-1][1]


@pytest.fixture
def engine(words):
    return FakeEngine(words)


def test_the_prompt_of_each_style(words):
    bare = rollout.prompt_tokens(words, PROBLEMS[0], "chat")
    assert words.decode(bare) == "<|im_start|>user\nWrite f0.<|im_end|>\n<|im_start|>assistant\n"
    thinking = words.decode(rollout.prompt_tokens(words, PROBLEMS[0], "r1"))
    assert thinking == f"<|im_start|>system\n{prompts.R1_SYSTEM_PROMPT}<|im_end|>\n{words.decode(bare)}"
    with pytest.raises(ValueError, match=r"unknown prompt style 'R1'; there are \['chat', 'r1'\]"):
        rollout.prompt_tokens(words, PROBLEMS[0], "R1")


def test_the_program_in_a_reply():
    reply = "<think>\n```python\nwrong\n```\n</think><answer>\n```python\nright\n```\n</answer> Or ```python\nelse\n```"
    assert rollout.program_of(reply, "r1") == "right"
    assert rollout.program_of("First:\n```python\na = 1\n```\nthen:\n```python\nb = 2\n```", "chat") == "b = 2"


def test_problems_with_long_prompts_are_named(words):
    long = dataclasses.replace(PROBLEMS[1], question="Write a function. " * 30)
    problems = [PROBLEMS[0], long, PROBLEMS[2]]
    limit = len(rollout.prompt_tokens(words, PROBLEMS[0], "chat"))
    assert rollout.split_by_length(problems, words, "chat", limit) == ([PROBLEMS[0], PROBLEMS[2]], ["toy/1"])
    assert rollout.split_by_length(problems, words, "chat", limit - 1)[0] == []


class TestProblemsAt:
    POOL = tuple(Problem(str(i), "", ()) for i in range(10))

    def at(self, step: int, seed: int = 0) -> list[int]:
        return [int(problem.id) for problem in rollout.problems_at(self.POOL, 3, seed, step)]

    def test_an_epoch_has_each_problem_once_and_leaves_out_the_remainder(self):
        for epoch in range(4):
            taken = [i for step in range(3 * epoch, 3 * epoch + 3) for i in self.at(step)]
            assert len(taken) == len(set(taken)) == 9
        left_out = {sum(range(10)) - sum(sum(self.at(step)) for step in range(3 * e, 3 * e + 3)) for e in range(8)}
        assert len(left_out) > 1  # not always the same one

    def test_the_order_is_a_function_of_seed_and_rollout(self):
        assert self.at(4) == self.at(4)
        epochs = [[self.at(step, seed) for step in range(e, e + 3)] for e in (0, 3, 6) for seed in range(3)]
        assert len(set(map(str, epochs))) == 9
        assert [self.at(step) for step in range(4)] == [
            [4, 7, 2],
            [6, 8, 0],
            [5, 9, 1],
            [3, 1, 2],
        ]  # a resume meets them again

    def test_too_few_problems(self):
        with pytest.raises(ValueError, match="a rollout takes 11 problems, but there are only 10"):
            rollout.problems_at(self.POOL, 11, 0, 0)
        assert len(rollout.problems_at(self.POOL, 10, 0, 7)) == 10


def test_each_program_is_submitted_as_soon_as_it_is_written(engine):
    sandbox: Any = FakeSandbox(engine.log, expected=6)
    sampling = SamplingParams(max_new_tokens=8)
    scored = rollout.sample_and_score(
        engine, sandbox, PROBLEMS, samples=2, sampling=sampling, purpose="rollout", rollout=4
    )  # fmt: skip
    # in the order of problems and samples, though decoded the other way round
    assert [one.completion.id for one in scored] == [f"toy/{i}/{sample}" for i in range(3) for sample in range(2)]
    assert all(one.verdict.id == one.completion.id for one in scored)
    names = [one.completion.id for one in reversed(scored)]
    assert engine.log == [f"{what} {name}" for name in names for what in ("decoded", "submitted")]
    ((purpose, requests),) = engine.asked
    assert purpose == "rollout"
    assert {(request.rollout, request.sampling, request.turn) for request in requests} == {(4, sampling, 0)}
    assert requests[2].prompt_tokens == rollout.prompt_tokens(engine.tokenizer, PROBLEMS[1], "chat")
    job, _ = sandbox.jobs[0]
    assert (job.id, job.program, job.tests, job.entry_point, job.setup) == (
        "toy/2/1", "return 1", ("assert f2() == 2",), "f2", "import math",
    )  # fmt: skip


def test_the_style_reaches_prompt_and_program(engine):
    sandbox: Any = FakeSandbox([], expected=1)
    engine.generate = lambda requests, purpose, check: [
        Completion("toy/0", 0, 0, requests[0].prompt_tokens, (1,), (0.0,), (0.0,), (1,), "<answer>x</answer> y", "stop")
    ]
    (scored,) = rollout.sample_and_score(
        engine, sandbox, PROBLEMS[:1], samples=1, sampling=SamplingParams(), purpose="rollout", style="r1"
    )
    assert sandbox.jobs[0][0].program == "x"
    assert scored.completion.prompt_tokens == rollout.prompt_tokens(engine.tokenizer, PROBLEMS[0], "r1")


def test_two_problems_with_one_id_are_an_error(engine):
    sandbox: Any = FakeSandbox([], 2)
    with pytest.raises(ValueError, match="same id"):
        rollout.sample_and_score(
            engine, sandbox, PROBLEMS[:1] * 2, samples=1, sampling=SamplingParams(), purpose="rollout"
        )


def test_a_failure_of_the_sandbox_is_not_swallowed(engine):
    failed: Future = Future()
    failed.set_exception(RuntimeError("no worker starts"))
    sandbox: Any = types.SimpleNamespace(submit=lambda job: failed)
    with pytest.raises(RuntimeError, match="no worker starts"):
        rollout.sample_and_score(engine, sandbox, PROBLEMS, samples=1, sampling=SamplingParams(), purpose="rollout")


def test_a_rollout_is_read_back_to_the_bit(tmp_path):
    completion = Completion(
        "toy/é", 1, 2, (3, 4), (5, 6), (-0.1, -1.0000001192092896), (-1e-30, 0.0), (1, 0), "text\n", "length", 1
    )
    verdict = Verdict("toy/é/1", (Status.PASS, Status.INFRA), ("", "gone"), "inside", 0.25)
    scored = [rollout.Scored(completion, verdict), rollout.Scored(dataclasses.replace(completion, sample=2), verdict)]
    file = tmp_path / "rollouts" / "000002.jsonl"
    rollout.save(file, scored, {"config": "a1", "decode_s": 0.1})
    assert rollout.load(file) == ({"config": "a1", "decode_s": 0.1}, scored)


class TestEvaluate:
    """Problem 0 passes by its first sample, 1 by its third, 2 never."""

    PASSES = ("toy/0/0", "toy/1/2")

    def evaluate(self, engine, samples: int, broken: tuple[str, ...] = ()) -> dict[str, float]:
        def status(name: str) -> Status:
            return Status.INFRA if name in broken else Status.PASS if name in self.PASSES else Status.FAIL

        sandbox: Any = FakeSandbox([], 1, status)
        return rollout.evaluate(engine, sandbox, PROBLEMS, samples=samples, max_new_tokens=9)

    def test_greedy_and_sampled(self, engine):
        assert self.evaluate(engine, 4) == pytest.approx({"pass@1": 1 / 3, "pass@4": 2 / 3})
        (_, greedy), (_, sampled) = engine.asked
        assert {request.sampling for request in greedy} == {SamplingParams(temperature=0.0, max_new_tokens=9)}
        assert {request.sampling for request in sampled} == {SamplingParams(temperature=1.0, max_new_tokens=9)}
        assert (len(greedy), len(sampled)) == (3, 12)
        assert {purpose for purpose, _ in engine.asked} == {"evaluate"}

    @pytest.mark.parametrize("samples", [0, 1])
    def test_pass_at_1_is_the_greedy_one(self, engine, samples):
        assert self.evaluate(engine, samples).keys() == {"pass@1"}
        assert engine.asked[-1][1][0].sampling.temperature == 0

    def test_broken_samples_are_left_out(self, engine):
        assert self.evaluate(engine, 0, broken=("toy/2/0",)) == {"pass@1": 0.5}
        assert self.evaluate(engine, 3, broken=("toy/0/0", "toy/2/1")) == pytest.approx(
            {"pass@1": 0.0, "pass@3": 1 / 3}
        )
        everything = tuple(f"toy/{i}/0" for i in range(3))
        with pytest.raises(ValueError, match="the sandbox broke on every program"):
            self.evaluate(engine, 0, broken=everything)
