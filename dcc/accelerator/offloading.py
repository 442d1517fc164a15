"""Wires the pass that offloads layers to the model, its calibration and the tuning records."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from dcc.accelerator.calibrating import Calibration, calibration_samples
from dcc.accelerator.tuning import look_up_tilings
from dcc.compressed_module import CompressedModule
from dcc.passes.offload.offload import OffloadToAccelerator
from dcc.targets.target import Target


def offloading_step(
    prepared: CompressedModule,
    target: Target,
    storage: str,
    objective: str,
    calibrate: Any,
    database: str | PathLike[str] | None,
) -> OffloadToAccelerator:
    """Make the pass for a model.

    Raises
    ------
    InputError
        The calibration inputs do not fit the model.
    TuningError
        The database holds no records of an accelerator.
    """
    samples = calibration_samples(prepared.imported, calibrate)
    observe = Calibration(prepared.table, target, prepared.imported, samples)
    tuned = None if database is None else look_up_tilings(Path(database))
    return OffloadToAccelerator(prepared.table, target, observe, storage, objective, tuned)
