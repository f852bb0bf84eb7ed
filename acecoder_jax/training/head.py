"""The output head over the targets that count: their log-probs and entropies, without a whole [tokens, vocabulary].

Tokens go through the head in chunks, and a chunk through the vocabulary in blocks, with a running log-sum-exp; the
backward pass takes the logits again, block by block, from the saved log-sum-exp. Tokens whose prediction nobody asks
for (prompts, padding) are left out: the wanted ones are lined up first, and the loop ends after the last of them.
Every device of a mesh does this with its own tokens and, over the tensor axis, its own part of the vocabulary.

Letters: b row, t time, d embed, v vocabulary, n tokens of a device, c tokens of a chunk.
"""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from acecoder_jax.models import linear, sharding
from acecoder_jax.models.decoder import Params, head

HEAD_CHUNKS = "head_chunks"  # the loop over chunks of tokens, by name: planning/ knows how often it turns
VOCAB_BLOCK = 16384  # words of the vocabulary whose logits exist at once


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What is fixed when the head is compiled: the weight's letters, tokens of a chunk, and the axes of the mesh.

    rows, time, vocab, embed: mesh axes over which b, t, v and (where the weight is stored) d are split. frozen: the
    weight is not trained and gets no gradient.
    """

    letters: str
    chunk: int
    entropy: bool
    frozen: bool
    rows: tuple[str, ...] = ()
    time: tuple[str, ...] = ()
    vocab: tuple[str, ...] = ()
    embed: tuple[str, ...] = ()


def head_scores(
    params: Params, hidden_btd: jax.Array, target_bt: jax.Array, wanted_bt: jax.Array, chunk: int, entropy: bool = True,
    frozen: bool = False,
) -> tuple[jax.Array, jax.Array]:  # fmt: skip
    """Log-prob of each wanted target and entropy of its prediction at temperature 1: two [b, t] of float32.

    Both are 0 where wanted_bt is 0, and the second everywhere without `entropy`. chunk: tokens of a device at once. No
    gradient flows through the entropy; that of the log-probs flows to the hidden states and, unless it is frozen, the
    head's weight.
    """
    weight, letters = head(params)
    plan = _Plan(letters, chunk, entropy, frozen)
    if (mesh := sharding.split_mesh()) is not None:
        rows = sharding.activation_spec("btd", hidden_btd.shape, mesh)
        stored = dict(zip(letters, sharding.parameter_spec(letters, weight.shape, mesh), strict=True))
        axes = (_names(rows[0]), _names(rows[1]), _names(stored["v"]), _names(stored["d"]))
        plan = _Plan(letters, chunk, entropy, frozen, *axes)
        if not set(plan.embed) <= set(plan.rows):
            raise ValueError(f"{hidden_btd.shape[0]} rows cannot be split over the mesh axes data and fsdp")
    return _scores(hidden_btd, weight, jnp.asarray(target_bt), jnp.asarray(wanted_bt, bool), plan)


def _names(entry: Any) -> tuple[str, ...]:
    return () if entry is None else entry if isinstance(entry, tuple) else (entry,)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _scores(hidden_btd, weight, target_bt, wanted_bt, plan: _Plan):
    return _forward(hidden_btd, weight, target_bt, wanted_bt, plan)[0]


def _forward(hidden_btd, weight, target_bt, wanted_bt, plan: _Plan):
    local = functools.partial(_local_forward, plan=plan)
    rows, held = PartitionSpec(plan.rows, plan.time), _held_spec(plan)
    mapped = _mapped(local, plan, (rows, held, rows, rows), (rows, rows, rows))
    # rounded once, and gathered over the embed axis in its short form
    logp_bt, entropy_bt, norm_bt = mapped(hidden_btd, weight.astype(hidden_btd.dtype), target_bt, wanted_bt)
    return (logp_bt, entropy_bt), (hidden_btd, weight, target_bt, wanted_bt, norm_bt)


def _backward(plan: _Plan, saved, g):
    hidden_btd, weight, target_bt, wanted_bt, norm_bt = saved
    local = functools.partial(_local_backward, plan=plan)
    rows, held = PartitionSpec(plan.rows, plan.time), _held_spec(plan)
    stored = PartitionSpec(*(plan.vocab if letter == "v" else plan.embed for letter in plan.letters))
    mapped = _mapped(local, plan, (rows, held, rows, rows, rows, rows), (rows, None if plan.frozen else stored))
    dhidden_btd, dweight = mapped(
        hidden_btd, weight.astype(hidden_btd.dtype), target_bt, wanted_bt, norm_bt, g[0].astype(jnp.float32)
    )
    return dhidden_btd, None if dweight is None else dweight.astype(weight.dtype), None, None


_scores.defvjp(_forward, _backward)


def _held_spec(plan: _Plan) -> PartitionSpec:
    """The weight as the products take it: whole over d."""
    return PartitionSpec(*(plan.vocab if letter == "v" else None for letter in plan.letters))


def _mapped(local: Any, plan: _Plan, in_specs: Any, out_specs: Any) -> Any:
    if sharding.split_mesh() is None:
        return local
    return jax.shard_map(local, in_specs=in_specs, out_specs=out_specs, check_vma=False)


def _local_forward(hidden_btd, weight, target_bt, wanted_bt, *, plan: _Plan):
    b, t, d = hidden_btd.shape
    hidden_nd, target_n = hidden_btd.reshape(-1, d), target_bt.reshape(-1)
    chosen, count = _wanted(wanted_bt, plan)

    def one(i: jax.Array, out: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        at_c = jax.lax.dynamic_slice_in_dim(chosen, i * plan.chunk, plan.chunk)
        hidden_cd = hidden_nd.at[at_c].get(mode="fill", fill_value=0)
        results = _chunk_scores(hidden_cd, weight, target_n.at[at_c].get(mode="fill", fill_value=0), plan)
        return tuple(o.at[at_c].set(r, mode="drop") for o, r in zip(out, results, strict=True))

    zeros = (jnp.zeros(b * t, jnp.float32),) * 3
    with jax.named_scope(HEAD_CHUNKS):
        return tuple(x.reshape(b, t) for x in jax.lax.fori_loop(0, count, one, zeros))


def _chunk_scores(hidden_cd, weight, target_c, plan: _Plan) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Log-prob, entropy and log-sum-exp of each token of a chunk."""
    c = target_c.shape[0]
    top_c = jnp.full(c, -jnp.inf)
    total_c = mean_c = target_logit_c = jnp.zeros(c)
    for _, words_v, block in _blocks(weight, plan):
        logits_cv = linear.product(f"cd,{plan.letters}->cv", hidden_cd, block, hidden_cd.dtype)
        new_top_c = jnp.maximum(top_c, logits_cv.max(-1))
        shrink_c, top_c = jnp.exp(top_c - new_top_c), new_top_c
        weight_cv = jnp.exp(logits_cv - top_c[:, None])
        total_c = total_c * shrink_c + weight_cv.sum(-1)
        if plan.entropy:
            mean_c = mean_c * shrink_c + (weight_cv * logits_cv).sum(-1)
        target_logit_c += jnp.where(target_c[:, None] == words_v, logits_cv, 0.0).sum(-1)
    if plan.vocab:
        whole_top_c = jax.lax.pmax(top_c, plan.vocab)
        shrink_c = jnp.exp(top_c - whole_top_c)
        total_c, mean_c, target_logit_c = jax.lax.psum(
            (total_c * shrink_c, mean_c * shrink_c, target_logit_c), plan.vocab
        )
        top_c = whole_top_c
    norm_c = top_c + jnp.log(total_c)
    entropy_c = norm_c - mean_c / total_c if plan.entropy else jnp.zeros(c)
    return target_logit_c - norm_c, entropy_c, norm_c


