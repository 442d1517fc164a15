"""Runs operations through a driver: places buffers, expands coded weights, starts streams.

Coded weights are expanded chunk by chunk into the halves of one buffer, the next chunk's while the
device works on this one's. The buffer is small enough for a coherent port to serve its loads from
the host's cache.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dcc.accelerator.account import OperationRun, StreamRun
from dcc.codegen.vta.buffers import DIGITS, INPUT, OUTPUT, RESIDUAL, SUMS, UOPS, WEIGHTS
from dcc.codegen.vta.program import Operation
from dcc.targets.vta.device import VTA, Accelerator
from dcc.targets.vta.driver import Buffer, Driver

Int8 = npt.NDArray[np.int8]
INPUTS = (INPUT, RESIDUAL)


@dataclass
class _Placed:
    """An operation whose constants and streams are in the driver's memory."""

    buffers: dict[str, Buffer]
    code: list[Buffer]
    counts: list[int]


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
        expanding = self._start_expanding(operation, 0)
        for chunk in range(len(operation.streams)):
            if expanding is not None:
                expanding.result()
                # The other half was read by the stream before this one.
                if chunk + 1 < len(operation.streams):
                    expanding = self._start_expanding(operation, chunk + 1)
            self.driver.run(placed.code[chunk], placed.counts[chunk])
            run.streams.append(self._account(operation, chunk))
        result = placed.buffers[OUTPUT]
        self.driver.invalidate(result)
        output.reshape(-1).view(np.uint8)[:] = result.view[: output.nbytes]
        self.runs[number] = run

    def close(self) -> None:
        """Give all memory and the device back."""
        self._worker.shutdown()
        for placed in self._placed.values():
            for buffer in (*placed.buffers.values(), *placed.code):
                self.driver.free(buffer)
        self._placed.clear()
        if self._expanded is not None:
            self.driver.free(self._expanded)
        self.driver.close()

    def _place(self, number: int) -> _Placed:
        if number in self._placed:
            return self._placed[number]
        operation = self.operations[number]
        placed = _Placed(self._buffers(operation), [], [])
        for chunk, stream in enumerate(operation.streams):
            addresses = {name: buffer.physical for name, buffer in placed.buffers.items()}
            addresses[WEIGHTS] = self._weights_at(operation, placed, chunk)
            addresses[UOPS] = self._shared(placed, stream.micro_ops).physical
            words = stream.placed(addresses)
            placed.code.append(self._buffer(words.astype("<u8")))
            placed.counts.append(len(words))
        self._placed[number] = placed
        return placed

    def _buffers(self, operation: Operation) -> dict[str, Buffer]:
        """Place constants and tensors."""
        buffers: dict[str, Buffer] = {}
        for name, array in operation.constants.items():
            if name != WEIGHTS:
                buffers[name] = self._buffer(array)
        for name, shape in zip(INPUTS, operation.input_shapes, strict=False):
            buffers[name] = self.driver.allocate(int(np.prod(shape)))
        result = int(np.prod(operation.output_shape))
        buffers[OUTPUT] = self.driver.allocate(result)
        if any(SUMS in stream.buffers for stream in operation.streams):
            buffers[SUMS] = self.driver.allocate(result * DIGITS)
        for name in (OUTPUT, SUMS):
            if name in buffers:
                # Nothing that a cache still holds of these pages may come over what is stored.
                self.driver.flush(buffers[name])
        return buffers

    def _weights_at(self, operation: Operation, placed: _Placed, chunk: int) -> int:
        """Place the weights of a chunk, unless the host expands them; return their address."""
        if operation.coded is not None:
            return self._double_buffer().physical + self._half(chunk)
        if WEIGHTS not in operation.constants:
            return 0
        blocks = slice(*operation.starts[chunk : chunk + 2])
        buffer = self._buffer(operation.constants[WEIGHTS][blocks])
        placed.buffers[f"{WEIGHTS} {chunk}"] = buffer
        return buffer.physical

    def _shared(self, placed: _Placed, micro_ops: npt.NDArray[np.uint32]) -> Buffer:
        """Place micro-ops; streams of the same ones share them."""
        key = f"{UOPS} {hashlib.sha256(micro_ops.tobytes()).hexdigest()}"
        if key not in placed.buffers:
            placed.buffers[key] = self._buffer(micro_ops)
        return placed.buffers[key]

    def _half(self, chunk: int) -> int:
        """Offset of a chunk in the double buffer."""
        return self.device.expand_bytes // 2 * (chunk % 2)

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

    def _start_expanding(self, operation: Operation, chunk: int) -> Future[None] | None:
        """Expand a chunk on the worker thread; None where nothing is coded."""
        if operation.coded is None:
            return None
        return self._worker.submit(self._expand, operation, chunk)

    def _expand(self, operation: Operation, chunk: int) -> None:
        blocks, offset = expanded_blocks(operation, chunk), self._half(chunk)
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
        return run


def expanded_blocks(operation: Operation, chunk: int) -> Int8:
    """Weight blocks of a chunk in the order of the device's loads, shape (blocks, 16, 16)."""
    coded = operation.coded
    assert coded is not None
    order = operation.order[operation.starts[chunk] : operation.starts[chunk + 1]].astype(np.int64)
    part = coded.chunks[chunk]
    position = (order[:, 1] * coded.shape[2] + order[:, 2]) * coded.shape[3] + order[:, 3]
    blocks = coded.expand(chunk)[order[:, 0] - part.low, position - part.first]
    return np.ascontiguousarray(blocks)
