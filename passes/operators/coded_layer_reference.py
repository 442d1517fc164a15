"""What coded layers mean, in numpy and double precision: the oracle of every candidate's answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dcc.errors import CompileError
from dcc.passes.operators.recurrent_reference import gru_reference, lstm_reference
from dcc.schedules.geometry import ConvGeometry
from dcc.schedules.layer_shape import LayerShape


def coded_layer_reference(
    shape: LayerShape,
    weight: np.ndarray,
    data: Sequence[np.ndarray],
    scale: np.ndarray | None = None,
    bias: np.ndarray | None = None,
) -> list[np.ndarray]:
    """Compute the results of a layer.

    Parameters
    ----------
    weight
        Dense, one row for each output.
    data
        In the order of the operator's arguments, see ``coded_layers``.

    Raises
    ------
    CompileError
        There is no such kind of layer.
    """
    dense = weight.astype(np.float64)
    if shape.kind == "take":
        return [dense[data[0].reshape(-1)].reshape(*data[0].shape, -1)]
    values = [array.astype(np.float64) for array in data]
    flags = {name: int(value) for name, value in shape.flags.items()}
    if shape.recurrence is not None:
        reverse = int(shape.recurrence.reverse)
        if shape.kind == "lstm":
            x, hidden, cell = values
            return list(lstm_reference(x, dense, hidden, cell, reverse, **flags))
        x, recurrent_bias, hidden = values
        return list(gru_reference(x, dense, recurrent_bias, hidden, reverse, **flags))
    if shape.kind == "matmul":
        return [_epilogue(shape, values[0] @ dense.T, scale, bias, 0)]
    if shape.geometry is None:
        raise CompileError(f"no reference for a layer of kind '{shape.kind}'")
    axes = 1 if shape.kind == "conv1d" else 2
    total = convolution_reference(shape.geometry, dense, values[0])
    total = total.reshape(*total.shape[:2], *total.shape[4 - axes :])
    return [_epilogue(shape, total, scale, bias, axes)]


def convolution_reference(g: ConvGeometry, weight: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Convolve directly, one kernel position at a time.

    Parameters
    ----------
    weight
        Shape (outputs, columns).
    x
        Shape (batch, channels, height, width), or without the height where that is 1.

    Returns
    -------
    np.ndarray
        Shape (batch, outputs, out_height, out_width).
    """
    dense = weight.reshape(g.groups, g.outputs // g.groups, -1, *g.kernel)
    top, left, bottom, right = g.pads
    images = x.reshape(g.batch, g.channels, g.height, g.width)
    padded = np.pad(images, ((0, 0), (0, 0), (top, bottom), (left, right)))
    groups = padded.reshape(g.batch, g.groups, -1, *padded.shape[2:])
    shape = (g.batch, g.groups, g.outputs // g.groups, g.out_height, g.out_width)
    total = np.zeros(shape, np.result_type(weight, x))
    for row, column in np.ndindex(*g.kernel):
        down, across = row * g.dilations[0], column * g.dilations[1]
        part = groups[
            ...,
            down : down + (g.out_height - 1) * g.strides[0] + 1 : g.strides[0],
            across : across + (g.out_width - 1) * g.strides[1] + 1 : g.strides[1],
        ]
        flat = part.reshape(g.batch, g.groups, part.shape[2], -1)
        total += (dense[None, ..., row, column] @ flat).reshape(shape)
    return total.reshape(g.batch, g.outputs, g.out_height, g.out_width)


def _epilogue(
    shape: LayerShape,
    total: np.ndarray,
    scale: np.ndarray | None,
    bias: np.ndarray | None,
    trailing: int,
) -> np.ndarray:
    """Scale, bias and activation; the channel has ``trailing`` axes behind it."""
    axes = (-1, *(1,) * trailing)
    if scale is not None:
        total = total * scale.astype(np.float64).reshape(axes)
    if bias is not None:
        total = total + bias.astype(np.float64).reshape(axes)
    return np.clip(total, shape.activation.minimum, shape.activation.maximum)
