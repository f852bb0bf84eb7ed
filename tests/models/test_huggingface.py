"""Checkpoints in and out on their own; test_parity.py compares logits with `transformers`."""

import dataclasses
import json
import os
import socket
import subprocess
import sys

import huggingface_hub
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from safetensors.numpy import load_file, save_file

from acecoder_jax import parallel, tokenizer
from acecoder_jax.models import huggingface, layout
from acecoder_jax.models.config import ModelConfig
from acecoder_jax.models.sharding import param_shardings

UNTIED = ModelConfig(
    vocab_size=96, hidden_size=32, intermediate_size=48, num_layers=3, num_heads=4, num_kv_heads=2, head_dim=16
)
TIED = dataclasses.replace(UNTIED, tie_word_embeddings=True)


def random_params(config: ModelConfig) -> dict:
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype), layout.abstract_params(config)
    )


def assert_equal(params: dict, expected: dict) -> None:
    params, expected = layout.flat(params), layout.flat(expected)
    assert params.keys() == expected.keys()
    for path, leaf in expected.items():
        assert params[path].dtype == leaf.dtype
        np.testing.assert_array_equal(params[path], leaf, err_msg="/".join(path))


@pytest.fixture
def checkpoint(tmp_path):
    """A directory in Hugging Face layout: random tensors under the names `transformers` gives them."""
    (tmp_path / "config.json").write_text(json.dumps(UNTIED.to_hf()))
    rng = np.random.default_rng(1)
    tensors = {row.name: rng.normal(size=row.shape).astype(np.float32) for row in layout.tensors(UNTIED)}
    save_file(tensors, tmp_path / "model.safetensors")
    return tmp_path


def edit(checkpoint, **tensors):
    """Adds or replaces tensors; None removes one. Dots are written as in the file's names."""
    stored = load_file(checkpoint / "model.safetensors") | tensors
    kept = {name: tensor for name, tensor in stored.items() if tensor is not None}
    save_file(kept, checkpoint / "model.safetensors")


# ---- in


def test_axes_of_every_kind_of_leaf(checkpoint):
    config, params = huggingface.load_params(checkpoint)
    assert config == UNTIED
    stored = load_file(checkpoint / "model.safetensors")
    layers, head, hidden = params["layers"], 3, 5  # head 3 of 4, component 5 of 16: row 3 * 16 + 5
    prefix = "model.layers.2."
    np.testing.assert_array_equal(layers["q_dnh"][2, :, head, hidden], stored[prefix + "self_attn.q_proj.weight"][53])
    np.testing.assert_array_equal(layers["k_dkh"][2, :, 1, hidden], stored[prefix + "self_attn.k_proj.weight"][21])
    np.testing.assert_array_equal(layers["v_bias_kh"][2, 1, hidden], stored[prefix + "self_attn.v_proj.bias"][21])
    np.testing.assert_array_equal(layers["o_nhd"][2, head, hidden], stored[prefix + "self_attn.o_proj.weight"][:, 53])
    np.testing.assert_array_equal(layers["gate_df"][2], stored[prefix + "mlp.gate_proj.weight"].T)
    np.testing.assert_array_equal(layers["down_fd"][2], stored[prefix + "mlp.down_proj.weight"].T)
    np.testing.assert_array_equal(layers["mlp_norm_d"][2], stored[prefix + "post_attention_layernorm.weight"])
    np.testing.assert_array_equal(params["embed_vd"], stored["model.embed_tokens.weight"])
    np.testing.assert_array_equal(params["head_dv"], stored["lm_head.weight"].T)


@pytest.mark.parametrize("stored_as", [np.float16, ml_dtypes.bfloat16])
def test_16_bit_weights_are_read_exactly(checkpoint, stored_as):
    file = checkpoint / "model.safetensors"
    save_file({name: tensor.astype(stored_as) for name, tensor in load_file(file).items()}, file)
    _, params = huggingface.load_params(checkpoint)
    assert params["embed_vd"].dtype == jnp.float32
    expected = load_file(file)["model.embed_tokens.weight"].astype(np.float32)
    np.testing.assert_array_equal(params["embed_vd"], expected)


