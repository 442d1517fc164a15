"""The rows kernel on vectors: a lane a row, gathers of x, the codebook in registers.

    parallel over groups of slices:
        for each step that all slices of the group have: for each slice:
            gap, value of 16 rows; column += gap + 1; sum += value * gather(x, column)
        for each slice: its further steps

A slice alone waits for its own decoding; the others in flight fill the time.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from tvm import tirx as tir
from tvm.tirx.script import builder as T

from dcc.codegen.packed import PackedWeight
from dcc.codegen.vector_units import VectorUnit, lanes_of, spread
from dcc.schedules.cpu.rows import guard
from dcc.schedules.cpu.vector_reader import VectorReader, hold
from dcc.schedules.cpu.weight_reader import Expr, allocate, bind

Store = Callable[[Expr, Expr, Expr], None]
MOST_SAMPLES = 8
"""Sums that stay in registers."""


def fits_vectors(packed: PackedWeight, samples: int, dtype: str, unit: VectorUnit | None) -> bool:
    """Whether :func:`emit_vector_rows` can compute the product: float32, few samples."""
    floats = [
        array.dtype.name for name, array in packed.arrays.items() if name in ("codebook", "values")
    ]
    return (
        unit is not None
        and unit.lanes == packed.lanes
        and dtype == "float32"
        and floats == ["float32"]
        and samples <= MOST_SAMPLES
    )


def slices_in_flight(packed: PackedWeight, samples: int) -> int:
    """How many slices run interleaved: as many as keep their sums and windows in registers."""
    wanted = 4 if samples == 1 else 2 if samples == 2 else 1
    return min(wanted, packed.slices)


@dataclass
class _Flight:
    """The state of one slice in flight."""

    index: Expr
    steps: Expr
    sums: tir.Buffer
    column: tir.Buffer


def emit_vector_rows(
    reader: VectorReader,
    samples: int,
    source: tir.Buffer,
    store: Store,
    *,
    parallel: bool,
    slices: tuple[int, int] | None = None,
    in_flight: int | None = None,
) -> None:
    """Emit ``store(sample, row, sum of weight[row, column] * source[sample, column])``.

    ``source`` is float32 (samples, columns); ``slices`` restricts the rows to a range of slices,
    ``in_flight`` is how many of them run interleaved.
    """
    packed = reader.packed
    begin, end = slices if slices is not None else (0, packed.slices)
    together = min(in_flight or slices_in_flight(packed, samples), end - begin)
    groups, rest = divmod(end - begin, together)
    loop = T.parallel if parallel else T.serial
    with loop(0, groups) as group:
        first = begin + group * together
        _emit_group(reader, samples, source, store, [first + n for n in range(together)])
    if rest:
        # A loop of one pass, so that names and registers of the groups stay apart.
        with T.serial(0, 1) as group:
            first = begin + groups * together + group
            _emit_group(reader, samples, source, store, [first + n for n in range(rest)])


def _emit_group(
    reader: VectorReader,
    samples: int,
    source: tir.Buffer,
    store: Store,
    slices: list[Expr],
) -> None:
    """All steps of some slices, interleaved."""
    reader.load_table()
    flights = [_open(reader, samples, index) for index in slices]
    with ExitStack() as regions:
        for flight in flights:
            regions.enter_context(reader.stream(flight.index))
        common = flights[0].steps
        for flight in flights[1:]:
            common = tir.min(common, flight.steps)
        common = bind("common", common)
        with T.serial(0, common) as step:
            for flight in flights:
                _step(reader, samples, source, flight, step)
        if len(flights) > 1:
            for flight in flights:
                with T.serial(0, flight.steps - common) as step:
                    _step(reader, samples, source, flight, common + step)
    for flight in flights:
        _close(reader, samples, flight, store)


def _open(reader: VectorReader, samples: int, index: Expr) -> _Flight:
    lanes = reader.unit.lanes
    inside = bind("slice", index)
    steps = bind("steps", reader.steps(inside))
    sums = allocate("sums", (samples * lanes,), "float32")
    column = allocate("column", (lanes,), "int32")
    for sample in range(samples):
        T.buffer_store(sums, spread(0, "float32", lanes), [tir.Ramp(sample * lanes, 1, lanes)])
    T.buffer_store(column, spread(-1, "int32", lanes), [lanes_of(lanes)])
    return _Flight(inside, steps, sums, column)


def _step(
    reader: VectorReader, samples: int, source: tir.Buffer, flight: _Flight, step: Expr
) -> None:
    """One entry of every lane."""
    unit, lanes = reader.unit, reader.unit.lanes
    gap, value = reader.read_lanes(flight.index, step)
    value = hold("value", value, "float32", lanes)
    place: Expr | None = None
    if gap is not None:
        every = lanes_of(lanes)
        T.buffer_store(
            flight.column, flight.column[every] + gap + spread(1, "int32", lanes), [every]
        )
        # Lanes padded to the longest of the slice run past the last column, with the value zero.
        last = spread(reader.packed.columns - 1, "int32", lanes)
        place = hold("place", tir.min(flight.column[every], last), "int32", lanes)
    for sample in range(samples):
        at = tir.Ramp(sample * lanes, 1, lanes)
        if place is None:
            x: Expr = tir.Broadcast(source[sample, step], lanes)
        else:
            x = unit.gather(source, [sample, 0], place)
        T.buffer_store(flight.sums, flight.sums[at] + value * x, [at])


def _close(reader: VectorReader, samples: int, flight: _Flight, store: Store) -> None:
    lanes = reader.unit.lanes
    with T.serial(0, lanes) as lane:
        row = reader.row(flight.index, lane)
        with guard(row, reader.packed):
            for sample in range(samples):
                total = flight.sums[sample * lanes + lane]
                store(tir.const(sample, "int32"), row, total)
