"""What a test file that compiles for a TPU which is not there does as a script: libtpu wants a process of its own.

Such a file imports this within its test: as a script it knows no package `tests`.
"""

import importlib.util
import json
import subprocess
import sys
from typing import Any

import pytest

from acecoder_jax.planning.process import environment


def answer_of(file: str) -> Any:
    """What a Python file prints as JSON in its last line, run where libtpu may be loaded; skips where there is none."""
    if importlib.util.find_spec("libtpu") is None:
        pytest.skip("needs libtpu")
    done = subprocess.run([sys.executable, file], env=environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
