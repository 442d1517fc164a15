"""Resize and Upsample as weighted sums of gathered elements, axis by axis.

Sizes are static, so which elements contribute to an output, and how much, is worked out here from
the definition of the ONNX operator Resize; TVM's own resize differs from it in several modes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from tvm import relax

from dcc.importer.converters.registry import converter
from dcc.importer.operation import Operation, constant

_NEAREST: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


@converter("Resize", "Upsample")
def resize(operation: Operation) -> relax.Expr:
    """Resample every axis whose size or coordinates change."""
    for name, harmless in (("antialias", 0), ("exclude_outside", 0)):
        if operation.attribute(name, harmless) != harmless:
            raise operation.error(f"attribute '{name}' is not supported")
    sizes, scales = _targets(operation)
    result = operation.tensor(0)
    for axis, (size, scale) in enumerate(zip(sizes, scales, strict=True)):
        given = operation.shape()[axis]
        if size == given and scale == 1.0:
            continue
        positions = _coordinates(operation, given, size, scale)
        taps, weights = _taps(operation, positions)
        result = _resample(operation, result, axis, np.clip(taps, 0, given - 1), weights)
    return result


def _targets(operation: Operation) -> tuple[list[int], list[float]]:
    """Output size and scale per axis."""
    shape = operation.shape()
    axes = [operation.normal_axis(a) for a in operation.attribute("axes", range(len(shape)))]
    sizes, scales = list(shape), [1.0] * len(shape)
    if operation.node.operator == "Upsample":
        if operation.has(1):
            wanted = operation.constant(1, "scales").tolist()
        else:
            wanted = list(operation.attribute("scales", ()))
    else:
        scale_input = 1 if operation.opset < 11 else 2
        known = operation.known(scale_input)
        if operation.has(3) and (known is None or known.size == 0):
            return _from_sizes(operation, axes, operation.integers(3, "sizes"))
        wanted = operation.constant(scale_input, "scales").tolist()
    if len(wanted) != len(axes):
        raise operation.error(f"scales has {len(wanted)} entries for {len(axes)} axes")
    for axis, scale in zip(axes, wanted, strict=True):
        scales[axis] = float(np.float32(scale))
        sizes[axis] = int(np.floor(np.float32(shape[axis]) * np.float32(scale)))
    return sizes, scales


def _from_sizes(
    operation: Operation, axes: list[int], wanted: list[int]
) -> tuple[list[int], list[float]]:
    shape = operation.shape()
    sizes, scales = list(shape), [1.0] * len(shape)
    policy = operation.attribute("keep_aspect_ratio_policy", "stretch")
    if policy != "stretch":
        choose = min if policy == "not_larger" else max
        scale = choose(w / shape[axis] for axis, w in zip(axes, wanted, strict=True))
        wanted = [int(np.floor(scale * shape[axis] + 0.5)) for axis in axes]
        ratios = [scale] * len(axes)
    else:
        ratios = [w / shape[axis] for axis, w in zip(axes, wanted, strict=True)]
    for axis, size, ratio in zip(axes, wanted, ratios, strict=True):
        sizes[axis], scales[axis] = size, ratio
    return sizes, scales


def _coordinates(operation: Operation, given: int, size: int, scale: float) -> np.ndarray:
    """Position in the input of each output element (coordinate_transformation_mode)."""
    default = "half_pixel" if operation.node.operator == "Resize" else "asymmetric"
    if operation.node.operator == "Resize" and operation.opset < 11:
        default = "asymmetric"
    mode = operation.attribute("coordinate_transformation_mode", default)
    outputs = np.arange(size, dtype=np.float64)
    if mode == "asymmetric":
        return outputs / scale
    if mode == "align_corners":
        return outputs * (given - 1) / (size - 1) if size > 1 else outputs * 0
    if mode == "pytorch_half_pixel" and size <= 1:
        return outputs * 0
    if mode in ("half_pixel", "pytorch_half_pixel"):
        return (outputs + 0.5) / scale - 0.5
    if mode == "half_pixel_symmetric":
        adjustment = size / (scale * given)
        offset = given / 2 * (1 - adjustment)
        return offset + (outputs + 0.5) / scale - 0.5
    raise operation.error(f"coordinate_transformation_mode '{mode}' is not supported")


def _taps(operation: Operation, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Contributing input elements and their weights, [taps, outputs] each."""
    mode = operation.attribute("mode", "nearest")
    if mode == "nearest":
        simple = operation.node.operator == "Upsample" or operation.opset < 11
        default = "floor" if simple else "round_prefer_floor"
        rounding = _NEAREST[operation.attribute("nearest_mode", default)]
        return rounding(positions)[None].astype(np.int64), np.ones((1, len(positions)))
    floor = np.floor(positions)
    fraction = positions - floor
    if mode in ("linear", "bilinear"):
        return np.stack([floor, floor + 1]).astype(np.int64), np.stack([1 - fraction, fraction])
    if mode != "cubic":
        raise operation.error(f"mode '{mode}' is not supported")
    distances = np.stack([fraction + 1, fraction, 1 - fraction, 2 - fraction])
    taps = np.stack([floor + k for k in (-1, 0, 1, 2)]).astype(np.int64)
    return taps, _cubic(distances, operation.attribute("cubic_coeff_a", -0.75))


def _cubic(distance: np.ndarray, a: float) -> np.ndarray:
    """Keys' convolution kernel (Keys 1981, equation 4, with ``a`` free)."""
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = a * (((distance - 5) * distance + 8) * distance - 4)
    return np.where(distance <= 1, near, far)


def _resample(
    operation: Operation, data: relax.Expr, axis: int, taps: np.ndarray, weights: np.ndarray
) -> relax.Expr:
    shape = [1] * operation.rank()
    shape[axis] = -1
    result = None
    for positions, factors in zip(taps, weights, strict=True):
        part = operation.emit(relax.op.take(data, constant(positions), axis=axis, mode="clip"))
        if np.any(factors != 1.0):
            scale = constant(factors.astype(operation.dtype()).reshape(shape))
            part = operation.emit(relax.op.multiply(part, scale))
        result = part if result is None else operation.emit(relax.op.add(result, part))
    return result
