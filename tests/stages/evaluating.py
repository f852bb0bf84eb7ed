"""Evaluations with a fake writer that knows the toy problems: in this process, and in one that can be killed."""

import json
import subprocess
import sys
import time
from typing import ClassVar

from acecoder_jax import prompts, store
from acecoder_jax.benchmarks import Benchmark, Part, Prompt, Task
from acecoder_jax.data import toy
from acecoder_jax.writers import Reply, WriterError
from tests.stages.fake_writer import HoldsNothing
from tests.stages.runs import ROOT, environment

PROBLEMS = toy.load("heldout", 0, 8)
BY_ID = {problem.id: problem for problem in PROBLEMS}


def program(task, right):
    """The right program of a toy problem, or a wrong one."""
    return toy.programs(BY_ID[task])[0 if right else 1]


class ToyWriter(HoldsNothing):
    """right: of the answers to problem N, by their numbers: right[(N + K) % len(right)].

    fails: keys of requests that get an error. stops_after: so many replies, then it has to stop.
    """

    asked: ClassVar[list] = []  # of all writers since it was cleared

    def __init__(self, model, right=(True,), fails=(), stops_after=None, slow_s=0.0, finish="stop", **knobs):
        self.model, self.right, self.fails, self.stops_after = model, right, fails, stops_after
        self.slow_s, self.finish = slow_s, finish

    def write(self, requests):
        order = [problem.id for problem in PROBLEMS]
        for count, request in enumerate(requests):
            if count == self.stops_after:
                raise WriterError("the budget is spent")
            ToyWriter.asked.append(request)
            time.sleep(self.slow_s)
            _, task, sample = request.key.split("|")
            if request.key in self.fails:
                yield Reply(request.key, error="timeout", detail="too slow", cost_usd=0.5)
                continue
            right = self.right[(order.index(task) + int(sample)) % len(self.right)]
            text = f"Here it is:\n```python\n{program(task, right)}\n```\n"
            yield Reply(request.key, text, self.finish, 10, 20, cost_usd=0.25)


def two_parts(name="two"):
    """A benchmark whose second score wants both parts; of its two tasks the second has a false test in "plus"."""
    tasks = tuple(
        Task(f"t/{n}", f"Write f: {n}.", {
            "base": Part(("assert f(1) == 2",), entry_point="f"),
            "plus": Part(("assert f(2) == 3", f"assert f(3) == {4 + n}"), entry_point="f"),
        })
        for n in range(2)
    )  # fmt: skip

    def official(folder, found):
        store.write_json(folder / "own.json", [vars(one) for one in found])
        return folder / "own.json"

    def prompt(task, kind):
        if kind == "base":
            return Prompt((), f"# {task.statement}\n", ("\nclass",))
        return Prompt(({"role": "system", "content": "s"}, *prompts.chat(task.statement)), "```\n", ("\n```",))

    return Benchmark(
        name, tasks, {name: ("base",), f"{name}_plus": ("base", "plus")}, prompt, lambda task, reply: reply, official,
        {"limits": {"program_s": 2.0}},
    )  # fmt: skip


def make(name, **knobs):
    assert name == "endpoint"
    return ToyWriter(**{key: value for key, value in knobs.items() if key not in ("budget_usd", "spent_usd", "cache")})


def toys(config, count=8, **writer):
    """The config for so many toy problems, one worker, and the fake writer with its knobs."""
    with config.unlocked():
        config.benchmarks = ({"name": "toy", "count": count},)
        config.model = config.model or "coder"
        config.writer, config.sandbox.workers = "endpoint", 1
        for key, value in ({"cache": "", "prefix": "none"} | writer).items():
            config.endpoint[key] = value
        for key in set(config.endpoint) - {"cache", "prefix", *writer}:
            del config.endpoint[key]
    return config


SCRIPT = """
import json, pathlib, sys
from ml_collections import ConfigDict
from acecoder_jax import writers
from acecoder_jax.stages import evaluate
from tests.stages import evaluating
writers.make = evaluating.make
config, workdir = sys.argv[1:]
evaluate.run(ConfigDict(json.loads(config)), pathlib.Path(workdir))
"""


def kill_after(rows, config, workdir):
    """Starts the stage in a process of its own and kills it once there are so many answers; their ids."""
    arguments = [sys.executable, "-c", SCRIPT, json.dumps(config.to_dict()), str(workdir)]
    process = subprocess.Popen(arguments, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    deadline, path = time.monotonic() + 120, workdir / "answers.jsonl"
    while not path.exists() or path.read_bytes().count(b"\n") < rows:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[0].decode()
        time.sleep(0.005)
    process.kill()
    process.communicate()
    store.repair_jsonl(path)
    return [row["id"] for row in store.stream_jsonl(path)]
