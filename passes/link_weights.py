"""Move the constants of kernels into the module's weight section, where they are read in place.

    call_tir(kernel, (x, const stream, const codebook))    ->    call_tir(kernel, (x,))

The kernel finds its arrays at fixed offsets from ``dcc_weights()``. A weight that is decoded at
load gets a place behind ``dcc_decoded()``; its decoder moves from ``main`` to the function
``decode``, which a runtime calls once. Kernels of ordinary operators are linked to the decoded
weights and to their large constants. Precondition: kernels are scheduled.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import tvm
from tvm import relax
from tvm import tirx as tir
from tvm.ir import GenericConst
from tvm.relax.expr_functor import PyExprMutator, mutator
from tvm.s_tir import SBlock, SBlockRealize

from dcc.codegen.section import WeightSection
from dcc.passes.fold_huffman_decode import CALL_TIR
from dcc.passes.legalize_coded_layers import EXPAND, LAYER
from dcc.passes.parameters import MAIN, result_types

DECODE = "decode"
ALIGNED_BYTES = 4096
"""Arrays from this size on start at a cache line; smaller ones of one axis stand close together."""


@dataclass(frozen=True)
class Place:
    """Where an array stands: bytes from the start of the read-only or of the decoded part."""

    decoded: bool
    offset: int


@tvm.transform.module_pass(opt_level=0, name="dcc.LinkWeights")
@dataclass(frozen=True)
class LinkWeights:
    """Give every constant of a coded layer's kernel its place in ``section``."""

    section: WeightSection

    def transform_module(
        self, module: tvm.IRModule, _context: tvm.transform.PassContext
    ) -> tvm.IRModule:
        """Rewrite graph functions and kernels; add ``decode`` if something is decoded at load."""
        linker = _Linker(module, self.section)
        rewritten = {
            variable: relax.analysis.remove_all_unused(linker.visit_expr(function))
            for variable, function in module.functions_items()
            if isinstance(function, relax.Function)
        }
        result = tvm.IRModule(dict(linker.builder_.get().functions_items()), module.attrs)
        for variable, function in rewritten.items():
            result.update_func(result.get_global_var(variable.name_hint), function)
        if linker.decoders:
            result[DECODE] = _decode_function(linker.decoders)
        entries = [MAIN, DECODE] if linker.decoders else [MAIN]
        return relax.transform.DeadCodeElimination(entries)(result)


@mutator
class _Linker(PyExprMutator):
    def __init__(self, module: tvm.IRModule, section: WeightSection) -> None:
        super().__init__(module)
        self.module = module
        self.section = section
        self.places: dict[tuple[str, bytes], Place] = {}
        self.decoded: dict[relax.Var, Place] = {}
        self.decoders: list[tvm.ir.GlobalVar] = []

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        function = self._kernel(binding.value)
        if function is None or EXPAND not in function.attrs:
            super().visit_var_binding_(binding)
            return
        shape = [int(size) for size in binding.var.ty.shape]
        dtype = np.dtype(str(binding.var.ty.dtype.dtype))
        place = Place(True, self.section.reserve(int(np.prod(shape)) * dtype.itemsize))
        constants = [self._constant(argument) for argument in binding.value.args[1].fields]
        name = binding.value.args[0].name_hint
        kernel = bind_arrays(function, [*constants, place], self.section.prefix)
        self.decoders.append(self.builder_.add_func(kernel, f"{name}_at_load"))
        self.decoded[binding.var] = place
        super().visit_var_binding_(binding)

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        function = self._kernel(call)
        if function is None or EXPAND in function.attrs:
            return super().visit_call_(call)
        least = 0 if LAYER in function.attrs else ALIGNED_BYTES
        places = [self._place(argument, least) for argument in call.args[1].fields]
        if not any(places):
            return super().visit_call_(call)
        kernel = bind_arrays(function, places, self.section.prefix)
        variable = self.builder_.add_func(kernel, f"{call.args[0].name_hint}_linked")
        arguments = [
            self.visit_expr(argument)
            for argument, place in zip(call.args[1].fields, places, strict=True)
            if place is None
        ]
        return relax.call_tir(variable, arguments, result_types(call))

    def _kernel(self, expression: relax.Expr) -> tir.PrimFunc | None:
        """Return the kernel that ``expression`` calls."""
        if getattr(getattr(expression, "op", None), "name", "") != CALL_TIR:
            return None
        return self.module[expression.args[0]]

    def _place(self, argument: relax.Expr, least: int) -> Place | None:
        """Place of a constant of at least ``least`` bytes or of a decoded weight."""
        if isinstance(argument, GenericConst):
            array = argument.value.numpy()
            return self._constant(argument) if array.nbytes >= max(least, 1) else None
        return self.decoded.get(argument) if isinstance(argument, relax.Var) else None

    def _constant(self, constant: GenericConst) -> Place:
        """Place of a constant; equal constants share one."""
        array = np.ascontiguousarray(constant.value.numpy())
        key = (f"{array.dtype}{array.shape}", sha256(array.data).digest())
        if key not in self.places:
            # Kernels load rows of lanes as whole vectors, and TVM takes them for aligned.
            vectors = array.ndim > 1 or array.nbytes >= ALIGNED_BYTES
            alignment = 64 if vectors else array.itemsize
            self.places[key] = Place(False, self.section.add(array, alignment))
        return self.places[key]