def _local_backward(hidden_btd, weight, target_bt, wanted_bt, norm_bt, g_bt, *, plan: _Plan):
    d, dtype = hidden_btd.shape[-1], hidden_btd.dtype
    hidden_nd = hidden_btd.reshape(-1, d)
    target_n, norm_n, g_n = (x.reshape(-1) for x in (target_bt, norm_bt, g_bt))
    chosen, count = _wanted(wanted_bt, plan)

    def one(i: jax.Array, sums: tuple[jax.Array, jax.Array | None]) -> tuple[jax.Array, jax.Array | None]:
        dhidden_nd, dweight = sums
        at_c = jax.lax.dynamic_slice_in_dim(chosen, i * plan.chunk, plan.chunk)
        hidden_cd, target_c, norm_c, g_c = (
            x.at[at_c].get(mode="fill", fill_value=0) for x in (hidden_nd, target_n, norm_n, g_n)
        )
        dhidden_cd = jnp.zeros((plan.chunk, d))
        for part, words_v, block in _blocks(weight, plan):
            logits_cv = linear.product(f"cd,{plan.letters}->cv", hidden_cd, block, dtype)
            p_cv = jnp.exp(logits_cv - norm_c[:, None])
            dlogits_cv = (g_c[:, None] * ((target_c[:, None] == words_v) - p_cv)).astype(dtype)
            dhidden_cd += linear.product(f"cv,{plan.letters}->cd", dlogits_cv, block, dtype)
            if dweight is not None:
                dblock = linear.product(f"cv,cd->{plan.letters}", dlogits_cv, hidden_cd, dtype)
                dweight = dweight.at[(slice(None),) * plan.letters.index("v") + (part,)].add(dblock)
        return dhidden_nd.at[at_c].set(dhidden_cd, mode="drop"), dweight

    zeros = jnp.zeros(hidden_nd.shape, jnp.float32), None if plan.frozen else jnp.zeros(weight.shape, jnp.float32)
    with jax.named_scope(HEAD_CHUNKS):
        dhidden_nd, dweight = jax.lax.fori_loop(0, count, one, zeros)
    if plan.vocab:
        dhidden_nd = jax.lax.psum(dhidden_nd, plan.vocab)
    dhidden_btd = dhidden_nd.reshape(hidden_btd.shape).astype(dtype)
    if dweight is None:
        return dhidden_btd, None
    for axis in plan.embed:
        dweight = jax.lax.psum_scatter(dweight, axis, scatter_dimension=plan.letters.index("d"), tiled=True)
    if shared := tuple(axis for axis in plan.rows + plan.time if axis not in plan.embed):
        dweight = jax.lax.psum(dweight, shared)
    return dhidden_btd, dweight


