"""What the tests of the stages share."""

from pathlib import Path

import pytest

from acecoder_jax import store
from tests.stages.runs import SFT, TINY_MODEL, start


@pytest.fixture(scope="session")
def small_policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a small policy after supervised steps on a few problems."""
    workdir = tmp_path_factory.mktemp("sft")
    start(SFT, *TINY_MODEL, f"--workdir={workdir}")
    rows = store.read_jsonl(workdir / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(1, 101))
    assert rows[-1]["loss"] < rows[0]["loss"] / 2
    return workdir / "model"
