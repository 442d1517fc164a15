"""Strides, dilations and padding of convolutions and poolings."""

from __future__ import annotations

from collections.abc import Sequence

from dcc.importer.operation import Operation


def window_attribute(operation: Operation, name: str, default: int = 1) -> list[int]:
    """Read a list attribute with one entry per spatial dimension."""
    spatial = operation.rank() - 2
    values = list(operation.attribute(name, (default,) * spatial))
    if len(values) != spatial:
        raise operation.error(f"{name} has {len(values)} entries for {spatial} spatial dimensions")
    return values


def explicit_padding(operation: Operation, kernel: Sequence[int]) -> list[int]:
    """Give padding as begins then ends, with ``auto_pad`` worked out from the static shape.

    ``SAME_UPPER`` puts the odd element at the end, ``SAME_LOWER`` at the beginning (ONNX operator
    Conv).
    """
    spatial = operation.rank() - 2
    mode = operation.attribute("auto_pad", "NOTSET") or "NOTSET"
    if mode == "NOTSET":
        pads = list(operation.attribute("pads", (0,) * (2 * spatial)))
        if len(pads) != 2 * spatial:
            raise operation.error(f"pads has {len(pads)} entries, expected {2 * spatial}")
        return pads
    if mode == "VALID":
        return [0] * (2 * spatial)
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        raise operation.error(f"auto_pad '{mode}' is not one that ONNX knows")
    begins, ends = [], []
    sizes = operation.shape()[2:]
    strides = window_attribute(operation, "strides")
    dilations = window_attribute(operation, "dilations")
    for size, width, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        outputs = -(-size // stride)
        total = max((outputs - 1) * stride + (width - 1) * dilation + 1 - size, 0)
        begin = total // 2 if mode == "SAME_UPPER" else total - total // 2
        begins.append(begin)
        ends.append(total - begin)
    return begins + ends
