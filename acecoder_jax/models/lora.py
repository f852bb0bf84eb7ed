"""LoRA: a frozen model and a low-rank path beside some of its matrices (Hu et al. 2021, arXiv 2106.09685).

    y = x W + (alpha / rank) (x A) B        A [in, rank], B [rank, out]

Only A and B are trained. They are two leaves for each target, in a tree of their own or, joined, beside the weight:

    {"layers": {"q_dnh": ..., "q_a_dr": ..., "q_b_rnh": ..., ...}}

The base is stored in the model's dtype and has neither gradient nor optimiser state: no product of its shape is taken
in the backward pass. The base without the adapter is the reference policy.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from acecoder_jax.models import layout, linear
from acecoder_jax.models.config import ModelConfig
from acecoder_jax.models.layout import Params
from acecoder_jax.models.sharding import constrain

TARGETS = {  # the letters of each matrix: what it is multiplied over, and what comes out
    "q": ("d", "nh"),
    "k": ("d", "kh"),
    "v": ("d", "kh"),
    "o": ("nh", "d"),
    "gate": ("d", "f"),
    "up": ("d", "f"),
    "down": ("f", "d"),
}


@dataclasses.dataclass(frozen=True)
class Lora:
    """rank: of the path; alpha: its scale is alpha / rank; targets: the matrices that get one, names of TARGETS."""

    rank: int
    alpha: float
    targets: tuple[str, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.rank, int) or self.rank < 1:
            raise ValueError(f"lora.rank must be a whole number of at least 1 (0 is no LoRA), got {self.rank!r}")
        if not self.alpha > 0:
            raise ValueError(f"lora.alpha must be above 0, got {self.alpha!r}")
        if unknown := sorted(set(self.targets) - TARGETS.keys()):
            raise ValueError(f"lora.targets {unknown} are unknown; there are {', '.join(TARGETS)}")
        if not self.targets or len(set(self.targets)) < len(self.targets):
            raise ValueError(f"lora.targets must name at least one matrix, each once; got {list(self.targets)}")

    @property
    def scale(self) -> float:
        """What the low-rank path is multiplied by."""
        return self.alpha / self.rank


def make(rank: int, alpha: float, targets: Sequence[str]) -> Lora | None:
    """LoRA from its knobs; None for rank 0, which trains all parameters. ValueError for what could not work."""
    return Lora(rank, alpha, tuple(targets)) if rank != 0 else None


def names(target: str) -> tuple[str, str, str]:
    """The leaves of a target: the weight, A, B: "q" -> q_dnh, q_a_dr, q_b_rnh."""
    inputs, outputs = TARGETS[target]
    return f"{target}_{inputs}{outputs}", f"{target}_a_{inputs}r", f"{target}_b_r{outputs}"


def abstract(lora: Lora, config: ModelConfig) -> Params:
    """The adapter's tree with a float32 ShapeDtypeStruct for every leaf, the layers in front."""
    size = layout.sizes(config) | {"r": lora.rank}
    leaves = {}
    for target in lora.targets:
        for name in names(target)[1:]:
            shape = tuple(size[letter] for letter in name.rsplit("_", 1)[-1])
            leaves[name] = jax.ShapeDtypeStruct((config.num_layers, *shape), jnp.float32)
    return {"layers": leaves}


def init(key: jax.Array, lora: Lora, config: ModelConfig, shardings: Params | None = None) -> Params:
    """A fresh adapter, made directly in its shards: A uniform within 1/sqrt(in), as in the authors' code; B zero."""
    shapes = abstract(lora, config)["layers"]

    def make_leaves(key: jax.Array) -> Params:
        leaves = {}
        for target, one in zip(TARGETS, jax.random.split(key, len(TARGETS)), strict=True):
            if target in lora.targets:
                _, a, b = names(target)
                bound = math.prod(shapes[a].shape[1:-1]) ** -0.5
                leaves[a] = jax.random.uniform(one, shapes[a].shape, jnp.float32, -bound, bound)
                leaves[b] = jnp.zeros(shapes[b].shape)
        return {"layers": leaves}

    return jax.jit(make_leaves, out_shardings=shardings)(key)


def join(base: Params, adapter: Params) -> Params:
    """The base with the adapter's leaves beside its own, as `Model` takes it, and with what else is trained: a reward
    model's head. No array is copied."""
    return {**base, **adapter, "layers": {**base["layers"], **adapter["layers"]}}


