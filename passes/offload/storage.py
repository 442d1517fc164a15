"""The storage form of each offloaded layer, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dcc.codegen.code_grid import code_width
from dcc.codegen.vta.blocks import block_weights
from dcc.codegen.vta.coded_weights import (
    CodedForm,
    coding_refusal,
    encode_weight,
    whole_weight,
)
from dcc.codegen.vta.program import Operation
from dcc.errors import CompileError
from dcc.passes.weight_table import WeightTable
from dcc.schedules.vta.operations import VTA_FORMS, ConvWeights, VtaForm, blocks_kept


@dataclass(frozen=True)
class OffloadedLayer:
    """What the module says about a weight that the accelerator reads."""

    form: str
    reason: str
    bytes: dict[str, int]
    code_bits: int
    density: float


def check_form(storage: str) -> None:
    """Raise CompileError for a form that the accelerator does not have."""
    if storage == "sparse":
        raise CompileError(
            "storage form 'sparse' does not exist on the accelerator: its matrix unit multiplies "
            "whole blocks of 16 x 16; 'blocks' leaves out those that hold only zeros"
        )
    if storage != "auto" and storage not in VTA_FORMS:
        expected = ", ".join(("auto", *VTA_FORMS))
        raise CompileError(f"unknown storage form '{storage}': expected one of {expected}")


def choose_form(weights: ConvWeights, storage: str, objective: str) -> tuple[VtaForm, str]:
    """Choose the form of a layer, and say why.

    ``auto`` takes the fewest bytes from DRAM for size, for energy a codebook where there is one.
    For latency it takes blocks where some hold only zeros: coded weights are expanded by the host,
    and the device loads them as before, so that they are never faster.
    """
    levels = weights.levels
    grid = block_weights(levels.decode())
    kept = blocks_kept(grid)
    share = float(kept.mean()) if kept.size else 1.0
    skips: VtaForm = "dense" if share == 1.0 else "blocks"
    blocks = f"{100 * share:.0f} % of the blocks hold weights"
    if storage != "auto":
        form = next(each for each in VTA_FORMS if each == storage)
        if form == "codebook" or form == "huffman":
            refusal = coding_refusal(levels, form)
            if refusal:
                return "dense", f"left dense: {refusal}"
        return form, "asked for"
    if objective == "latency":
        return skips, blocks if skips == "blocks" else "no block holds only zeros"
    if objective == "energy" and code_width(levels.code_bits) < 8:
        return "codebook", f"fewest bytes that are cheap to expand ({levels.code_bits} bits)"
    sizes: dict[VtaForm, int] = {"dense": grid.nbytes, "blocks": int(share * grid.nbytes)}
    coded: tuple[CodedForm, ...] = ("codebook", "huffman")
    for each in coded:
        if coding_refusal(levels, each) is None:
            chunks = [whole_weight(levels.codes.shape)]
            sizes[each] = encode_weight(levels, each, chunks).coded_bytes
    return min(sizes, key=lambda each: sizes[each]), "fewest bytes from DRAM"


def note_layer(
    table: WeightTable, name: str, operation: Operation, weights: ConvWeights, reason: str
) -> None:
    """Note what the module stores of a layer."""
    levels = weights.levels
    weight = levels.decode()
    coded = operation.coded
    tables = 0 if coded is None else coded.tables.nbytes + coded.lengths.nbytes
    stored = operation.bytes["stored"]
    sizes: dict[str, Any] = {"weights": stored - tables, "tables": tables, "total": stored}
    bits = levels.code_bits if coded is not None else 8
    density = float((weight != 0).mean()) if weight.size else 1.0
    table.offloaded[name] = OffloadedLayer(operation.form, reason, sizes, bits, density)
