"""The inverse of packing: from the arrays that a kernel reads back to the dense weight.

It follows the stored arrays step by step, as a kernel does, and so it is the oracle of what the
kernels read. Nothing of it runs in a compiled module.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dcc.codegen.code_grid import unpack_codes
from dcc.codegen.code_tables import Table
from dcc.codegen.entry_layout import Array
from dcc.codegen.lane_streams import LaneStreams, deinterleave
from dcc.codegen.packed_split import entries_of_words, entry_bytes
from dcc.codegen.packed_weight import PackedWeight
from dcc.codegen.row_split import RowSplit
from dcc.codegen.thread_streams import read_streams

Integers = npt.NDArray[np.int64]


def unpack(packed: PackedWeight) -> Array:
    """Decode ``packed``, in any form, entropy-coded or not.

    Returns
    -------
    numpy.ndarray
        The dense weight, shape (rows, columns), bit for bit what was packed.
    """
    if packed.form == "dense":
        return _rows(packed.arrays["values"], packed)
    if packed.split is not None:
        return unpack_split(packed, packed.split)
    if packed.form == "codebook":
        words = packed.arrays["codes"].astype(np.uint32)
        codes = _rows(unpack_codes(words, packed.code_bits, packed.columns), packed)
        return packed.arrays["codebook"][codes]
    return _scatter(packed, symbol_fields(packed))


def symbol_fields(packed: PackedWeight) -> dict[str, Integers]:
    """Return the symbols of an entry-wise form, each (steps, lanes), decoded where it is coded."""
    if "stream" not in packed.arrays:
        return {name: _uncoded(packed, name) for name in packed.symbols}
    arrays = packed.arrays
    streams = LaneStreams(
        arrays["stream"].astype(np.uint32), arrays["starts"].astype(np.int32), payload_bits=0
    )
    tables = [_table(arrays[f"{name}_table"]) for name in packed.symbols]
    bases = arrays["bases"].astype(np.int64)
    if packed.split is not None:
        apart = read_streams(streams, tables, bases, packed.lanes)
        return {name: apart[:, index] for index, name in enumerate(packed.symbols)}
    optional = packed.optional_symbol
    found = deinterleave(
        streams,
        tables,
        bases,
        packed.lanes,
        packed.refill_steps,
        None if optional is None else packed.symbols.index(optional),
    )
    return {name: found[:, index] for index, name in enumerate(packed.symbols)}


def unpack_split(packed: PackedWeight, split: RowSplit) -> Array:
    """Decode a weight whose rows are split over lanes."""
    lanes, parts = packed.lanes, np.arange(split.parts(packed.rows))
    fields: dict[str, Integers] = {}
    if packed.form == "codebook":
        words = packed.arrays["codes"].astype(np.uint32)
        codes = unpack_codes(words, packed.code_bits, split.width).reshape(-1, lanes)
        origin = parts // split.block_rows % split.segments * split.width
        bases = np.arange(packed.slices + 1) * split.width
    else:
        fields = symbol_fields(packed)
        codes = fields.get("codes", np.zeros(0, np.int64))
        origin = packed.arrays["origins"].astype(np.int64)
        bases = packed.arrays["bases"].astype(np.int64)
    if "entries" in fields:
        codes = fields["entries"] & ((1 << packed.code_bits) - 1)
    known = "codebook" in packed.arrays
    values = packed.arrays["codebook"][codes] if known else packed.arrays["values"]
    block, phase = np.divmod(parts // split.threads, split.phases)
    row = block * split.block_rows + parts % split.block_rows
    if "order" in packed.arrays:
        row = packed.arrays["order"].astype(np.int64)[row]
    slice_of = np.repeat(np.arange(packed.slices), np.diff(bases))
    row = row.reshape(-1, lanes)[slice_of]
    if packed.every_column:
        step = np.arange(len(values)) - bases[slice_of]
        column = step[:, None] + origin.reshape(-1, lanes)[slice_of]
    else:
        column = _gap_columns(packed, fields)
        column += origin.reshape(-1, lanes)[slice_of]
    column += (phase * split.phase_columns).reshape(-1, lanes)[slice_of]
    dense = np.zeros((packed.rows, packed.columns), dtype=values.dtype)
    inside = (row < packed.rows) & (column < packed.columns)
    if not packed.every_column:
        inside &= _bits(np.ascontiguousarray(values)) != 0
    dense[row[inside], column[inside]] = values[inside]
    return dense


def _table(stored: Array) -> Table:
    return stored.astype(np.uint8 if stored.dtype == np.uint8 else np.uint32)


def _rows(grid: Array, packed: PackedWeight) -> Array:
    """Turn (slices, columns, lanes) into (rows, columns)."""
    rows = grid.transpose(0, 2, 1).reshape(packed.slices * packed.lanes, grid.shape[1])
    return rows[: packed.rows, : packed.columns]


def _uncoded(packed: PackedWeight, name: str) -> Integers:
    """Symbols of an array, one row a step."""
    symbols = packed.arrays[name].astype(np.int64)
    if name == "entries" and packed.split is not None and packed.form == "sparse":
        size = entry_bytes(packed.code_bits, packed.gap_bits)
        return entries_of_words(packed.arrays[name].astype(np.uint32), size)
    if name != "entries" or not packed.window:
        return symbols
    width = 32 // packed.steps_of_word
    parts = [symbols >> width * part & ((1 << width) - 1) for part in range(packed.steps_of_word)]
    return np.stack(parts, axis=1).reshape(packed.steps, packed.lanes)


def columns_of_entries(packed: PackedWeight) -> tuple[Array, Integers]:
    """Values and columns of the entries of an entry-wise form with whole rows, (steps, lanes)."""
    fields = symbol_fields(packed)
    codes = _codes(packed, fields)
    values = packed.arrays["values"] if codes is None else packed.arrays["codebook"][codes]
    if not (packed.window or "gaps" in fields or "entries" in fields):
        bases = packed.arrays["bases"].astype(np.int64)
        column = np.arange(len(values)) - np.repeat(bases[:-1], np.diff(bases))
        return values, np.repeat(column[:, None], packed.lanes, axis=1)
    columns = _window_columns(packed, fields) if packed.window else _gap_columns(packed, fields)
    return values, columns


def _codes(packed: PackedWeight, fields: dict[str, Integers]) -> Integers | None:
    """Codes of all entries; None where values stand for themselves."""
    if "entries" not in fields:
        return fields.get("codes")
    width = 16 if packed.window else packed.code_bits
    return fields["entries"] >> packed.offset_bits & ((1 << width) - 1)


def _scatter(packed: PackedWeight, fields: dict[str, Integers]) -> Array:
    """Write every entry to its place; fillers and padding write zeros where zeros are."""
    arrays = packed.arrays
    codes = _codes(packed, fields)
    values = arrays["values"] if codes is None else arrays["codebook"][codes]
    places = packed.slices * packed.lanes
    order = arrays["order"].astype(np.int64) if "order" in arrays else np.arange(places)
    dense = np.zeros((packed.rows, packed.columns), dtype=values.dtype)
    bases = arrays["bases"].astype(np.int64)
    columns = _window_columns(packed, fields) if packed.window else _gap_columns(packed, fields)
    for index in range(packed.slices):
        span = slice(int(bases[index]), int(bases[index + 1]))
        column = columns[span]
        row = order[index * packed.lanes : (index + 1) * packed.lanes] + np.zeros_like(column)
        inside = (row < packed.rows) & (column < packed.columns)
        if packed.window:  # padding points at columns that hold weights
            inside &= codes[span] != 0 if codes is not None else _bits(values[span]) != 0
        dense[row[inside], column[inside]] = values[span][inside]
    return dense


def _bits(values: Array) -> Array:
    """Return the bits of each value: -0.0 is a weight, 0.0 is none."""
    return values.view(f"u{values.itemsize}")


def _window_columns(packed: PackedWeight, fields: dict[str, Integers]) -> Integers:
    """Column of every entry, counted from the window of its step."""
    offsets = fields["offsets" if "offsets" in fields else "entries"] & (packed.window - 1)
    return packed.arrays["windows"].astype(np.int64)[:, None] + offsets


def _gap_columns(packed: PackedWeight, fields: dict[str, Integers]) -> Integers:
    """Column of every entry, counted on from the entry before it."""
    gaps = fields.get("gaps", np.zeros((packed.steps, packed.lanes), dtype=np.int64))
    if "entries" in fields:
        gaps = fields["entries"] >> packed.code_bits
    after = np.cumsum(gaps + 1, axis=0)
    first = packed.arrays["bases"].astype(np.int64)
    before = np.concatenate([np.zeros((1, packed.lanes), np.int64), after])[first[:-1]]
    return after - 1 - np.repeat(before, np.diff(first), axis=0)
