"""Runs operations through a driver: places buffers, expands coded weights, starts streams.

Coded weights are expanded chunk by chunk into the halves of one buffer, the next chunk's while the
device works on this one's. The buffer is small enough for a coherent port to serve its loads from
the host's cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from dcc.accelerator.account import OperationRun, StreamRun
from dcc.codegen.vta.blocks import block_weights
from dcc.codegen.vta.program import Operation
from dcc.codegen.vta.stream import UOPS
from dcc.targets.vta.device import VTA, Accelerator
from dcc.targets.vta.driver import Buffer, Driver

Int8 = npt.NDArray[np.int8]
WEIGHTS, OUTPUT = "weights", "output"
INPUTS = ("input", "residual")


@dataclass
class _Placed:
    """An operation whose constants and streams are in the driver's memory."""

    buffers: dict[str, Buffer]
    code: list[Buffer]
    counts: list[int]
    halves: list[int] = field(default_factory=list)


class Executor:
    """Runs the operations of a module on one device.

    Attributes
    ----------
    runs
        What each operation took when it ran last, as far as the driver tells.
    """

    def __init__(
        self, operations: Sequence[Operation], driver: Driver, device: Accelerator = VTA
    ) -> None:
        self.operations, self.driver, self.device = operations, driver, device
        self.runs: dict[int, OperationRun] = {}
        self._placed: dict[int, _Placed] = {}
        self._expanded: Buffer | None = None
        self._worker = ThreadPoolExecutor(max_workers=1)

    def run(self, number: int, inputs: Sequence[Int8], output: Int8) -> None:
        """Run an operation on packed tensors.

        Raises
        ------
        DriverError, StreamError
            The driver or the device failed.
        """
        operation = self.operations[number]
        placed = self._place(number)
        for name, array in zip(INPUTS, inputs, strict=False):
            self._fill(placed.buffers[name], array)
        run = OperationRun(operation.name)
        expanding = self._start_expanding(operation, 0, placed)
        for chunk in range(len(operation.streams)):
            if expanding is not None:
                expanding.result()
                following = chunk + 1 < len(operation.streams)
                overlapped = following and placed.halves[chunk] != placed.halves[chunk + 1]
                if overlapped:
                    expanding = self._start_expanding(operation, chunk + 1, placed)
            self.driver.run(placed.code[chunk], placed.counts[chunk])
            run.streams.append(self._account(operation, chunk))
            if expanding is not None and following and not overlapped:
                expanding = self._start_expanding(operation, chunk + 1, placed)
        result = placed.buffers[OUTPUT]
        self.driver.invalidate(result)
        output.reshape(-1).view(np.uint8)[:] = result.view[: output.nbytes]
        self.runs[number] = run

    def close(self) -> None:
        """Give all memory and the device back."""
        self._worker.shutdown()
        for placed in self._placed.values():
            for buffer in (*placed.buffers.values(), *placed.code):
                if buffer is not self._expanded:
                    self.driver.free(buffer)
        self._placed.clear()
        if self._expanded is not None:
            self.driver.free(self._expanded)
        self.driver.close()

    def _place(self, number: int) -> _Placed:
        if number in self._placed:
            return self._placed[number]
        operation = self.operations[number]
        buffers: dict[str, Buffer] = {}
        for name, array in operation.constants.items():
            buffers[name] = self._buffer(array)
        for name, shape in zip(INPUTS, operation.input_shapes, strict=False):
            buffers[name] = self.driver.allocate(int(np.prod(shape)))
        buffers[OUTPUT] = self.driver.allocate(int(np.prod(operation.output_shape)))
        placed = _Placed(buffers, [], [])
        if operation.coded is not None:
            buffers[WEIGHTS] = self._double_buffer()
            placed.halves = self._halves(operation)
        for chunk, stream in enumerate(operation.streams):
            uops = self._buffer(stream.micro_ops)
            buffers[f"{UOPS} {chunk}"] = uops
            addresses = {name: buffer.physical for name, buffer in buffers.items()}
            addresses[UOPS] = uops.physical
            if placed.halves:
                addresses[WEIGHTS] += placed.halves[chunk]
            words = stream.placed(addresses)
            placed.code.append(self._buffer(words.astype("<u8")))
            placed.counts.append(len(words))
        self._placed[number] = placed
        return placed

    def _halves(self, operation: Operation) -> list[int]:
        """Offset of each chunk in the double buffer; all 0 where one fills more than half."""
        half = self.device.expand_bytes // 2
        sizes = np.diff(operation.starts) * 256
        overlap = len(sizes) > 1 and int(sizes.max()) <= half
        return [half * (chunk % 2) if overlap else 0 for chunk in range(len(sizes))]

    def _double_buffer(self) -> Buffer:
        if self._expanded is None:
            self._expanded = self.driver.allocate(self.device.expand_bytes)
        return self._expanded

    def _buffer(self, array: npt.NDArray[np.generic]) -> Buffer:
        buffer = self.driver.allocate(array.nbytes)
        self._fill(buffer, array)
        return buffer

    def _fill(self, buffer: Buffer, array: npt.NDArray[np.generic]) -> None:
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        buffer.view[: len(data)] = data
        self.driver.flush(buffer)

    def _start_expanding(
        self, operation: Operation, chunk: int, placed: _Placed
    ) -> Future[None] | None:
        """Expand a chunk on the worker thread; None where nothing is coded."""
        if operation.coded is None:
            return None
        return self._worker.submit(self._expand, operation, chunk, placed.halves[chunk])

    def _expand(self, operation: Operation, chunk: int, offset: int) -> None:
        blocks = expanded_blocks(operation, chunk)
        buffer = self._double_buffer()
        data = blocks.reshape(-1).view(np.uint8)
        buffer.view[offset : offset + len(data)] = data
        self.driver.flush(buffer)

    def _account(self, operation: Operation, chunk: int) -> StreamRun:
        timeline = getattr(self.driver, "last", None)
        run = StreamRun(timeline)
        coded = operation.coded
        if coded is not None:
            timing = self.device.host
            rate = timing.codebook_weight if coded.form == "codebook" else timing.huffman_weight
            run.expand_cycles = rate * coded.weights(chunk)
            run.bytes_expanded = (operation.starts[chunk + 1] - operation.starts[chunk]) * 256
            run.coded_bytes = coded.payloads[chunk].nbytes
            if chunk == 0:
                run.coded_bytes += coded.tables.nbytes + coded.lengths.nbytes
            run.alternates = self._halves(operation)[-1] != 0
        return run


def expanded_blocks(operation: Operation, chunk: int) -> Int8:
    """Weight blocks of a chunk in the order of the device's loads, shape (blocks, 16, 16)."""
    assert operation.coded is not None
    grid = block_weights(operation.coded.expand(chunk))
    order = operation.order[operation.starts[chunk] : operation.starts[chunk + 1]].astype(np.int64)
    order[:, 0] -= operation.coded.chunks[chunk][0]
    return np.ascontiguousarray(grid[tuple(order.T)])
