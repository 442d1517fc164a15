"""Instructions of VTA: every field at its place, and decode as the inverse of encode."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcc.codegen.vta.instructions import (
    Alu,
    Finish,
    Flags,
    Gemm,
    Transfer,
    decode,
    encode,
    encode_stream,
)
from dcc.codegen.vta.stream import micro_ops, place
from dcc.errors import EncodingError
from dcc.targets.vta.isa import (
    LAYOUTS,
    AluOpcode,
    Memory,
    Opcode,
    Queue,
    pack,
    queue_of,
    unpack,
    unpack_micro_ops,
)

flags = st.builds(Flags, *[st.booleans()] * 4)
pair = st.tuples(st.integers(0, 2047), st.integers(0, 2047))
loops = {
    "micro_ops": st.tuples(st.integers(0, 8191), st.integers(0, 16383)),
    "trips": st.tuples(st.integers(0, 16383), st.integers(0, 16383)),
    "dst": pair,
    "src": pair,
    "flags": flags,
}
transfers = st.builds(
    Transfer,
    st.sampled_from(list(Memory)),
    sram=st.integers(0, 65535),
    offset=st.integers(0, 2**32 - 1),
    rows=st.integers(0, 65535),
    columns=st.integers(0, 65535),
    stride=st.integers(0, 65535),
    pads=st.tuples(*[st.integers(0, 15)] * 4),
    flags=flags,
)
gemms = st.builds(
    Gemm, **loops, wgt=st.tuples(st.integers(0, 1023), st.integers(0, 1023)), reset=st.booleans()
)
alus = st.builds(
    Alu,
    **loops,
    operation=st.sampled_from(list(AluOpcode)),
    immediate=st.none() | st.integers(-32768, 32767),
)


@given(st.one_of(transfers, gemms, alus, st.builds(Finish, flags, st.just(""))))
def test_decode_is_the_inverse(instruction):
    assert encode(decode(*encode(instruction))) == encode(instruction)
    decoded = decode(*encode(instruction))
    decoded.label = instruction.label
    assert decoded == instruction


@pytest.mark.parametrize(
    ("opcode", "name", "low", "width"),
    [
        (Opcode.LOAD, "push_next", 6, 1),
        (Opcode.LOAD, "memory", 7, 3),
        (Opcode.LOAD, "sram_base", 10, 16),
        (Opcode.LOAD, "dram_base", 26, 32),
        (Opcode.STORE, "y_size", 64, 16),
        (Opcode.STORE, "x_size", 80, 16),
        (Opcode.LOAD, "x_stride", 96, 16),
        (Opcode.LOAD, "y_pad_0", 112, 4),
        (Opcode.LOAD, "y_pad_1", 116, 4),
        (Opcode.LOAD, "x_pad_0", 120, 4),
        (Opcode.LOAD, "x_pad_1", 124, 4),
        (Opcode.GEMM, "reset", 7, 1),
        (Opcode.GEMM, "uop_bgn", 8, 13),
        (Opcode.GEMM, "uop_end", 21, 14),
        (Opcode.GEMM, "iter_out", 35, 14),
        (Opcode.ALU, "iter_in", 49, 14),
        (Opcode.ALU, "dst_factor_out", 64, 11),
        (Opcode.ALU, "dst_factor_in", 75, 11),
        (Opcode.GEMM, "src_factor_out", 86, 11),
        (Opcode.GEMM, "src_factor_in", 97, 11),
        (Opcode.GEMM, "wgt_factor_out", 108, 10),
        (Opcode.GEMM, "wgt_factor_in", 118, 10),
        (Opcode.ALU, "alu_opcode", 108, 3),
        (Opcode.ALU, "use_imm", 111, 1),
    ],
)
def test_all_ones_of_a_field_are_its_bits(opcode, name, low, width):
    first, second = pack(opcode, {name: (1 << width) - 1})
    assert first | second << 64 == int(opcode) | ((1 << width) - 1) << low


def test_immediate_is_signed():
    _, high = pack(Opcode.ALU, {"use_imm": 1, "imm": -1})
    assert high >> 48 == 0xFFFF
    assert unpack(4, high)["imm"] == -1


def test_no_field_crosses_the_words_or_another_field():
    for fields in LAYOUTS.values():
        bits = [b for f in fields for b in range(f.low, f.low + f.width)]
        assert len(bits) == len(set(bits))
        assert all((f.low < 64) == (f.low + f.width <= 64) for f in fields)


def test_a_stream_is_little_endian_words():
    words = encode_stream([Finish(Flags(pop_prev=True)), Transfer(Memory.OUT, 5)])
    data = words.astype("<u8").tobytes()
    assert data[0] == 3 | 1 << 3
    assert int.from_bytes(data[16:32], "little") == 1 | 4 << 7 | 5 << 10


@given(st.integers(0, 2047), st.integers(0, 2047), st.integers(0, 1023))
def test_micro_ops(dst, src, wgt):
    word = micro_ops(dst, src, wgt)
    assert int(word[0]) == dst | src << 11 | wgt << 22
    assert [int(part[0]) for part in unpack_micro_ops(word)] == [dst, src, wgt]


def test_what_does_not_fit_is_refused():
    with pytest.raises(EncodingError, match="sram_base = 65536"):
        encode(Transfer(Memory.INP, 65536))
    with pytest.raises(EncodingError, match="wgt from 1024"):
        micro_ops(0, 0, 1024)
    with pytest.raises(EncodingError, match="opcode 6"):
        decode(6, 0)
    with pytest.raises(EncodingError, match="bits outside of its fields"):
        decode(1 << 63, 0)


def test_queues():
    queues = {
        Memory.INP: Queue.LOAD,
        Memory.WGT: Queue.LOAD,
        Memory.UOP: Queue.COMPUTE,
        Memory.ACC: Queue.COMPUTE,
        Memory.OUT: Queue.STORE,
    }
    for memory, queue in queues.items():
        assert queue_of(unpack(*encode(Transfer(memory)))) == queue
    assert queue_of(unpack(*encode(Finish()))) == Queue.COMPUTE


def test_addresses_are_filled_in_by_elements():
    words = encode_stream([Transfer(Memory.WGT, 0, "w", 3, 1, 2, 2), Finish()])
    placed = place(words, np.array([0, -1], np.int16), [0x3000])
    assert unpack(*placed[0].tolist())["dram_base"] == 0x3000 // 256 + 3
    assert (placed[1] == words[1]).all()
    with pytest.raises(EncodingError, match="multiple of its element"):
        place(words, np.array([0, -1], np.int16), [0x3010])
