"""Energy proxy of a layer in each storage form: its kernels are made, and counted.

The same counts as those of a module (``dcc.passes.count_work``), of the default schedule. Packing a
weight in every form takes a while, so this is asked only where energy decides.
"""

from __future__ import annotations

from dcc.codegen.weight_matrix import FORMS, Form, WeightMatrix
from dcc.codegen.work import priced
from dcc.errors import CompileError, EncodingError
from dcc.schedules.kernels import build_kernel, fold_kernel, pack_for
from dcc.schedules.layer_shape import LayerShape
from dcc.schedules.tunables import default_tunables
from dcc.schedules.work.kernel import count_kernel
from dcc.targets.target import Target


def picojoules_of_forms(
    weight: WeightMatrix, shape: LayerShape, target: Target
) -> dict[Form, float]:
    """Picojoules of one run in every form that can store ``weight``, caches cold."""
    found: dict[Form, float] = {}
    for form in FORMS:
        if weight.refusal(form) is None:
            try:
                found[form] = _picojoules(weight, form, shape, target)
            except (CompileError, EncodingError):
                if form == "dense":
                    raise
    return found


def _picojoules(weight: WeightMatrix, form: Form, shape: LayerShape, target: Target) -> float:
    tunables = default_tunables(shape, form, target, weight)
    packed = pack_for(weight, form, tunables.packing)
    kernel = build_kernel(shape, packed, target, tunables)
    if packed.form == "huffman":
        kernel, packed = fold_kernel(kernel, packed, target.features)
    data = {
        number: packed.arrays[parameter.name]
        for number, parameter in enumerate(kernel.params)
        if parameter.name in packed.arrays
    }
    work = count_kernel(kernel, data, target)
    return sum(priced(work.operations, work.bytes, target.energy).values())