def test_the_type_asked_for(checkpoint):
    _, params = huggingface.load_params(checkpoint, dtype=jnp.bfloat16)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(jnp.bfloat16)}
    up = load_file(checkpoint / "model.safetensors")["model.layers.1.mlp.up_proj.weight"]
    np.testing.assert_array_equal(params["layers"]["up_df"][1], up.T.astype(ml_dtypes.bfloat16))


@pytest.mark.parametrize("as_function", [True, False])
def test_each_device_gets_its_part_alone(checkpoint, as_function, monkeypatch):
    mesh = parallel.make_mesh(fsdp=4, tensor=2)
    shardings = param_shardings(layout.abstract_params(UNTIED), mesh)
    put = []
    device_put = jax.device_put

    def spy(x, device, **kw):
        put.append(x.nbytes)
        return device_put(x, device, **kw)

    _, whole = huggingface.load_params(checkpoint)
    monkeypatch.setattr(jax, "device_put", spy)
    given = (lambda abstract: param_shardings(abstract, mesh)) if as_function else shardings
    _, params = huggingface.load_params(checkpoint, shardings=given)
    assert_equal(params, whole)
    assert jax.tree.map(lambda leaf: leaf.sharding, params) == shardings
    assert params["layers"]["q_dnh"].sharding.spec == PartitionSpec(None, "fsdp", "tensor", None)
    assert max(put) == 96 * 32 * 4 // 8  # the largest tensor, cut in eight


def test_layers_can_be_split_too(checkpoint):
    mesh = parallel.make_mesh(fsdp=3, devices=jax.devices()[:3])
    spec = {path: PartitionSpec("fsdp" if path[0] == "layers" else None) for path in layout.paths(UNTIED)}
    shardings = layout.nested({path: NamedSharding(mesh, one) for path, one in spec.items()})
    _, params = huggingface.load_params(checkpoint, shardings=shardings)
    assert_equal(params, huggingface.load_params(checkpoint)[1])


def test_shardings_of_another_tree_are_refused(checkpoint):
    shardings = param_shardings(layout.abstract_params(TIED), parallel.make_mesh())
    with pytest.raises(ValueError, match=r"differ in the leaves \['head_dv'\]"):
        huggingface.load_params(checkpoint, shardings=shardings)


def test_a_tied_model_ignores_a_stored_head(checkpoint):
    (checkpoint / "config.json").write_text(json.dumps(TIED.to_hf()))
    config, params = huggingface.load_params(checkpoint)
    assert config.tie_word_embeddings
    assert "head_dv" not in params


def test_stored_rotary_frequencies_are_ignored(checkpoint):
    edit(checkpoint, **{"model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(8, np.float32)})
    huggingface.load_params(checkpoint)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"model.layers.1.mlp.up_proj.weight": None}, r"lacks the tensor 'model.layers.1.mlp.up_proj.weight'"),
        ({"lm_head.weight": None}, r"lacks the tensor 'lm_head.weight' of shape \[96, 32\]"),
        ({"v_head.weight": np.ones(3, np.float32)}, r"model.safetensors: unexpected tensor 'v_head.weight'"),
        ({"model.layers.3.mlp.up_proj.weight": np.ones(3, np.float32)}, r"unexpected tensor 'model.layers.3.mlp.up"),
        ({"model.norm.weight": np.ones(31, np.float32)}, r"'model.norm.weight' has shape \[31\], expected \[32\]"),
        ({"model.norm.weight": np.ones(32)}, r"'model.norm.weight' is F64; supported: BF16, F16, F32"),
    ],
)
def test_a_wrong_tensor_is_named(checkpoint, tensors, message, monkeypatch):
    edit(checkpoint, **tensors)
    monkeypatch.setattr(huggingface, "_load_leaf", lambda *a: pytest.fail("weights were read"))
    with pytest.raises(ValueError, match=message):
        huggingface.load_params(checkpoint)


def test_a_truncated_file_is_named(checkpoint):
    file = checkpoint / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(ValueError, match=r"model.safetensors is truncated: tensor 'model"):
        huggingface.load_params(checkpoint)


def test_an_unsupported_config_is_named(checkpoint):
    (checkpoint / "config.json").write_text(json.dumps(UNTIED.to_hf() | {"architectures": ["LlamaForCausalLM"]}))
    with pytest.raises(ValueError, match="architecture 'LlamaForCausalLM' is not supported") as raised:
        huggingface.load_params(checkpoint)
    assert str(checkpoint) in str(raised.value)


