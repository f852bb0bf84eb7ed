"""The output head over the targets that count: their log-probs and entropies, without a whole [tokens, vocabulary].

Tokens go through the head in chunks, and a chunk through the vocabulary in blocks, with a running log-sum-exp; the
backward pass takes the logits again, block by block, from the saved log-sum-exp. Tokens whose prediction nobody asks
for (prompts, padding) are left out: the wanted ones are lined up first, and the loop ends after the last of them.
Every device of a mesh does this with its own tokens and, over the tensor axis, its own part of the vocabulary.

Letters: b row, t time, d embed, v vocabulary, n tokens of a device, c tokens of a chunk.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from acecoder_jax.models import linear, sharding
from acecoder_jax.models.bits import as_bits, from_bits
from acecoder_jax.models.decoder import Params, head

HEAD_CHUNKS = "head_chunks"  # the loop over chunks of tokens, by name: planning/ knows how often it turns
VOCAB_BLOCK = 16384  # words of the vocabulary whose logits exist at once
LANES = 128  # blocks are a multiple of them: a tile of a TPU


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
    frozen: bool = False, sums: Params | None = None,
) -> tuple[jax.Array, jax.Array]:  # fmt: skip
    """Log-prob of each wanted target and entropy of its prediction at temperature 1: two [b, t] of float32.

    Both are 0 where wanted_bt is 0, and the second everywhere without `entropy`. chunk: tokens of a device at once. No
    gradient flows through the entropy; that of the log-probs flows to the hidden states and, unless it is frozen, the
    head's weight. sums: gradients so far, to which the weight's is added in place: its derivative is then the new sum.
    """
    weight, letters = head(params)
    before = None if sums is None else head({name: sums[name] for name in params})[0]
    plan = _Plan(letters, chunk, entropy, frozen)
    if (mesh := sharding.split_mesh()) is not None:
        rows = sharding.activation_spec("btd", hidden_btd.shape, mesh)
        stored = dict(zip(letters, sharding.parameter_spec(letters, weight.shape, mesh), strict=True))
        axes = (_names(rows[0]), _names(rows[1]), _names(stored["v"]), _names(stored["d"]))
        plan = _Plan(letters, chunk, entropy, frozen, *axes)
        if not set(plan.embed) <= set(plan.rows):
            raise ValueError(f"{hidden_btd.shape[0]} rows cannot be split over the mesh axes data and fsdp")
    return _scores(hidden_btd, weight, jnp.asarray(target_bt), jnp.asarray(wanted_bt, bool), before, plan)


def _names(entry: Any) -> tuple[str, ...]:
    return () if entry is None else entry if isinstance(entry, tuple) else (entry,)


class _Block(NamedTuple):
    """Some of the vocabulary: its place in the device's part, its weight, its words, and which of these are its own."""

    first: jax.Array
    weight: jax.Array
    words_v: jax.Array
    own_v: jax.Array


@functools.partial(jax.custom_vjp, nondiff_argnums=(5,))
def _scores(hidden_btd, weight, target_bt, wanted_bt, before, plan: _Plan):
    return _forward(hidden_btd, weight, target_bt, wanted_bt, before, plan)[0]


def _forward(hidden_btd, weight, target_bt, wanted_bt, before, plan: _Plan):
    local = functools.partial(_local_forward, plan=plan)
    rows, held = PartitionSpec(plan.rows, plan.time), _held_spec(plan)
    mapped = _mapped(local, plan, (rows, held, rows, rows), (rows, rows, rows))
    # rounded once, and gathered over the embed axis in its short form
    logp_bt, entropy_bt, norm_bt = mapped(hidden_btd, weight.astype(hidden_btd.dtype), target_bt, wanted_bt)
    return (logp_bt, entropy_bt), (hidden_btd, weight, target_bt, wanted_bt, norm_bt, before)


