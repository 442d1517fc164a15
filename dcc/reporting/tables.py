"""The tables of a report: cells with the text that is read and the value that is sorted by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from dcc.reporting.cost_charts import Quantity
from dcc.reporting.facts import AUTO, STAGES, CompressionReport, Device, Layer, LayerCost, Variant
from dcc.reporting.stage_charts import STAGE_NAMES
from dcc.reporting.units import (
    NOTHING,
    count_text,
    energy_text,
    percent_text,
    ratio_text,
    time_text,
)


@dataclass(frozen=True)
class Column:
    """A heading, and whether numbers stand below it."""

    label: str
    numeric: bool = True


@dataclass(frozen=True)
class Cell:
    """Text, and what it sorts by: a number, or the text itself."""

    text: str
    value: float | None = None


@dataclass(frozen=True)
class Table:
    """Rows that can be sorted, and rows below them that stay where they are."""

    columns: list[Column]
    rows: list[list[Cell]]
    sums: list[list[Cell]] = field(default_factory=list)


def main_device(report: CompressionReport) -> Device | None:
    """Return the device whose form, time and energy stand in the table of layers: the first."""
    return report.devices[0] if report.devices else None


def layer_table(report: CompressionReport) -> Table:
    """Make the table of all weights."""
    device = main_device(report)
    variant = None if device is None else device.variant(AUTO)
    costs = {} if variant is None else {layer.name: layer for layer in variant.layers}
    words = ("Layer", "Operator", "Shape")
    numbers = ("Weights", "Kept", "Levels", "Bits")
    columns = [Column(word, numeric=False) for word in words]
    columns += [Column(word) for word in numbers]
    columns += [Column(f"{STAGE_NAMES[stage]}, B") for stage in STAGES]
    columns += [Column("Ratio"), Column("Form", numeric=False), Column("Time")]
    columns += [Column("Energy proxy"), Column("Why", numeric=False)]
    rows = [_layer_row(layer, costs.get(layer.name)) for layer in report.layers]
    return Table(columns, rows, [_layer_sums(report, len(columns))] if rows else [])


def _layer_row(layer: Layer, cost: LayerCost | None) -> list[Cell]:
    stored = [layer.bytes[stage]["total"] for stage in STAGES]
    return [
        Cell(layer.name),
        Cell(layer.operator),
        Cell("x".join(map(str, layer.shape)) or "scalar"),
        _number(layer.weights),
        Cell(percent_text(layer.density), layer.density),
        _number(layer.levels),
        _bits(layer),
        *(_number(size) for size in stored),
        Cell(ratio_text(layer.ratio), layer.ratio),
        Cell(NOTHING if cost is None else cost.form),
        _cost(cost, "seconds"),
        _cost(cost, "energy"),
        Cell("" if cost is None else cost.reason),
    ]


def _layer_sums(report: CompressionReport, width: int) -> list[Cell]:
    totals = [report.stage(stage).bytes["total"] for stage in STAGES]
    cells = [
        Cell("All weights"),
        Cell(""),
        Cell(""),
        _number(sum(layer.weights for layer in report.layers)),
        Cell(percent_text(report.density)),
        Cell(""),
        Cell(""),
        *(_number(total) for total in totals),
        Cell(ratio_text(totals[0] / totals[-1] if totals[-1] else None)),
    ]
    return cells + [Cell("")] * (width - len(cells))


def cost_table(device: Device, quantity: Quantity) -> Table | None:
    """Make a table with a column a storage form; None where nothing is known."""
    variants = [each for each in device.variants if quantity.whole(each) is not None]
    if not variants:
        return None
    names = dict.fromkeys(layer.name for variant in variants for layer in variant.layers)
    costs = [{layer.name: layer for layer in variant.layers} for variant in variants]
    rows = [
        [
            Cell(name),
            *(
                _form_cell(found.get(name), variant.storage, quantity)
                for found, variant in zip(costs, variants, strict=True)
            ),
        ]
        for name in names
    ]
    columns = [Column("Layer", numeric=False), *(Column(each.storage) for each in variants)]
    return Table(columns, rows, _cost_sums(variants, quantity))


def _form_cell(layer: LayerCost | None, storage: str, quantity: Quantity) -> Cell:
    """Say the form too where it is not the one of the column's heading."""
    value = None if layer is None else quantity.of_layer(layer)
    if layer is None or value is None:
        return Cell(NOTHING)
    text, form = quantity.text(value), layer.form.removeprefix("accelerator, ")
    return Cell(text if form == storage else f"{text} ({form})", value)


def _cost_sums(variants: Sequence[Variant], quantity: Quantity) -> list[list[Cell]]:
    others = [quantity.other(variant) for variant in variants]
    wholes = [quantity.whole(variant) for variant in variants]
    return [
        [Cell("The rest"), *(Cell(quantity.text(value), value) for value in others)],
        [Cell("Whole model"), *(Cell(quantity.text(value), value) for value in wholes)],
    ]


def _number(value: int | None) -> Cell:
    return Cell(count_text(value), value)


def _bits(layer: Layer) -> Cell:
    """Bits of a code, and after a plus sign those of an index."""
    if layer.weight_bits is None and layer.index_bits is None:
        return Cell(NOTHING)
    code = "raw" if layer.weight_bits is None else str(layer.weight_bits)
    index = "" if layer.index_bits is None else f"+{layer.index_bits}"
    return Cell(code + index, (layer.weight_bits or 0) + (layer.index_bits or 0))


def _cost(cost: LayerCost | None, measure: str) -> Cell:
    if cost is None:
        return Cell(NOTHING)
    if measure == "seconds":
        return Cell(time_text(cost.seconds), cost.seconds)
    return Cell(energy_text(cost.energy), cost.energy)
