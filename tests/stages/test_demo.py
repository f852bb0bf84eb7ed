"""The README's first command on three seeds: what it promises of held-out problems. Minutes a seed."""

import pytest

from acecoder_jax import store
from tests.stages.runs import start


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_reinforcement_lifts_the_held_out_problems(seed, tmp_path):
    start("--config=configs/rl_rule.py:tiny", f"--seed={seed}", f"--workdir={tmp_path}", timeout_s=3600)
    heldout = store.read_json(tmp_path / "results.json")["heldout"]
    before, after = heldout["before"], heldout["after"]
    print(f"seed {seed}: before {before}, after {after}")
    assert 0.2 <= before["pass@1"] <= 0.5
    assert before["pass@8"] >= before["pass@1"] + 0.2
    assert after["pass@1"] >= before["pass@1"] + 0.3
