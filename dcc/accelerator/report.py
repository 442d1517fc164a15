"""``dcc bench`` and ``dcc inspect --stream`` of modules with an accelerator."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dcc.accelerator.account import OperationRun
from dcc.accelerator.executor import Executor
from dcc.accelerator.loading import read_operations
from dcc.codegen.module_file import read_metadata
from dcc.codegen.vta.disassembler import disassemble
from dcc.codegen.vta.program import Operation
from dcc.codegen.vta.timeline_svg import timeline_svg
from dcc.errors import InputError, ModuleError
from dcc.targets.vta.device import VTA
from dcc.targets.vta.isa import BLOCK, Memory, Queue
from dcc.targets.vta.simulator import SimulatedDriver
from dcc.targets.vta.timing import Timeline


@dataclass(frozen=True)
class OperationReport:
    """An operation and what it took.

    Attributes
    ----------
    dense_bytes
        Of the weights as dense int8.
    """

    operation: Operation
    run: OperationRun

    @property
    def dense_bytes(self) -> int:
        """Weights as dense int8, of the layer's own shape."""
        return self.operation.bytes.get("dense", 0)

    @property
    def operations_each_byte(self) -> float:
        """Multiplications and additions for each byte from or to DRAM: the roofline's abscissa."""
        return 2 * BLOCK * BLOCK * self.run.micro_ops / max(self.run.dram_bytes, 1)

    def to_json(self) -> dict[str, Any]:
        """Everything, for ``--json``."""
        run = self.run
        return {
            "name": self.operation.name,
            "form": self.operation.form,
            "cycles": run.cycles,
            "device_cycles": run.device_cycles,
            "load_cycles": run.busy(Queue.LOAD),
            "compute_cycles": run.busy(Queue.COMPUTE),
            "store_cycles": run.busy(Queue.STORE),
            "expand_cycles": run.expand_cycles,
            "idle_cycles": run.idle_cycles,
            "micro_ops": run.micro_ops,
            "utilisation": run.utilisation,
            "dense_bytes": self.dense_bytes,
            "coded_bytes": run.coded_bytes,
            "loaded_weight_bytes": run.loaded(Memory.WGT),
            "expanded_bytes": run.bytes_expanded,
            "dram_weight_bytes": run.dram_weight_bytes,
            "dram_weight_bytes_incoherent": run.dram_weight_bytes_incoherent,
            "dram_bytes": run.dram_bytes,
        }


def measure_operations(
    path: str | Path, inputs: dict[str, Any] | None = None
) -> list[OperationReport]:
    """Run a module once on the simulator and account for each operation.

    Raises
    ------
    ModuleError
        The file is missing, damaged, or has no part for an accelerator.
    """
    from dcc.random_inputs import random_inputs
    from dcc.runtime import load

    module = load(path)
    if not isinstance(module.accelerator, Executor):
        raise ModuleError(f"'{path}' has no part for an accelerator")
    module(random_inputs(module.inputs) if inputs is None else inputs)
    executor = module.accelerator
    return [
        OperationReport(executor.operations[number], run)
        for number, run in sorted(executor.runs.items())
    ]


def select_operations(path: str | Path, layer: str | None) -> list[Operation]:
    """Read the operations of a module, or those of one layer.

    Raises
    ------
    ModuleError
        The module has no part for an accelerator.
    InputError
        It has no such layer there.
    """
    operations = read_operations(path, read_metadata(path))
    if not operations:
        raise ModuleError(f"'{path}' has no part for an accelerator: there is no stream to show")
    if layer is None:
        return operations
    found = [operation for operation in operations if operation.name == layer]
    if not found:
        names = ", ".join(operation.name for operation in operations)
        raise InputError(f"'{path}': no operation '{layer}' (there are {names})")
    return found


def stream_lines(operations: list[Operation]) -> Iterator[str]:
    """Disassemble operations, a heading before each stream."""
    for operation in operations:
        for number, stream in enumerate(operation.streams):
            part = f", stream {number + 1} of {len(operation.streams)}"
            part *= len(operation.streams) > 1
            form = f" ({operation.form})" if operation.form else ""
            yield (
                f"== {operation.name}{form}{part}: {len(stream.words)} instructions, "
                f"{len(stream.micro_ops)} micro-ops"
            )
            yield from disassemble(stream)


def operation_timelines(operation: Operation) -> list[Timeline]:
    """Estimate the time of an operation's streams; their data do not matter."""
    driver = SimulatedDriver(VTA)
    executor = Executor([operation], driver)
    inputs = [np.zeros(shape, dtype=np.int8) for shape in operation.input_shapes]
    executor.run(0, inputs, np.zeros(operation.output_shape, dtype=np.int8))
    timelines = [run.timeline for run in executor.runs[0].streams]
    executor.close()
    return [timeline for timeline in timelines if timeline is not None]


def timeline_of(operation: Operation) -> str:
    """Draw the timeline of an operation's first stream."""
    timeline = operation_timelines(operation)[0]
    return timeline_svg(operation.name, operation.streams[0], timeline)
