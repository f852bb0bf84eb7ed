"""What a test file that compiles for a TPU which is not there does as a script: libtpu wants a process of its own.

Such a file imports this within its test: as a script it knows no package `tests`.
"""

import importlib.util
import json
import os
import subprocess
import sys
from typing import Any

import pytest


def answer_of(file: str) -> Any:
    """What a Python file prints as JSON in its last line, run where libtpu may be loaded; skips where there is none."""
    if importlib.util.find_spec("libtpu") is None:
        pytest.skip("needs libtpu")
    # a compiled program for a TPU cannot be read back from the tests' cache without one
    env = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "XLA_"))}
    env |= {"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1"}
    done = subprocess.run([sys.executable, file], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
