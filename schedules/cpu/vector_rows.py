"""The rows kernel on vectors: a lane a row, the codebook in registers.

    parallel over groups of slices:
        for each step that all slices of the group have: for each slice:
            offset, value of 16 rows; sum += value * permute(window of x, offset)
        for each slice: its further steps

Without windows ``column += gap + 1; sum += value * gather(x, column)``. A slice alone waits for its
own decoding; the others in flight fill the time.
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
from dcc.schedules.cpu.vector_reader import LaneEntries, VectorReader, hold
from dcc.schedules.weight_reader import Expr, allocate, bind

Store = Callable[[Expr, Expr, Expr], None]
MOST_SAMPLES = 8
"""Samples whose sums stay in registers."""
MOST_SUMS = 4
"""Sums of a slice that hide the latency of an addition."""

SLICES_TO_PAIR = 64
MANY_REGISTERS = 32


def fits_vectors(packed: PackedWeight, samples: int, dtype: str, unit: VectorUnit | None) -> bool:
    """Whether :func:`emit_vector_rows` can compute the product: float32, few samples."""
    floats = [
        array.dtype.name for name, array in packed.arrays.items() if name in ("codebook", "values")
    ]
    return (
        unit is not None
        and (unit.gathers or packed.every_column)
        and unit.lanes == packed.lanes
        and dtype == "float32"
        and floats == ["float32"]
        and samples <= MOST_SAMPLES
    )


def slices_in_flight(packed: PackedWeight, samples: int, registers: int) -> int:
    """How many slices run interleaved: as many as keep their sums and windows in ``registers``."""
    if packed.window and packed.form != "huffman":
        # Two streams of entries are fetched faster than one, if threads still get equal shares.
        pays = packed.slices >= SLICES_TO_PAIR and samples <= 2 and registers >= MANY_REGISTERS
        return 2 if pays else 1
    if packed.form == "codebook":
        return 1
    most = 2 if packed.form == "huffman" and registers < MANY_REGISTERS else 4
    return min(most, max(4 // samples, 1), packed.slices)


@dataclass
class _Flight:
    """The state of one slice in flight."""

    index: Expr
    reads: Expr
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
    together = min(
        in_flight or slices_in_flight(packed, samples, reader.unit.registers), end - begin
    )
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
        common = flights[0].reads
        for flight in flights[1:]:
            common = tir.min(common, flight.reads)
        common = bind("common", common)
        with T.serial(0, common) as number:
            for flight in flights:
                _read(reader, samples, source, flight, number)
        if len(flights) > 1:
            for flight in flights:
                with T.serial(0, flight.reads - common) as number:
                    _read(reader, samples, source, flight, common + number)
        if reader.steps_left:
            for flight in flights:
                _read(reader, samples, source, flight, flight.reads, reader.steps_left)
    for flight in flights:
        _close(reader, samples, flight, store)


def _open(reader: VectorReader, samples: int, index: Expr) -> _Flight:
    lanes, sums_each = reader.unit.lanes, _sums_each(reader, samples)
    inside = bind("slice", index)
    reads = bind("reads", reader.steps(inside) // reader.steps_at_once)
    sums = allocate("sums", (sums_each * samples * lanes,), "float32")
    column = allocate("column", (lanes,), "int32")
    for number in range(sums_each * samples):
        T.buffer_store(sums, spread(0, "float32", lanes), [tir.Ramp(number * lanes, 1, lanes)])
    T.buffer_store(column, spread(-1, "int32", lanes), [lanes_of(lanes)])
    return _Flight(inside, reads, sums, column)


def _sums_each(reader: VectorReader, samples: int) -> int:
    """Count the sums of a row and sample.

    They take turns, as an addition waits for the one before. Where slices are decoded, several of
    them are in flight instead.
    """
    if reader.packed.form == "huffman":
        return 1
    return min(reader.steps_at_once, max(1, MOST_SUMS // samples))


def _read(
    reader: VectorReader,
    samples: int,
    source: tir.Buffer,
    flight: _Flight,
    number: Expr,
    parts: int | None = None,
) -> None:
    """Multiply and add the entries of one read, or its first ``parts`` steps."""
    lanes, turns = reader.unit.lanes, _sums_each(reader, samples)
    for part, entries in enumerate(reader.read_lanes(flight.index, number)[:parts]):
        value = hold("value", entries.value, "float32", lanes)
        step = number * reader.steps_at_once + part
        elements = _elements(reader, source, flight, entries, step)
        for sample in range(samples):
            at = tir.Ramp((part % turns * samples + sample) * lanes, 1, lanes)
            T.buffer_store(flight.sums, flight.sums[at] + value * elements(sample), [at])


def _elements(
    reader: VectorReader, source: tir.Buffer, flight: _Flight, entries: LaneEntries, step: Expr
) -> Callable[[int], Expr]:
    """Return the elements of x that a step multiplies, as a function of the sample."""
    unit, lanes = reader.unit, reader.unit.lanes
    if entries.window is not None:
        window, columns = entries.window, reader.packed.window
        return lambda sample: unit.pick(source, [sample, window], entries.offset, columns)
    if entries.gap is None:
        return lambda sample: tir.Broadcast(source[sample, step], lanes)
    every, one = lanes_of(lanes), spread(1, "int32", lanes)
    T.buffer_store(flight.column, flight.column[every] + entries.gap + one, [every])
    # Lanes padded to the longest of the slice run past the last column, with the value zero.
    last = spread(reader.packed.columns - 1, "int32", lanes)
    place = hold("place", tir.min(flight.column[every], last), "int32", lanes)
    return lambda sample: unit.gather(source, [sample, 0], place)


def _close(reader: VectorReader, samples: int, flight: _Flight, store: Store) -> None:
    """Store the sums, lane by lane from a copy: those of the loop stay in registers."""
    lanes = reader.unit.lanes
    totals = allocate("totals", (samples * lanes,), "float32")
    for sample in range(samples):
        total: Expr = flight.sums[tir.Ramp(sample * lanes, 1, lanes)]
        for part in range(1, _sums_each(reader, samples)):
            total = total + flight.sums[tir.Ramp((part * samples + sample) * lanes, 1, lanes)]
        T.buffer_store(totals, total, [tir.Ramp(sample * lanes, 1, lanes)])
    with T.serial(0, lanes) as lane:
        row = reader.row(flight.index, lane)
        with guard(row, reader.packed):
            for sample in range(samples):
                store(tir.const(sample, "int32"), row, totals[sample * lanes + lane])
