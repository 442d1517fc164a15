"""Real code for ARM in the tests: modules that run under QEMU, or a reason to skip."""

from __future__ import annotations

import numpy as np
import pytest

from dcc.device_runtime import cached_runner
from dcc.emulation import EmulatedModule
from dcc.errors import TargetError
from dcc.random_inputs import random_inputs
from dcc.targets.emulation import emulator_for
from dcc.targets.registry import get_target
from dcc.targets.toolchain import compiler_for
from dcc.verification import verify

TOLERANCE = 1e-4


def needs_cross_compiler(target="arm-cortex-a76"):
    """Skip the test where nothing compiles for ``target``."""
    try:
        compiler_for(get_target(target).triple)
    except TargetError as error:
        pytest.skip(str(error))


def needs_emulator(target="arm-cortex-a76"):
    """Skip the test where code for ``target`` cannot be made or run."""
    needs_cross_compiler(target)
    try:
        emulator_for(get_target(target).triple)
    except TargetError as error:
        pytest.skip(str(error))


def needs_runtime(target="arm-cortex-a76"):
    """Skip the test where TVM's runtime for ``target`` cannot be run, or not be had."""
    needs_emulator(target)
    try:
        cached_runner(get_target(target).triple)
    except TargetError as error:
        pytest.skip(str(error))


def agrees_under_emulation(module, model, ranges=None, seed=0):
    """Compare one run on random inputs with ONNX Runtime."""
    emulated = EmulatedModule(module)
    inputs = random_inputs(emulated.inputs, seed, ranges)
    result = verify(emulated, model, inputs=inputs, tolerance=TOLERANCE)
    assert result.criterion == "tolerance"
    assert result.holds, result.reason
    assert all(np.isfinite(output.relative_error) for output in result.outputs)
