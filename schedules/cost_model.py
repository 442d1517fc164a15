"""What a layer costs in each storage form: bytes kept, bytes touched, time.

Time is the larger of arithmetic, counted in the parts of ``kernel_costs``, and memory traffic; on
processors of thread blocks, what ``cuda.costs`` says.
"""

from __future__ import annotations

from dataclasses import dataclass

from dcc.codegen.weight_matrix import FORMS, Form, WeightMatrix
from dcc.schedules.cuda.costs import block_nanoseconds
from dcc.schedules.form_sizes import FormSizes
from dcc.schedules.kernel_costs import kernel_costs
from dcc.schedules.layer_shape import LayerShape
from dcc.schedules.memory_traffic import nanoseconds_of_reading
from dcc.schedules.tunables import default_lanes, default_window
from dcc.targets.target import Target


@dataclass(frozen=True)
class Estimate:
    """Cost of a layer in one form.

    Attributes
    ----------
    kept_bytes
        In the file and in memory; of the dense form, its coded weight in the file.
    touched_bytes
        Read from the weight in one run.
    nanoseconds
        Of one run.
    """

    form: Form
    kept_bytes: int
    touched_bytes: int
    nanoseconds: float


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
        if target.gpu is not None:
            nanoseconds = block_nanoseconds(form, entries, weight, shape, target)
        else:
            nanoseconds = _time(form, entries, weight, sizes[form], shape, target)
        result[form] = Estimate(form, kept, sizes[form], nanoseconds)
    return result


def _time(
    form: Form, entries: int, weight: WeightMatrix, touched: int, shape: LayerShape, target: Target
) -> float:
    costs = kernel_costs(target)
    cost, width = costs.forms[form], costs.vector_floats / target.vector_floats
    reads = 1
    if shape.kind == "take":
        arithmetic = cost.decode_entry * entries / max(weight.rows, 1) * shape.samples
    elif form == "dense" and shape.by_pixels:
        each = costs.dense_multiplication[_dense_kind(shape)]
        arithmetic = weight.grid.size * shape.pixels * each * width
    elif shape.by_pixels:
        lanes = _vectors(shape, target.vector_floats) * target.vector_floats
        arithmetic = entries * (cost.decode_entry + lanes * costs.pixel_multiplication * width)
        arithmetic += _elements(weight, shape) * costs.pixel_element
        if shape.geometry is not None:
            columns = weight.columns * shape.geometry.groups
            arithmetic += columns * shape.pixels * costs.panel_element
    else:
        reads = shape.recurrence.steps if shape.recurrence is not None else 1
        samples = shape.recurrence.batch if shape.recurrence is not None else shape.samples
        if form in _windowed(weight, shape, target):
            cost = costs.windowed[form]
        each = cost.row_entry + cost.row_sample * (samples - 1)
        arithmetic = entries * each * width * reads
    traffic = nanoseconds_of_reading(touched, target) * reads
    return max(arithmetic / max(target.cores, 1), traffic)


def _windowed(weight: WeightMatrix, shape: LayerShape, target: Target) -> dict[Form, int]:
    """Columns of a window, of the forms whose default schedule has windows."""
    if weight.mask is None:
        return {}
    windows = {form: default_window(shape, form, target, weight) for form in FORMS}
    return {form: window for form, window in windows.items() if window}


def _dense_kind(shape: LayerShape) -> str:
    if shape.geometry is None:
        return "matmul"
    if shape.geometry.groups == shape.geometry.channels > 1:
        return "depthwise"
    return "pointwise" if shape.geometry.kernel == (1, 1) else "convolution"


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
