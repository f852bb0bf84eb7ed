"""Reward models on the disk: recorded scores of torch for every layout, what is written, and what is refused."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from acecoder_jax import parallel
from acecoder_jax.models import sharding
from acecoder_jax.reward_models import checkpoint
from acecoder_jax.reward_models.scorer import RewardModel

GOLDEN = Path(__file__).parents[1] / "golden"
RECORDED = sorted(GOLDEN.glob("reward_*.npz"))
TOLERANCE = 1e-4


def unpack(file: Path, folder: Path, shards: int = 1, **changed) -> dict[str, np.ndarray]:
    """A recorded model as a directory; gives the recording."""
    recorded = dict(np.load(file))
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(json.loads(str(recorded["config"])) | changed))
    weights = {
        name.removeprefix("weights/"): (array.astype(np.uint32) << 16).view(np.float32)
        for name, array in recorded.items()
        if name.startswith("weights/")
    }
    if shards == 1:
        save_file(weights, folder / "model.safetensors")
        return recorded
    names = [f"model-{i + 1:05}-of-{shards:05}.safetensors" for i in range(shards)]
    weight_map = {name: names[i % shards] for i, name in enumerate(weights)}
    for file_name in names:
        save_file({n: w for n, w in weights.items() if weight_map[n] == file_name}, folder / file_name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return recorded


def scores(config, params, recorded, sizes=None) -> np.ndarray:
    mesh = parallel.make_mesh(
        **(sizes or {"fsdp": 1}), devices=jax.devices()[: np.prod(list((sizes or {"f": 1}).values()))]
    )
    model = RewardModel(config, params, None, mesh=mesh, dtype=jnp.float32, row_tokens=256, max_tokens=256)
    tokens = [row[:n].astype(np.int32) for row, n in zip(recorded["tokens_bt"], recorded["lengths_b"], strict=True)]
    return np.array(model.score_tokens(tokens))


def test_every_layout_is_recorded():
    assert [file.stem for file in RECORDED] == ["reward_acecoderm", "reward_score", "reward_value_head"]


@pytest.mark.parametrize("file", RECORDED, ids=lambda file: file.stem)
@pytest.mark.parametrize("shards", [1, 3])
def test_recorded_scores(file, shards, tmp_path):
    recorded = unpack(file, tmp_path / "in", shards)
    assert checkpoint.has_head(tmp_path / "in")
    config, params = checkpoint.load(tmp_path / "in")
    np.testing.assert_allclose(scores(config, params, recorded), recorded["score_b"], atol=TOLERANCE)


@pytest.mark.parametrize("file", RECORDED, ids=lambda file: file.stem)
def test_what_is_written_has_the_published_layout_and_the_same_scores(file, tmp_path):
    recorded = unpack(file, tmp_path / "in")
    config, params = checkpoint.load(tmp_path / "in")
    checkpoint.save(params, config, tmp_path / "out", dtype=jnp.float32)
    written = load_file(tmp_path / "out" / "model.safetensors")
    assert written["v_head.summary.weight"].shape == (1, config.hidden_size)
    assert written["v_head.summary.bias"].shape == (1,)
    about = json.loads((tmp_path / "out" / "config.json").read_text())
    assert about["architectures"] == ["Qwen2ForCausalLM"] and about["tie_word_embeddings"]
    for name, array in load_file(tmp_path / "in" / "model.safetensors").items():
        if name.startswith(("model.", "v_head.")):
            np.testing.assert_array_equal(written[name], array, err_msg=name)
    again_config, again = checkpoint.load(tmp_path / "out")
    assert again_config == config
    np.testing.assert_allclose(scores(config, again, recorded), recorded["score_b"], atol=TOLERANCE)


def test_the_head_stays_float32_in_a_bfloat16_checkpoint(tmp_path):
    unpack(RECORDED[0], tmp_path / "in")
    config, params = checkpoint.load(tmp_path / "in")
    head = {"reward_da": params["reward_da"] * 1.001, "reward_bias_a": params["reward_bias_a"] + 1e-4}
    checkpoint.save(params | head, config, tmp_path / "out")
    _, again = checkpoint.load(tmp_path / "out", dtype=jnp.bfloat16)
    np.testing.assert_array_equal(again["reward_da"], head["reward_da"])
    np.testing.assert_array_equal(again["reward_bias_a"], head["reward_bias_a"])
    assert again["embed_vd"].dtype == jnp.bfloat16


def test_where_the_score_is_read_stays_with_the_model(tmp_path):
    unpack(RECORDED[0], tmp_path / "in")
    config, params = checkpoint.load(tmp_path / "in")
    assert checkpoint.find_read(tmp_path / "in") == "last"
    assert checkpoint.find_read(tmp_path / "in", "end_of_turn") == "end_of_turn"  # it says nothing of itself
    checkpoint.save(params, config, tmp_path / "out", read="end_of_turn")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["acecoder_read"] == "end_of_turn"
    assert [checkpoint.find_read(tmp_path / "out", read) for read in ("auto", "end_of_turn")] == ["end_of_turn"] * 2
    with pytest.raises(ValueError, match=r"read is 'last', but .* was trained with its score read at 'end_of_turn'"):
        checkpoint.find_read(tmp_path / "out", "last")
    with pytest.raises(ValueError, match="read is 'first': it is one of auto, last, end_of_turn"):
        checkpoint.find_read(tmp_path / "out", "first")
    unpack(RECORDED[0], tmp_path / "in", acecoder_read="middle")
    with pytest.raises(ValueError, match="acecoder_read is 'middle', which is none of last, end_of_turn"):
        checkpoint.find_read(tmp_path / "in")


def test_on_a_mesh(tmp_path):
    recorded = unpack(RECORDED[0], tmp_path / "in")
    sizes = {"data": 2, "fsdp": 2}
    mesh = parallel.make_mesh(**sizes, devices=jax.devices()[:4])
    config, params = checkpoint.load(tmp_path / "in", shardings=lambda tree: sharding.param_shardings(tree, mesh))
    assert params["embed_vd"].sharding.mesh.shape["fsdp"] == 2
    np.testing.assert_allclose(scores(config, params, recorded, sizes), recorded["score_b"], atol=TOLERANCE)


def test_a_normalised_score_is_folded_into_the_head(tmp_path):
    recorded = unpack(RECORDED[1], tmp_path / "in", normalize_reward=True, mean=2.0, std=4.0)
    config, params = checkpoint.load(tmp_path / "in")
    np.testing.assert_allclose(scores(config, params, recorded), (recorded["score_b"] - 2) / 4, atol=TOLERANCE)
    unpack(RECORDED[1], tmp_path / "in", normalize_reward=True, mean=2.0)
    with pytest.raises(ValueError, match="normalize_reward, but not both mean and a std"):
        checkpoint.load(tmp_path / "in")


def test_what_is_no_reward_model_is_refused(tmp_path):
    unpack(RECORDED[0], tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()

    def complaint(changed) -> str:
        save_file(changed, tmp_path / "model.safetensors")
        with pytest.raises(ValueError) as error:
            checkpoint.load(tmp_path)
        return str(error.value)

    plain = {name: array for name, array in weights.items() if not name.startswith("v_head")}
    assert "is no reward model: it has none of the tensors v_head.summary.weight" in complaint(plain)
    assert not checkpoint.has_head(tmp_path)
    d = weights["v_head.summary.weight"].shape[1]
    head = np.ones((2, d), np.float32)
    assert "shape [2, 32], expected [1, 32]" in complaint(plain | {"score.weight": head})
    assert "several heads: v_head.summary.weight, score.weight" in complaint(weights | {"score.weight": head[:1]})
    assert "unexpected tensor 'other.weight'" in complaint(weights | {"other.weight": head})
    assert "lacks the tensor 'model.norm.weight'" in complaint(
        {name: array for name, array in weights.items() if name != "model.norm.weight"}
    )


class TestLive:
    """Beside torch, where it is installed: random models of other shapes, in both directions."""

    @pytest.fixture(scope="class")
    def torch_side(self):
        torch = pytest.importorskip("torch")
        torch.set_num_threads(1)
        import sys

        sys.path.insert(0, str(GOLDEN))
        import make_reward

        return make_reward

    @pytest.mark.parametrize("case", ["untied_gqa2", "tied_gqa7", "yarn_window_wide_heads", "window_gqa4"])
    def test_there_and_back(self, torch_side, case, tmp_path):
        import torch

        model = torch_side.random_model(torch_side.make_golden.CASES[case], 21)
        tokens_bt = torch_side.texts(model, np.random.default_rng(5))
        recorded = {"tokens_bt": tokens_bt, "lengths_b": torch_side.LENGTHS}
        expected = model.scores(torch.tensor(tokens_bt), list(torch_side.LENGTHS))
        model.save_pretrained(tmp_path / "in")
        config, params = checkpoint.load(tmp_path / "in")
        np.testing.assert_allclose(scores(config, params, recorded), expected, atol=TOLERANCE)
        checkpoint.save(params, config, tmp_path / "out", dtype=jnp.float32)
        opened, report = torch_side.AceCodeRM.from_pretrained(
            tmp_path / "out", attn_implementation="eager", dtype=torch.float32, output_loading_info=True
        )
        assert not any(report.values()), report
        again = opened.eval().scores(torch.tensor(tokens_bt), list(torch_side.LENGTHS))
        np.testing.assert_allclose(again, expected, atol=TOLERANCE)
