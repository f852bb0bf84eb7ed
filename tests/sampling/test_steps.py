"""The steps of the device: what a chunk writes, when it ends early, how it goes on; prompts read in pieces."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acecoder_jax.models.sharding import AXES
from acecoder_jax.sampling import forward, steps
from acecoder_jax.sampling.draw import Needs

SLOTS, CHUNK, CELLS, ROW_PAGES = 3, 4, 4, 3
GREEDY, DRAWS = Needs(draws=False, tempers=False, restricts=False), Needs(draws=True, tempers=False, restricts=False)


@pytest.fixture(scope="module")
def model(config):
    return forward.Forward(config, jnp.float32, "xla")


@pytest.fixture(scope="module")
def weights(model, params):
    return jax.jit(model.to_weights)(params)


@pytest.fixture(scope="module")
def greedy_tokens(full_logits):
    """The greedy continuation of token 3, by the full forward."""
    tokens = [3]
    for _ in range(2 * CHUNK):
        tokens.append(int(full_logits(tokens)[-1].argmax()))
    return tokens[1:]


@pytest.fixture(scope="module")
def empty(model):
    return lambda: model.empty_pages(1 + SLOTS * ROW_PAGES, CELLS, jnp.float32)


def fields_of(limits):
    """Slots that start after token 3, with pages of their own, until they have written so much; limit 0: at rest."""
    fields = steps.blank_fields(SLOTS, ROW_PAGES)
    fields["token_s"][:], fields["limit_s"][:], fields["active_s"][:] = 3, limits, np.array(limits) > 0
    fields["key_se"][:] = [[1, 2], [3, 4], [5, 6]]
    fields["temperature_s"][:] = fields["top_p_s"][:] = 1
    fields["table_si"][:] = np.arange(1, 1 + SLOTS * ROW_PAGES).reshape(SLOTS, ROW_PAGES)
    return fields


@pytest.fixture(scope="module")
def decode(model, weights, empty):
    """(fields, token that ends an answer, ...) -> pages and output of a chunk."""

    @functools.cache
    def jitted(stop_id, needs):
        chunk = functools.partial(steps.decode_chunk, model=model, chunk=CHUNK, stop_ids=(stop_id,), needs=needs)
        return jax.jit(chunk)

    def run(fields, stop_id=-1, pages=None, needs=GREEDY):
        pages, out = jitted(stop_id, needs)(weights, empty() if pages is None else pages, fields)
        return pages, jax.device_get(out)

    return run


def test_a_chunk_writes_for_active_slots_up_to_their_limit(decode, greedy_tokens):
    _, out = decode(fields_of([3, 0, 9]))
    assert out["valid_cs"].T.tolist() == [[True] * 3 + [False], [False] * 4, [True] * 4]
    assert out["token_cs"][:3, 0].tolist() == greedy_tokens[:3]
    assert out["token_cs"][:, 2].tolist() == greedy_tokens[:4]
    assert out["active_s"].tolist() == [False, False, True]


def test_log_probabilities_are_those_of_the_full_forward(decode, greedy_tokens, full_logits, reference):
    _, out = decode(fields_of([4, 0, 0]))
    logits_tv = full_logits([3, *greedy_tokens[:3]])
    expected = [reference.log_softmax(logits_tv[i])[token] for i, token in enumerate(greedy_tokens[:4])]
    np.testing.assert_allclose(out["logp_cs"][:, 0], expected, atol=1e-4)


def test_an_end_token_is_written_and_ends_the_slot(decode, greedy_tokens):
    end = greedy_tokens[1]
    first = greedy_tokens.index(end) + 1
    _, out = decode(fields_of([9, 9, 0]), end)
    assert out["valid_cs"].sum(0).tolist() == [first, first, 0]
    assert out["token_cs"][first - 1].tolist()[:2] == [end, end]
    assert not out["active_s"].any()


def test_a_chunk_ends_early_when_nothing_is_active(decode):
    _, out = decode(fields_of([2, 1, 0]))
    assert out["valid_cs"].sum(0).tolist() == [2, 1, 0]
    assert not out["token_cs"][2:].any()  # the steps after the second were not taken


def test_a_slot_at_rest_leaves_its_pages_as_they_are(decode, empty):
    """Also one that the others outlast."""
    given = jax.tree.map(lambda leaf: leaf + 5, empty())
    pages, _ = decode(fields_of([4, 0, 1]), pages=given)
    for layer in pages:
        cells_sxjh = np.asarray(layer["kv_pcjh"])[1:].reshape(SLOTS, ROW_PAGES * CELLS, 4, 8)
        assert [(cells != 5).any((1, 2)).sum() for cells in cells_sxjh] == [4, 0, 1]


@pytest.mark.parametrize("needs", [GREEDY, DRAWS])
def test_what_is_written_does_not_depend_on_where_chunks_end(decode, needs):
    _, whole = decode(fields_of([4, 4, 4]), needs=needs)
    fields = fields_of([2, 1, 3])
    pages, first = decode(fields, needs=needs)
    written_s = np.array([2, 1, 3])
    fields |= {"position_s": written_s.astype(np.int32), "written_s": written_s.astype(np.int32)}
    fields["token_s"] = first["token_cs"][written_s - 1, range(SLOTS)]
    fields["limit_s"] = np.full(SLOTS, 4, np.int32)
    _, second = decode(fields, pages=pages, needs=needs)
    for slot, n in enumerate(written_s):
        for name in ("token_cs", "logp_cs"):
            joined = np.concatenate([first[name][:n, slot], second[name][: 4 - n, slot]])
            np.testing.assert_array_equal(joined, whole[name][:, slot])
    assert needs == GREEDY or len({tuple(row) for row in whole["token_cs"].T}) > 1  # each slot has a key of its own


def test_a_prompt_read_in_pieces_goes_on_greedily(model, weights, decode, empty, greedy_tokens):
    """Slot 0 has read six of seven tokens, two pieces in one call; slot 1 two of three."""
    prompts = [[3, *greedy_tokens[:6]], [3, *greedy_tokens[:2]]]
    fields = fields_of([1, 1, 0])
    pieces = {
        "tokens_st": np.array([prompts[0][:4], [*prompts[0][4:6], 0, 0], [*prompts[1][:2], 0, 0]], np.int32),
        "active_st": np.arange(4) < np.array([[4], [2], [2]]),
        "position_s": np.array([0, 4, 0], np.int32),
        "table_si": fields["table_si"][[0, 0, 1]],
    }
    pages = jax.jit(functools.partial(steps.prefill, model=model))(weights, empty(), pieces)
    fields["token_s"][:2], fields["position_s"][:2] = [prompt[-1] for prompt in prompts], [6, 2]
    _, out = decode(fields, pages=pages)
    assert out["token_cs"][0, :2].tolist() == [greedy_tokens[6], greedy_tokens[2]]


def test_every_field_is_named_by_its_axes(decode):
    fields = steps.blank_fields(SLOTS, ROW_PAGES)
    assert fields.keys() == steps.FIELDS.keys() | {"table_si"}
    pages, out = decode(fields)
    for name, array in [*fields.items(), *out.items(), *pages[0].items()]:
        letters = name.rsplit("_", 1)[-1]
        assert set(letters) <= AXES.keys()
        assert len(letters) == array.ndim
        assert "s" not in letters or array.shape[letters.index("s")] == SLOTS
    assert not any(array.any() for array in fields.values())
