"""The decode stage: reads of symbols become decoding in the scope where they were read."""

import numpy as np
import pytest
import tvm
from tvm.script import tirx as T
from weights import random_weight

from dcc.codegen.decode_stage import DecodeSpec, fold_decode
from dcc.codegen.decode_steps import TableLayout
from dcc.codegen.packed_streams import code_symbols, entropy_code, pack_huffman
from dcc.codegen.packing import Packing
from dcc.errors import CompileError
from dcc.schedules.cpu.expand import expand

ENTRIES = DecodeSpec({"entries": TableLayout(16, "uint32")}, 12)


# fmt: off
@T.prim_func(private=True, s_tir=True)
def symbols_of_two_slices(bases: T.Buffer((3,), "int32"), entries: T.Buffer((5, 2), "uint16"), y: T.Buffer((5, 2), "int32")):
    for s in range(2):
        with T.attr(0, "dcc.stream", s):
            for t in range(bases[s + 1] - bases[s]):
                for lane in range(2):
                    y[bases[s] + t, lane] = T.Cast("int32", entries[bases[s] + t, lane])


FOLDED = '''
@T.prim_func(private=True, s_tir=True)
def main(bases: T.Buffer((3,), "int32"), starts: T.Buffer((2,), "int32"), stream: T.Buffer((12,), "uint32"), entries_table: T.Buffer((16,), "uint32"), y: T.Buffer((5, 2), "int32")):
    for s in range(2):
        window = T.alloc_local((2,), "uint64")
        left = T.alloc_local((2,), "int32")
        position: T.int32
        for lane in range(2):
            window[lane] = T.Cast("uint64", stream[starts[s] + lane]) | T.Cast("uint64", stream[starts[s] + 2 + lane]) << T.uint64(32)
            left[lane] = 64
        position = starts[s] + 4
        for t, lane in T.grid(bases[s + 1] - bases[s], 2):
            entry: T.let[T.int32] = T.Cast("int32", window[lane] & T.uint64(15))
            word: T.let[T.uint32] = entries_table[entry]
            length: T.let[T.uint32] = T.Cast("uint32", word) >> T.uint32(16)
            rest: T.let[T.int32] = left[lane] - T.Cast("int32", length)
            short: T.let[T.bool] = rest <= 32
            window[lane] = window[lane] >> T.Cast("uint64", length) | T.Select(short, T.Cast("uint64", stream[position]) << T.Cast("uint64", rest), T.uint64(0))
            left[lane] = rest + T.Select(short, 32, 0)
            position = position + T.Cast("int32", short)
            y[bases[s] + t, lane] = T.Cast("int32", T.Cast("uint16", T.Cast("uint32", word) & T.uint32(65535)))
'''
# fmt: on


def test_a_read_becomes_a_decode_stage():
    folded = fold_decode(symbols_of_two_slices, ENTRIES)
    assert folded.script().split("\n\n", 1)[1].strip() == FOLDED.strip()
    names = [parameter.name for parameter in symbols_of_two_slices.params]
    assert names == ["bases", "entries", "y"]  # the kernel that was given stays as it was


def test_the_folded_kernel_decodes_its_stream():
    generator = np.random.default_rng(0)
    symbols = generator.integers(0, 9, (5, 2))
    bases = np.array([0, 3, 5], np.int32)
    coded = code_symbols({"entries": symbols}, bases, 4)
    spec = DecodeSpec({"entries": TableLayout(16, "uint32")}, coded.stream.size)
    found = np.zeros((5, 2), np.int32)
    folded = fold_decode(symbols_of_two_slices, spec).with_attr("global_symbol", "main")
    arrays = [bases, coded.starts, coded.stream, coded.tables["entries"], found]
    tensors = [tvm.runtime.tensor(array) for array in arrays]
    tvm.compile(tvm.IRModule({"main": folded}), "llvm")["main"](*tensors)
    np.testing.assert_array_equal(tensors[-1].numpy(), symbols)


def test_new_parameters_stand_where_the_symbols_stood():
    weight = random_weight(np.random.default_rng(1), 33, 256, 0.2, levels=200)
    packed = pack_huffman(weight, Packing(4))
    kernel = expand(packed, (33, 256))
    coded = entropy_code(packed)
    folded = fold_decode(kernel, DecodeSpec.of(coded))
    assert [parameter.name for parameter in folded.params] == [*coded.arrays, "expanded"]
    assert len(packed.symbols) == 2  # gaps and codes: both had to be folded


# fmt: off
@T.prim_func(private=True, s_tir=True)
def without_region(bases: T.Buffer((2,), "int32"), entries: T.Buffer((5, 2), "uint16"), y: T.Buffer((5, 2), "uint16")):
    for t, lane in T.grid(5, 2):
        y[t, lane] = entries[bases[0] + t, lane]


@T.prim_func(private=True, s_tir=True)
def outside_of_region(bases: T.Buffer((2,), "int32"), entries: T.Buffer((5, 2), "uint16"), y: T.Buffer((5, 2), "uint16")):
    y[0, 0] = entries[0, 0]
    with T.attr(0, "dcc.stream", 0):
        for t, lane in T.grid(5, 2):
            y[t, lane] = entries[t, lane]


@T.prim_func(private=True, s_tir=True)
def as_an_index(bases: T.Buffer((2,), "int32"), entries: T.Buffer((5, 2), "uint16"), y: T.Buffer((5, 2), "uint16")):
    with T.attr(0, "dcc.stream", 0):
        for t, lane in T.grid(5, 2):
            y[T.Cast("int32", entries[t, lane]), lane] = T.uint16(1)


@T.prim_func(private=True, s_tir=True)
def two_in_a_statement(bases: T.Buffer((2,), "int32"), entries: T.Buffer((5, 2), "uint16"), y: T.Buffer((5, 2), "uint16")):
    with T.attr(0, "dcc.stream", 0):
        for t in range(5):
            y[t, 0] = entries[t, 0] + entries[t, 1]


@T.prim_func(private=True, s_tir=True)
def without_bases(entries: T.Buffer((5, 2), "uint16"), y: T.Buffer((5, 2), "uint16")):
    with T.attr(0, "dcc.stream", 0):
        for t, lane in T.grid(5, 2):
            y[t, lane] = entries[t, lane]


@T.prim_func(private=True, s_tir=True)
def other_lanes(bases: T.Buffer((2,), "int32"), gaps: T.Buffer((5, 2), "uint16"), codes: T.Buffer((5, 3), "uint16")):
    with T.attr(0, "dcc.stream", 0):
        T.evaluate(0)
# fmt: on


@pytest.mark.parametrize(
    ("kernel", "symbols", "message"),
    [
        (
            symbols_of_two_slices,
            ("gaps",),
            r"\['gaps'\] are missing from \['bases', 'entries', 'y'\]",
        ),
        (symbols_of_two_slices, (), "symbols are missing"),
        (without_bases, ("entries",), r"\['bases'\] are missing"),
        (without_region, ("entries",), "no 'dcc.stream' region"),
        (outside_of_region, ("entries",), "read outside of a stream region"),
        (as_an_index, ("entries",), "or not as a value; bind it"),
        (two_in_a_statement, ("entries",), "more than one symbol is read"),
        (other_lanes, ("gaps", "codes"), "differ in their lanes"),
    ],
)
def test_what_cannot_be_folded_is_refused(kernel, symbols, message):
    with pytest.raises(CompileError, match=message):
        fold_decode(kernel, DecodeSpec(dict.fromkeys(symbols, TableLayout(16, "uint32")), 12))
