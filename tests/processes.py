"""Two processes of the real command on one machine, joined by flags."""

import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
START = [sys.executable, "-m", "acecoder_jax.main"]


def pair(
    args: Sequence[str] = (), each: Sequence[Sequence[str]] = ((), ()), devices: int = 1, start: Sequence[str] = START,
    cwd: Path = ROOT, env: Mapping[str, str] | None = None,
) -> list[subprocess.Popen[str]]:  # fmt: skip
    """Starts both. args: of both; each: further ones of the one and of the other; devices: of each."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}", "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    joined = [f"--coordinator=localhost:{port}", "--processes=2"]
    return [
        subprocess.Popen(
            [*start, *args, *own, *joined, f"--process={number}"], cwd=cwd, env=environment | dict(env or {}),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for number, own in enumerate(each)
    ]  # fmt: skip


def ends(hosts: Sequence[subprocess.Popen[str]], timeout_s: float = 300) -> list[tuple[int, str, str]]:
    """What both came to: (exit status, stdout, stderr). Neither outlives this."""
    try:
        said = [host.communicate(timeout=timeout_s) for host in hosts]
        return [(host.returncode, *texts) for host, texts in zip(hosts, said, strict=True)]
    finally:
        for host in hosts:
            host.kill()
