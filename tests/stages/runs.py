"""Runs of the real command in a process of its own, small enough for a test."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from acecoder_jax import store

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


MEASURED = {
    "step_s",
    "decode_s",
    "score_s",
    "reward_s",
    "logp_s",
    "update_s",
    "wait_s",
    "judge_s",
    "save_s",
    "decode_tokens_per_s",
    "train_tokens_per_s",
}


def rl_args(model: Path, workdir: Path, **override: object) -> list[str]:
    """The flags of a small run of reinforcement learning from `model`."""
    small = {
        "rollouts": 4, "prompts_per_rollout": 4, "samples_per_prompt": 4, "minibatch": 8, "max_new_tokens": 32,
        "data_args": {"split": "train", "count": PROBLEMS}, "heldout_args": {"split": "heldout", "count": 4},
        "heldout_samples": 2,
        "optimizer.learning_rate": 1e-3, "checkpoint.every": 2, "trainer.rows": 4, "engine.slots": 8,
        "reward_args.kind": "pass_rate", "max_prompt_tokens": 80,
    }  # fmt: skip
    pairs = ",".join(f"{key}={value}" for key, value in (small | override).items())
    return [f"--config=configs/rl_rule.py:tiny,{pairs}", f"--config.model={model}", f"--workdir={workdir}"]


def decided(workdir: Path) -> list[dict]:
    """The rows of a run without what a clock measured."""
    rows = store.read_jsonl(workdir / "metrics.jsonl")
    return [{name: value for name, value in row.items() if name not in MEASURED} for row in rows]


def samples(workdir: Path) -> list[tuple]:
    """Every completion and verdict of a run, without times."""
    rows = [row for file in sorted((workdir / "rollouts").glob("*.jsonl")) for row in store.read_jsonl(file)[1:]]
    return [(json.dumps(row["completion"]), row["verdict"]["statuses"]) for row in rows]


def logps(workdir: Path) -> list[bytes]:
    """The log-probs that the updates of a run compared with."""
    files = [np.load(file) for file in sorted((workdir / "logps").glob("*.npz"))]
    return [file[name].tobytes() for file in files for name in ("old", "ref") if name in file]


def assert_same_run(one: Path, other: Path) -> None:
    """The same samples, verdicts, log-probs, metrics and, bit for bit, parameters."""
    assert samples(one) == samples(other)
    assert logps(one) == logps(other)
    assert decided(one) == decided(other)
    weights = "model/model.safetensors"
    assert (one / weights).read_bytes() == (other / weights).read_bytes()


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "acecoder_jax.main", *args]


def environment(devices: int = 1) -> dict[str, str]:
    """One device, as on a laptop, or several; the tests' own cache of compiled programs."""
    flags = f"--xla_force_host_platform_device_count={devices}" if devices > 1 else ""
    return os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}


def start(*args: str, check: bool = True, timeout_s: float = 900, devices: int = 1) -> subprocess.CompletedProcess[str]:
    """The command run to its end."""
    done = subprocess.run(
        command(*args), cwd=ROOT, env=environment(devices), capture_output=True, text=True, timeout=timeout_s
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


def checkpoints(workdir: Path) -> set[str]:
    """The names of those that are whole."""
    return {path.name for path in (workdir / "checkpoints").glob("[0-9]*")}


def stop_when(seen: Callable[[], bool], number: int, args: list[str]) -> tuple[int, str]:
    """Starts a run and sends it a signal as soon as `seen` says so: exit status and what it printed."""
    process = subprocess.Popen(
        command(*args), cwd=ROOT, env=environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    deadline = time.monotonic() + 600
    while not seen():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[0]
        time.sleep(0.01)
    process.send_signal(number)
    out, _ = process.communicate(timeout=300)
    return process.returncode, out
