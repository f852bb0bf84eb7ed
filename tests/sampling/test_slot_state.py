"""The engine's state on the devices: how samples start, what a chunk writes, when it ends early."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acecoder_jax.models.sharding import AXES
from acecoder_jax.sampling import forward, slot_state
from acecoder_jax.sampling.draw import Needs

SLOTS, CHUNK, GREEDY = 3, 4, Needs(draws=False, tempers=False, restricts=False)


@pytest.fixture(scope="module")
def weights(config, params):
    return jax.jit(functools.partial(forward.to_weights, config=config, dtype=jnp.float32))(params)


@pytest.fixture(scope="module")
def greedy_tokens(full_logits):
    """The greedy continuation of token 3, by the full forward."""
    tokens = [3]
    for _ in range(2 * CHUNK):
        tokens.append(int(full_logits(tokens)[-1].argmax()))
    return tokens[1:]


@pytest.fixture(scope="module")
def run(config, weights):
    """(limits of the three slots, token that ends an answer) -> state and output of a chunk; limit 0: at rest."""

    @functools.cache
    def decode(stop_id):
        return jax.jit(
            functools.partial(slot_state.decode_chunk, config=config, chunk=CHUNK, stop_ids=(stop_id,), needs=GREEDY)
        )

    def start(limits, stop_id=-1):
        state = jax.tree.map(np.asarray, slot_state.empty(config, SLOTS, 16, jnp.float32))
        state["token_s"], state["limit_s"] = np.full(SLOTS, 3, np.int32), np.array(limits, np.int32)
        state["active_s"] = state["limit_s"] > 0
        return jax.device_get(decode(stop_id)(weights, state))

    return start


def test_a_chunk_writes_for_active_slots_up_to_their_limit(run, greedy_tokens):
    state, out = run([3, 0, 9])
    assert out["valid"].T.tolist() == [[True] * 3 + [False], [False] * 4, [True] * 4]
    assert out["token"][:3, 0].tolist() == greedy_tokens[:3]
    assert out["token"][:, 2].tolist() == greedy_tokens[:4]
    assert out["active"].tolist() == state["active_s"].tolist() == [False, False, True]
    assert state["written_s"].tolist() == state["position_s"].tolist() == [3, 0, 4]
    assert state["token_s"].tolist() == [greedy_tokens[2], 3, greedy_tokens[3]]


def test_an_end_token_is_written_and_ends_the_slot(run, greedy_tokens):
    end = greedy_tokens[1]
    first = greedy_tokens.index(end) + 1
    state, out = run([9, 9, 0], end)
    assert out["valid"].sum(0).tolist() == [first, first, 0]
    assert out["token"][first - 1].tolist()[:2] == [end, end]
    assert not state["active_s"].any()


def test_a_chunk_ends_early_when_nothing_is_active(run):
    state, out = run([2, 1, 0])
    assert state["written_s"].tolist() == [2, 1, 0]
    assert not out["token"][2:].any()  # the steps after the second were not taken


def test_insert_starts_samples_and_leaves_the_others(config):
    rng = np.random.default_rng(0)
    state = jax.tree.map(lambda leaf: np.asarray(leaf) + 1, slot_state.empty(config, SLOTS, 16, jnp.float32))
    prompts = jax.tree.map(lambda leaf: rng.random(leaf.shape), forward.empty_cache(config, 2, 8, jnp.float32))
    fields = slot_state.blank_fields(SLOTS)
    fields["token_s"][:], fields["key_se"][:] = [7, 8, 9], [[1, 2], [3, 4], [5, 6]]
    after = slot_state.insert(
        jax.tree.map(jnp.asarray, state), prompts, jnp.array([2, 0, SLOTS]), jnp.array([1, 0, 0]), fields
    )
    assert after["token_s"].tolist() == [8, 1, 7]
    assert after["key_se"].tolist() == [[3, 4], [1, 1], [1, 2]]
    assert after["written_s"].tolist() == [0, 1, 0]
    k_skch, prompt_k = np.asarray(after["cache"][0]["k_skch"]), prompts[0]["k_skch"].astype(np.float32)
    np.testing.assert_array_equal(k_skch[2, :, :8], prompt_k[1])
    np.testing.assert_array_equal(k_skch[0, :, :8], prompt_k[0])
    assert (k_skch[1] == 1).all()
    assert after.keys() == state.keys()


def test_every_field_is_named_by_its_axes(config):
    state = jax.eval_shape(lambda: slot_state.empty(config, SLOTS, 16, jnp.bfloat16))
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        letters = path[-1].key.rsplit("_", 1)[-1]
        assert set(letters) <= AXES.keys()
        assert len(letters) == leaf.ndim
        assert leaf.shape[0] == SLOTS
    assert state["cache"][0]["k_skch"].dtype == jnp.bfloat16
