"""Fold Huffman decoding into the load stage of kernels.

    call_tir(kernel, (x, bases, entries, codebook))
        ->    call_tir(kernel, (x, bases, starts, stream, entries_table, codebook))

A TIR pass that also codes the constants which the kernels read. Reads of the symbol buffers become
decode stages in the scope where the kernel reads them: registers of the rows kernels, the tile of
the pixel kernels. ``codegen.decode_stage`` does the rewriting, which the tuner uses, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import tvm
from tvm import relax
from tvm import tirx as tir
from tvm.relax.expr_functor import PyExprMutator, mutator

from dcc.codegen.packed import PackedWeight
from dcc.passes.legalize_coded_layers import HUFFMAN, LAYER
from dcc.passes.parameters import MAIN, constant, result_types
from dcc.passes.weight_table import WeightTable
from dcc.schedules.kernels import fold_kernel
from dcc.targets.target import Target

CALL_TIR = "relax.call_tir"


@tvm.transform.module_pass(opt_level=0, name="dcc.FoldHuffmanDecode")
@dataclass(frozen=True)
class FoldHuffmanDecode:
    """Fold the decode stage into every PrimFunc marked ``dcc.huffman``."""

    table: WeightTable
    target: Target

    def transform_module(
        self, module: tvm.IRModule, _context: tvm.transform.PassContext
    ) -> tvm.IRModule:
        """Rewrite kernels and their calls in ``main``."""
        marked = [
            variable
            for variable, function in module.functions_items()
            if isinstance(function, tir.PrimFunc) and HUFFMAN in function.attrs
        ]
        if not marked:
            return module
        folder = _Folder(module, self.table, marked, self.target)
        main = folder.visit_expr(module[MAIN])
        result = tvm.IRModule(dict(folder.builder_.get().functions_items()), module.attrs)
        result.update_func(result.get_global_var(MAIN), main)
        for variable in marked:
            del result[variable]
        return result


@mutator
class _Folder(PyExprMutator):
    """Adds the folded kernels under new names (their types are new), and redirects calls."""

    def __init__(
        self,
        module: tvm.IRModule,
        table: WeightTable,
        marked: list[tvm.ir.GlobalVar],
        target: Target,
    ) -> None:
        super().__init__(module)
        self.module = module
        self.features = target.features
        self.kernels = {v.name_hint: self._fold(v, table) for v in marked}

    def _fold(
        self, variable: tvm.ir.GlobalVar, table: WeightTable
    ) -> tuple[tvm.ir.GlobalVar, tir.PrimFunc, PackedWeight]:
        function = self.module[variable]
        packed = table.packed[variable.name_hint]
        kernel, coded = fold_kernel(function, packed, self.features)
        kernel = kernel.without_attr(HUFFMAN)
        folded = self.builder_.add_func(kernel, f"{variable.name_hint}_folded")
        table.packed[folded.name_hint] = coded
        table.note_packed(str(function.attrs[LAYER]), coded, replace=packed)
        return folded, kernel, coded

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        rewritten = super().visit_call_(call)
        if getattr(rewritten.op, "name", "") != CALL_TIR:
            return rewritten
        callee = rewritten.args[0]
        if callee.name_hint not in self.kernels:
            return rewritten
        folded, kernel, coded = self.kernels[callee.name_hint]
        names = [parameter.name for parameter in self.module[callee].params]
        given = dict(zip(names, rewritten.args[1].fields, strict=False))  # the rest are results
        arguments = []
        for parameter in kernel.params:
            if parameter.name in given:
                arguments.append(given[parameter.name])
            elif parameter.name in coded.arrays:
                arguments.append(constant(coded.arrays[parameter.name]))
        return relax.call_tir(folded, arguments, result_types(rewritten))
