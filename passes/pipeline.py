"""The one list of passes, in phases; everything that orders them stands here.

Compression ends after sharing, with masks, codes and codebooks in the weight table. Compilation of
a container starts from there; compilation of an ONNX file does both. Names among the steps are the
points where passes of others run (``dcc.passes.hooks``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import tvm
from tvm.relax.ir.instrument import WellFormedInstrument

from dcc.codegen.encoded_tensor import EncodedTensor
from dcc.passes.bind_encoded_weights import BindEncodedWeights
from dcc.passes.bind_plain_weights import BindPlainWeights
from dcc.passes.fold_huffman_decode import FoldHuffmanDecode
from dcc.passes.fuse_epilogue import FuseEpilogue
from dcc.passes.halve_precision import HalvePrecision
from dcc.passes.hooks import HookContext, passes_at
from dcc.passes.inject_pruning_masks import InjectPruningMasks
from dcc.passes.legalize_coded_layers import LegalizeCodedLayers
from dcc.passes.options import Recipe
from dcc.passes.outline_branches import OutlineBranches
from dcc.passes.rewrite_to_codebook import RewriteToCodebook
from dcc.passes.select_storage import SelectStorage
from dcc.passes.share_weights import ShareWeights
from dcc.passes.weight_table import WeightTable
from dcc.schedules.tuning.decision import LookUp
from dcc.targets.target import Target

SINGLE, HALF = "fp32", "fp16"
PRECISIONS = (SINGLE, HALF)
Observe = Callable[[str, tvm.IRModule], None]


@dataclass
class Pipeline:
    """Runs passes one by one, checks the module after each, and shows it to an observer.

    Attributes
    ----------
    observe
        Called with each pass's name and its result (``--dump``, progress).
    check
        Whether the module is checked to be well-formed around every pass.
    """

    table: WeightTable
    target: Target | None = None
    observe: Observe | None = None
    check: bool = True
    ran: list[str] = field(default_factory=list)

    def run(self, module: tvm.IRModule, steps: Sequence[Any]) -> tvm.IRModule:
        """Run ``steps``: passes, and names of the points where passes of others run."""
        instruments = [WellFormedInstrument()] if self.check else []
        with tvm.transform.PassContext(opt_level=3, instruments=instruments):
            for step in steps:
                for each in self._passes(step):
                    module = each(module)
                    self.ran.append(each.info.name)
                    if self.observe is not None:
                        self.observe(each.info.name, module)
        return module

    def _passes(self, step: Any) -> list[Any]:
        if isinstance(step, str):
            return passes_at(HookContext(step, self.table, self.target))
        return [step]


def compression_steps(table: WeightTable, recipe: Recipe) -> list[Any]:
    """List the steps from the imported module to masks and codebooks in the graph."""
    return [
        "after_import",
        InjectPruningMasks(table, recipe),
        "after_masks",
        # k-means sees the values that the mask left.
        ShareWeights(table, recipe),
        "after_sharing",
    ]


def binding_steps(table: WeightTable, tensors: Mapping[str, EncodedTensor]) -> list[Any]:
    """List the steps to the same state from a container."""
    return [
        "after_import",
        BindEncodedWeights(table, tensors),
        "after_sharing",
    ]


def compilation_steps(
    table: WeightTable,
    target: Target,
    storage: str,
    objective: str,
    tuned: LookUp | None = None,
    offload: Sequence[Any] = (),
    *,
    at_load: bool = True,
    precision: str = SINGLE,
) -> list[Any]:
    """List the steps from masks and codebooks in the graph to kernels over packed weights.

    ``offload`` moves layers to an accelerator, before storage forms of the host are chosen for the
    rest. ``at_load``: weights of the dense form may be decoded when the module is loaded.

    ``dcc.build`` schedules the ordinary operators and links the kernels with their weights.
    """
    return [
        *rewriting_steps(table, precision),
        *offload,
        SelectStorage(table, target, storage, objective, tuned),
        "after_selection",
        *legalization_steps(table, target, at_load=at_load),
        "after_legalize",
    ]


def rewriting_steps(table: WeightTable, precision: str = SINGLE) -> list[Any]:
    """List the steps to coded layers in the graph, without a storage form.

    ``precision`` is that of the data and values which their kernels read, ``fp32`` or ``fp16``.
    """
    return [
        RewriteToCodebook(table),
        # Only now is it known which weights are no operand of a coded layer; their constants fold
        # here and nowhere later: FoldConstant would turn the lookup of a packed weight back into a
        # dense constant.
        BindPlainWeights(table),
        # Scale and bias are constants from here on.
        FuseEpilogue(),
        "after_rewrite",
        *([HalvePrecision(table)] if precision == HALF else []),
    ]


def legalization_steps(table: WeightTable, target: Target, *, at_load: bool = True) -> list[Any]:
    """List the steps from chosen storage forms to kernels."""
    return [
        LegalizeCodedLayers(table, target, at_load),
        FoldHuffmanDecode(table, target),
        # TVM plans the memory of both branches of an If as one sequence; as functions of their own
        # they are planned apart.
        OutlineBranches(),
    ]
