"""Logits against `transformers` in float32: recorded ones everywhere, live ones where torch is installed."""

import gzip
import importlib.util
import json
import os
import pathlib
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from acecoder_jax import prompts, tokenizer
from acecoder_jax.models import huggingface, rope
from acecoder_jax.models.config import ModelConfig
from acecoder_jax.models.decoder import Model

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
RECORDED = sorted(GOLDEN.glob("qwen2_*.npz"))
TOLERANCE = 1e-4
# For the real model, whose logits reach 39. At its worst position (4, the same in every prompt) the float32 of
# `transformers` is 1.0e-4 from its own float64 and ours 0.8e-4 to 1.0e-4, by the length of the row; where the two
# errors point apart they add up to 1.8e-4. Elsewhere the difference is 0.5e-4 at most.
REAL_TOLERANCE = 5e-4


def make_golden() -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("make_golden", GOLDEN / "make_golden.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def difference(config: ModelConfig, params: dict, batch: dict[str, np.ndarray]) -> float:
    """The largest difference of a logit, padding left out."""
    tokens_bt, segment_bt, position_bt = (
        jnp.asarray(batch[key], jnp.int32) for key in ("tokens_bt", "segment_bt", "position_bt")
    )
    model = Model(config, dtype=jnp.float32)
    logits_btv = np.asarray(model.logits(params, tokens_bt, segment_bt, position_bt))
    return float(np.abs(logits_btv - batch["logits_btv"])[batch["segment_bt"] != 0].max())


def test_every_kind_of_model_is_recorded():
    configs = [ModelConfig.from_hf(json.loads(str(np.load(file)["config"]))) for file in RECORDED]
    assert {config.tie_word_embeddings for config in configs} == {True, False}
    assert {config.num_heads // config.num_kv_heads for config in configs} >= {1, 2, 4, 7}
    assert any(set(config.windows) > {None} for config in configs)
    assert any(config.rope_scaling for config in configs)


@pytest.mark.parametrize("file", RECORDED, ids=lambda file: file.stem)
def test_recorded_logits(file, tmp_path):
    recorded = dict(np.load(file))
    (tmp_path / "config.json").write_text(str(recorded["config"]))
    weights = {
        key.removeprefix("weights/"): (value.astype(np.uint32) << 16).view(np.float32)
        for key, value in recorded.items()
        if key.startswith("weights/")
    }
    save_file(weights, tmp_path / "model.safetensors")
    config, params = huggingface.load_params(tmp_path)
    for kind in ("padded", "packed"):
        batch = {key.split("/")[1]: value for key, value in recorded.items() if key.startswith(kind)}
        assert difference(config, params, batch) < TOLERANCE


@pytest.mark.parametrize("file", RECORDED, ids=lambda file: file.stem)
def test_recorded_rope(file):
    recorded = np.load(file)
    inv_freq_h, scaling = rope.inv_freq_and_scale(ModelConfig.from_hf(json.loads(str(recorded["config"]))))
    np.testing.assert_allclose(inv_freq_h, recorded["inv_freq_h"], rtol=2.5e-7)  # two roundings of float32
    assert scaling == pytest.approx(float(recorded["attention_scaling"]), abs=1e-12)


class TestLive:
    """The same on fresh weights and sizes, and back: what `transformers` makes of an exported directory."""

    @pytest.fixture(scope="class")
    def golden(self):
        torch = pytest.importorskip("torch")
        torch.set_num_threads(1)
        return make_golden()

    @pytest.fixture(params=range(6))
    def case(self, request, golden):
        """(transformers model, generator, config.json) of a random config."""
        rng = np.random.default_rng(1000 + request.param)
        kv_heads, group, head_dim = rng.integers(1, 4), (1, 2, 4, 7)[request.param % 4], 2 * rng.integers(2, 9)
        heads = kv_heads * group
        config = golden.COMMON | golden.sizes(
            int(heads * head_dim), int(rng.integers(16, 64)), int(heads), int(kv_heads)
        )
        config |= {"num_hidden_layers": int(rng.integers(1, 5)), "tie_word_embeddings": bool(request.param % 2)}
        rope_parameters = {"rope_type": "default", "rope_theta": float(10 ** rng.uniform(4, 6))}
        if request.param in (1, 2):
            stretch = {
                "factor": float(rng.uniform(1.5, 8)),
                "original_max_position_embeddings": int(rng.integers(8, 32)),
            }
            rope_parameters |= {"rope_type": "yarn", **stretch}
        config["rope_parameters"] = rope_parameters
        if request.param in (2, 3):
            config |= {"use_sliding_window": True, "sliding_window": int(rng.integers(1, 12)), "max_window_layers": 1}
        return golden.random_model(config, request.param), rng

    def test_logits(self, case, golden, tmp_path):
        model, rng = case
        model.save_pretrained(tmp_path)
        config, params = huggingface.load_params(tmp_path)
        assert difference(config, params, golden.padded_batch(model, rng)) < TOLERANCE
        assert difference(config, params, golden.packed_batch(model, rng)) < TOLERANCE

    @pytest.mark.parametrize("max_shard_bytes", [5_000_000_000, 8_000])
    def test_export_opens_in_transformers(self, case, golden, tmp_path, max_shard_bytes):
        from transformers import AutoModelForCausalLM

        model, rng = case
        model.save_pretrained(tmp_path / "in")
        config, params = huggingface.load_params(tmp_path / "in")
        huggingface.export(params, config, tmp_path / "out", dtype=jnp.float32, max_shard_bytes=max_shard_bytes)
        again, report = AutoModelForCausalLM.from_pretrained(
            tmp_path / "out", attn_implementation="eager", output_loading_info=True
        )
        assert not any(report.values()), report
        batch = golden.padded_batch(again, rng)
        assert difference(config, params, batch) < TOLERANCE
        for (name, ours), theirs in zip(again.state_dict().items(), model.state_dict().values(), strict=True):
            np.testing.assert_array_equal(ours.numpy(), theirs.numpy(), err_msg=name)

    def test_bfloat16_export_is_the_rounding_of_torch(self, golden, tmp_path):
        import torch
        from transformers import AutoModelForCausalLM

        model = golden.random_model(golden.COMMON | golden.CASES["untied_gqa2"], seed=7)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1 + torch.rand_like(parameter) / 50)  # off the steps of bfloat16
        model.save_pretrained(tmp_path / "in")
        config, params = huggingface.load_params(tmp_path / "in")
        huggingface.export(params, config, tmp_path / "out")
        again = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto")
        assert again.dtype == torch.bfloat16
        for name, tensor in model.bfloat16().state_dict().items():
            assert torch.equal(again.state_dict()[name], tensor), name


@pytest.mark.real
def test_greedy_continuations_of_humaneval():
    """20 prompts, 64 tokens, float32: each token that `transformers` writes greedily is our first choice too."""
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM

    if not {"ACECODER_MODEL", "ACECODER_HUMANEVAL"} <= os.environ.keys():
        pytest.skip("set ACECODER_MODEL to a model directory and ACECODER_HUMANEVAL to HumanEval.jsonl.gz")
    directory = os.environ["ACECODER_MODEL"]
    with gzip.open(os.environ["ACECODER_HUMANEVAL"], "rt") as lines:
        questions = [json.loads(line)["prompt"] for line, _ in zip(lines, range(20), strict=False)]
    tok = tokenizer.load(directory)
    theirs = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    config, params = huggingface.load_params(directory)
    model = jax.jit(Model(config, dtype=jnp.float32).logits)
    assert len(questions) == 20
    rendered = [prompts.render_chat(tok, prompts.chat(question), True) for question in questions]
    padded = tok.pad({"input_ids": rendered}, padding_side="left", return_tensors="pt")
    time = max(map(len, rendered)) + 64  # one shape, so that the model is compiled once
    generated = theirs.generate(**padded, max_new_tokens=64, do_sample=False, repetition_penalty=1.0)
    for prompt, row_t in zip(rendered, generated, strict=True):
        answer = row_t[padded["input_ids"].shape[1] :].tolist()
        if tok.eos_token_id in answer:
            answer = answer[: answer.index(tok.eos_token_id) + 1]
        tokens = prompt + answer
        with torch.no_grad():
            reference_tv = theirs(torch.tensor([tokens])).logits[0].numpy()
        row_bt = np.zeros((1, time), np.int32)
        row_bt[0, : len(tokens)] = tokens
        segment_bt = (np.arange(time) < len(tokens))[None].astype(np.int32)
        logits_tv = np.asarray(model(params, row_bt, segment_bt, np.arange(time)[None]))[0, : len(tokens)]
        np.testing.assert_allclose(logits_tv, reference_tv, rtol=0, atol=REAL_TOLERANCE)
        assert logits_tv[len(prompt) - 1 : -1].argmax(-1).tolist() == answer
