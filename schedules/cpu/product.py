"""The product of a packed weight and a few vectors, on vector instructions where they fit."""

from __future__ import annotations

from tvm import tirx as tir

from dcc.codegen.packed import PackedWeight
from dcc.codegen.vector_units import VectorUnit
from dcc.schedules.cpu.rows import Store, emit_rows
from dcc.schedules.cpu.scalar_rows import ScalarReader, emit_scalar_rows, fits_scalars
from dcc.schedules.cpu.vector_reader import VectorReader
from dcc.schedules.cpu.vector_rows import emit_vector_rows, fits_vectors
from dcc.schedules.weight_reader import WeightReader


def make_reader(
    packed: PackedWeight, samples: int, dtype: str, accumulator: str, unit: VectorUnit | None
) -> WeightReader:
    """Reader for :func:`emit_product`; the kernel declares its parameters."""
    if unit is not None and fits_vectors(packed, samples, dtype, unit):
        return VectorReader(packed, accumulator, unit=unit)
    if (unit is None or not unit.gathers) and fits_scalars(packed, accumulator):
        return ScalarReader(packed, accumulator)
    return WeightReader(packed, accumulator)


def emit_product(
    reader: WeightReader,
    samples: int,
    source: tir.Buffer,
    store: Store,
    *,
    parallel: bool,
    slices: tuple[int, int] | None = None,
    in_flight: int | None = None,
) -> None:
    """Emit ``store(sample, row, sum of weight[row, column] * source[sample, column])``.

    ``source`` has shape (samples, columns); ``slices`` restricts the rows to a range of slices,
    ``in_flight`` is how many of them run interleaved.
    """
    if isinstance(reader, VectorReader):
        emit_vector_rows(
            reader, samples, source, store, parallel=parallel, slices=slices, in_flight=in_flight
        )
    elif isinstance(reader, ScalarReader):
        emit_scalar_rows(reader, samples, source, store, parallel=parallel, slices=slices)
    else:
        emit_rows(reader, samples, source, store, parallel=parallel, slices=slices)
