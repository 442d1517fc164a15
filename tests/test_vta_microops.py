"""Micro-op lists: which blocks stand next to each other, and when the lists are loaded."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dcc.codegen.vta.disassembler import disassemble
from dcc.codegen.vta.instructions import Gemm
from dcc.codegen.vta.microop_buffer import MOST_IN_LOAD, plan_batches
from dcc.codegen.vta.stream import StreamBuilder, micro_ops
from dcc.schedules.vta.measuring import stream_timeline
from dcc.schedules.vta.microop_lists import TileShape, arrange
from dcc.targets.vta.device import VTA
from dcc.targets.vta.isa import Memory


def test_neighbouring_micro_ops_add_to_different_accumulators():
    shape = TileShape(2, 6, 4, 8, (1, 1))
    (three,) = arrange(np.tile(np.arange(3), 9), shape, 3)
    assert (three.grouping.rows, three.grouping.columns) == (1, 1)
    (two,) = arrange(np.tile(np.arange(2), 9), shape, 3)
    assert two.grouping.rows * two.grouping.columns == 2
    (one,) = arrange(np.zeros(9, np.int64), shape, 3)
    assert one.grouping.rows * one.grouping.columns == 3
    (pixel,) = arrange(np.zeros(9, np.int64), TileShape(1, 1, 3, 3, (1, 1)), 3)
    assert pixel.grouping.copies == 3


@given(
    outputs=st.lists(st.integers(0, 5), min_size=1, max_size=60),
    rows=st.integers(1, 7),
    columns=st.integers(1, 7),
)
def test_blocks_in_any_order_are_arranged(outputs, rows, columns):
    shape = TileShape(rows, columns, rows + 2, columns + 2, (1, 1))
    runs = arrange(np.array(outputs, np.int64), shape, 3)
    assert sorted(n for run in runs for n in run.blocks) == list(range(len(outputs)))
    for run in runs:
        pixels = run.grouping.rows * run.grouping.columns
        targets = [
            (outputs[n], pixel, place % run.grouping.copies)
            for place, n in enumerate(run.blocks)
            for pixel in range(pixels)
        ]
        assert all(targets[n] not in targets[max(n - 2, 0) : n] for n in range(len(targets)))


def test_random_blocks_need_no_groups_of_pixels():
    random = np.random.default_rng(0)
    runs = arrange(np.sort(random.integers(0, 8, 90)), TileShape(7, 7, 9, 9, (1, 1)), 3)
    assert len(runs) == 1
    assert runs[0].grouping.columns == 1


def test_micro_ops_are_loaded_again_where_the_buffer_was_full():
    builder = StreamBuilder(VTA)
    for start in (0, 1, 2, 2, 0):
        words = micro_ops(np.arange(1000) + start)
        builder.emit(Gemm((0, 1000), (1, 1), (0, 0), reset=True), words)
    stream = builder.finish()
    lines = list(disassemble(stream))
    places = [line.split("uop[")[1].split("]")[0] for line in lines if "uop[" in line]
    assert places == ["0:1000", "1000:2000", "0:1000", "0:1000", "1000:2000"]
    assert len(stream.micro_ops) == 3000  # stored once
    assert len(stream.words) == 5 + 4 + 1
    assert stream_timeline(stream, VTA).bytes_read == {Memory.UOP: 16000}


@given(
    needs=st.lists(st.none() | st.integers(0, 9), max_size=40),
    sizes=st.lists(st.integers(1, 700), min_size=10, max_size=10),
)
def test_lists_are_there_when_they_are_needed(needs, sizes):
    batches, begins = plan_batches(needs, sizes, 2048)
    buffer, loads = {}, {batch.before: batch for batch in batches}
    for position, (need, begin) in enumerate(zip(needs, begins, strict=True)):
        if position in loads:
            place = loads[position].start
            assert position in {n for n, each in enumerate(needs) if each is not None}
            for each in loads[position].lists:
                buffer.update({place + n: (each, n) for n in range(sizes[each])})
                place += sizes[each]
            assert place <= 2048
            assert place - loads[position].start <= max(MOST_IN_LOAD, sizes[need])
        if need is not None:
            assert all(buffer[begin + n] == (need, n) for n in range(sizes[need]))
