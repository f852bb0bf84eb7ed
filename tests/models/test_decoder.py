"""The decoder by its properties: who influences whom, packing, padding, windows, what the backward pass keeps."""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.ad_checkpoint
import jax.numpy as jnp
import numpy as np
import pytest

from acecoder_jax.models import layout
from acecoder_jax.models.config import PUBLISHED, ModelConfig
from acecoder_jax.models.decoder import UNROLLED, Model, rms_norm
from acecoder_jax.models.decoder import logits as decoder_logits

CONFIG = ModelConfig(
    vocab_size=50, hidden_size=16, intermediate_size=24, num_layers=3, num_heads=4, num_kv_heads=2, head_dim=4,
    rope_theta=100.0,
)  # fmt: skip
WINDOWED = dataclasses.replace(CONFIG, sliding_window=3, max_window_layers=1)
SCANNED = dataclasses.replace(CONFIG, num_layers=UNROLLED + 1)
TIME = 12


def random_params(model: Model, seed: int = 0) -> dict:
    """Parameters large enough for every part of the model to matter."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(np.float32), model.abstract_params)


@pytest.fixture(scope="module")
def params():
    return random_params(Model(CONFIG))


@functools.cache
def jitted(config: ModelConfig):
    return jax.jit(Model(config, jnp.float32).logits)


def logits(params, tokens_bt, segment_bt=None, position_bt=None, config=CONFIG) -> np.ndarray:
    """Logits of two rows of TIME tokens, by default each one sequence."""
    segment_bt = np.ones((2, TIME), np.int32) if segment_bt is None else segment_bt
    position_bt = np.tile(np.arange(TIME), (2, 1)) if position_bt is None else position_bt
    return np.asarray(jitted(config)(params, tokens_bt, segment_bt, position_bt))


@pytest.fixture(scope="module")
def tokens_bt():
    return np.random.default_rng(1).integers(0, 50, (2, TIME))


def test_the_parameters_are_those_of_the_layout():
    for config in (CONFIG, dataclasses.replace(CONFIG, tie_word_embeddings=True)):
        assert Model(config).abstract_params == layout.abstract_params(config)


@pytest.mark.parametrize("name", ["Qwen2.5-0.5B-Instruct", "Qwen2.5-Coder-7B-Instruct", "Qwen2.5-72B-Instruct"])
def test_real_sizes_by_shape_alone(name):
    model = Model(PUBLISHED[name])
    rows = jax.ShapeDtypeStruct((2, 64), jnp.int32)
    hidden_btd = jax.eval_shape(model.hidden, model.abstract_params, rows, rows, rows)
    logits_btv = jax.eval_shape(model.logits, model.abstract_params, rows, rows, rows)
    assert (hidden_btd.shape, hidden_btd.dtype) == ((2, 64, model.config.hidden_size), jnp.bfloat16)
    assert (logits_btv.shape, logits_btv.dtype) == ((2, 64, model.config.vocab_size), jnp.float32)
    billions = sum(leaf.size for leaf in jax.tree.leaves(model.abstract_params)) / 1e9
    assert round(billions, 2) == {"0.5": 0.49, "7": 7.62, "72": 72.71}[name.split("B-")[0].split("-")[-1]]


def test_rms_norm():
    x = jnp.array([[3.0, 4.0], [0.0, 0.0]])  # the mean square of the first row is 12.5
    norm = jax.jit(lambda x: rms_norm(x, jnp.array([1.0, 2.0]), 1e-6))
    rms = math.sqrt(12.5 + 1e-6)
    np.testing.assert_allclose(norm(x), np.array([[3 / rms, 8 / rms], [0, 0]]), rtol=1e-6)
    assert jax.eval_shape(norm, jax.ShapeDtypeStruct((2,), jnp.bfloat16)).dtype == jnp.bfloat16


def test_a_token_changes_nothing_before_it(params, tokens_bt):
    changed_bt = tokens_bt.copy()
    changed_bt[:, 7] = (changed_bt[:, 7] + 1) % 50
    one, other = logits(params, tokens_bt), logits(params, changed_bt)
    np.testing.assert_array_equal(one[:, :7], other[:, :7])
    assert (np.abs(one[:, 7:] - other[:, 7:]).max(-1) > 1e-4).all()


def test_packed_and_left_padded_rows_are_as_the_sequences_alone(params, tokens_bt):
    first_n, second_n = tokens_bt[0, :5], tokens_bt[1, :7]
    alone = logits(params, tokens_bt)
    packed_t = np.concatenate([first_n, second_n])
    padded_t = np.concatenate([np.full(5, 9), second_n])
    segment_bt = np.array([[1] * 5 + [2] * 7, [0] * 5 + [1] * 7])
    position_bt = np.array([[*range(5), *range(7)], [0] * 5 + list(range(7))])
    together = logits(params, np.stack([packed_t, padded_t]), segment_bt, position_bt)
    np.testing.assert_allclose(together[0, :5], alone[0, :5], atol=1e-5)
    np.testing.assert_allclose(together[0, 5:], alone[1, :7], atol=1e-5)
    np.testing.assert_allclose(together[1, 5:], alone[1, :7], atol=1e-5)
    other = logits(params, np.stack([packed_t, np.concatenate([np.full(5, 3), second_n])]), segment_bt, position_bt)
    np.testing.assert_array_equal(together[1, 5:], other[1, 5:])  # what stands in the padding does not matter


def test_responses_that_share_a_prompt_are_as_the_sequences_alone(params, tokens_bt):
    prompt_n, first_n, second_n = tokens_bt[0, :4], tokens_bt[0, 4:8], tokens_bt[1, :3]
    shared_t = np.concatenate([prompt_n, first_n, second_n, [0]])
    segment_t, branch_t = [1] * 11 + [0], [0] * 4 + [1] * 4 + [2] * 3 + [0]
    position_t = [*range(4), *range(4, 8), *range(4, 7), 0]
    model = Model(CONFIG, jnp.float32)
    rows = (np.array([numbers]) for numbers in (shared_t, segment_t, position_t, branch_t))
    together = jax.jit(lambda params, *rows: decoder_logits(params, model.hidden(params, *rows)))(params, *rows)[0]
    for response_n, at in ((first_n, 4), (second_n, 8)):
        alone_n = np.concatenate([prompt_n, response_n, np.zeros(TIME - 4 - len(response_n), int)])
        alone = logits(params, np.stack([alone_n, alone_n]))[0]
        np.testing.assert_allclose(together[:4], alone[:4], atol=1e-5)
        np.testing.assert_allclose(together[at : at + len(response_n)], alone[4 : 4 + len(response_n)], atol=1e-5)


def test_a_windowed_layer_forgets(params, tokens_bt):
    # One full and two windowed layers: with the first layer's attention off, a token reaches 2 + 2 further at most.
    o_lnhd = params["layers"]["o_nhd"] * np.array([0, 1, 1])[:, None, None, None]
    deaf = params | {"layers": params["layers"] | {"o_nhd": o_lnhd}}
    changed_bt = tokens_bt.copy()
    changed_bt[:, 4] = (changed_bt[:, 4] + 1) % 50
    one, other = logits(deaf, tokens_bt, config=WINDOWED), logits(deaf, changed_bt, config=WINDOWED)
    differs_t = np.abs(one - other).max((0, 2)) > 1e-6
    assert differs_t.tolist() == [4 <= t <= 8 for t in range(TIME)]
    assert np.abs(logits(params, tokens_bt, config=WINDOWED) - logits(params, tokens_bt)).max() > 1e-3


def test_what_the_backward_pass_keeps_changes_no_gradient(tokens_bt, capsys):
    params = random_params(Model(SCANNED))
    gradients, kept = {}, {}
    segment_bt, position_bt = np.ones((2, TIME), np.int32), np.tile(np.arange(TIME), (2, 1))
    for remat in ("none", "dots", "attention", "full"):
        model = Model(SCANNED, jnp.float32, remat)

        def loss(params, model=model):
            return jnp.sum(jnp.square(model.hidden(params, tokens_bt, segment_bt, position_bt)) * np.arange(16))

        gradients[remat] = jax.jit(jax.grad(loss))(params)
        jax.ad_checkpoint.print_saved_residuals(loss, params)
        kept[remat] = capsys.readouterr().out.count("output of scan")
    for remat in ("full", "attention", "dots"):
        jax.tree.map(
            lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4 * np.abs(other).max()),
            gradients[remat], gradients["none"],
        )  # fmt: skip
    assert kept["full"] < kept["attention"] < kept["dots"] < kept["none"]


def test_computing_again_saves_memory_in_a_small_model_too():
    def temporary_bytes(remat: str) -> int:
        model = Model(CONFIG, jnp.float32, remat)
        rows = jax.ShapeDtypeStruct((2, 256), jnp.int32)
        gradient = jax.jit(jax.grad(lambda params, rows: jnp.sum(model.hidden(params, rows, rows, rows))))
        memory: Any = gradient.lower(model.abstract_params, rows).compile().memory_analysis()
        return memory.temp_size_in_bytes

    assert temporary_bytes("full") < 0.7 * temporary_bytes("none")


def test_an_unknown_policy_is_an_error_that_lists_them():
    with pytest.raises(ValueError, match=r"'some'.*'attention', 'dots', 'full', 'none', 'offload'"):
        Model(CONFIG, remat="some")
