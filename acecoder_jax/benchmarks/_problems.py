"""Benchmarks out of problems as the rest of the system has them: a question, and tests that call a function."""

from collections.abc import Iterable

from acecoder_jax import prompts
from acecoder_jax.benchmarks import Benchmark, Part, Prompt, Task, _samples
from acecoder_jax.types import Problem

# What a model that goes on from a text writes when its program is over.
STOP = ('\n"""', "\n'''", "\nassert ", "\nif __name__", "\nprint(", "\n```", "\n# Test", "<|endoftext|>")


def benchmark(
    name: str, problems: Iterable[Problem], *, shown_tests: int = 0, test_s: float = 1.0, program_s: float = 8.0
) -> Benchmark:
    """A benchmark with one score of its own name: all tests of a problem pass.

    shown_tests: 0 asks a chat the bare question, as reinforcement learning does; else so many tests are shown and the
    reply is begun with an opened block, as the `sample` stage does it. test_s, program_s: CPU seconds of a test, and of
    a program with all its tests. ValueError where there is no problem, and for one without a test.
    """
    tasks = tuple(_task(problem, name) for problem in problems)
    if not tasks:
        raise ValueError(f"the benchmark {name!r} has no problem")
    if shown_tests < 0:
        raise ValueError(f"shown_tests is {shown_tests}: it counts the tests that a prompt shows")

    def prompt(task: Task, kind: str) -> Prompt:
        if kind == "base":
            return Prompt((), _docstring(task), STOP)
        if not shown_tests:
            return Prompt(tuple(prompts.chat(task.statement)))
        request = prompts.program_request(task.statement, task.parts["tests"].tests[:shown_tests])
        return Prompt(tuple(prompts.chat(request)), prompts.PROGRAM_START)

    return Benchmark(
        name=name,
        tasks=tasks,
        scores={name: ("tests",)},
        prompt=prompt,
        program=program,
        official=_samples.write,
        sandbox={"limits": {"test_s": test_s, "program_s": program_s}},
    )


def program(task: Task, reply: str) -> str:
    """The program in a reply: all of it where a model went on from the question as a docstring, else its block."""
    if reply.startswith(_docstring(task)):
        return reply
    return prompts.extract_started_code(reply, prompts.PROGRAM_START)


def _docstring(task: Task) -> str:
    text = task.statement.strip().replace("\\", "\\\\").replace('"""', "'''")
    return f'"""\n{text}\n"""\n'


def _task(problem: Problem, name: str) -> Task:
    if not problem.tests:
        raise ValueError(f"the benchmark {name!r}: the problem {problem.id!r} has no test")
    part = Part(problem.tests, problem.setup, problem.entry_point)
    return Task(problem.id, problem.question, {"tests": part}, problem.solution or "")