def bind_arrays(
    function: tir.PrimFunc, places: list[Place | None], prefix: str = "dcc"
) -> tir.PrimFunc:
    """Replace leading parameters by buffers at their places; None keeps a parameter.

    Parameters after ``places`` (the results) are kept. A kernel that has none left gets a result
    ``done`` (1), because TVM takes the device of a function from its parameters.
    """
    kept = []
    declarations: list[tir.Stmt] = []
    parameters = list(function.params)
    for parameter, place in zip(parameters, [*places, *[None] * len(parameters)], strict=False):
        if place is None:
            kept.append(parameter)
            continue
        base = f"{prefix}_decoded" if place.decoded else f"{prefix}_weights"
        declarations.append(_declare(parameter, base, place.offset))
    if not kept:
        done = tir.decl_buffer((1,), "uint8", "done")
        kept = [done]
        declarations.append(tir.BufferStore(done, tir.const(1, "uint8"), [0]))
    return tir.PrimFunc(
        kept, _in_root_block(declarations, function.body), function.ret_type, function.attrs
    )


def _in_root_block(declarations: list[tir.Stmt], body: SBlockRealize) -> tir.Stmt:
    """Put ``declarations`` ahead of what stands in the root block of a kernel."""
    root = body.block
    block = SBlock(
        root.iter_vars,
        root.reads,
        root.writes,
        root.name_hint,
        tir.SeqStmt([*declarations, root.body]),
        root.init,
        root.alloc_buffers,
        root.match_buffers,
        root.annotations,
    )
    return SBlockRealize(body.iter_values, body.predicate, block)


def _declare(parameter: tir.Var, base: str, offset: int) -> tir.Stmt:
    """``parameter`` as a buffer ``offset`` bytes behind the pointer that ``base()`` returns."""
    pointer = tir.call_extern("handle", base)
    moved = tir.handle_add_byte_offset(pointer, offset) if offset else pointer
    return tir.DeclBuffer(parameter, data=moved)


def _decode_function(decoders: list[tvm.ir.GlobalVar]) -> relax.Function:
    """``decode()``: run every decoder once; returns their marks."""
    builder = relax.BlockBuilder()
    with builder.function(DECODE, []):
        with builder.dataflow():
            done = [
                builder.emit(relax.call_tir(decoder, [], relax.TensorType([1], "uint8")))
                for decoder in decoders
            ]
            result = builder.emit_output(relax.Tuple(done))
        builder.emit_func_output(result)
    return builder.get()[DECODE]