def _wanted(wanted_bt: jax.Array, plan: _Plan) -> tuple[jax.Array, jax.Array]:
    """The places of a device's tokens, the wanted ones first, padded to whole chunks; and how many chunks they fill.

    The count is the largest of all devices: they leave the loop together.
    """
    wanted_n = wanted_bt.reshape(-1)
    n = wanted_n.shape[0]
    order_n = jnp.argsort(~wanted_n, stable=True)
    order_n = jnp.where(jnp.arange(n) < wanted_n.sum(), order_n, n)  # n is out of bounds: read as 0, never written
    count = -(-wanted_n.sum() // plan.chunk)
    if plan.rows + plan.time:
        count = jax.lax.pmax(count, plan.rows + plan.time)
    return jnp.pad(order_n, (0, -n % plan.chunk), constant_values=n), count


def _blocks(weight: jax.Array, plan: _Plan) -> Iterator[tuple[slice, jax.Array, jax.Array]]:
    """The weight in blocks of the vocabulary, each with its place in the device's part and the words that it holds."""
    axis = plan.letters.index("v")
    before = jax.lax.axis_index(plan.vocab) * weight.shape[axis] if plan.vocab else 0
    for first in range(0, weight.shape[axis], VOCAB_BLOCK):
        part = slice(first, min(first + VOCAB_BLOCK, weight.shape[axis]))
        words_v = before + jnp.arange(part.start, part.stop)
        yield part, words_v, jax.lax.slice_in_dim(weight, part.start, part.stop, axis=axis)
