"""A plan's answers in words: what fits, the step's sums by hand, and what to change where something does not fit."""

import numpy as np
import pytest

from acecoder_jax.chips import Chip
from acecoder_jax.models import flops
from acecoder_jax.models.config import ModelConfig
from acecoder_jax.planning import summary
from acecoder_jax.planning.lengths import Lengths
from configs import rl_rule, rm

GIB = 2**30
CHIP = Chip("toy", hbm_bytes=20 * GIB, hbm_bandwidth=1e9, bf16_flops=1e12, ici_bandwidth=1e9)  # 19 GiB of room
SIZES = ModelConfig(
    vocab_size=64, hidden_size=32, intermediate_size=64, num_layers=2, num_heads=4, num_kv_heads=2, head_dim=8
)
PROGRAMS = ("update", "log-probs", "prefill", "decode")


def answer(program, temporaries=1.0, too_large=False, rows=8):
    """2 GiB of arguments and results, 0.7e12 operations on one device: a second, at the share that is assumed."""
    compiled = {
        "own_bytes": 2 * GIB, "temporary_bytes": int(temporaries * GIB), "too_large": too_large, "operations": 0.7e12,
        "moved_bytes": 0.0, "collectives": {"all-gather": [2, 5e8]}, "unknown_loops": [], "compile_s": 3.0,
    }  # fmt: skip
    return {"program": program, "rows": rows, "calls": 3.0, "devices": 1, "takes": [], "compiled": compiled}


def parts(*answers):
    about = {"moved": {}, "beside": dict.fromkeys(PROGRAMS, 4 * GIB)}
    return summary.parts(about, answers, CHIP)


def rl(argument=""):
    return rl_rule.get_config(f"tiny,trainer.rows=8,trainer.logit_chunk=512{argument}").to_dict()


def test_a_row_a_program():
    found = parts(answer("update"), answer("decode", temporaries=13.5))
    assert summary.memory_rows(found, CHIP) == [
        ("update, 8 rows", "2.00", "4.00", "1.00", "7.00", "19.00", "yes"),
        ("decode", "2.00", "4.00", "13.50", "19.50", "19.00", "NO"),
    ]
    about = {"moved": {"decode": 17e9}}
    assert [row[3:5] for row in summary.work_rows(about, found)] == [
        ("0.0", "all-gather 2: 0.50 GB"), ("17.0", "all-gather 2: 0.50 GB")
    ]  # fmt: skip


def test_a_step_by_hand():
    config = rl(",prompts_per_rollout=2,samples_per_prompt=2,passes=2")
    found = parts(*map(answer, PROGRAMS), answer("update", rows=16))
    step = summary.step(found, config, SIZES, Lengths(3, 5, 1.0, 1.0), CHIP, 1)
    # a second of products and one of links a call, three calls, four programs; the update at other rows is none of them
    assert step["seconds"]["update"] == pytest.approx((3, 6)) and step["seconds"]["step"] == pytest.approx((12, 24))
    useful = 2 * 4 * flops.update(SIZES, np.arange(8), 5, None)
    assert step["mfu_update"] == pytest.approx((useful / 6e12, useful / 3e12))


def test_what_fits_wants_no_advice():
    assert summary.advice(parts(*map(answer, PROGRAMS)), rl(), CHIP, 8, 8) == []


def test_an_update_that_does_not_fit():
    found = parts(answer("update", temporaries=14.0), answer("decode"))
    first, second, *others = summary.advice(found, rl(",remat=dots,mesh.data=2"), CHIP, 4, 4)
    assert first == "update needs 1.00 GiB a device more than there is room for. Change, in this order:"
    assert second == "  trainer.rows=4: that fits"
    for said in ("remat=full (now dots)", "mesh.data=1 (now 2)", "trainer.offload=", "lora.rank=32", "kl_coef=0"):
        assert any(said in line for line in others), said
    assert not any("logit_chunk" in line for line in others)
    assert "more decode_mesh.tensor" in others[-1]


def test_what_is_done_already_is_not_advised():
    done = ",remat=full,lora.rank=4,trainer.offload=('optimizer',)"
    lines = summary.advice(parts(answer("update", 14.0, too_large=True)), rl(done), CHIP, 8, 0)
    assert lines[0].startswith("update needs 1.00 GiB")
    for said in ("remat=", "lora", "offload", "kl_coef", "trainer.rows=", "mesh.data=1"):
        assert not any(said in line for line in lines), (
            said
        )  # with LoRA the base is the reference: nothing to leave out


def test_a_sampler_that_does_not_fit():
    lines = summary.advice(parts(answer("update"), answer("decode", 14.0)), rl(), CHIP, 8, 8)
    assert lines[0].startswith("decode needs 1.00 GiB") and "fewer engine.slots (now 128)" in lines[1]
    assert any("engine.int8=True" in line for line in lines)
    assert not any(
        "int8" in line for line in summary.advice(parts(answer("decode", 14.0)), rl(",engine.int8=True"), CHIP, 8, 8)
    )


def test_a_reward_model_has_no_knobs_of_a_sampler():
    lines = summary.advice(parts(answer("update", 14.0)), rm.get_config("7b").to_dict(), CHIP, 8, 8)
    assert any("lora.rank=32" in line for line in lines)
    assert not any(word in line for line in lines for word in ("decode", "engine", "kl_coef"))
