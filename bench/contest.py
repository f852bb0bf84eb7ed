"""What the benches share: a contestant is a process of its own that works when it is asked to, and waits meanwhile.

Both ends are here, the asking one (`Contestant`) and the answering one (`serve`). Requests and answers are a JSON
object a line, over stdin and stdout. Only the standard library: every peer's environment can import it.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Contestant:
    """A process that answers requests. about: what it said of itself when it started."""

    def __init__(self, python: str, script: Path, *arguments: str, **environment: str):
        self.script = script.name
        self.process = subprocess.Popen(
            [python, str(script), *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "JAX_PLATFORMS": os.environ.get("JAX_PLATFORMS", "cpu"), **environment},
        )  # fmt: skip
        self.about = self._read()
        self.peak_gib = 0.0

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.script} ended with exit code {self.process.wait()}")
        return json.loads(line)

    def ask(self, **request: Any) -> dict[str, Any]:
        """The answer to a request, with the `seconds` it took; notes the process's peak memory."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = self._read()
        self.peak_gib = answer["peak_gib"]
        return answer

    def close(self) -> None:
        """End the process."""
        self.process.communicate()


def serve(work: Callable[..., dict[str, Any]], about: dict[str, Any]) -> None:
    """Answers each request with work(**request), the seconds it took and the process's peak memory so far."""
    out, sys.stdout = sys.stdout, sys.stderr
    print(json.dumps(about), file=out, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        start = time.perf_counter()
        answer = work(**request)
        seconds = time.perf_counter() - start
        print(json.dumps({"seconds": seconds, "peak_gib": peak_gib()} | answer), file=out, flush=True)


def peak_gib() -> float:
    """The most memory that this process has had resident (VmHWM), in GiB."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return round(int(line.split()[1]) / 2**20, 2)
