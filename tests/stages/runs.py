"""Runs of the real command in a process of its own, small enough for a test."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
TINY_MODEL = [
    "--config.architecture.hidden_size=32",
    "--config.architecture.intermediate_size=64",
    "--config.architecture.num_layers=2",
    "--config.architecture.num_heads=2",
    "--config.architecture.num_kv_heads=1",
    "--config.architecture.head_dim=16",
    "--config.vocab_size=640",
]
# Few problems, learned by heart, so that some of their programs pass and reinforcement has something to reinforce.
PROBLEMS = 36
SFT = (
    "--config=configs/sft.py:tiny,steps=100,optimizer.learning_rate=8e-3,batch=32,heldback=4,evaluate_every=50,checkpoint.every=40,"
    f"max_new_tokens=32,trainer.rows=8,data_args={{'split': 'train', 'count': {PROBLEMS}}}"
)


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "acecoder_jax.main", *args]


def environment() -> dict[str, str]:
    """One device, as on a laptop; the tests' own cache of compiled programs."""
    return os.environ | {"XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}


def start(*args: str, check: bool = True, timeout_s: float = 900) -> subprocess.CompletedProcess[str]:
    """The command run to its end."""
    done = subprocess.run(
        command(*args), cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=timeout_s
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def kill_when(seen: Callable[[], bool], *args: str) -> None:
    """Starts the command and kills it with SIGKILL as soon as `seen` says so."""
    process = subprocess.Popen(command(*args), cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 900
    while not seen():
        assert process.poll() is None and time.monotonic() < deadline, "the run ended before it could be killed"
        time.sleep(0.02)
    process.kill()
    assert process.wait() != 0
