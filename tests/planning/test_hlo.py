"""Bytes and collectives read from HLO texts: small ones by hand, and programs compiled for this machine's mesh."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from acecoder_jax import parallel
from acecoder_jax.planning import hlo

# As a TPU's compiler writes: a loop of 3, within it a gather spread over two fusions with one channel, an all-reduce, a
# slice out of a stack, and an array in the fast memory.
TEXT = """HloModule jit_f, is_scheduled=true

FileNames
1 "f.py"

%slice_of_stack (stack: f32[3,16], i: s32[]) -> f32[1,16] {
  %stack = f32[3,16]{1,0:T(8,128)} parameter(0)
  %i = s32[]{:T(128)} parameter(1)
  %zero = s32[]{:T(128)} constant(0)
  ROOT %cut = f32[1,16]{1,0:T(8,128)} dynamic-slice(%stack, %i, %zero), dynamic_slice_sizes={1,16}
}

%gather_begins (part: f32[1,16]) -> (f32[1,16], f32[1,64], u32[]) {
  %part = f32[1,16]{1,0:T(8,128)} parameter(0)
  %all-gather.1 = f32[1,64]{1,0:T(8,128)} all-gather(%part), channel_id=7, replica_groups=mesh['a'=4] {'a'}
  ROOT %begun = (f32[1,16]{1,0}, f32[1,64]{1,0}, /*index=2*/u32[]) custom-call(%part, %all-gather.1)
}

%gather_ends (part.1: f32[1,16]) -> f32[1,64] {
  %part.1 = f32[1,16]{1,0:T(8,128)} parameter(0)
  ROOT %all-gather.2 = f32[1,64]{1,0:T(8,128)} all-gather(%part.1), channel_id=7, replica_groups=mesh['a'=4] {'a'}
}

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

%body (state: (s32[], f32[3,16])) -> (s32[], f32[3,16]) {
  %state = (s32[]{:T(128)}, f32[3,16]{1,0:T(8,128)}) parameter(0)
  %i.1 = s32[]{:T(128)S(6)} get-tuple-element(%state), index=0
  %stack.1 = f32[3,16]{1,0:T(8,128)} get-tuple-element(%state), index=1
  %row = f32[1,16]{1,0:T(8,128)} fusion(%stack.1, %i.1), kind=kLoop, calls=%slice_of_stack
  %start = (f32[1,16]{1,0}, f32[1,64]{1,0}, u32[]) fusion(%row), kind=kCustom, calls=%gather_begins
  %whole = f32[1,64]{1,0:T(8,128)S(1)} fusion(%row), kind=kCustom, calls=%gather_ends
  %kernel = f32[1,64]{1,0:T(8,128)S(1)} custom-call(%whole), custom_call_target="tpu_custom_call", backend_config={"a
}}, b": 1}
  %total = f32[1,64]{1,0:T(8,128)S(1)} all-reduce(%kernel), channel_id=8, replica_groups=[2,2]<=[4], to_apply=%add
  ROOT %next = (s32[]{:T(128)}, f32[3,16]{1,0:T(8,128)}) tuple(%i.1, %stack.1)
}

%condition (state.1: (s32[], f32[3,16])) -> pred[] {
  %state.1 = (s32[]{:T(128)}, f32[3,16]{1,0:T(8,128)}) parameter(0)
  %limit = s32[]{:T(128)} constant(3)
  %i.2 = s32[]{:T(128)} get-tuple-element(%state.1), index=0
  ROOT %goes_on = pred[]{:T(512)} compare(%i.2, %limit), direction=LT
}