def split(params: Params) -> tuple[Params, dict[str, jax.Array]]:
    """What `join` joined: the base, and the adapter's leaves, none where there are none."""
    layers = params["layers"]
    added = {name for target in TARGETS for name in names(target)[1:]} & layers.keys()
    if not added:
        return params, {}
    base = {**params, "layers": {name: leaf for name, leaf in layers.items() if name not in added}}
    return base, {name: layers[name] for name in sorted(added)}


def scaled(adapter: Mapping[str, jax.Array], lora: Lora) -> dict[str, jax.Array]:
    """The leaves of `split` with alpha / rank multiplied into A, as `product` takes them.

    ValueError where there are any and they are not those of `lora`.
    """
    if adapter:
        _check(adapter, lora)
    return {name: leaf * lora.scale if "_a_" in name else leaf for name, leaf in adapter.items()}


def _check(adapter: Mapping[str, jax.Array], lora: Lora) -> None:
    expected = {name for target in lora.targets for name in names(target)[1:]}
    if adapter.keys() != expected:
        raise ValueError(
            f"the adapter has the leaves {sorted(adapter)}, lora.targets {list(lora.targets)} expect "
            f"{sorted(expected)}: name the targets that it was trained with"
        )
    for name, leaf in adapter.items():
        if (rank := leaf.shape[-1 if "_a_" in name else 1]) != lora.rank:
            raise ValueError(f"the adapter's leaf {name} has rank {rank}, lora.rank is {lora.rank}")


def product(
    equation: str, x: jax.Array, weight: jax.Array, target: str, adapter: Mapping[str, jax.Array] | None
) -> jax.Array:
    """x times a layer's weight in x's dtype, accumulated in float32, and its low-rank path where it has one.

    equation: "btd,dnh->btnh". adapter: a layer's leaves, scaled; None where the weight itself is trained.
    """
    if adapter is None:
        return linear.weigh(equation, x, weight, x.dtype)
    y = linear.weigh_frozen(equation, x, weight, x.dtype)
    _, a, b = names(target)
    if a not in adapter:
        return y
    left, right = (name.rsplit("_", 1)[-1] for name in (a, b))
    x_btr = linear.weigh(f"{equation.split(',')[0]},{left}->btr", x, adapter[a], x.dtype).astype(x.dtype)
    return y + linear.weigh(f"btr,{right}->{equation.split('->')[1]}", constrain(x_btr, "btr"), adapter[b], x.dtype)


def merge(base: Params, adapter: Params, lora: Lora, dtype: Any = None) -> Params:
    """The parameters of a plain model with the adapter added in, each in the base's shards and, without dtype, type.

    One jitted call that holds the float32 sum of one layer of a target at a time; leaves that are no targets are the
    base's own arrays where their type is the same.
    """
    _check(adapter["layers"], lora)
    layers = {target: base["layers"][names(target)[0]] for target in lora.targets}
    where = {target: leaf.sharding for target, leaf in layers.items()}
    added = _merge(lora, dtype, tuple(where.items()))(layers, adapter["layers"])
    merged = {names(target)[0]: leaf for target, leaf in added.items()}
    out = {**base, "layers": {**base["layers"], **merged}}
    return jax.tree.map(lambda leaf: leaf if dtype in (None, leaf.dtype) else leaf.astype(dtype), out)


@functools.cache
def _merge(lora: Lora, dtype: Any, shardings: tuple[tuple[str, Any], ...]) -> Any:
    def run(weights: dict[str, jax.Array], adapter: dict[str, jax.Array]) -> dict[str, jax.Array]:
        return {target: _merged(target, weight, adapter, lora, dtype) for target, weight in weights.items()}

    return jax.jit(run, out_shardings=dict(shardings))


def _merged(
    target: str, weight: jax.Array, adapter: Mapping[str, jax.Array], lora: Lora, dtype: Any = None
) -> jax.Array:
    w, a, b = (name.rsplit("_", 1)[-1] for name in names(target))

    def one(layer: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        weight, left, right = layer
        left, right = left.astype(jnp.float32), right.astype(jnp.float32)
        delta = jnp.einsum(f"{a},{b}->{w}", left, right, precision="highest") * lora.scale
        return (weight.astype(jnp.float32) + delta).astype(dtype or weight.dtype)

    return jax.lax.map(one, (weight, adapter[names(target)[1]], adapter[names(target)[2]]))
