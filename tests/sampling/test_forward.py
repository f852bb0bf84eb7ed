"""Prefill and cached decoding against the full forward; pages shared and copied; nothing stale is ever read."""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acecoder_jax import parallel
from acecoder_jax.models import native
from acecoder_jax.models.config import FULL, SLIDING, ModelConfig, YarnScaling
from acecoder_jax.models.decoder import Model
from acecoder_jax.sampling.forward import Forward, Pages, Weights

GROUPED = ModelConfig(
    vocab_size=90, hidden_size=24, intermediate_size=32, num_layers=2, num_heads=6, num_kv_heads=2, head_dim=8,
    rope_theta=1e3, tie_word_embeddings=True,
)  # fmt: skip
CONFIGS = {
    "grouped_tied": GROUPED,
    "windowed_untied": dataclasses.replace(
        GROUPED, sliding_window=4, layer_types=(SLIDING, FULL), tie_word_embeddings=False
    ),
    "one_kv_head_yarn": dataclasses.replace(
        GROUPED, num_kv_heads=1, rope_scaling=YarnScaling(factor=2.0, original_max_position_embeddings=16)
    ),
}
PROMPTS, LENGTH, SLOTS, CELLS, ROW_PAGES = [1, 9, 4], 20, 5, 4, 5  # lengths of the prompts, of each whole sequence; ...
SLOT_OF = [3, 0, 4]
CPU = pytest.mark.skipif(not native.available(), reason="no C++ compiler")
BACKENDS = pytest.mark.parametrize("backend", ["xla", pytest.param("cpu", marks=CPU)])


@functools.cache
def random_params(name: str) -> Any:
    rng = np.random.default_rng(0)
    abstract = Model(CONFIGS[name]).abstract_params
    return jax.tree.map(lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(np.float32), abstract)


def tokens() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 90, (len(PROMPTS), LENGTH)).astype(np.int32)


@dataclasses.dataclass(frozen=True)
class Runner:
    """A model's compiled functions on random weights."""

    model: Forward
    weights: Weights
    prefill: Any
    step: Any

    def empty(self, rows: int, fill: float = 0.0) -> Pages:
        pages = self.model.empty_pages(1 + rows * ROW_PAGES, CELLS, self.model.dtype)
        return jax.tree.map(lambda leaf: leaf + jnp.asarray(fill, leaf.dtype), pages)

    def read(self, pages: Pages, table_ri: np.ndarray, prompts: list[np.ndarray], width: int, rows: int) -> Pages:
        """The prompts, `width` tokens a row, `rows` rows a call: pieces of one prompt may come in one call."""
        pieces = [
            (table_i, at, prompt[at : at + width])
            for table_i, prompt in zip(table_ri, prompts, strict=True)
            for at in range(0, len(prompt), width)
        ]
        for first in range(0, len(pieces), rows):
            tokens_st, active_st = np.full((rows, width), 7, np.int32), np.zeros((rows, width), bool)
            table_si, position_s = np.repeat(table_ri[:1], rows, axis=0), np.zeros(rows, np.int32)
            for row, (table_i, at, piece) in enumerate(pieces[first : first + rows]):
                tokens_st[row, : len(piece)], active_st[row, : len(piece)] = piece, True
                table_si[row] = table_i
                position_s[row] = at
            pages = self.prefill(self.weights, pages, tokens_st, table_si, position_s, active_st)[1]
        return pages

    def decode(
        self, pages: Pages, slots: list[int], table_ri: np.ndarray, tokens_rt: np.ndarray, starts: list[int]
    ) -> np.ndarray:
        """Logits [rows, steps, v] after each of these tokens, row r in slots[r], its first token at starts[r]."""
        # a slot at rest still names the pages that it had, which are another's by now
        table_si, active_s = np.repeat(table_ri[:1], SLOTS, axis=0), np.isin(np.arange(SLOTS), slots)
        table_si[slots] = table_ri
        out = []
        for step in range(tokens_rt.shape[1]):
            token_s, position_s = np.full(SLOTS, 7, np.int32), np.zeros(SLOTS, np.int32)
            token_s[slots], position_s[slots] = tokens_rt[:, step], np.array(starts) + step
            logits_sv, pages = self.step(self.weights, pages, token_s, table_si, position_s, active_s)
            out.append(np.asarray(logits_sv)[slots])
        return np.stack(out, axis=1)


