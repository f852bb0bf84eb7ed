"""Operations of a traced program, counted from its jaxpr, loops included: XLA's own analysis counts a loop's body once.

Products of matrices and convolutions count, 2 operations for each multiplication; the rest of a transformer is not
worth counting. A loop that turns as often as a number on the device says is looked up by the `jax.named_scope` that it
stands in. A branch counts as the dearest of its cases. Within `shard_map` shapes are those of one device.
"""

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from jax.interpreters import partial_eval


@dataclasses.dataclass
class Counted:
    """operations: of all devices together. unknown: scopes of loops whose turns nobody told: counted once."""

    operations: float = 0.0
    unknown: set[str] = dataclasses.field(default_factory=set)


def count(jaxpr: Any, turns: Mapping[str, float]) -> Counted:
    """Operations of a (closed) jaxpr. turns: by a part of the scope's name, how often such a loop turns."""
    result = Counted()
    result.operations = _count(getattr(jaxpr, "jaxpr", jaxpr), turns, result.unknown)
    return result


def _count(jaxpr: Any, turns: Mapping[str, float], unknown: set[str]) -> float:
    jaxpr, _ = partial_eval.dce_jaxpr(jaxpr, True, instantiate=True)  # what nobody uses, XLA does not compute
    return sum(_one(eqn, turns, unknown) for eqn in jaxpr.eqns)


def _one(eqn: Any, turns: Mapping[str, float], unknown: set[str]) -> float:
    name, params = eqn.primitive.name, eqn.params
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        shape = eqn.invars[0].aval.shape
        return 2.0 * math.prod(eqn.outvars[0].aval.shape) * math.prod(shape[axis] for axis in contracted)
    if name == "conv_general_dilated":
        kernel = eqn.invars[1].aval.shape
        outputs = kernel[params["dimension_numbers"].rhs_spec[0]]
        return 2.0 * math.prod(eqn.outvars[0].aval.shape) * math.prod(kernel) / outputs
    inner = [_count(jaxpr, turns, unknown) for jaxpr in _jaxprs(params)]
    if name == "scan":
        return params["length"] * sum(inner)
    if name == "while":
        scope = str(eqn.source_info.name_stack)
        words = re.findall(r"\w+", scope)  # "transpose(jvp(head_chunks))" too
        told = [number for part, number in turns.items() if part in words]
        if not told and any(inner):
            unknown.add(scope or "a loop without a name")
        return (told[-1] if told else 1) * sum(inner)
    if name == "cond":
        return max(inner, default=0.0)
    if name == "shard_map":
        return sum(inner) * math.prod(params["mesh"].shape[axis] for axis in params["newly_manual_axes"])
    if name == "pallas_call":
        return sum(inner) * math.prod(params["grid_mapping"].grid)
    return sum(inner)


def _jaxprs(params: Mapping[str, Any]) -> Iterator[Any]:
    """The jaxprs among an equation's parameters; of a custom derivative the function itself."""
    for name, value in params.items():
        if name in ("jvp_jaxpr_fun", "fwd_jaxpr_thunk", "bwd", "jvp_jaxpr_thunk"):
            continue
        for one in value if isinstance(value, tuple | list) else (value,):
            jaxpr = getattr(one, "jaxpr", one)
            if hasattr(jaxpr, "eqns"):
                yield jaxpr
