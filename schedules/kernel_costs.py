"""Nanoseconds of what kernels do, measured on one core, for each width of the vector unit.

``benchmarks/kernel_costs.py`` measures them on the machine at hand. Only their ratios decide.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dcc.codegen.vector_units import vector_unit
from dcc.codegen.weight_matrix import Form
from dcc.targets.target import Target


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


@dataclass(frozen=True)
class KernelCosts:
    """What one core takes for each part of the kernels.

    Attributes
    ----------
    vector_floats
        Width of the vectors with which these were measured.
    forms, windowed
        By storage form; with windows of columns, whose entries count the padding.
    pixel_multiplication
        One multiplication of the pixel kernel, in whole vectors.
    panel_element
        An element of its panels: every column of the weight for every pixel.
    pixel_element
        An element of its padded input or of its output: copies, sums, stores.
    dense_multiplication
        One multiplication of the dense form's register tiles, by the kind of the layer.
    """

    vector_floats: int
    forms: Mapping[Form, FormCosts]
    windowed: Mapping[Form, FormCosts]
    pixel_multiplication: float
    panel_element: float
    pixel_element: float
    dense_multiplication: Mapping[str, float]


AVX512 = KernelCosts(
    vector_floats=16,
    forms={
        "dense": FormCosts(0.044, 0.0135, 0.2),
        "codebook": FormCosts(0.029, 0.017, 1.1),
        "sparse": FormCosts(0.25, 0.13, 0.67),
        "huffman": FormCosts(0.45, 0.25, 1.6),
    },
    windowed={"sparse": FormCosts(0.056, 0.041, 0.67), "huffman": FormCosts(0.22, 0.08, 1.6)},
    pixel_multiplication=0.034,
    panel_element=0.09,
    pixel_element=0.28,
    dense_multiplication={
        "convolution": 0.021,
        "pointwise": 0.021,
        "depthwise": 0.06,
        "matmul": 0.018,
    },
)
"""Zen 4: permutations of two registers, masks, expanding loads, 32 registers."""
AVX2 = KernelCosts(
    vector_floats=8,
    forms={
        "dense": FormCosts(0.063, 0.047, 0.2),
        "codebook": FormCosts(0.15, 0.019, 1.3),
        "sparse": FormCosts(0.65, 0.25, 1.3),
        "huffman": FormCosts(1.8, 0.5, 3.7),
    },
    windowed={"sparse": FormCosts(0.26, 0.09, 1.3)},
    pixel_multiplication=0.044,
    panel_element=0.09,
    pixel_element=0.8,
    dense_multiplication={
        "convolution": 0.029,
        "pointwise": 0.029,
        "depthwise": 0.089,
        "matmul": 0.022,
    },
)
"""Zen 3: a gather takes as long as eight loads, a codebook of 16 two permutations and a blend."""
NEON = KernelCosts(
    vector_floats=4,
    forms={
        "dense": FormCosts(0.108, 0.104, 0.2),
        "codebook": FormCosts(0.46, 0.054, 1.1),
        "sparse": FormCosts(0.83, 0.38, 1.5),
        "huffman": FormCosts(2.0, 0.38, 3.2),
    },
    windowed={},
    pixel_multiplication=0.068,
    panel_element=0.23,
    pixel_element=0.22,
    dense_multiplication={
        "convolution": 0.077,
        "pointwise": 0.062,
        "depthwise": 0.138,
        "matmul": 0.062,
    },
)
"""Cortex-A76 at 2.4 GHz, out of order: rows on scalars, no gather.

This and the two tables below are fitted to estimates (``schedules.mca``) of one core, for the least
squares of relative errors: LeNet-5's layers, pointwise layers at 15, 40 and 100 % density, 3x3 of
8 to 32 pixels a side at 10 and 30 %, depthwise, 10x4 and 5x5 ones, products of 1, 3 and 16 samples,
raw values and codebooks of 16; every form. Pixel kernels: within 21 % of the estimates.
"""
CORTEX_A53 = KernelCosts(
    vector_floats=4,
    forms={
        "dense": FormCosts(1.0, 1.06, 2.0),
        "codebook": FormCosts(1.65, 1.42, 12.0),
        "sparse": FormCosts(7.2, 4.4, 14.0),
        "huffman": FormCosts(14.0, 7.1, 33.0),
    },
    windowed={},
    pixel_multiplication=0.77,
    panel_element=0.86,
    pixel_element=0.86,
    dense_multiplication={
        "convolution": 0.75,
        "pointwise": 0.62,
        "depthwise": 1.25,
        "matmul": 0.64,
    },
)
"""Cortex-A53 at 1.4 GHz, in order: every product waits for its loads, dense tiles most."""
CORTEX_A55 = KernelCosts(
    vector_floats=4,
    forms={
        "dense": FormCosts(0.285, 0.35, 2.0),
        "codebook": FormCosts(1.1, 0.16, 1.3),
        "sparse": FormCosts(3.4, 1.54, 5.5),
        "huffman": FormCosts(8.1, 1.7, 16.7),
    },
    windowed={},
    pixel_multiplication=0.46,
    panel_element=0.79,
    pixel_element=0.8,
    dense_multiplication={
        "convolution": 0.235,
        "pointwise": 0.25,
        "depthwise": 0.42,
        "matmul": 0.27,
    },
)
"""Cortex-A55 at 1.8 GHz, in order: dense tiles are near their throughput."""
NEON_CLOCK = 2.4
_IN_ORDER = {"cortex-a53": (CORTEX_A53, 1.4), "cortex-a55": (CORTEX_A55, 1.8)}
"""Costs and their clock by the model of the pipeline; ratios of cores in order are their own."""


def kernel_costs(target: Target) -> KernelCosts:
    """Return the costs measured with vectors as wide as those of ``target``, or nearly so."""
    unit = vector_unit(target.features, target.vector_floats)
    if unit is not None and not unit.gathers:
        if target.pipeline is None:
            return NEON
        costs, clock = _IN_ORDER.get(target.pipeline.model, (NEON, NEON_CLOCK))
        return _scaled(costs, clock / target.pipeline.clock)
    return AVX512 if target.vector_floats >= AVX512.vector_floats else AVX2


def _scaled(costs: KernelCosts, factor: float) -> KernelCosts:
    """Costs of the same core at another clock."""

    def each(cost: FormCosts) -> FormCosts:
        parts = (cost.row_entry, cost.row_sample, cost.decode_entry)
        return FormCosts(*(factor * part for part in parts))

    return KernelCosts(
        costs.vector_floats,
        {form: each(cost) for form, cost in costs.forms.items()},
        {form: each(cost) for form, cost in costs.windowed.items()},
        factor * costs.pixel_multiplication,
        factor * costs.panel_element,
        factor * costs.pixel_element,
        {kind: factor * cost for kind, cost in costs.dense_multiplication.items()},
    )