def test_no_config(checkpoint):
    (checkpoint / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"config.json does not exist"):
        huggingface.load_params(checkpoint)


def test_a_path_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="models/mine is no directory, and no hub id"):
        huggingface.load_params(tmp_path / "models/mine")


def test_a_hub_id_is_downloaded(checkpoint, monkeypatch):
    asked = {}
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda name, **kw: asked.update(kw, name=name) or str(checkpoint)
    )
    config, _ = huggingface.load_params("Qwen/Qwen2.5-Coder-7B")
    assert config == UNTIED
    assert asked == {"name": "Qwen/Qwen2.5-Coder-7B", "allow_patterns": ["model*.safetensors", "*.json"]}


def test_a_hub_id_that_cannot_be_had(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        FileNotFoundError, match="nobody/nothing is no local directory, and could not be had from the hub"
    ):
        huggingface.load_params("nobody/nothing")


# ---- out


@pytest.mark.parametrize("config", [TIED, UNTIED], ids=["tied", "untied"])
@pytest.mark.parametrize("max_shard_bytes", [10**9, 20_000])
def test_export_and_load(tmp_path, config, max_shard_bytes):
    params = random_params(config)
    huggingface.export(params, config, tmp_path / "out", dtype=jnp.float32, max_shard_bytes=max_shard_bytes)
    again, loaded = huggingface.load_params(tmp_path / "out")
    assert again == config
    assert_equal(loaded, params)


def test_export_of_a_sharded_tree(tmp_path):
    params = random_params(UNTIED)
    sharded = jax.device_put(params, param_shardings(params, parallel.make_mesh(fsdp=4, tensor=2)))
    huggingface.export(sharded, UNTIED, tmp_path / "out", dtype=jnp.float32)
    assert_equal(huggingface.load_params(tmp_path / "out")[1], params)


def test_export_rounds_to_bfloat16(tmp_path):
    params = random_params(UNTIED)
    huggingface.export(params, UNTIED, tmp_path / "out")
    assert json.loads((tmp_path / "out/config.json").read_text())["torch_dtype"] == "bfloat16"
    _, loaded = huggingface.load_params(tmp_path / "out", dtype=jnp.bfloat16)
    assert_equal(loaded, jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params))


def test_shards_and_their_index(tmp_path):
    limit = 20_000
    huggingface.export(random_params(UNTIED), UNTIED, tmp_path / "out", max_shard_bytes=limit)
    index = json.loads((tmp_path / "out/model.safetensors.index.json").read_text())
    files = sorted(set(index["weight_map"].values()))
    assert files == [f"model-{i + 1:05}-of-{len(files):05}.safetensors" for i in range(len(files))]
    assert len(files) > 2
    sizes = [sum(tensor.nbytes for tensor in load_file(tmp_path / "out" / file).values()) for file in files]
    assert max(sizes) <= limit
    assert index["metadata"]["total_size"] == sum(sizes)


def test_a_tensor_larger_than_a_shard_has_one_alone(tmp_path):
    huggingface.export(random_params(TIED), TIED, tmp_path / "out", max_shard_bytes=1)
    assert len(list((tmp_path / "out").glob("*.safetensors"))) == len(layout.tensors(TIED))


def test_export_with_a_tokenizer(tmp_path):
    bpe = tokenizer.train_bpe(["def f(x):\n    return x + 1\n"] * 4, 300)
    huggingface.export(random_params(TIED), TIED, tmp_path / "out", tokenizer=bpe)
    again = tokenizer.load(tmp_path / "out")
    assert again.encode("def f(x)") == bpe.encode("def f(x)")
    generation = json.loads((tmp_path / "out/generation_config.json").read_text())
    eos, pad = bpe.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    assert generation == {"eos_token_id": [eos, pad], "pad_token_id": pad}
    assert json.loads((tmp_path / "out/config.json").read_text())["eos_token_id"] == eos


