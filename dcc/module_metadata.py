"""What a module says about itself: inputs, outputs, target, and the form of each layer."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import numpy as np

from dcc.codegen.module_file import FORMAT_VERSION
from dcc.codegen.packed import PackedWeight
from dcc.importer.model import ImportedModel
from dcc.passes.offload.storage import OffloadedLayer
from dcc.passes.weight_table import WeightTable
from dcc.targets.target import Target
from dcc.tensor_spec import TensorSpec

NO_READER = "no layer that computes from coded weights reads it"
PARTS = ("weights", "indices", "codebook", "tables", "padding")


def module_metadata(imported: ImportedModel, table: WeightTable, target: Target) -> dict[str, Any]:
    """Describe a module, ready for JSON; see ``codegen.module_file``."""
    return {
        "format": FORMAT_VERSION,
        "tvm": version("apache-tvm"),
        "target": target.describe(),
        "inputs": [_tensor(spec) for spec in imported.inputs],
        "outputs": [_tensor(spec) for spec in imported.outputs],
        "layers": list(_layers(table)),
    }


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "shape": list(spec.shape), "dtype": spec.dtype}


def _layers(table: WeightTable) -> Iterator[dict[str, Any]]:
    """One entry for each weight; those outside of coded layers are constants."""
    for parameter, name in table.onnx_names.items():
        weight = table.arrays[parameter]
        facts = {
            "name": name,
            "shape": list(weight.shape),
            "dtype": weight.dtype.name,
            "operator": table.operator_type(parameter),
        }
        said = "; ".join(table.reasons.get(parameter, []))
        choices = table.choices.get(name, [])
        offloaded = table.offloaded.get(name)
        if offloaded is not None:
            yield facts | _offloaded(offloaded, said)
            continue
        stored = table.layer_packed.get(name, [])
        if choices:
            pieces = _distinct(stored)
            sizes = {part: sum(int(getattr(p.nbytes, part)) for p in pieces) for part in PARTS}
            forms = list(dict.fromkeys(form for form, _ in choices))
            reasons = dict.fromkeys([*(reason for _, reason in choices), said])
            yield facts | {
                "form": ", ".join(forms),
                "reason": "; ".join(reason for reason in reasons if reason),
                "density": _density(table, parameter, weight),
                "bytes": {**sizes, "total": sum(sizes.values())},
                "weight_bits": pieces[0].code_bits or 8 * weight.dtype.itemsize,
                "index_bits": pieces[0].gap_bits,
                "stored_as": _stored_as(forms[0], pieces[0]),
            }
        else:
            yield facts | {
                "form": "constant",
                "reason": "; ".join(part for part in (NO_READER, said) if part),
                "density": _density(table, parameter, weight),
                "bytes": {"weights": weight.nbytes, "total": weight.nbytes},
            }


def _offloaded(layer: OffloadedLayer, said: str) -> dict[str, Any]:
    """Describe a weight that the accelerator reads."""
    return {
        "form": f"accelerator, {layer.form}",
        "reason": "; ".join(part for part in (layer.reason, said) if part),
        "density": layer.density,
        "bytes": layer.bytes,
        "weight_bits": layer.code_bits,
        "index_bits": None,
        "stored_as": layer.form,
    }


def _distinct(stored: list[PackedWeight]) -> list[PackedWeight]:
    """Leave out what the section holds already: a weight that several operators read alike."""
    distinct: list[PackedWeight] = []
    for packed in stored:
        if not any(_same(packed, other) for other in distinct):
            distinct.append(packed)
    return distinct


def _same(one: PackedWeight, other: PackedWeight) -> bool:
    return one.arrays.keys() == other.arrays.keys() and all(
        np.array_equal(array, other.arrays[name]) for name, array in one.arrays.items()
    )


def _stored_as(form: str, packed: PackedWeight) -> str:
    """Form of the bytes in the file: the dense form keeps its weight coded."""
    return packed.form if form == "dense" else form


def _density(table: WeightTable, parameter: str, weight: np.ndarray) -> float:
    mask = table.part(parameter, "mask")
    codes, codebook = table.part(parameter, "codes"), table.part(parameter, "codebook")
    kept = np.count_nonzero(weight) if mask is None else np.count_nonzero(mask)
    if codes is not None and codebook is not None and mask is None:
        kept = np.count_nonzero(codebook[codes])
    return float(kept) / max(weight.size, 1)
