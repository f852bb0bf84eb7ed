"""Runs of filter and sample with the fake writer: in this process, and in one that can be killed."""

import json
import subprocess
import sys
import time

from ml_collections import ConfigDict

from acecoder_jax import store
from acecoder_jax.stages import filter as filtering
from acecoder_jax.stages import sample
from tests.stages.runs import ROOT, environment

STAGES = {"filter": filtering, "sample": sample}


def small(config, questions, **writer):
    """The config with one worker, and the fake writer's knobs."""
    with config.unlocked():
        config.questions = str(questions)
        config.endpoint = ConfigDict({"model": "org/coder", "cache": ""} | writer)
        config.sandbox.workers = 1
    return config


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


SCRIPT = """
import json, pathlib, sys
from ml_collections import ConfigDict
from tests.stages import curating, fake_writer
fake_writer.install()
name, config, workdir = sys.argv[1:]
curating.STAGES[name].run(ConfigDict(json.loads(config)), pathlib.Path(workdir))
"""


def kill_after(rows, name, config, workdir, file):
    """Starts the stage in a process of its own and kills it once the file has so many rows."""
    arguments = [sys.executable, "-c", SCRIPT, name, json.dumps(config.to_dict()), str(workdir)]
    process = subprocess.Popen(arguments, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + 120
    while not (workdir / file).exists() or (workdir / file).read_bytes().count(b"\n") < rows:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[0].decode()
        time.sleep(0.005)
    process.kill()
    process.communicate()
    store.repair_jsonl(workdir / file)
    return [row["id"] for row in store.stream_jsonl(workdir / file)]
