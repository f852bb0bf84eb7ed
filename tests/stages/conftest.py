"""What the tests of the stages share."""

from pathlib import Path

import pytest

from acecoder_jax import store
from tests.stages.runs import TINY_MODEL, start


@pytest.fixture(scope="session")
def small_policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a small policy after a few supervised steps."""
    workdir = tmp_path_factory.mktemp("sft")
    start(
        "--config=configs/sft.py:tiny,steps=4,batch=16,heldback=4,evaluate_every=2", *TINY_MODEL, f"--workdir={workdir}"
    )
    rows = store.read_jsonl(workdir / "metrics.jsonl")
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert rows[-1]["loss"] < rows[0]["loss"]
    return workdir / "model"
