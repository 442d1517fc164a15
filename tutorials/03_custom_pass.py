"""
A pass of your own
==================

Adds two passes to dcc's pipeline from outside of the package: one that rewrites operators of the
graph, and one that only reads what the passes before it have decided.

    python tutorials/03_custom_pass.py
"""

from __future__ import annotations

from collections import Counter
from importlib.resources import files

import numpy as np
import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

import dcc
from dcc.passes import hooks

model = str(files("dcc.data") / "digits.onnx")
image = np.load(str(files("dcc.data") / "digits.npz"))["x"][:1]
(expected,) = dcc.compile(model, recipe="deep-compression")(image)
print("logits", expected.round(2))

# %%
# A pass that rewrites the graph
# ------------------------------
# ``relu(x)`` becomes ``clip(x, 0, 6)``. The rewriting is TVM's: a mutator visits the calls of every
# function. A pass has no state and leaves the module that it was given as it was.


@mutator
class ReluToClip(PyExprMutator):
    """Replaces every ``relu``."""

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        """Rewrite the arguments first, then the call itself."""
        call = self.visit_expr_post_order(call)
        if getattr(call.op, "name", "") == "relax.nn.relu":
            return relax.op.clip(call.args[0], 0.0, 6.0)
        return call


@tvm.transform.module_pass(opt_level=0, name="tutorial.ClipActivations")
class ClipActivations:
    """Bounds the activations, as ReLU6 does."""

    def transform_module(
        self, module: tvm.IRModule, _context: tvm.transform.PassContext
    ) -> tvm.IRModule:
        """Rewrite ``main``."""
        rewriter = ReluToClip(module)
        result = rewriter.visit_expr(module["main"])
        rewriter.builder_.update_func(module.get_global_var("main"), result)
        return rewriter.builder_.get()


# %%
# The pipeline has named points; a factory makes the pass for one of them. Here it runs right after
# the import, before pruning and sharing, for as long as the ``with`` block lasts.

with hooks.registered("after_import", lambda context: ClipActivations()):
    (clipped,) = dcc.compile(model, recipe="deep-compression")(image)
print("clipped", clipped.round(2))
print("largest difference", np.abs(clipped - expected).max().round(2))

# %%
# A pass that looks
# -----------------
# The context gives a factory the table of the weights: their values, masks, codes and codebooks,
# and what each pass has said about them. ``after_selection`` is the point where every layer has its
# storage form.


def watching(context: hooks.HookContext) -> object:
    """Make a pass that prints the operators of the graph and the forms of the layers."""

    @tvm.transform.module_pass(opt_level=0, name="tutorial.Watch")
    def watch(module: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        counts: Counter[str] = Counter()

        def count(node: relax.Expr) -> None:
            if isinstance(node, relax.Call) and hasattr(node.op, "name"):
                counts[str(node.op.name)] += 1

        relax.analysis.post_order_visit(module["main"], count)
        print("operators:", dict(counts))
        for layer, choices in context.table.choices.items():
            for form, reason in choices:
                print(f"  {layer}: {form}, {reason}")
        return module

    return watch


with hooks.registered("after_selection", watching):
    dcc.compile(model, recipe="deep-compression")

# %%
# Installed packages
# ------------------
# A package that is installed beside dcc adds its pass without any call, by an entry point in its
# ``pyproject.toml``; the part after the dot is yours to choose::
#
#     [project.entry-points."dcc.passes"]
#     "after_import.clip" = "my_package.passes:make_my_pass"

print("points:", ", ".join(hooks.POINTS))
