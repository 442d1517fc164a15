"""First and second moments of the inputs that the elements of a weight are multiplied with.

For an output ``y = sum_i w_i x_i`` an error ``d_i`` of a weight costs, on average over the inputs,
``d_i**2 * E[x_i**2]`` in the square of ``y`` (the diagonal of the Hessian of a layer's squared
error; LeCun, Denker, Solla 1990, Choi, El-Khamy, Lee 2017) and shifts its mean by ``d_i * E[x_i]``.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dcc.importer.graph import Node
from dcc.training.weight_readings import WeightReading

Array = npt.NDArray[np.float64]


@dataclass
class InputMoments:
    """Sums over inputs, in a shape that broadcasts to that of the weight as its operator reads it.

    Attributes
    ----------
    total, squares
        Sum of the inputs, and of their squares.
    count
        Number of inputs that were summed for each element.
    """

    total: Array
    squares: Array
    count: int

    @property
    def mean(self) -> Array:
        """``E[x]``."""
        return self.total / self.count

    @property
    def mean_square(self) -> Array:
        """``E[x**2]``."""
        return self.squares / self.count

    def __add__(self, other: InputMoments) -> InputMoments:
        return InputMoments(
            self.total + other.total, self.squares + other.squares, self.count + other.count
        )


def input_moments(reading: WeightReading, activation: npt.NDArray[np.generic]) -> InputMoments:
    """Moments of one batch of activations, for one reading of a weight."""
    shape = reading.positions.shape
    node = reading.node
    if node.operator == "Gather":
        return _gathered(node, shape, activation.astype(np.int64))
    values = activation.astype(np.float64)
    if node.operator == "Conv":
        return _convolved(node, shape, values)
    if node.operator in ("LSTM", "GRU"):
        return _recurrent(reading, values)
    if node.operator == "Gemm":
        across = 0 if node.attributes.get("transA", 0) else 1
        weight_axis = 1 if node.attributes.get("transB", 0) else 0
        return _reduced(values, across, _spread(2, weight_axis))
    if reading.position == 0:  # weight @ activation
        return _reduced(values, max(values.ndim - 2, 0), _spread(len(shape), len(shape) - 1))
    return _reduced(values, values.ndim - 1, _spread(len(shape), max(len(shape) - 2, 0)))


def _spread(axes: int, axis: int) -> list[int]:
    """Shape of ``axes`` axes that has one number for each step along ``axis``."""
    return [-1 if each == axis else 1 for each in range(axes)]


def _reduced(values: Array, kept: int, shape: list[int]) -> InputMoments:
    """Sum over all axes but ``kept``."""
    others = tuple(axis for axis in range(values.ndim) if axis != kept)
    count = values.size // values.shape[kept]
    total = values.sum(axis=others)
    return InputMoments(total.reshape(shape), _squares(values, others).reshape(shape), count)


def _squares(values: Array, axes: tuple[int, ...]) -> Array:
    return np.asarray(np.square(values).sum(axis=axes))


def _gathered(node: Node, shape: tuple[int, ...], indices: npt.NDArray[np.int64]) -> InputMoments:
    """Count how often each row of a table is read: its input is 1 then, else 0."""
    axis = node.attributes.get("axis", 0) % len(shape)
    rows = np.bincount(indices.ravel() % shape[axis], minlength=shape[axis]).astype(np.float64)
    spread = rows.reshape(_spread(len(shape), axis))
    return InputMoments(spread, spread, indices.size)


def _recurrent(reading: WeightReading, values: Array) -> InputMoments:
    """Sum inputs ``(steps, batch, I)``, or the states ``(steps, directions, batch, H)``."""
    if reading.position == 1:
        return _reduced(values, values.ndim - 1, [1, 1, -1])
    batch_first = reading.node.attributes.get("layout", 0) == 1
    axes = (0, 1) if batch_first else (0, 2)
    total = values.sum(axis=axes)[:, np.newaxis]
    return InputMoments(
        total, _squares(values, axes)[:, np.newaxis], values.shape[axes[0]] * values.shape[axes[1]]
    )


def _convolved(node: Node, shape: tuple[int, ...], values: Array) -> InputMoments:
    """Sum over the windows: one slice of the padded input for each position of the kernel."""
    outputs, inputs, *kernel = shape
    groups = node.attributes.get("group", 1)
    windows = _Windows.of(node, values.shape[2:], kernel)
    padded = np.pad(values, [(0, 0), (0, 0), *windows.pads])
    squared = np.square(padded)
    axes = (0, *range(2, values.ndim))
    total = np.empty((groups * inputs, *kernel))
    squares = np.empty_like(total)
    for position, slices in windows.each():
        window = (slice(None), slice(None), *slices)
        each: tuple[slice | int, ...] = (slice(None), *position)
        total[each] = padded[window].sum(axis=axes)
        squares[each] = squared[window].sum(axis=axes)

    def grouped(sums: Array) -> Array:
        by_group = sums.reshape(groups, inputs, *kernel)
        return by_group if groups == 1 else np.repeat(by_group, outputs // groups, axis=0)

    count = len(values) * int(np.prod(windows.outputs))
    return InputMoments(grouped(total), grouped(squares), count)


@dataclass(frozen=True)
class _Windows:
    """Geometry of a convolution along its spatial axes."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    outputs: tuple[int, ...]

    @classmethod
    def of(cls, node: Node, sizes: tuple[int, ...], kernel: list[int]) -> _Windows:
        ones = (1,) * len(kernel)
        strides = tuple(node.attributes.get("strides", ones))
        dilations = tuple(node.attributes.get("dilations", ones))
        spans = [(size - 1) * step + 1 for size, step in zip(kernel, dilations, strict=True)]
        given = tuple(node.attributes.get("pads", (0,) * (2 * len(kernel))))
        pads = list(zip(given[: len(kernel)], given[len(kernel) :], strict=True))
        automatic = node.attributes.get("auto_pad", b"NOTSET").decode()
        if automatic.startswith("SAME"):
            upper = automatic == "SAME_UPPER"
            pads = [_same(*each, upper) for each in zip(sizes, spans, strides, strict=True)]
        elif automatic == "VALID":
            pads = [(0, 0)] * len(kernel)
        outputs = tuple(
            (size + sum(pad) - span) // stride + 1
            for size, pad, span, stride in zip(sizes, pads, spans, strides, strict=True)
        )
        return cls(tuple(kernel), strides, dilations, tuple(pads), outputs)

    def each(self) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...]]]:
        """Each position of the kernel, and the slices of the padded input that it sees."""
        for position in itertools.product(*map(range, self.kernel)):
            starts = [p * d for p, d in zip(position, self.dilations, strict=True)]
            yield (
                position,
                tuple(
                    slice(start, start + (count - 1) * stride + 1, stride)
                    for start, count, stride in zip(starts, self.outputs, self.strides, strict=True)
                ),
            )


def _same(size: int, span: int, stride: int, upper: bool) -> tuple[int, int]:
    """Return the pads that give ``ceil(size / stride)`` outputs."""
    whole = max((-(-size // stride) - 1) * stride + span - size, 0)
    small = whole // 2
    return (small, whole - small) if upper else (whole - small, small)
