"""However the trainer ends, nothing of the sandbox is left."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from tests.sandbox.processes import alive, below

ROOT = str(pathlib.Path(__file__).resolve().parents[2])
TRAINER = """
import sys
sys.path.insert(0, sys.argv[1])
from acecoder_jax.sandbox import Job, Limits, Sandbox
with Sandbox(workers=2, limits=Limits(test_s=60, program_s=60), isolation=int(sys.argv[2]), quiet=True) as sandbox:
    hung = [sandbox.submit(Job("hung", "def f():\\n    while True: pass", ("assert f()",))) for _ in range(3)]
    fine = sandbox.submit(Job("fine", "def f(): return 1", ("assert f()",)))
    print("ready", flush=True)
    try:
        hung[0].result()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        raise
"""


@pytest.mark.parametrize("isolation", [1, 4])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_is_left(number, isolation):
    if isolation == 1 and os.geteuid() != 0:
        pytest.skip("tier 1 needs root")
    trainer = subprocess.Popen(
        [sys.executable, "-c", TRAINER, ROOT, str(isolation)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert trainer.stdout.readline() == "ready\n"
    time.sleep(0.5)
    family = below(trainer.pid)
    assert len(family) >= 6  # two supervisors, zygotes and players
    trainer.send_signal(number)
    _, told = trainer.communicate(timeout=20)
    assert trainer.returncode == (1 if number == signal.SIGINT else -number) or "KeyboardInterrupt" in told
    deadline = time.monotonic() + 10
    while (left := [pid for pid in family if alive(pid)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left


def test_a_supervisor_dies_with_the_trainer_even_within_a_loop_in_c():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from acecoder_jax.sandbox.supervisor import die_with; "
        "die_with(int(sys.argv[2])); print('ready', flush=True); 2.5 in range(10**18)"
    )
    life, ours = os.pipe()
    stuck = subprocess.Popen(
        [sys.executable, "-c", code, ROOT, str(life)], pass_fds=[life], stdout=subprocess.PIPE, text=True
    )
    os.close(life)
    assert stuck.stdout.readline() == "ready\n"
    time.sleep(0.2)
    assert stuck.poll() is None
    os.close(ours)
    assert stuck.wait(10) == -signal.SIGIO