ENTRY %main (x: f32[3,16]) -> f32[3,16] {
  %x = f32[3,16]{1,0:T(8,128)} parameter(0)
  %first = s32[]{:T(128)} constant(0)
  %before = (s32[]{:T(128)}, f32[3,16]{1,0:T(8,128)}) tuple(%first, %x)
  %loop = (s32[], f32[3,16]{1,0}) while(%before), condition=%condition, body=%body, metadata={op_name="layers/while"}
  ROOT %y = f32[3,16]{1,0:T(8,128)} get-tuple-element(%loop), index=1
}
"""


def test_a_text_as_a_tpu_s_compiler_writes_it():
    moved = hlo.moved(TEXT, {})
    # a gather sends 3/4 of 256 bytes; an all-reduce among 2 sends twice a half of 256
    assert moved.collectives == {"all-gather": (3, 3 * 192.0), "all-reduce": (3, 3 * 256.0)}
    # a turn: the slice of 64 bytes with its index, read and written; the gather's start reads it and writes 64 + 256 +
    # 4; its end reads it; nothing else lies in the large memory but the predicate of the condition and its two numbers
    turn = (64 + 64) + (64 + 324) + 64 + (1 + 4 + 4)
    assert moved.memory_bytes == 3 * turn
    assert moved.unknown == set()


def test_a_loop_that_counts_in_steps():
    counted = TEXT.replace(
        "  ROOT %next = (s32[]{:T(128)}, f32[3,16]{1,0:T(8,128)}) tuple(%i.1, %stack.1)",
        "  %two = s32[]{:T(128)S(6)} constant(2)\n"
        "  %later = s32[]{:T(128)S(6)} add(%i.1, %two)\n"
        "  ROOT %next = (s32[]{:T(128)}, f32[3,16]{1,0:T(8,128)}) tuple(%later, %stack.1)",
    )
    assert hlo.moved(counted, {}).collectives["all-reduce"] == (2, 2 * 256.0)  # at 0 and 2, of 3


def test_a_channel_shared_by_collectives_that_stand_alone():
    """JAX gives those of a `shard_map` one channel."""
    line = next(line for line in TEXT.splitlines() if "all-reduce(" in line)
    again = TEXT.replace(line, line + "\n" + line.replace("%total", "%again"))
    assert hlo.moved(again, {}).collectives["all-reduce"] == (6, 6 * 256.0)


def test_a_sum_in_parts_is_no_sum_for_all():
    line = next(line for line in TEXT.splitlines() if "all-reduce(" in line)
    fused = "%all-reduce-scatter.1 (p: f32[1,64]) -> f32[1,32] {\n  %p = f32[1,64]{1,0} parameter(0)\n" + line
    fused += "\n  ROOT %part = f32[1,32]{1,0} slice(%total), slice={[0:1], [0:32]}\n}\n\n"
    called = "  %half = f32[1,32]{1,0} fusion(%kernel), kind=kCustom, calls=%all-reduce-scatter.1"
    text = TEXT.replace(line, called).replace("%body (", fused.replace("(%kernel)", "(%p)") + "%body (")
    assert hlo.moved(text, {}).collectives["reduce-scatter"] == (3, 3 * 128.0)


def test_a_loop_whose_turns_are_told_by_its_scope():
    text = TEXT.replace("constant(3)", "get-tuple-element(%state.1), index=0")
    assert hlo.moved(text, {"layers": 5}).collectives["all-gather"][0] == 5
    assert hlo.moved(text, {"other": 5}).unknown == {"layers/while"}
    assert hlo.moved(text, {"other": 5}).collectives["all-gather"][0] == 1


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("replica_groups={{0,1,2},{3,4,5}}, x", 3),
        ("replica_groups=[4,2]<=[8]", 2),
        ("replica_groups=mesh['x'=4,'y'=2] {'y'}", 2),
        ("replica_groups=mesh['x'=4,'y'=2] {'x','y'}", 8),
        ("replica_groups=mesh['x'=4,'y'=2] {'x':(1)2}", 2),
        ("channel_id=1", float("inf")),
    ],
)
def test_group_sizes(text, size):
    assert hlo.group_size(text) == size


@pytest.mark.parametrize(
    ("text", "everywhere", "size"),
    [
        ("f32[2,3]{1,0}", True, 24),
        ("bf16[]", True, 2),
        ("(f32[2]{0:T(128)S(1)}, /*index=1*/s4[3]{0}, token[])", True, 10),
        ("(f32[2]{0:T(128)S(1)}, s8[3]{0:T(128)S(0)})", False, 3),
    ],
)
def test_bytes_of_a_type(text, everywhere, size):
    assert hlo.shape_bytes(text, everywhere) == size


def test_a_text_that_is_none_is_an_error():
    with pytest.raises(ValueError, match="ENTRY"):
        hlo.moved("HloModule m\n", {})


def test_collectives_of_programs_compiled_here():
    mesh = parallel.make_mesh(fsdp=8)
    where = NamedSharding(mesh, P("fsdp"))
    w = jax.ShapeDtypeStruct((5, 64, 64), jnp.float32, sharding=NamedSharding(mesh, P(None, "fsdp")))
    x = jax.ShapeDtypeStruct((8, 64), jnp.float32, sharding=where)

    def gathered(x, w):
        return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, w)[0]

    text = jax.jit(gathered, out_shardings=where).lower(x, w).compile().as_text()
    number, size = hlo.moved(text, {}).collectives["all-gather"]
    assert (number, size) == (5, 5 * 7 / 8 * 64 * 64 * 4)

    def summed(x, n):
        with jax.named_scope("rounds"):
            return jax.lax.fori_loop(0, n, lambda _, total: total + x.sum(), 0.0)

    one = jax.ShapeDtypeStruct((), jnp.int32)
    text = jax.jit(lambda x, n: summed(x * n, n)).lower(x, one).compile().as_text()
    found = hlo.moved(text, {"rounds": 9})
    assert set(found.collectives) == {"all-reduce"} and found.memory_bytes > 0
