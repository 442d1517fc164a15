"""What a layer costs in each storage form: bytes kept, bytes touched, time and energy.

Time is the larger of arithmetic and memory traffic. The nanoseconds below were measured on one core
of an AVX-512 machine with ``benchmarks/kernel_costs.py`` and scale with the vector width; only
their ratios decide.
"""

from __future__ import annotations

from dataclasses import dataclass

from dcc.codegen.vector_units import vector_unit
from dcc.codegen.weight_matrix import FORMS, Form, WeightMatrix
from dcc.schedules.form_sizes import FormSizes
from dcc.schedules.layer_shape import LayerShape
from dcc.schedules.memory_traffic import nanoseconds_of_reading
from dcc.schedules.tunables import default_lanes, default_window
from dcc.targets.target import Target

REFERENCE_VECTOR = 16


@dataclass(frozen=True)
class FormCosts:
    """Nanoseconds of one core.

    Attributes
    ----------
    row_entry
        An entry of the rows kernel, for the first sample; ``row_sample`` for each further one.
    decode_entry
        Reading an entry into the tile of the pixel kernel.
    """

    row_entry: float
    row_sample: float
    decode_entry: float


COSTS: dict[Form, FormCosts] = {
    "dense": FormCosts(0.044, 0.0135, 0.2),
    "codebook": FormCosts(0.029, 0.017, 1.1),
    "sparse": FormCosts(0.25, 0.13, 0.67),
    "huffman": FormCosts(0.45, 0.25, 1.6),
}
SCALAR_CYCLES: dict[Form, tuple[float, float]] = {
    "dense": (0.26, 0.25),
    "codebook": (1.1, 0.13),
    "sparse": (2.0, 0.92),
    "huffman": (5.9, 0.9),
}
"""Cycles of an entry of the rows kernels where vectors cannot gather, for the first sample and for
each further one: estimates for a Cortex-A76 (``schedules.mca``) at 1, 3 and 7 samples."""
USUAL_CLOCK = 2.0
"""Cycles a nanosecond of a target that does not tell its clock."""
PIXEL_MULTIPLICATION = 0.034
"""Nanoseconds of one multiplication in the pixel kernel, in whole vectors of 16 lanes: 0.026 to
0.034 at densities from 40 to 10 %."""
PANEL_ELEMENT = 0.09
"""Nanoseconds of an element of its panels: every column of the weight for every pixel."""
PIXEL_ELEMENT = 0.28
"""Nanoseconds of an element of its padded input or of its output: copies, sums, stores."""
DENSE_MULTIPLICATION = {"convolution": 0.021, "depthwise": 0.06, "matmul": 0.018}
"""Nanoseconds of one multiplication of the dense form's register tiles."""
WINDOWED: dict[Form, FormCosts] = {
    "sparse": FormCosts(0.056, 0.041, 0.67),
    "huffman": FormCosts(0.22, 0.08, 1.6),
}
"""Forms with windows of columns; their entries count the padding."""


@dataclass(frozen=True)
class Estimate:
    """Cost of a layer in one form.

    Attributes
    ----------
    kept_bytes
        In the file and in memory; of the dense form, its coded weight in the file.
    touched_bytes
        Read from the weight in one run.
    nanoseconds, picojoules
        Of one run.
    """

    form: Form
    kept_bytes: int
    touched_bytes: int
    nanoseconds: float
    picojoules: float


def estimate_all(weight: WeightMatrix, shape: LayerShape, target: Target) -> dict[Form, Estimate]:
    """Estimate every form that can store ``weight``."""
    legal: list[Form] = [form for form in FORMS if weight.refusal(form) is None]
    counts = FormSizes(weight, default_lanes(shape, target), _windowed(weight, shape, target))
    sizes = {form: counts.bytes_of(form) for form in legal}
    coded = [size for form, size in sizes.items() if form != "dense"]
    result = {}
    for form in legal:
        kept = min(coded, default=sizes["dense"]) if form == "dense" else sizes[form]
        entries = counts.entries(form)
        nanoseconds = _time(form, entries, weight, sizes[form], shape, target)
        energy = _energy(entries, sizes[form], shape, target)
        result[form] = Estimate(form, kept, sizes[form], nanoseconds, energy)
    return result


def _time(
    form: Form, entries: int, weight: WeightMatrix, touched: int, shape: LayerShape, target: Target
) -> float:
    cost, width = COSTS[form], REFERENCE_VECTOR / target.vector_floats
    reads = 1
    if shape.kind == "take":
        arithmetic = cost.decode_entry * entries / max(weight.rows, 1) * shape.samples
    elif form == "dense" and shape.by_pixels:
        each = DENSE_MULTIPLICATION[_dense_kind(shape)]
        arithmetic = weight.grid.size * shape.pixels * each * width
    elif shape.by_pixels:
        lanes = _vectors(shape, target.vector_floats) * target.vector_floats
        arithmetic = entries * (cost.decode_entry + lanes * PIXEL_MULTIPLICATION * width)
        arithmetic += _elements(weight, shape) * PIXEL_ELEMENT
        if shape.geometry is not None:
            columns = weight.columns * shape.geometry.groups
            arithmetic += columns * shape.pixels * PANEL_ELEMENT
    else:
        reads = shape.recurrence.steps if shape.recurrence is not None else 1
        samples = shape.recurrence.batch if shape.recurrence is not None else shape.samples
        arithmetic = entries * reads
        unit = vector_unit(target.features, target.vector_floats)
        if unit is not None and not unit.gathers:
            first, further = SCALAR_CYCLES[form]
            clock = target.pipeline.clock if target.pipeline is not None else USUAL_CLOCK
            arithmetic *= (first + further * (samples - 1)) / clock
        else:
            if form in _windowed(weight, shape, target):
                cost = WINDOWED[form]
            arithmetic *= (cost.row_entry + cost.row_sample * (samples - 1)) * width
    traffic = nanoseconds_of_reading(touched, target) * reads
    return max(arithmetic / max(target.cores, 1), traffic)


def _windowed(weight: WeightMatrix, shape: LayerShape, target: Target) -> list[Form]:
    """Return the forms whose default schedule has windows of columns."""
    if weight.mask is None:
        return []
    return [form for form in WINDOWED if default_window(shape, form, target, weight)]


def _dense_kind(shape: LayerShape) -> str:
    if shape.geometry is None:
        return "matmul"
    depthwise = shape.geometry.groups == shape.geometry.channels > 1
    return "depthwise" if depthwise else "convolution"


def _elements(weight: WeightMatrix, shape: LayerShape) -> int:
    """Elements that the pixel kernel copies: phase planes (or samples turned around), outputs."""
    outputs = weight.rows * shape.pixels
    if shape.geometry is None:
        return outputs + weight.columns * shape.samples
    planes = 0 if shape.geometry.in_place else shape.geometry.batch * shape.geometry.image
    return outputs + planes


def _vectors(shape: LayerShape, width: int) -> int:
    """Vectors of pixels that the pixel kernel multiplies by each weight."""
    geometry = shape.geometry
    images, pixels = (1, shape.samples) if geometry is None else (geometry.batch, geometry.pixels)
    return images * -(-pixels // width)


def _energy(entries: int, touched: int, shape: LayerShape, target: Target) -> float:
    """Memory once, arithmetic for every use (Horowitz's table): what EIE counts."""
    table = target.energy
    memory = table.dram_word if touched > target.caches.last_level else table.sram_word
    arithmetic = entries * shape.pixels * (table.float_multiply + table.float_add + table.sram_word)
    return touched / 4 * memory + arithmetic
