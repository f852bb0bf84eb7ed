"""Our reward model, as bench/score.py asks for it."""

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import contest
import jax
import machine

from acecoder_jax import RewardModel, memory

memory.use_huge_pages()  # as acecoder_jax.main does
model = RewardModel.load(sys.argv[1], dtype=sys.argv[2], **json.loads(sys.argv[3]))


def score(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """The scores of (question, program) pairs."""
    return {"scores": model.score([(question, program) for question, program in pairs])}


if __name__ == "__main__":
    about = machine.rates()
    about["layer_params"] = sum(leaf.size for leaf in jax.tree.leaves(model.params["layers"]))
    contest.serve(score, about | {"jax": jax.__version__})