def test_export_refuses_what_is_there(tmp_path):
    (tmp_path / "out").mkdir()
    huggingface.export(random_params(TIED), TIED, tmp_path / "out")  # an empty directory is no loss
    before = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    with pytest.raises(FileExistsError, match="out exists and is not empty"):
        huggingface.export(random_params(UNTIED), UNTIED, tmp_path / "out")
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == before
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError, match="file is a file"):
        huggingface.export(random_params(TIED), TIED, tmp_path / "file", overwrite=True)


def test_export_overwrites_when_told(tmp_path):
    huggingface.export(random_params(TIED), TIED, tmp_path / "out", max_shard_bytes=20_000)
    huggingface.export(random_params(UNTIED), UNTIED, tmp_path / "out", overwrite=True)
    assert huggingface.load_params(tmp_path / "out")[0] == UNTIED
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_a_kill_left_of_an_export_goes_with_the_next(tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(huggingface, "_write_configs", killed)
        patch.setattr(huggingface.shutil, "rmtree", lambda *_, **__: None)  # a killed process tidies nothing up
        with pytest.raises(KeyboardInterrupt):
            huggingface.export(random_params(TIED), TIED, tmp_path / "out")
    assert len(list(tmp_path.iterdir())) == 1
    (tmp_path / ".out.settings").mkdir()  # somebody else's
    huggingface.export(random_params(TIED), TIED, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.settings", "out"]


class BrokenTokenizer:
    def save_pretrained(self, directory):
        (directory / "tokenizer.json").write_text("{}")
        raise OSError("disk full")


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_failed_export_leaves_nothing(tmp_path, overwrite):
    if overwrite:
        (tmp_path / "out").mkdir()
        (tmp_path / "out/mine.txt").write_text("kept")
    with pytest.raises(OSError, match="disk full"):
        huggingface.export(
            random_params(TIED), TIED, tmp_path / "out", tokenizer=BrokenTokenizer(), overwrite=overwrite
        )
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == (
        ["out", "out/mine.txt"] if overwrite else []
    )


def test_export_names_a_leaf_that_does_not_fit(tmp_path):
    params = random_params(UNTIED)
    with pytest.raises(ValueError, match=r"unexpected leaves: \['head_dv'\]"):
        huggingface.export(params, TIED, tmp_path / "out")
    with pytest.raises(ValueError, match="lack the leaf head_dv"):
        huggingface.export(random_params(TIED), UNTIED, tmp_path / "out")
    params["layers"]["up_df"] = params["layers"]["up_df"][:2]
    with pytest.raises(ValueError, match=r"layers/up_df has shape \(2, 32, 48\), expected \(3, 32, 48\)"):
        huggingface.export(params, UNTIED, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_export_refuses_an_unknown_type(tmp_path):
    with pytest.raises(ValueError, match="cannot store int8; supported: bfloat16, float16, float32"):
        huggingface.export(random_params(TIED), TIED, tmp_path / "out", dtype=jnp.int8)


TWO_HOSTS = """
import pathlib, sys, jax, jax.numpy as jnp
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(f"localhost:{sys.argv[2]}", num_processes=2, process_id=int(sys.argv[1]))
from acecoder_jax import parallel
from acecoder_jax.models import huggingface
from acecoder_jax.models.sharding import param_shardings
mesh = parallel.make_mesh(fsdp=2, tensor=2)
config, params = huggingface.load_params(sys.argv[3], shardings=lambda abstract: param_shardings(abstract, mesh))
assert not params["embed_vd"].is_fully_addressable
huggingface.export(params, config, pathlib.Path(sys.argv[3]) / "again", dtype=jnp.float32)
"""


def test_two_hosts_load_their_parts_and_export_the_whole(checkpoint):
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = str(probe.getsockname()[1])
    env = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    hosts = [
        subprocess.Popen(
            [sys.executable, "-c", TWO_HOSTS, str(host), port, checkpoint], stderr=subprocess.PIPE, text=True, env=env
        )
        for host in range(2)
    ]
    try:
        for host in hosts:
            _, err = host.communicate(timeout=120)
            assert host.returncode == 0, err
    finally:
        for host in hosts:
            host.kill()
    written, read = (load_file(directory / "model.safetensors") for directory in (checkpoint / "again", checkpoint))
    assert written.keys() == read.keys()
    for name, tensor in read.items():
        np.testing.assert_array_equal(written[name], tensor, err_msg=name)