@functools.cache
def runner(name: str, backend: str, dtype: Any = jnp.float32, packed: bool = False, int8: bool = False) -> Runner:
    model = Forward(CONFIGS[name], dtype, backend, packed, int8)

    def step(weights, pages, token_s, table_si, position_s, active_s):
        x_std, pages = model.hidden(weights, pages, token_s[:, None], table_si, position_s, active_s[:, None])
        return model.logits(weights, x_std[:, 0], active_s), pages

    weights = jax.jit(model.to_weights)(random_params(name))
    return Runner(model, weights, jax.jit(model.hidden), jax.jit(step))


def decode(run: Runner, fill: float = 0.0, width: int = 16, rows: int = 4) -> np.ndarray:
    """Logits [prompts, steps, v] after each token from the prompt's last on, teacher-forced, in scattered slots.

    The pages hold `fill` before anything is written to them.
    """
    table_ri = 1 + np.random.default_rng(2).permutation(len(PROMPTS) * ROW_PAGES).reshape(-1, ROW_PAGES)
    prompts = [row[: n - 1] for row, n in zip(tokens(), PROMPTS, strict=True)]  # the last token: the first step's
    pages = run.read(run.empty(len(PROMPTS), fill), table_ri, prompts, width, rows)
    steps = LENGTH - max(PROMPTS) + 1
    read = np.stack([row[n - 1 : n - 1 + steps] for row, n in zip(tokens(), PROMPTS, strict=True)])
    return run.decode(pages, SLOT_OF, table_ri, read, [n - 1 for n in PROMPTS])


@BACKENDS
@pytest.mark.parametrize(("width", "rows"), [(16, 4), (4, 2), (3, 1)])
@pytest.mark.parametrize("name", CONFIGS)
def test_prefill_and_decode_equal_the_full_forward(name, width, rows, backend):
    decoded = decode(runner(name, backend), width=width, rows=rows)
    position_bt = np.tile(np.arange(LENGTH), (len(PROMPTS), 1))
    model = Model(CONFIGS[name], jnp.float32, "none")
    whole = np.asarray(jax.jit(model.logits)(random_params(name), tokens(), np.ones_like(position_bt), position_bt))
    for row, n in enumerate(PROMPTS):
        np.testing.assert_allclose(decoded[row], whole[row, n - 1 : n - 1 + decoded.shape[1]], atol=1e-4)
    assert np.abs(whole).max() > 1


@BACKENDS
@pytest.mark.parametrize("name", ["grouped_tied", "windowed_untied"])
def test_what_a_page_held_before_is_never_seen(name, backend):
    run = runner(name, backend)
    for fill in (1e3, -1e3):
        np.testing.assert_array_equal(decode(run), decode(run, fill=fill))


@BACKENDS
def test_samples_that_share_a_prompts_pages_equal_those_with_their_own(backend):
    """Ten tokens are read: two full pages, which two samples point at, and one in part, which is copied for each."""
    run = runner("windowed_untied", backend)
    prompt, answers = tokens()[0, :10], tokens()[:2, 10:18]
    own_ri = np.array([[3, 9, 1, 7, 12], [14, 2, 10, 5, 8]])
    own = run.read(run.empty(3), own_ri, [prompt, prompt], 16, 4)
    separate = run.decode(own, [1, 4], own_ri, answers, [10, 10])
    shared = run.read(run.empty(3, fill=9.0), np.array([[6, 11, 4, 0, 0]]), [prompt], 16, 4)
    from_s, to_s = np.zeros(SLOTS, np.int32), np.zeros(SLOTS, np.int32)
    from_s[[1, 4]], to_s[[1, 4]] = 4, [1, 10]
    shared = jax.jit(run.model.copy_pages)(shared, from_s, to_s)
    shared_ri = np.array([[6, 11, 1, 7, 12], [6, 11, 10, 5, 8]])
    np.testing.assert_array_equal(run.decode(shared, [1, 4], shared_ri, answers, [10, 10]), separate)
    assert np.abs(separate[0] - separate[1]).max() > 0.1


def numbered_pages() -> Pages:
    """Every page of both layers different."""
    return [
        {"kv_pcjh": np.arange(6 * CELLS * 4 * 8, dtype=np.float32).reshape(6, CELLS, 4, 8) + start} for start in (0, 5)
    ]


