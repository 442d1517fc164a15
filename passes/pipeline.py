"""The one list of passes, in phases; everything that orders them stands here.

Compression ends after sharing, with masks, codes and codebooks in the weight table. Compilation of a container starts from
there; compilation of an ONNX file does both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import tvm
from tvm.relax.ir.instrument import WellFormedInstrument

from dcc.codegen.encoded_tensor import EncodedTensor
from dcc.passes.bind_encoded_weights import BindEncodedWeights
from dcc.passes.bind_plain_weights import BindPlainWeights
from dcc.passes.fold_huffman_decode import FoldHuffmanDecode
from dcc.passes.fuse_epilogue import FuseEpilogue
from dcc.passes.hooks import HookContext, Point, passes_at
from dcc.passes.inject_pruning_masks import InjectPruningMasks
from dcc.passes.legalize_coded_layers import LegalizeCodedLayers
from dcc.passes.options import Recipe
from dcc.passes.outline_branches import OutlineBranches
from dcc.passes.rewrite_to_codebook import RewriteToCodebook
from dcc.passes.select_storage import SelectStorage
from dcc.passes.share_weights import ShareWeights
from dcc.passes.weight_table import WeightTable
from dcc.targets.target import Target

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

    def run(self, module: tvm.IRModule, steps: Iterator[Any]) -> tvm.IRModule:
        """Run ``steps``: passes, and names of the points where passes of others run."""
        instruments = [WellFormedInstrument()] if self.check else []
        with tvm.transform.PassContext(opt_level=3, instruments=instruments):
            for step in steps:
                passes = self._hooked(step) if isinstance(step, str) else [step]
                for each in passes:
                    module = each(module)
                    self.ran.append(each.info.name)
                    if self.observe is not None:
                        self.observe(each.info.name, module)
        return module

    def _hooked(self, point: Point) -> list[Any]:
        return passes_at(HookContext(point, self.table, self.target))


def compression_steps(table: WeightTable, recipe: Recipe) -> Iterator[Any]:
    """From the imported module to masks and codebooks in the graph."""
    yield "after_import"
    yield InjectPruningMasks(table, recipe)
    yield "after_masks"
    # k-means sees the values that the mask left.
    yield ShareWeights(table, recipe)
    yield "after_sharing"


def binding_steps(table: WeightTable, tensors: Mapping[str, EncodedTensor]) -> Iterator[Any]:
    """The same state from a container."""
    yield "after_import"
    yield BindEncodedWeights(table, tensors)
    yield "after_sharing"


def compilation_steps(
    table: WeightTable, target: Target, storage: str, objective: str
) -> Iterator[Any]:
    """From masks and codebooks in the graph to kernels over packed weights (``dcc.build`` schedules and links them)."""
    yield RewriteToCodebook(table)
    # Only now is it known which weights are no operand of a coded layer; their constants fold here and nowhere later:
    # FoldConstant would turn the lookup of a packed weight back into a dense constant.
    yield BindPlainWeights(table)
    # Scale and bias are constants from here on.
    yield FuseEpilogue()
    yield "after_rewrite"
    yield SelectStorage(table, target, storage, objective)
    yield "after_selection"
    yield LegalizeCodedLayers(table, target)
    yield FoldHuffmanDecode(table)
    # TVM plans the memory of both branches of an If as one sequence; as functions of their own they are planned apart.
    yield OutlineBranches()
    yield "after_legalize"
