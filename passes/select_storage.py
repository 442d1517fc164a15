"""Choose the storage form of each coded layer, and say why.

    dcc.codebook_matmul(x, codes, codebook, form="")
        ->    dcc.codebook_matmul(x, codes, codebook, form="huffman")

``auto`` takes the form that the cost model likes best for the objective. A form that the user names
is taken wherever it is legal; a weight that it cannot hold is left dense, and the reason says so.
Where a tuning database knows the layer, its fastest candidate decides the form (if the user leaves
it open and wants speed), and the attribute ``tunables`` says how the kernel is built.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from dcc.codegen.weight_matrix import FORMS, Form, WeightMatrix
from dcc.errors import CompileError
from dcc.passes.layer_shapes import layer_shape, weight_matrix
from dcc.passes.operators.coded_layers import TUNABLES, CodedLayer, coded_layer
from dcc.passes.parameters import MAIN
from dcc.passes.weight_table import WeightTable
from dcc.schedules.cost_model import Estimate, estimate_all
from dcc.schedules.form_energy import picojoules_of_forms
from dcc.schedules.tuning.decision import LookUp
from dcc.targets.target import Target

Objective = Literal["latency", "size", "energy"]
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)
BLOCKS = "blocks"
"""Storage form of accelerators, which no kernel of a processor or card reads."""


@tvm.transform.module_pass(opt_level=0, name="dcc.SelectStorage")
@dataclass(frozen=True)
class SelectStorage:
    """Set the attribute ``form`` of every coded layer that has none.

    ``tuned`` asks a tuning database.

    Raises
    ------
    CompileError
        ``storage`` is neither "auto" nor a form, or the objective is unknown.
    """

    table: WeightTable
    target: Target
    storage: str = "auto"
    objective: str = "latency"
    tuned: LookUp | None = None

    def __post_init__(self) -> None:
        check_choice(self.storage, self.objective)

    def transform_module(
        self, module: tvm.IRModule, _context: tvm.transform.PassContext
    ) -> tvm.IRModule:
        """Rewrite ``main``."""
        result = tvm.IRModule(dict(module.functions_items()), module.attrs)
        main = _Selector(module, self).visit_expr(module[MAIN])
        result.update_func(result.get_global_var(MAIN), main)
        return result


def check_choice(storage: str, objective: str) -> None:
    """Check what the user asks for.

    Raises
    ------
    CompileError
        There is no such storage form or objective.
    """
    if storage == BLOCKS:
        raise CompileError(
            f"storage form '{BLOCKS}' is for targets with an accelerator (see 'dcc targets'): for "
            f"others give one of {', '.join(('auto', *FORMS))}"
        )
    if storage != "auto" and storage not in FORMS:
        expected = ", ".join(("auto", *FORMS))
        raise CompileError(f"unknown storage form '{storage}': expected one of {expected}")
    if objective not in OBJECTIVES:
        expected = ", ".join(OBJECTIVES)
        raise CompileError(f"unknown objective '{objective}': expected one of {expected}")


@mutator
class _Selector(PyExprMutator):
    def __init__(self, module: tvm.IRModule, options: SelectStorage) -> None:
        super().__init__(module)
        self.options = options

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        rewritten = super().visit_call_(call)
        layer = coded_layer(rewritten)
        if layer is None or layer.attributes["form"]:
            return rewritten
        weight = weight_matrix(layer, self.options.table)
        form, reason = self._estimated(layer, weight)
        attributes = {**layer.attributes, "form": form}
        if self.options.tuned is not None:
            form, said, tunables = self._tuned(self.options.tuned, layer, weight, form)
            reason = f"{said}; {reason}" if form == attributes["form"] else said
            attributes |= {"form": form, **tunables}
        self.options.table.choices.setdefault(layer.attributes["layer"], []).append((form, reason))
        return replace(layer, attributes=attributes).call()

    def _tuned(
        self, tuned: LookUp, layer: CodedLayer, weight: WeightMatrix, form: Form
    ) -> tuple[Form, str, dict[str, str]]:
        """Ask the database: form, why, and the attribute that has the values of tunables."""
        options = self.options
        free = options.storage == "auto" and options.objective == "latency"
        decision = tuned(layer_shape(layer), weight, "auto" if free else form)
        if decision.candidate is None:
            return form, decision.reason, {}
        values = json.dumps(dict(decision.candidate.values))
        return decision.candidate.form, decision.reason, {TUNABLES: values}

    def _estimated(self, layer: CodedLayer, weight: WeightMatrix) -> tuple[Form, str]:
        options = self.options
        if options.storage != "auto":
            form: Form = options.storage  # type: ignore[assignment]
            refusal = weight.refusal(form)
            if refusal is None:
                return form, "asked for"
            return "dense", f"left dense: {refusal}"
        shape = layer_shape(layer)
        estimates = estimate_all(weight, shape, options.target)
        costs = _costs(estimates, options.objective)
        if options.objective == "energy":
            costs = picojoules_of_forms(weight, shape, options.target)
        # Ties go to the smaller file. The dense form keeps its coded weight and its decoded one:
        # equal in the file, not in memory.
        best = min(
            costs, key=lambda f: (costs[f], estimates[f].kept_bytes + estimates[f].touched_bytes)
        )
        if best == "dense":
            return best, (
                f"no compressed form is better for {options.objective} than the weight decoded "
                "at load"
            )
        # In the file, the dense form is coded: a size is compared with that in memory.
        dense = costs["dense"]
        if options.objective == "size":
            dense = float(estimates["dense"].touched_bytes)
        ratio = dense / max(costs[best], 1e-9)
        return best, f"estimated {ratio:.1f}x better than dense for {options.objective}"


def _costs(estimates: Mapping[Form, Estimate], objective: str) -> dict[Form, float]:
    """Rate each form by its time or by its bytes in the file: less is better."""
    if objective == "size":
        return {form: float(estimate.kept_bytes) for form, estimate in estimates.items()}
    return {form: estimate.nanoseconds for form, estimate in estimates.items()}
