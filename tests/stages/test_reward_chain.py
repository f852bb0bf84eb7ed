"""The whole way of a reward model on the toy families: trained, picking the best of 8, and as a reward. Slow.

python -m pytest -m slow -s tests/stages/test_reward_chain.py
"""

from pathlib import Path

import pytest

from acecoder_jax import store
from tests.stages.runs import start

SEEDS = (0, 1, 2)
PROBLEMS = 128  # held out from policy and reward model


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_the_tiny_preset_learns_to_rank_and_to_teach(seed: int, tmp_path: Path) -> None:
    """`rl_rm.py:tiny` makes policy and reward model, and trains the one by the other; then best of 8 of the policy that
    it began with.
    """
    run, best = tmp_path / "rl", tmp_path / "best"
    start("--config=configs/rl_rm.py:tiny", f"--seed={seed}", f"--workdir={run}", timeout_s=3000)
    heldout = store.read_json(run / "rm" / "results.json")["heldout"]
    assert heldout["accuracy"] >= 0.9
    rates = store.read_json(run / "results.json")["heldout"]
    start(
        f"--config=configs/best_of_n.py:tiny,samples=8,benchmarks=({{'name': 'toy', 'count': {PROBLEMS}}},),"
        "question=statement,max_tokens=48,reward.max_tokens=256,reward.row_tokens=256",
        f"--config.model={run / 'sft' / 'model'}", f"--config.reward_model={run / 'rm' / 'model'}",
        f"--seed={seed}", f"--workdir={best}",
    )  # fmt: skip
    found = store.read_json(best / "results.json")["scores"]["toy"]
    print(
        f"seed {seed}: held-out accuracy {heldout['accuracy']:.3f}; greedy {found['greedy']:.3f}, average "
        f"{found['average']:.3f}, best of 8 {found['rm']['8']:.3f}, oracle {found['oracle']['8']:.3f}; pass@1 "
        f"{rates['before']['pass@1']:.3f} -> {rates['after']['pass@1']:.3f}"
    )
    assert found["n"] == PROBLEMS and found["missing"] == found["unscored"] == 0
    assert found["rm"]["8"] > max(found["greedy"], found["average"])
    assert rates["after"]["pass@1"] > rates["before"]["pass@1"]
