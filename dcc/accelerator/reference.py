"""Computes operations with numpy's integers instead of a device: the oracle for whole models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dcc.accelerator.executor import expanded_blocks
from dcc.codegen.vta.bias_blocks import from_blocks
from dcc.codegen.vta.blocks import pack_activations, unpack_activations
from dcc.codegen.vta.buffers import BIAS, WEIGHTS
from dcc.codegen.vta.program import Operation
from dcc.schedules.vta.epilogue import bias_rounds
from dcc.schedules.vta.layers import ConvLayer, PoolLayer
from dcc.schedules.vta.operations import layer_from_json
from dcc.schedules.vta.reference import conv_reference, pool_reference, sum_reference
from dcc.targets.vta.isa import BLOCK

Int8 = npt.NDArray[np.int8]


class ReferenceExecutor:
    """Runs operations as :class:`dcc.accelerator.executor.Executor` does, without any stream."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        self.operations = operations

    def run(self, number: int, inputs: Sequence[Int8], output: Int8) -> None:
        """Compute an operation on packed tensors."""
        operation = self.operations[number]
        layer = layer_from_json(operation.layer)
        if isinstance(layer, ConvLayer):
            result = _convolution(operation, layer, inputs)
        elif isinstance(layer, PoolLayer):
            shape = (layer.batch, layer.channels, layer.height, layer.width)
            result = pack_activations(pool_reference(unpack_activations(inputs[0], shape), layer))
        else:
            result = sum_reference([np.asarray(each) for each in inputs], layer)
        output.reshape(-1)[:] = result.reshape(-1)

    def close(self) -> None:
        """Do nothing."""


def _convolution(operation: Operation, layer: ConvLayer, inputs: Sequence[Int8]) -> Int8:
    x = unpack_activations(inputs[0], (layer.batch, layer.channels, layer.height, layer.width))
    shape = (layer.batch, layer.outputs, layer.out_height, layer.out_width)
    residual = unpack_activations(inputs[1], shape) if layer.residual is not None else None
    bias = None
    if layer.bias:
        constant = operation.constants[BIAS]
        whole = from_blocks(constant) if layer.bias_blocks else constant.astype(np.int32)
        bias = whole[: layer.outputs]
        if layer.residual is None and bias_rounds(layer.requantise):
            bias = bias - np.int32(layer.requantise.rounding)
    return pack_activations(conv_reference(x, _weight(operation, layer), layer, bias, residual))


def _weight(operation: Operation, layer: ConvLayer) -> Int8:
    """Put the blocks back to (outputs, inputs, rows, columns)."""
    if operation.coded is None:
        blocks = operation.constants[WEIGHTS]
    else:
        chunks = range(len(operation.streams))
        blocks = np.concatenate([expanded_blocks(operation, chunk) for chunk in chunks])
    grid: npt.NDArray[Any] = np.zeros(
        (layer.output_blocks, layer.input_blocks, *layer.kernel, BLOCK, BLOCK), np.int8
    )
    grid[tuple(operation.order.astype(np.int64).T)] = blocks.reshape(-1, BLOCK, BLOCK)
    shape = (layer.output_blocks * BLOCK, layer.input_blocks * BLOCK, *layer.kernel)
    whole = grid.transpose(0, 4, 1, 5, 2, 3).reshape(shape)
    return np.ascontiguousarray(whole[: layer.outputs, : layer.channels])