def _backward(plan: _Plan, saved, g):
    hidden_btd, weight, target_bt, wanted_bt, norm_bt, before = saved
    local = functools.partial(_local_backward, plan=plan)
    rows, held = PartitionSpec(plan.rows, plan.time), _held_spec(plan)
    stored = PartitionSpec(*(plan.vocab if letter == "v" else plan.embed for letter in plan.letters))
    before_spec, dweight_spec = None if before is None else stored, None if plan.frozen else stored
    mapped = _mapped(local, plan, (rows, held, rows, rows, rows, rows, before_spec), (rows, dweight_spec))
    dhidden_btd, dweight = mapped(
        hidden_btd, weight.astype(hidden_btd.dtype), target_bt, wanted_bt, norm_bt, g[0].astype(jnp.float32), before
    )
    return dhidden_btd, None if dweight is None else dweight.astype(weight.dtype), None, None, None


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

    def one(carry: tuple[jax.Array, ...], block: _Block) -> tuple[jax.Array, ...]:
        top_c, total_c, mean_c, target_logit_c = carry
        logits_cv = linear.product(f"cd,{plan.letters}->cv", hidden_cd, block.weight, hidden_cd.dtype)
        new_top_c = jnp.maximum(top_c, logits_cv.max(-1))
        shrink_c = jnp.exp(top_c - new_top_c)
        weight_cv = jnp.where(block.own_v, jnp.exp(logits_cv - new_top_c[:, None]), 0.0)
        total_c = total_c * shrink_c + weight_cv.sum(-1)
        if plan.entropy:
            mean_c = mean_c * shrink_c + (weight_cv * logits_cv).sum(-1)
        here_cv = (target_c[:, None] == block.words_v) & block.own_v
        return new_top_c, total_c, mean_c, target_logit_c + jnp.where(here_cv, logits_cv, 0.0).sum(-1)

    zeros_c = jnp.zeros(target_c.shape)
    start = jnp.full_like(zeros_c, -jnp.inf), zeros_c, zeros_c, zeros_c
    top_c, total_c, mean_c, target_logit_c = _over_blocks(weight, plan, one, start)
    if plan.vocab:
        whole_top_c = jax.lax.pmax(top_c, plan.vocab)
        shrink_c = jnp.exp(top_c - whole_top_c)
        total_c, mean_c, target_logit_c = jax.lax.psum(
            (total_c * shrink_c, mean_c * shrink_c, target_logit_c), plan.vocab
        )
        top_c = whole_top_c
    norm_c = top_c + jnp.log(total_c)
    entropy_c = norm_c - mean_c / total_c if plan.entropy else zeros_c
    return target_logit_c - norm_c, entropy_c, norm_c


def _local_backward(hidden_btd, weight, target_bt, wanted_bt, norm_bt, g_bt, before, *, plan: _Plan):
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

        def of_block(carry: tuple[jax.Array, jax.Array | None], block: _Block) -> tuple[jax.Array, jax.Array | None]:
            dhidden_cd, dweight = carry
            logits_cv = linear.product(f"cd,{plan.letters}->cv", hidden_cd, block.weight, dtype)
            p_cv = jnp.exp(logits_cv - norm_c[:, None])
            dlogits_cv = g_c[:, None] * ((target_c[:, None] == block.words_v) - p_cv)
            dlogits_cv = jnp.where(block.own_v, dlogits_cv, 0.0).astype(dtype)
            dhidden_cd += linear.product(f"cv,{plan.letters}->cd", dlogits_cv, block.weight, dtype)
            if dweight is not None:
                dblock = linear.product(f"cv,cd->{plan.letters}", dlogits_cv, hidden_cd, dtype)
                axis = plan.letters.index("v")
                there = jax.lax.dynamic_slice_in_dim(dweight, block.first, dblock.shape[axis], axis)
                dweight = jax.lax.dynamic_update_slice_in_dim(dweight, there + dblock, block.first, axis)
            return dhidden_cd, dweight

        dhidden_cd, dweight = _over_blocks(weight, plan, of_block, (jnp.zeros((plan.chunk, d)), dweight))
        return dhidden_nd.at[at_c].set(dhidden_cd, mode="drop"), dweight

    alone = before is not None and not (plan.embed + plan.rows + plan.time)  # no other device has a part of the sum
    start = before if alone else None if plan.frozen else jnp.zeros(weight.shape, jnp.float32)
    with jax.named_scope(HEAD_CHUNKS):
        dhidden_nd, dweight = jax.lax.fori_loop(0, count, one, (jnp.zeros(hidden_nd.shape, jnp.float32), start))
    if plan.vocab:
        dhidden_nd = jax.lax.psum(dhidden_nd, plan.vocab)
    dhidden_btd = dhidden_nd.reshape(hidden_btd.shape).astype(dtype)
    if dweight is None:
        return dhidden_btd, None
    for axis in plan.embed:
        dweight = jax.lax.psum_scatter(dweight, axis, scatter_dimension=plan.letters.index("d"), tiled=True)
    if shared := tuple(axis for axis in plan.rows + plan.time if axis not in plan.embed):
        dweight = jax.lax.psum(dweight, shared)
    return dhidden_btd, dweight if alone or before is None else before + dweight


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


def _over_blocks(weight: jax.Array, plan: _Plan, one: Callable[[Any, _Block], Any], start: Any) -> Any:
    """one(carry, block) over the blocks of the vocabulary, one after another: start is the first carry.

    All blocks have one size. Where that does not divide the device's part of the vocabulary, the last one begins
    earlier, and the words that it shares with the one before are not its own.
    """
    axis = plan.letters.index("v")
    size = weight.shape[axis]
    count = -(-size // VOCAB_BLOCK)
    block = min(size, -(-size // (count * LANES)) * LANES)
    before = jax.lax.axis_index(plan.vocab) * size if plan.vocab else 0
    bits = as_bits(weight)

    def step(carry: Any, i: jax.Array) -> tuple[Any, None]:
        first = jnp.minimum(i * block, size - block)
        place_v = first + jnp.arange(block)
        part = from_bits(jax.lax.dynamic_slice_in_dim(bits, first, block, axis))
        return one(carry, _Block(first, part, before + place_v, place_v >= i * block)), None

    return jax.lax.scan(step, start, jnp.arange(count))[0]