@BACKENDS
def test_copy_pages_copies_the_named_pages_and_nothing_else(backend):
    """All are read before any is written: page 2 goes to 1 and 4, and gets what 5 had."""
    copy = jax.jit(Forward(GROUPED, jnp.float32, backend).copy_pages)
    from_s, to_s = (np.array(pages, np.int32) for pages in ([5, 0, 2, 2], [2, 0, 1, 4]))
    for after, before in zip(copy(numbered_pages(), from_s, to_s), numbered_pages(), strict=True):
        np.testing.assert_array_equal(after["kv_pcjh"], before["kv_pcjh"][[0, 2, 5, 3, 2, 5]])


@BACKENDS
def test_in_a_mesh_pages_are_counted_in_the_slots_own_part(backend):
    """Six pages and four slots on two devices, three and two each."""
    with jax.set_mesh(parallel.make_mesh(data=2, fsdp=1, tensor=1, devices=jax.devices()[:2])):
        copy = jax.jit(Forward(GROUPED, jnp.float32, backend).copy_pages)
        copied = copy(numbered_pages(), np.array([1, 0, 0, 2], np.int32), np.array([2, 0, 0, 1], np.int32))
    for after, before in zip(copied, numbered_pages(), strict=True):
        np.testing.assert_array_equal(after["kv_pcjh"], before["kv_pcjh"][[0, 1, 1, 3, 5, 5]])


# ---- weights


def size_packed(inputs: int, outputs: int) -> int:
    return -(-inputs // native.UNIT) * native.UNIT * (-(-outputs // native.panel()) * native.panel())


@pytest.mark.parametrize("packed", [False, pytest.param(True, marks=CPU)])
@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("name", ["grouped_tied", "windowed_untied"])
def test_weights_are_cast_but_for_norms_and_biases_nothing_twice_nothing_lost(name, int8, packed):
    config = CONFIGS[name]
    abstract = Model(config).abstract_params
    weights = jax.eval_shape(Forward(config, jnp.bfloat16, "xla", packed, int8).to_weights, abstract)
    assert len(weights["layers"]) == config.num_layers
    small, kinds, count = 0, {}, 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(weights):
        letters = path[-1].key
        if letters.startswith("scale_"):
            assert int8 and leaf.dtype == jnp.float32
            continue
        kinds.setdefault(leaf.dtype, set()).add(letters)
        count += leaf.size
        small += leaf.size if leaf.dtype == jnp.float32 else 0
    norms_and_biases = {"attn_norm_d", "mlp_norm_d", "final_norm_d", "qkv_bias_kxh"}
    own = int8 or not config.tie_word_embeddings  # the embedding is not the head
    assert kinds.pop(jnp.dtype(jnp.float32)) == norms_and_biases
    matrix_names = (
        {"packed_yuoz"}
        if packed
        else {"w_dkxh", "w_kghd", "w_dwf", "w_fd", "w_vd", "w_dv"} - {"w_dv" if config.tie_word_embeddings else "w_vd"}
    )
    embedding = {"embed_vd"} if own else set()
    if int8:
        assert kinds == {jnp.dtype(jnp.int8): matrix_names, jnp.dtype(jnp.bfloat16): embedding}
    else:
        assert kinds == {jnp.dtype(jnp.bfloat16): matrix_names | embedding}
    d, f, v, n, k, h = 24, 32, 90, 6, 2, 8
    matrices = [(d, (n + 2 * k) * h), (n * h, d), (d, 2 * f), (f, d)] * config.num_layers + [(d, v)]
    sizes = [size_packed(*shape) if packed else math.prod(shape) for shape in matrices]
    assert count == small + sum(sizes) + (v * d if own else 0)
    exact = sum(leaf.size for leaf in jax.tree.leaves(abstract))
    assert packed or count == exact + (v * d if int8 and config.tie_word_embeddings else 0)


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """Of logits, as a part of what they are."""
    return float(np.linalg.norm(one - other) / np.linalg.norm(other))


@CPU
@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("name", ["grouped_tied", "windowed_untied"])
def test_packed_products_give_the_numbers_of_the_others(name, int8):
    """Sums run in another order: of many numbers one may round to the next of bfloat16's."""
    packed, plain = (decode(runner(name, "cpu", jnp.bfloat16, packed, int8)) for packed in (True, False))
    assert difference(packed, plain) < 1e-3


@pytest.mark.parametrize("name", ["grouped_tied", "windowed_untied"])
def test_int8_gives_the_logits_that_eight_bits_give(name):
    """A matrix's error is half a percent of it (a scale is 2 / 127 of what numbers are, over the root of 12).

    Nine matrices one after another make a few times that.
    """
    apart = difference(decode(runner(name, "xla", int8=True)), decode(runner(name, "xla")))
    assert 1e-3 < apart < 0.03
