"""Rewrite layers over compressed weights into operators that compute from the compressed form.

    shared = dcc.lookup(w_codes, w_codebook)
    y = matmul(x, permute_dims(shared))    ->    y = dcc.codebook_matmul(x, w_codes, w_codebook)

``matmul``, ``conv1d``, ``conv2d``, ``take`` and the recurrences are rewritten; over a weight
without a codebook they become the ``dcc.raw_*`` operator of its values and mask. The weight is
brought into the operator's orientation (outputs first) by moving its codes now. Every weight whose
layer is not rewritten has a reason in the table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from dcc.passes.operators.coded_layers import CodedLayer, Family, Kind
from dcc.passes.parameters import MAIN, parameter, with_main
from dcc.passes.weight_table import Array, WeightTable
from dcc.passes.weight_views import BoundValues, WeightView, find_weight, parameters_behind

COMPUTED = "its weight is computed, not only moved, on the way to the layer"
NOT_ITS_WEIGHT = "a constant as its data, not as its weight"

Orient = Callable[[Array], Array]
Role = Literal["codes", "codebook", "values", "mask"]


@dataclass(frozen=True)
class _Match:
    """A layer that can be rewritten: its kind, its data arguments and the weight's operand."""

    kind: Kind
    data: list[relax.Expr]
    weight: relax.Expr
    orient: Orient
    attributes: dict[str, Any]


@tvm.transform.module_pass(opt_level=0, name="dcc.RewriteToCodebook")
@dataclass(frozen=True)
class RewriteToCodebook:
    """Replace layers over weights by ``dcc.codebook_*`` and ``dcc.raw_*``."""

    table: WeightTable

    def transform_module(
        self, module: tvm.IRModule, _context: tvm.transform.PassContext
    ) -> tvm.IRModule:
        """Rewrite ``main``: add reoriented codes to the table, drop parameters without use."""
        rewriter = _Rewriter(module, self.table)
        function = relax.analysis.remove_all_unused(rewriter.visit_expr(module[MAIN]))
        used = {variable.name for variable in relax.analysis.free_vars(function.body)}
        parameters = [
            variable
            for variable in [*function.params, *rewriter.added]
            if variable.name not in self.table.arrays or variable.name in used
        ]
        return with_main(module, parameters, function)


def _transposed(array: Array) -> Array:
    return array.T


def _unchanged(array: Array) -> Array:
    return array


def _match(call: relax.Call) -> _Match | str | None:
    """Tell what layer ``call`` is, or why it cannot be rewritten; None for other operators."""
    name = getattr(call.op, "name", "")
    if name == "relax.matmul":
        if call.args[1].ty.ndim != 2:
            return "its weight operand does not have 2 axes"
        return _Match("matmul", [call.args[0]], call.args[1], _transposed, {})
    if name in ("relax.nn.conv1d", "relax.nn.conv2d"):
        return _match_convolution(call, "conv2d" if name.endswith("2d") else "conv1d")
    if name == "relax.take":
        if int(call.attrs.axis or 0) != 0 or call.args[0].ty.ndim != 2:
            return "a lookup is rewritten along axis 0 of 2 axes only"
        return _Match("take", [call.args[1]], call.args[0], _unchanged, {})
    if name == "relax.dcc.lstm":
        projected, weight, hidden, cell = call.args
        facts = {key: int(call.attrs[key]) for key in ("reverse", "input_forget")}
        return _Match("lstm", [projected, hidden, cell], weight, _unchanged, facts)
    if name == "relax.dcc.gru":
        projected, weight, bias, hidden = call.args
        facts = {key: int(call.attrs[key]) for key in ("reverse", "linear_before_reset")}
        return _Match("gru", [projected, bias, hidden], weight, _unchanged, facts)
    return None


def _match_convolution(call: relax.Call, kind: Kind) -> _Match | str:
    attributes = call.attrs
    layouts = {"conv1d": ("NCW", "OIW"), "conv2d": ("NCHW", "OIHW")}[kind]
    if (attributes.data_layout, attributes.kernel_layout) != layouts:
        return f"its layouts are {attributes.data_layout} and {attributes.kernel_layout}"
    facts = {
        "strides": [int(value) for value in attributes.strides],
        "padding": [int(value) for value in attributes.padding],
        "dilation": [int(value) for value in attributes.dilation],
        "groups": int(attributes.groups),
    }
    return _Match(kind, [call.args[0]], call.args[1], _unchanged, facts)


@mutator
class _Rewriter(PyExprMutator):
    """Rewrites each layer whose weight leads back to parameters of the table."""

    def __init__(self, module: tvm.IRModule, table: WeightTable) -> None:
        super().__init__(module)
        self.table = table
        self.bound = BoundValues(module[MAIN])
        self.weights = frozenset(table.onnx_names)
        self.added: list[relax.Var] = []
        self.views: dict[tuple[str, relax.Expr, Orient], relax.Var] = {}

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        match = _match(call)
        rewritten = super().visit_call_(call)
        if match is None:
            return rewritten
        if isinstance(match, str):
            self._decline(call, match)
            return rewritten
        view = find_weight(match.weight, self.bound, self.weights)
        if view is not None:
            return self._layer(match, view)
        self._decline(call, NOT_ITS_WEIGHT, match.data)
        self._decline(call, COMPUTED, [match.weight])
        return rewritten

    def _decline(
        self, call: relax.Call, reason: str, operands: list[relax.Expr] | None = None
    ) -> None:
        """Note the reason at the weights that the operands of ``call`` are computed from."""
        for operand in list(call.args) if operands is None else operands:
            names = parameters_behind(operand, self.bound, self.table.arrays)
            for name in sorted({self.table.owner(name) for name in names or ()}):
                self.table.say(name, f"{call.op.name}: {reason}")

    def _layer(self, match: _Match, view: WeightView) -> relax.Call:
        owner = self.table.owner(view.parameters[0].name)
        roles: tuple[Role, ...] = ("codes", "codebook") if view.coded else ("values", "mask")
        weight = [
            self._operand(role, variable, view, match)
            for role, variable in zip(roles, view.parameters, strict=False)
        ]
        family: Family = "codebook" if view.coded else "raw"
        attributes = {**match.attributes, "layer": self.table.layer(owner)}
        data = [self.visit_expr(argument) for argument in match.data]
        return CodedLayer(match.kind, family, data, weight, None, None, attributes).call()

    def _operand(
        self, role: Role, variable: relax.Var, view: WeightView, match: _Match
    ) -> relax.Var:
        """Give one tensor of the weight as the layer reads it, made once for each way to do so."""
        moved = role != "codebook" and bool(view.moves or match.orient is not _unchanged)
        cast = view.dtype if role in ("codebook", "values") else None
        if not moved and cast is None:
            return variable
        key = (variable.name, match.weight, match.orient)
        if key not in self.views:
            array = self.table.arrays[variable.name]
            if moved:
                array = np.ascontiguousarray(match.orient(view.apply(array)))
            if cast is not None:
                array = array.astype(cast)
            name = self.table.add(f"{variable.name}_view", array, variable.name)
            self.views[key] = parameter(name, array)
            self.added.append(self.views[key])
        return self.views[key]
