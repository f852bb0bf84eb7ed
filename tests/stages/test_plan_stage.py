"""A plan from the real command: a toy model on four chips of a TPU v5e that are not there."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from acecoder_jax import presets
from acecoder_jax.models.config import PUBLISHED
from acecoder_jax.stages import plan
from configs import plan as plan_config
from configs import rl_rm, rl_rule, rm

ROOT = Path(__file__).parents[2]
ARCHITECTURE = {
    "hidden_size": 256, "intermediate_size": 512, "num_layers": 2, "num_heads": 2, "num_kv_heads": 1, "head_dim": 128,
    "rope_theta": 10_000.0, "tie_word_embeddings": True, "max_position_embeddings": 256,
}  # fmt: skip


def command(workdir, target):
    config = ["--config=configs/plan.py", f"--config.target={target}", "--config.topology=v5e:2x2"]
    env = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    return subprocess.run(
        [sys.executable, "-m", "acecoder_jax.main", *config, f"--workdir={workdir}"], cwd=ROOT, env=env, text=True,
        capture_output=True, timeout=300,
    )  # fmt: skip


def test_a_plan_is_printed_and_printed_again(tmp_path):
    if importlib.util.find_spec("libtpu") is None:
        pytest.skip("needs libtpu")
    target = (
        f"configs/rl_rule.py:tiny,dtype=bfloat16,sft.architecture={ARCHITECTURE},minibatch=8,trainer.rows=4,"
        "engine.slots=8,engine.prefill_rows=4"
    )
    first = command(tmp_path, target)
    assert first.returncode == 0, first.stderr
    made = json.loads((tmp_path / "plan.json").read_text())
    programs = [(one["program"], one["rows"]) for one in made["answers"][1:-1]]
    assert programs == [("update", 4), ("log-probs", 4), ("prefill", 4), ("decode", 4), ("update", 8)]
    assert made["answers"][-1] == {"most_rows": 8} and "everything fits" in first.stdout
    least, most = made["step"]["mfu_update"]
    assert 0 < least <= most < 1
    for words in ("the largest micro-batch that fits: 8 rows", "all-gather", "KV cache", "assumed: "):
        assert words in first.stdout
    again = command(tmp_path, target)
    assert again.returncode == 0 and "compiled update" not in again.stdout
    assert again.stdout.splitlines()[-5:] == first.stdout.splitlines()[-5:]


def test_a_topology_that_is_none_is_told(tmp_path):
    if importlib.util.find_spec("libtpu") is None:
        pytest.skip("needs libtpu")
    job = plan.process.Job("v9:2x2", {}, {}, {})
    with pytest.raises(ValueError, match="unknown chip 'v9'; there are v4, v5e, v5p, v6e"):
        list(plan.process.plan(job))


def test_sizes_of_models():
    config = rl_rule.get_config("7b")
    seven = PUBLISHED["Qwen2.5-Coder-7B-Instruct"]
    assert plan.model_sizes("Qwen/Qwen2.5-Coder-7B-Instruct", config) == seven
    assert plan.model_sizes("Qwen/Qwen2.5-Coder-7B", config) == seven
    assert plan.model_sizes("", rl_rule.get_config("tiny")).hidden_size == 128
    assert plan.model_sizes("", rm.get_config("tiny")).vocab_size == 768
    with pytest.raises(ValueError, match="Qwen/Other' is no directory and none of those known"):
        plan.model_sizes("Qwen/Other", config)


def test_the_reward_model_of_a_plan_is_its_own_or_the_target_s():
    none, other = plan_config.get_config(), plan_config.get_config("reward_model=Qwen/Qwen2.5-Coder-32B-Instruct")
    seven, big = (PUBLISHED[f"Qwen2.5-Coder-{size}-Instruct"] for size in ("7B", "32B"))
    assert plan.reward_sizes(none, rl_rule.get_config("7b")) is None
    assert plan.reward_sizes(other, rl_rule.get_config("7b")) == big
    assert plan.reward_sizes(none, rl_rm.get_config("7b")) == seven
    assert plan.reward_sizes(other, rl_rm.get_config("7b")) == big
    assert plan.reward_sizes(none, rl_rm.get_config("7b,reward_model.model=TIGER-Lab/AceCodeRM-32B")) == big
    assert plan.reward_sizes(none, rl_rm.get_config("tiny")).hidden_size == 128
    with pytest.raises(ValueError, match=r"its reward_model\.model is empty"):
        plan.reward_sizes(none, rl_rm.get_config("0.5b"))


def test_targets():
    target = plan.load_target("configs/rm.py:32b,trainer.rows=128")
    assert (target.stage, target.trainer.rows, target.trainer.row_tokens) == ("train_rm", 128, 2048)
    assert rm.get_config("32b_v5e").mesh.tensor == 4
    with pytest.raises(presets.ConfigError, match=r"no config file 'configs/nothing\.py'"):
        plan.load_target("configs/nothing.py:7b")
