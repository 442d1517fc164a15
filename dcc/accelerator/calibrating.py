"""Runs the float model on calibration inputs, for the scales of an accelerator's tensors."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm import relax

from dcc.build import lower_and_build
from dcc.codegen.module_file import FORMAT_VERSION
from dcc.codegen.section import WeightSection
from dcc.importer.model import ImportedModel
from dcc.passes.layer_shapes import dtype_of, shape_of
from dcc.passes.legalize_coded_layers import EXPAND
from dcc.passes.parameters import MAIN
from dcc.passes.pipeline import Pipeline, legalization_steps
from dcc.passes.select_storage import SelectStorage
from dcc.passes.weight_table import WeightTable
from dcc.progress import track
from dcc.random_inputs import random_inputs
from dcc.targets.target import Target

Arrays = Mapping[str, np.ndarray]
RANDOM_DRAWS = 8


@dataclass(frozen=True)
class Calibration:
    """Observes tensors of a model: an argument of the pass that offloads layers.

    Attributes
    ----------
    samples
        Inputs by name, one mapping for each run.
    """

    table: WeightTable
    target: Target
    imported: ImportedModel
    samples: Sequence[Arrays]

    def __call__(self, module: tvm.IRModule) -> list[list[np.ndarray]]:
        """Build ``module`` for the host and run it on every sample."""
        from dcc.runtime import load

        # The passes note what they do in the table; this build is not the one to report.
        table = replace(
            self.table, choices={}, packed={}, layer_packed={}, reasons={}, operations=[]
        )
        host = replace(self.target, accelerator=None)
        main = module[MAIN]
        returned = dict(_outputs(main))
        steps = [SelectStorage(table, host, "dense"), *legalization_steps(table, host)]
        with tempfile.TemporaryDirectory(prefix="dcc-") as folder:
            lowered = Pipeline(table, host).run(module, steps)
            path = Path(folder) / "observed.so"
            lower_and_build(lowered, host, WeightSection(), self._metadata(lowered, returned), path)
            loaded = load(path)
            return [loaded(dict(sample)) for sample in track("calibrating", list(self.samples))]

    def _metadata(self, module: tvm.IRModule, outputs: Mapping[str, relax.Expr]) -> dict[str, Any]:
        return {
            "format": FORMAT_VERSION,
            "tvm": version("apache-tvm"),
            "target": self.target.describe(),
            "inputs": [
                {"name": spec.name, "shape": list(spec.shape), "dtype": spec.dtype}
                for spec in self.imported.inputs
            ],
            "outputs": [
                {"name": name, "shape": shape_of(value), "dtype": dtype_of(value)}
                for name, value in outputs.items()
            ],
            "layers": [],
            "decode": any(
                isinstance(function, tvm.tirx.PrimFunc) and EXPAND in function.attrs
                for _, function in module.functions_items()
            ),
        }


def _outputs(main: relax.Function) -> list[tuple[str, relax.Expr]]:
    """Name and type of each tensor that a function returns as a tuple."""
    result = main.body.body
    if isinstance(result, relax.Var):
        bound = {b.var: b.value for block in main.body.blocks for b in block.bindings}
        result = bound[result]
    return [(f"observed {number}", field) for number, field in enumerate(result.fields)]


def calibration_samples(
    imported: ImportedModel, source: Any = None, seed: int = 0
) -> list[dict[str, np.ndarray]]:
    """Give the inputs to calibrate on: given ones, or a few random draws.

    Parameters
    ----------
    source
        An ``.npz`` file or arrays by input name, see
        :func:`dcc.training.calibration_inputs.read_batches`.

    Raises
    ------
    InputError
        The inputs do not fit the model.
    """
    if source is not None:
        from dcc.training.calibration_inputs import read_batches

        return [dict(batch) for batch in read_batches(source, imported.inputs)]
    return [dict(random_inputs(imported.inputs, seed + draw)) for draw in range(RANDOM_DRAWS)]
