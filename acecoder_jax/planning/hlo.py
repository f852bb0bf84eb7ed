"""What a compiled program moves, read from its HLO text: bytes of memory, and collectives by kind, loops included.

A loop's turns are what the compiler noted, or come from the one whole number that its condition compares with (loops
that JAX makes of `scan` count from 0), or are told by the `jax.named_scope` that the loop stands in. Bytes are one
device's.
Arrays that a TPU's compiler keeps in its fast memory (a layout with S(1)) are not traffic of the large one.
"""

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping

BITS = {
    "pred": 8, "s4": 4, "u4": 4, "s8": 8, "u8": 8, "s16": 16, "u16": 16, "s32": 32, "u32": 32, "s64": 64, "u64": 64,
    "bf16": 16, "f16": 16, "f32": 32, "f64": 64, "c64": 64, "c128": 128, "f8e4m3fn": 8, "f8e5m2": 8,
}  # fmt: skip
COLLECTIVES = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
# They move nothing, or what they move is counted where they started or where they lead.
_NO_TRAFFIC = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "conditional", "call", "after-all",
    "partition-id", "replica-id", "iota", "async-start", "async-update", "async-done", "opt-barrier",
}  # fmt: skip
_SCATTERS = "all-reduce-scatter"  # so begin the names of fusions in which a TPU adds up an array in parts
_SHAPE = re.compile(r"(\w+)\[([\d,]*)\](\{[^}]*\})?")


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line: its name, the text of its type, what it does, what stands in its parentheses, and the rest."""

    name: str
    type: str
    opcode: str
    arguments: str
    rest: str
    root: bool

    @property
    def operands(self) -> list[str]:
        """The names of its operands."""
        return re.findall(r"%([\w.\-]+)", self.arguments)

    def called(self, attribute: str) -> list[str]:
        """The computations that an attribute names: calls=%a, branch_computations={%a, %b}."""
        found = re.search(rf"\b{attribute}=(\{{[^}}]*\}}|%[\w.\-]+)", self.rest)
        return re.findall(r"%([\w.\-]+)", found[1]) if found else []


Computation = dict[str, Instruction]


@dataclasses.dataclass
class Moved:
    """memory_bytes: read and written in the large memory; collectives: kind -> (how many, bytes over a device's links).

    unknown: names of loops whose turns nobody told: counted once.
    """

    memory_bytes: float = 0.0
    collectives: dict[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    unknown: set[str] = dataclasses.field(default_factory=set)


def moved(text: str, turns: Mapping[str, float]) -> Moved:
    """What the program of an HLO module's text moves. turns: by a part of the scope's name, as in `jaxpr.count`."""
    computations, entry = parse(text)
    result = Moved()
    # By its name; where it is spread over several fusions by its channel, which others may have in common.
    found: dict[str, tuple[str, float, float]] = {}

    def visit(computation: Computation, times: float, traffic: bool, fused: str = "") -> None:
        for one in computation.values():
            kind = one.opcode.removesuffix("-start")
            if kind == "all-reduce" and fused.startswith(_SCATTERS):
                one, kind = dataclasses.replace(one, opcode="reduce-scatter"), "reduce-scatter"
            if kind in COLLECTIVES:
                channel = None if traffic else re.search(r"channel_id=(\d+)", one.rest)
                key = channel[1] if channel else one.name
                _, before, _ = found.get(key, ("", 0.0, 0.0))
                found[key] = (kind, max(before, times), link_bytes(one, computation))
            if traffic:
                result.memory_bytes += times * traffic_bytes(one, computation, computations)
            if one.opcode == "while":
                number = _turns(one, computations, turns)
                if number is None:
                    result.unknown.add(_scope(one) or one.name)
                for name in one.called("body") + one.called("condition"):
                    visit(computations[name], times * (1 if number is None else number), traffic)
            elif one.opcode in ("call", "conditional"):
                for name in one.called("to_apply") + one.called("branch_computations") + one.called("calls"):
                    visit(computations[name], times, traffic)
            elif one.opcode in ("fusion", "async-start"):
                for name in one.called("calls"):
                    if name in computations:  # of some asynchronous copies the text has the call alone
                        visit(computations[name], times, False, name)

    visit(computations[entry], 1.0, True)
    for kind, times, size in found.values():
        number, total = result.collectives.get(kind, (0.0, 0.0))
        result.collectives[kind] = (number + times, total + times * size)
    return result


def parse(text: str) -> tuple[dict[str, Computation], str]:
    """The computations of a module by name, and the name of the one where it starts."""
    computations: dict[str, Computation] = {}
    entry = ""
    current: Computation | None = None
    for line in text.splitlines():
        if current is None:
            if line.endswith("{") and (head := re.match(r"(ENTRY )?%?([\w.\-]+) \(", line)):
                current = computations[head[2]] = {}
                entry = head[2] if head[1] else entry
        elif line.rstrip() == "}":  # a kernel's own text may run over lines that begin so
            current = None
        elif one := _instruction(line):
            current[one.name] = one
    if not entry:
        raise ValueError("the HLO text has no ENTRY computation")
    return computations, entry


def _instruction(line: str) -> Instruction | None:
    head = re.match(r"\s+(ROOT )?%?([\w.\-]+) = ", line)
    if not head:
        return None
    after = line[head.end() :]
    end = _closing(after, 0) + 1 if after.startswith("(") else after.index(" ")
    call = re.match(r"\s*([\w\-]+)\(", after[end:])
    if not call:
        return None
    start = end + call.end() - 1
    stop = _closing(after, start)
    return Instruction(head[2], after[:end], call[1], after[start + 1 : stop], after[stop + 1 :], bool(head[1]))


def _closing(text: str, at: int) -> int:
    """Where the parenthesis closes that opens at a place."""
    depth = 0
    for i in range(at, len(text)):
        depth += (text[i] == "(") - (text[i] == ")")
        if not depth:
            return i
    raise ValueError(f"a parenthesis does not close: {text[:80]}")


def shape_bytes(type_text: str, everywhere: bool = True) -> int:
    """Bytes of a type, of all its parts where it is a tuple. everywhere: those in a TPU's fast memory too.

    "(f32[2,3]{1,0}, bf16[4]{0:T(128)S(1)})" -> 32, or 24 without the fast memory.
    """
    total = 0
    for kind, sizes, layout in _SHAPE.findall(type_text):
        if kind in BITS and (everywhere or not re.search(r"S\([1-9]\d*\)", layout)):
            total += -(-BITS[kind] * math.prod(int(size) for size in sizes.split(",") if size) // 8)
    return total


def link_bytes(one: Instruction, computation: Computation) -> float:
    """Bytes that a device sends in a collective, by a ring over its group of n (Thakur et al. 2005).

    All-gather, all-to-all: (n - 1)/n of the result; reduce-scatter: (n - 1)/n of the operand; all-reduce: twice that.
    """
    operands = sum(shape_bytes(computation[name].type) for name in one.operands if name in computation)
    share = 1 - 1 / group_size(one.rest)
    kind = one.opcode.removesuffix("-start")
    if kind == "all-reduce":
        return 2 * share * operands
    if kind == "all-gather":
        return share * (shape_bytes(one.type) - (operands if one.opcode.endswith("-start") else 0))
    return operands if kind == "collective-permute" else share * operands


def group_size(rest: str) -> float:
    """Devices that take part in a collective together; infinite where the text names no groups.

    replica_groups={{0,1},{2,3}} -> 2, [4,2]<=[8] -> 2, mesh['x'=4,'y'=2] {'y'} -> 2.
    """
    if found := re.search(r"replica_groups=\{\{([\d,]*)\}", rest):
        return len(found[1].split(","))
    if found := re.search(r"replica_groups=\[\d+,(\d+)\]", rest):
        return int(found[1])
    if found := re.search(r"replica_groups=mesh\[([^\]]*)\]\s*\{([^}]*)\}", rest):
        sizes = dict(re.findall(r"'([^']+)'=(\d+)", found[1]))
        return math.prod(
            int(part or sizes[name]) for name, part in re.findall(r"'([^']+)'(?::\(\d+\)(\d+))?", found[2])
        )
    return math.inf


def traffic_bytes(one: Instruction, computation: Computation, computations: Mapping[str, Computation]) -> float:
    """Bytes that an instruction reads and writes in the large memory; of a slice, or of an update in place, its own."""
    if one.opcode in _NO_TRAFFIC or one.opcode.endswith("-done"):
        return 0.0
    if one.opcode == "fusion" and (names := one.called("calls")) and names[0] in computations:
        return _fusion_bytes(one, computation, computations[names[0]])
    reads = [_large(computation, name) for name in one.operands]
    if one.opcode in ("dynamic-slice", "slice", "gather"):
        return shape_bytes(one.type, False) + min(reads[0], shape_bytes(one.type))
    if one.opcode == "dynamic-update-slice":
        return 2 * min(reads[0], shape_bytes(computation[one.operands[1]].type))
    if one.opcode in ("copy-start", "slice-start"):
        return min(sum(reads), shape_bytes(one.type)) + (shape_bytes(one.type, False) - sum(reads))
    return shape_bytes(one.type, False) + sum(reads)


def _large(computation: Computation, name: str) -> int:
    return shape_bytes(computation[name].type, False) if name in computation else 0


def _fusion_bytes(one: Instruction, outside: Computation, inside: Computation) -> float:
    parameters = {int(inner.arguments): inner.name for inner in inside.values() if inner.opcode == "parameter"}
    root = next((inner for inner in inside.values() if inner.root), None)
    updated = _through_bitcasts(root, inside) if root else None
    in_place = updated is not None and updated.opcode == "dynamic-update-slice"
    total = 0.0
    for number, operand in enumerate(one.operands):
        name = parameters.get(number)
        users = [inner for inner in inside.values() if name in inner.operands]
        whole = _large(outside, operand)
        if in_place and updated is not None and users == [updated] and updated.operands[0] == name:
            continue  # what it updates in place is neither read nor written but for the update
        if users and all(inner.opcode in ("dynamic-slice", "slice", "gather") for inner in users):
            whole = min(whole, sum(shape_bytes(inner.type) for inner in users))
        total += whole
    if in_place and updated is not None:
        written = shape_bytes(inside[updated.operands[1]].type) if updated.operands[1] in inside else 0
        return total + min(written, shape_bytes(one.type, False))
    return total + shape_bytes(one.type, False)


def _through_bitcasts(one: Instruction, inside: Computation) -> Instruction:
    while one.opcode in ("bitcast", "copy", "convert") and one.operands and one.operands[0] in inside:
        one = inside[one.operands[0]]
    return one


def _scope(one: Instruction) -> str:
    found = re.search(r'op_name="([^"]*)"', one.rest)
    return found[1] if found else ""


def _turns(one: Instruction, computations: Mapping[str, Computation], turns: Mapping[str, float]) -> float | None:
    if noted := re.search(r'"?known_trip_count"?:?=?\{"n":"(\d+)"', one.rest):
        return int(noted[1])
    limits = set(_limits(computations[one.called("condition")[0]], computations))
    if len(limits) == 1:
        return -(-limits.pop() // _step(one, computations))
    # the loop's own scope: what stands behind the last loop around it
    own = re.split(r"while/body", _scope(one).removesuffix("/while"))[-1]
    told = [turns[word] for word in re.findall(r"\w+", own) if word in turns]
    return told[-1] if told else None


def _step(one: Instruction, computations: Mapping[str, Computation]) -> int:
    """By how much a loop's counter grows: 1, unless the body is seen to add another constant (XLA's own loops may)."""
    condition, body = (computations[one.called(name)[0]] for name in ("condition", "body"))
    read = [
        re.search(r"index=(\d+)", inner.rest) for inner in condition.values() if inner.opcode == "get-tuple-element"
    ]
    root = next(inner for inner in body.values() if inner.root)
    if len(read) != 1 or read[0] is None or root.opcode != "tuple":
        return 1
    counter = body[root.operands[int(read[0][1])]]
    added = [body[name] for name in counter.operands if counter.opcode == "add" and name in body]
    steps = [int(inner.arguments) for inner in added if inner.opcode == "constant"]
    return steps[0] if steps else 1


def _limits(condition: Computation, computations: Mapping[str, Computation]) -> Iterator[int]:
    """The whole numbers that a loop's condition compares with."""
    for one in condition.values():
        if one.opcode == "constant" and re.match(r"[su](32|64)\[\]", one.type):
            yield int(one.arguments)
        if one.opcode == "fusion":
            for name in one.called("calls"):
                yield from _limits(computations[name], computations)
