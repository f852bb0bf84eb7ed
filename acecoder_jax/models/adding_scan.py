"""A scan over stacked layers whose gradient is added to sums that are there already, in their memory.

JAX's own derivative of a scan makes the stacked gradient of every micro-batch anew, to be added to the sum of those
before: one more copy of all parameters. Here the backward loop adds each layer's gradient as it comes. What the forward
pass keeps of a layer is what the block's own derivative needs (a block under `jax.checkpoint` keeps little) less what
is there anyway: the parameters, which would be copied layer by layer, and what all layers share.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from acecoder_jax.models.bits import as_bits, from_bits

# (x, one layer of the stack, what all layers share) -> x
Block = Callable[[jax.Array, Any, Any], jax.Array]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def scan(block: Block, x: jax.Array, stack: Any, shared: Any, sums: Any) -> jax.Array:
    """block over the layers of a stack, one after another.

    stack: (parameters, others), trees of arrays with the layer axis in front; shared: a tree of arrays; both may have
    integers. Derivatives flow to x and to the parameters, whose cotangent comes back as sums + gradient. sums: a tree
    like the parameters; it gets no derivative, and neither do the others nor what is shared.
    """
    return jax.lax.scan(lambda x, layer: (block(x, layer, shared), None), x, stack)[0]


def _forward(block: Block, x: jax.Array, stack: Any, shared: Any, sums: Any) -> Any:
    def body(x: jax.Array, layer: Any) -> Any:
        y, _, own = _pull(block, x, layer, shared)
        return y, as_bits((x, own))

    y, kept = jax.lax.scan(body, x, stack)
    return y, (kept, stack, shared, sums)


def _backward(block: Block, saved: Any, g: jax.Array) -> Any:
    bits_l, stack, shared, sums = saved
    layers = jax.tree.leaves(stack)[0].shape[0]

    def body(carry: Any, inputs: Any) -> Any:
        g, sums = carry
        layer_number, bits, layer = inputs
        x, own = from_bits(bits)
        dx, dparams = _rebuilt(block, x, layer, shared, own)(g)
        return (dx, jax.tree.map(lambda s, d: s.at[layer_number].add(d.astype(s.dtype)), sums, dparams)), None

    inputs = jnp.arange(layers), bits_l, stack
    (dx, sums), _ = jax.lax.scan(body, (g, sums), inputs, reverse=True)
    return dx, (sums, None), None, None


scan.defvjp(_forward, _backward)


def _pull(block: Block, x: jax.Array, layer: Any, shared: Any) -> tuple[jax.Array, Any, list[jax.Array]]:
    """The block's result, its derivative, and those arrays of the derivative that are none of the block's inputs."""
    params, others = layer
    y, pull = jax.vjp(lambda x, params: block(x, (params, others), shared), x, params)
    given = jax.tree.leaves((x, layer, shared))
    own = [leaf for leaf in jax.tree.leaves(pull) if not any(leaf is one for one in given)]
    return y, pull, own


def _rebuilt(block: Block, x: jax.Array, layer: Any, shared: Any, own: list[jax.Array]) -> Any:
    """The derivative around arrays that a forward pass has kept.

    The block is traced again for the derivative's shape; what that computes is not used, and so not computed.
    """
    _, pull, fresh = _pull(block, x, layer, shared)
    leaves, structure = jax.tree.flatten(pull)
    kept = {id(new): old for new, old in zip(fresh, own, strict=True)}
    return jax.tree.unflatten(structure, [kept.get(id(leaf), leaf) for leaf in leaves])
