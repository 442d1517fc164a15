"""Running one pass in a test: before and expected scripts, and the same numbers before and after."""

from __future__ import annotations

import numpy as np
import tvm
from tvm import relax
from tvm.ir import GenericConst
from tvm.relax.ir.instrument import WellFormedInstrument

from dcc.passes.bind_plain_weights import BindPlainWeights
from dcc.passes.fold_huffman_decode import FoldHuffmanDecode
from dcc.passes.legalize_coded_layers import LegalizeCodedLayers
from dcc.passes.operators.coded_layers import CodedLayer, coded_layer
from dcc.passes.outline_branches import OutlineBranches
from dcc.passes.weight_table import WeightTable
from dcc.targets.registry import get_target


def table_of(operator="MatMul", **arrays) -> WeightTable:
    """A table of weights that are called in ONNX what they are in Relax, with a quote mark."""
    names = {name: f"{name}'" for name in arrays}
    return WeightTable(dict(arrays), names, dict.fromkeys(arrays, operator))


def apply(pass_, module: tvm.IRModule) -> tvm.IRModule:
    """The pass's result; the module is well-formed before and after, and is left as it was."""
    copy = tvm.ir.load_json(tvm.ir.save_json(module))
    with tvm.transform.PassContext(instruments=[WellFormedInstrument()]):
        result = pass_(module)
    tvm.ir.assert_structural_equal(module, copy)
    return result


def check(pass_, before: tvm.IRModule, expected: tvm.IRModule) -> tvm.IRModule:
    """The pass makes ``expected`` of ``before``, and changes nothing when it runs once more."""
    after = apply(pass_, before)
    tvm.ir.assert_structural_equal(after, expected)
    tvm.ir.assert_structural_equal(apply(pass_, after), after)
    return after


def calls(module: tvm.IRModule, name: str = "main") -> list[str]:
    """Names of the operators of a function, in order."""
    found: list[str] = []

    def visit(expression):
        if isinstance(expression, relax.Call) and isinstance(expression.op, tvm.ir.Op):
            found.append(expression.op.name.removeprefix("relax."))

    relax.analysis.post_order_visit(module[name], visit)
    return found


def coded_layers(module: tvm.IRModule) -> list[CodedLayer]:
    found: list[CodedLayer] = []

    def visit(expression):
        layer = coded_layer(expression)
        if layer is not None:
            found.append(layer)

    relax.analysis.post_order_visit(module["main"], visit)
    return found


def constant_bytes(module: tvm.IRModule) -> list[int]:
    """Sizes of all constants in the Relax functions."""
    sizes: list[int] = []

    def visit(expression):
        if isinstance(expression, GenericConst) and hasattr(expression.value, "numpy"):
            sizes.append(expression.value.numpy().nbytes)

    for _, function in module.functions_items():
        if isinstance(function, relax.Function):
            relax.analysis.post_order_visit(function, visit)
    return sizes


def evaluate(module: tvm.IRModule, table: WeightTable, inputs: dict) -> list[np.ndarray]:
    """Outputs of ``main``; weights come from the table, coded layers run in their form or dense."""
    target = get_target("host")
    if coded_layers(module):
        scratch = WeightTable(table.arrays, table.onnx_names)
        module = apply(BindPlainWeights(scratch), module)
        module = apply(LegalizeCodedLayers(scratch, target), module)
        module = apply(FoldHuffmanDecode(scratch, target), module)
    executable = tvm.compile(OutlineBranches()(module), target.tvm_target())
    machine = relax.VirtualMachine(executable, tvm.cpu())
    values = {**table.arrays, **inputs}
    parameters = [values[variable.name] for variable in module["main"].params]
    result = machine["main"](*[tvm.runtime.tensor(np.array(p, order="C")) for p in parameters])
    return [result.numpy()] if hasattr(result, "numpy") else [item.numpy() for item in result]


def check_numbers(before, after, table, inputs, tolerance=1e-5) -> None:
    """Both modules compute the same from ``inputs``."""
    for one, other in zip(
        evaluate(before, table, inputs), evaluate(after, table, inputs), strict=True
    ):
        np.testing.assert_allclose(other, one, rtol=tolerance, atol=tolerance)
