"""Parts of the VTA backend by themselves: time, codes, scales, layouts, listings."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcc.accelerator.host_calls import dequantize, from_images, quantize, to_images
from dcc.codegen.vta.blocks import block_weights, pack_activations, unpack_activations
from dcc.codegen.vta.coded_weights import Levels, coding_refusal, encode_weight, whole_weight
from dcc.codegen.vta.disassembler import disassemble
from dcc.codegen.vta.instructions import Alu, Finish, Flags, Gemm, Transfer, encode_stream
from dcc.codegen.vta.stream import StreamBuilder, micro_ops
from dcc.errors import EncodingError, StreamError
from dcc.passes.offload.exponents import best_exponent, shared_exponents
from dcc.schedules.vta.chunks import weight_chunks
from dcc.schedules.vta.layers import ConvLayer, PoolLayer, Requantise, Residual, SumLayer
from dcc.schedules.vta.operations import layer_from_json, layer_to_json
from dcc.schedules.vta.reference import conv_reference
from dcc.schedules.vta.tiling import candidates, default_tiling
from dcc.targets.vta.device import VTA
from dcc.targets.vta.isa import AluOpcode, Memory, Queue
from dcc.targets.vta.machine import shift_right
from dcc.targets.vta.matrix_unit import exact_product
from dcc.targets.vta.prepared import prepare
from dcc.targets.vta.queues import first_of, run_queues
from dcc.targets.vta.simulator import Dram
from dcc.targets.vta.timing import simulate

UOPS = micro_ops(0, 0, 0).view(np.uint8)


def times(*instructions):
    prepared = prepare(encode_stream(list(instructions)), lambda a, n: np.resize(UOPS, n), VTA)
    return simulate(prepared, VTA)


def test_time_of_single_instructions():
    # The first burst of instructions: 20 cycles of latency, 2 beats an instruction.
    fetched = 20 + 2 * 2 * 9 / 8
    line = times(Transfer(Memory.WGT, 0, "", 0, 1, 4, 4), Finish())
    # Four blocks of 32 beats; the load starts a cycle after its fetch.
    assert line.starts[0] == pytest.approx(fetched + 1)
    assert line.ends[0] - line.starts[0] == pytest.approx(20 + 4 * 32 * 9 / 8)
    assert line.bytes_read == {Memory.WGT: 1024}
    line = times(Transfer(Memory.OUT, 0, "", 0, 2, 9, 20), Finish())
    # Two rows of 144 bytes: two bursts each.
    assert line.ends[0] - line.starts[0] == pytest.approx(2 * 2 * 6 + 18 * 3)
    line = times(Transfer(Memory.OUT, 0, "", 0, 2, 8, 8), Finish())
    assert line.ends[0] - line.starts[0] == pytest.approx(2 * 6 + 16 * 3)
    line = times(Transfer(Memory.INP), Finish())
    assert line.ends[0] - line.starts[0] == 2


def test_time_of_loops():
    load = Transfer(Memory.UOP, 0, "", 0, 1, 1, 1)
    gemm = Gemm((0, 1), (5, 20), (20, 1))
    line = times(load, gemm, Finish())
    assert line.ends[1] - line.starts[1] == 110
    assert line.micro_ops == 100
    reset = Gemm((0, 1), (5, 20), (20, 1), reset=True)
    assert times(load, reset, Finish()).micro_ops == 0
    alu = Alu((0, 1), (5, 20), (20, 1), (20, 1), operation=AluOpcode.ADD, immediate=1)
    tensor = Alu((0, 1), (5, 20), (20, 1), (20, 1), operation=AluOpcode.ADD)
    line = times(load, alu, tensor, Finish())
    assert [line.ends[n] - line.starts[n] for n in (1, 2)] == [110, 210]
    assert line.busy[Queue.STORE] == 0


def test_padding_hides_behind_data():
    plain = times(Transfer(Memory.INP, 0, "", 0, 10, 10, 10), Finish())
    padded = times(Transfer(Memory.INP, 0, "", 0, 10, 10, 10, (1, 1, 0, 0)), Finish())
    assert padded.cycles == plain.cycles
    much = times(Transfer(Memory.INP, 0, "", 0, 1, 1, 1, (15, 15, 15, 15)), Finish())
    assert much.ends[0] - much.starts[0] > 900


def test_tokens_delay_and_overlap():
    first = Transfer(Memory.WGT, 0, "", 0, 1, 8, 8, flags=Flags(push_next=True))
    wait = Transfer(Memory.UOP, flags=Flags(pop_prev=True))
    second = Transfer(Memory.INP, 0, "", 0, 1, 100, 100)
    line = times(first, second, wait, Finish())
    assert line.starts[2] >= line.ends[0]
    assert line.starts[2] < line.ends[1]


def test_a_full_queue_is_a_deadlock():
    # 512 loads wait for a token of an instruction behind them: fetch never reaches it.
    loads = [Transfer(Memory.INP, flags=Flags(pop_next=True)) for _ in range(513)]
    gives = [Transfer(Memory.UOP, flags=Flags(push_prev=True)) for _ in range(513)]
    prepared = prepare(encode_stream([*loads, *gives, Finish()]), lambda a, n: UOPS, VTA)
    with pytest.raises(
        StreamError, match=r"deadlock: instruction 0 .LOAD. waits for compute->load"
    ):
        run_queues(prepared, VTA, first_of(*Queue))
    with pytest.raises(StreamError, match="deadlock"):
        simulate(prepared, VTA)


@given(
    st.integers(1, 40), st.integers(1, 40), st.integers(1, 3), st.integers(1, 3), st.integers(0, 99)
)
@settings(max_examples=30, deadline=None)
def test_layouts(outputs, inputs, rows, columns, seed):
    random = np.random.default_rng(seed)
    weight = random.integers(-128, 128, (outputs, inputs, rows, columns)).astype(np.int8)
    grid = block_weights(weight)
    o, i = outputs - 1, inputs - 1
    assert grid[o // 16, i // 16, rows - 1, 0, o % 16, i % 16] == weight[o, i, rows - 1, 0]
    x = random.integers(-128, 128, (2, inputs, rows, columns)).astype(np.int8)
    packed = pack_activations(x)
    assert packed[1, i // 16, rows - 1, 0, i % 16] == x[1, i, rows - 1, 0]
    np.testing.assert_array_equal(unpack_activations(packed, x.shape), x)


@given(
    st.sampled_from(["codebook", "huffman"]),
    st.integers(1, 16),
    st.integers(1, 70),
    st.integers(1, 40),
    st.booleans(),
    st.integers(0, 999),
)
@settings(max_examples=40, deadline=None)
def test_coded_weights(form, levels, outputs, inputs, by_channel, seed):
    random = np.random.default_rng(seed)
    rows = outputs if by_channel else 1
    tables = random.integers(-128, 128, (rows, levels)).astype(np.int8)
    codes = random.integers(0, levels, (outputs, inputs, 2, 3)).astype(np.uint8)
    weight = Levels(codes, tables)
    kept = np.ones((-(-outputs // 16), -(-inputs // 16), 2, 3), bool)
    chunks = weight_chunks(kept, int(random.integers(1, 30)) * 256)
    coded = encode_weight(weight, form, chunks)
    expected = block_weights(weight.decode()).reshape(len(kept), -1, 16, 16)
    for number, (low, high, first, last) in enumerate(chunks):
        expanded = coded.expand(number)
        np.testing.assert_array_equal(expanded, expected[low:high, first:last])
    assert sum(coded.weights(number) for number in range(len(chunks))) == codes.size
    if form == "codebook":
        width = {1: 1, 2: 2}.get(weight.code_bits, 4)
        assert coded.coded_bytes <= codes.size * width / 8 + tables.nbytes + len(chunks)


@given(
    st.integers(1, 9),
    st.integers(1, 6),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.integers(1, 40),
    st.integers(0, 999),
)
def test_chunks_of_weights(outputs, inputs, kernel, most, seed):
    random = np.random.default_rng(seed)
    kept = random.random((outputs, inputs, *kernel)) < random.random()
    flat = kept.reshape(outputs, -1)
    seen = np.zeros_like(flat, int)
    for low, high, first, last in weight_chunks(kept, 256 * most):
        part = flat[low:high, first:last]
        assert part.sum() <= most
        assert high - low == 1 or (first, last) == (0, flat.shape[1])
        assert (seen[low:high, :first] == 1).all()  # parts come in their order
        seen[low:high, first:last] += 1
    assert (seen == 1).all()


def test_a_wide_codebook_is_refused():
    weight = Levels.of(np.arange(-128, 128, dtype=np.int8).reshape(16, 16, 1, 1))
    whole = whole_weight(weight.codes.shape)
    assert "256 levels need 8 bits" in coding_refusal(weight, "codebook")
    with pytest.raises(EncodingError, match="storage form 'codebook': 256 levels"):
        encode_weight(weight, "codebook", [whole])
    assert coding_refusal(weight, "huffman") is None
    coded = encode_weight(weight, "huffman", [whole])
    np.testing.assert_array_equal(coded.expand(0)[0, 0], weight.decode()[:, :, 0, 0])


def test_exponents():
    assert best_exponent(np.array([0.9, -0.5])) == 7
    assert best_exponent(np.array([127.0, -3.0])) == 0
    assert best_exponent(np.zeros(5)) == 0
    assert best_exponent(np.array([np.nan, np.inf, 0.5])) == 7
    # One value far out is worth clipping where very many others gain a bit.
    many = np.append(np.random.default_rng(0).uniform(-0.9, 0.9, 50_000), 1.05)
    assert best_exponent(many) == 7
    groups = [["a", "b"], ["b", "c"]]
    shared = shared_exponents({"a": 3, "b": 5, "c": 4, "d": 9}, groups)
    assert shared == {"a": 3, "b": 3, "c": 3, "d": 9}


def test_quantize():
    x = np.array([0.5, 1.5, 2.5, -200.0, 200.0, np.nan], np.float32)
    np.testing.assert_array_equal(quantize(x, 0), [0, 2, 2, -128, 127, 0])
    np.testing.assert_array_equal(quantize(np.array([0.25]), 2), [1])
    np.testing.assert_array_equal(dequantize(np.array([3], np.int8), 2), [0.75])
    for shape, rows in (((2, 3, 5), True), ((2, 3, 5), False), ((4, 3), True)):
        tensor = np.arange(np.prod(shape)).reshape(shape)
        np.testing.assert_array_equal(from_images(to_images(tensor, rows), shape, rows), tensor)


def test_shifts_floor_and_wrap():
    x = np.array([-3, 3, 2**31 - 1], np.int32)
    np.testing.assert_array_equal(shift_right(x, np.int32(1)), [-2, 1, 2**30 - 1])
    np.testing.assert_array_equal(shift_right(x, np.int32(-1)), [-6, 6, -2])


def test_products_are_exact():
    random = np.random.default_rng(0)
    left = random.integers(-128, 128, (7, 5000)).astype(np.float32)
    right = random.integers(-128, 128, (5000, 37)).astype(np.float32)
    left[0], right[:, 0] = -128, -128
    expected = left.astype(np.int64) @ right.astype(np.int64)
    np.testing.assert_array_equal(exact_product(left, right), expected)


def test_convolution_reference_against_loops():
    layer = ConvLayer(1, 2, 5, 4, 3, (2, 3), (2, 1), (1, 0, 0, 1), bias=True)
    layer = ConvLayer(**{**vars(layer), "requantise": Requantise(3, -20, 90)})
    random = np.random.default_rng(0)
    x = random.integers(-128, 128, (1, 2, 5, 4)).astype(np.int8)
    weight = random.integers(-10, 10, (3, 2, 2, 3)).astype(np.int8)
    bias = random.integers(-99, 99, 3).astype(np.int32)
    result = conv_reference(x, weight, layer, bias)
    for o in range(3):
        for y in range(layer.out_height):
            for c in range(layer.out_width):
                total = int(bias[o])
                for i, ky, kx in np.ndindex(2, 2, 3):
                    row, column = 2 * y + ky - 1, c + kx
                    if 0 <= row < 5 and 0 <= column < 4:
                        total += int(x[0, i, row, column]) * int(weight[o, i, ky, kx])
                assert result[0, o, y, c] == min(max((total + 4) >> 3, -20), 90)


def test_layers_as_json():
    for layer in (
        ConvLayer(1, 2, 3, 4, 5, residual=Residual(1, 2), requantise=Requantise(3)),
        PoolLayer(1, 2, 3, 4, (2, 2), (1, 1)),
        SumLayer(7, (1, 2)),
    ):
        import json

        assert layer_from_json(json.loads(json.dumps(layer_to_json(layer)))) == layer


def test_every_candidate_fits_and_the_default_is_among_them():
    layer = ConvLayer(1, 48, 20, 20, 48, (3, 3), (1, 1), (1, 1, 1, 1), bias=True)
    options = list(candidates(layer, VTA))
    assert default_tiling(layer, VTA) in options
    assert {tiling.threads for tiling in options} == {1, 2}
    for tiling in options:
        inputs, weights, sums = tiling.slots(layer)
        assert inputs * tiling.threads <= 2048
        assert weights * tiling.threads <= 1024
        assert sums * tiling.threads + tiling.outputs <= 2048


def test_listing():
    builder = StreamBuilder(VTA, label="first tile")
    builder.reset(5, 7)
    builder.emit(Transfer(Memory.INP, 1, "input", 2, 3, 4, 5, (1, 0, 2, 0), Flags(push_next=True)))
    builder.immediate(AluOpcode.SHR, -3, 5, 7).flags.pop_prev = True
    lines = list(disassemble(builder.finish()))
    assert lines[0] == "; first tile"
    assert "UOP[0] uops[0] 1 x 2" in lines[1]
    assert "reset uop[0:1] x 1 x 7 dst +0 +1" in lines[2]
    assert "INP[1] input[2] 3 x 4 stride 5 pad 1 0 2 0" in lines[3]
    assert lines[3].endswith("push next")
    assert "SHR -3 uop[1:2] x 1 x 7 dst +0 +1 src +0 +1" in lines[4]
    assert lines[-1].split()[:3] == ["5", "compute", "FINISH"]


def test_memory_is_mapped_by_allocations():
    memory = Dram()
    first, second = memory.allocate(10), memory.allocate(5000)
    assert first.physical == 0x1000
    assert second.physical % 4096 == 0
    memory.read(first.physical + 4000, 96)
    for address, count in ((0, 4), (first.physical, 4097), (second.physical + 8190, 4)):
        with pytest.raises(StreamError, match="are not mapped"):
            memory.read(address, count)
    memory.free(first)
    with pytest.raises(StreamError, match="are not mapped"):
        memory.read(first.physical, 1)
