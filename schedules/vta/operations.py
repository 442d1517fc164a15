"""From a layer and its quantised weights to what the device runs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from dcc.codegen.vta.bias_blocks import LARGEST, constant_input, to_blocks
from dcc.codegen.vta.blocks import block_weights
from dcc.codegen.vta.coded_weights import CodedForm, Levels, coding_refusal, encode_weight
from dcc.codegen.vta.program import Operation
from dcc.errors import CompileError
from dcc.schedules.vta.conv import BIAS, IDENTITY, ONES, WEIGHTS, conv_stream
from dcc.schedules.vta.epilogue import bias_rounds
from dcc.schedules.vta.layers import (
    ConvLayer,
    Layer,
    PoolLayer,
    Requantise,
    Residual,
    SumLayer,
)
from dcc.schedules.vta.pool import pool_stream, pool_tiling
from dcc.schedules.vta.sums import identity_block, sum_stream
from dcc.schedules.vta.tiling import Tiling, default_tiling
from dcc.schedules.vta.weight_order import weight_tiles
from dcc.targets.vta.device import Accelerator
from dcc.targets.vta.isa import BLOCK

VtaForm = Literal["dense", "blocks", "codebook", "huffman"]
VTA_FORMS: tuple[VtaForm, ...] = get_args(VtaForm)
_MOST_BIAS_BLOCKS = 64
_KINDS: dict[str, type[ConvLayer] | type[PoolLayer] | type[SumLayer]] = {
    "conv": ConvLayer,
    "pool": PoolLayer,
    "sum": SumLayer,
}


@dataclass(frozen=True)
class ConvWeights:
    """Quantised weights of a convolution.

    Attributes
    ----------
    levels
        The weight as codes into tables of int8.
    bias
        ``int32``, one for each output channel, in units of the accumulators; None: no bias.
    """

    levels: Levels
    bias: npt.NDArray[np.int32] | None


def layer_to_json(layer: Layer) -> dict[str, Any]:
    """Describe a layer; the inverse of :func:`layer_from_json`."""
    kind = next(kind for kind, each in _KINDS.items() if isinstance(layer, each))
    return {"kind": kind, **asdict(layer)}


def layer_from_json(facts: dict[str, Any]) -> Layer:
    """Read a layer back."""
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in facts.items()
        if key != "kind"
    }
    if values.get("requantise"):
        values["requantise"] = Requantise(**values["requantise"])
    if values.get("residual"):
        values["residual"] = Residual(**values["residual"])
    return _KINDS[facts["kind"]](**values)


def conv_operation(
    name: str,
    layer: ConvLayer,
    weights: ConvWeights,
    form: VtaForm,
    device: Accelerator,
    tiling: Tiling | None = None,
) -> Operation:
    """Compile a convolution with its weights in one of the storage forms.

    Raises
    ------
    CompileError
        No tile of it fits the scratchpads, or the form cannot hold the weights; says why.
    """
    grid = block_weights(weights.levels.decode())
    kept = None if form == "dense" else blocks_kept(grid)
    coded: CodedForm | None = form if form in ("codebook", "huffman") else None
    chunks = [(0, layer.output_blocks)]
    if coded is not None:
        refusal = coding_refusal(weights.levels, coded)
        if refusal:
            raise CompileError(f"layer '{name}': storage form '{form}': {refusal}")
        chunks = _chunks(name, kept, device)
    streams, orders, starts = [], [], [0]
    for chunk in chunks:
        share = 1.0 if kept is None else float(kept[slice(*chunk)].mean())
        used = tiling or default_tiling(layer, device, chunk[1] - chunk[0], share)
        if used is None:
            raise CompileError(f"layer '{name}': no tile of it fits the scratchpads")
        used = replace(used, outputs=min(used.outputs, chunk[1] - chunk[0]))
        streams.append(conv_stream(layer, used, device, kept, chunk))
        tiles = weight_tiles(layer, used, kept, chunk).values()
        orders.append(np.concatenate([tile.blocks for tile in tiles]))
        starts.append(starts[-1] + len(orders[-1]))
    order = np.concatenate(orders).astype(np.int16)
    constants = _constants(layer, weights.bias)
    blocks = np.ascontiguousarray(grid[tuple(order.T)])
    if coded is None:
        constants[WEIGHTS] = blocks
    code = None if coded is None else encode_weight(weights.levels, coded, chunks)
    return Operation(
        name,
        layer_to_json(layer),
        form,
        _input_shapes(layer),
        (layer.batch, layer.output_blocks, layer.out_height, layer.out_width, BLOCK),
        tuple(streams),
        constants,
        order,
        tuple(starts),
        code,
        {
            "dense": weights.levels.codes.size,
            "dense_blocks": grid.nbytes,
            "kept_blocks": blocks.nbytes,
            "stored": blocks.nbytes if code is None else code.coded_bytes,
        },
    )


def bias_in_blocks(layer: ConvLayer, bias: npt.NDArray[np.int32] | None) -> bool:
    """Whether the matrix unit can add a bias: its blocks stay in WGT, its values fit them."""
    if bias is None or layer.output_blocks > _MOST_BIAS_BLOCKS:
        return False
    return int(np.abs(bias.astype(np.int64)).max()) + layer.requantise.rounding <= LARGEST


def blocks_kept(grid: npt.NDArray[np.int8]) -> npt.NDArray[np.bool_]:
    """Say which blocks of weights hold anything but zeros; drops the last two axes."""
    return np.asarray(grid.reshape(*grid.shape[:4], -1).any(axis=-1))


def _constants(layer: ConvLayer, bias: npt.NDArray[np.int32] | None) -> dict[str, npt.NDArray[Any]]:
    constants: dict[str, npt.NDArray[Any]] = {}
    if bias is not None:
        padded = np.zeros(layer.output_blocks * BLOCK, dtype=np.int32)
        padded[: layer.outputs] = bias
        if layer.residual is None and bias_rounds(layer.requantise):
            padded += np.int32(layer.requantise.rounding)
        constants[BIAS] = to_blocks(padded) if layer.bias_blocks else padded
        if layer.bias_blocks:
            constants[ONES] = constant_input()
    if layer.residual is not None:
        constants[IDENTITY] = identity_block(layer.residual.lift)
    return constants


def _input_shapes(layer: ConvLayer) -> tuple[tuple[int, ...], ...]:
    data = (layer.batch, layer.input_blocks, layer.height, layer.width, BLOCK)
    if layer.residual is None:
        return (data,)
    out = (layer.batch, layer.output_blocks, layer.out_height, layer.out_width, BLOCK)
    return (data, out)


def _chunks(
    name: str, kept: npt.NDArray[np.bool_] | None, device: Accelerator
) -> list[tuple[int, int]]:
    """Cut the output blocks into chunks that fit half of the host's double buffer, or all of it."""
    assert kept is not None
    sizes = kept.reshape(len(kept), -1).sum(axis=1) * BLOCK * BLOCK
    half = device.expand_bytes // 2
    most = half if int(sizes.max()) <= half else device.expand_bytes
    if int(sizes.max()) > most:
        raise CompileError(
            f"layer '{name}': the weights of 16 outputs take {int(sizes.max()):,} bytes, the "
            f"double buffer of the host has {device.expand_bytes:,}"
        )
    chunks, first, used = [], 0, 0
    for block, size in enumerate(sizes.tolist()):
        if used + size > most:
            chunks.append((first, block))
            first, used = block, 0
        used += size
    return [*chunks, (first, len(sizes))]


def pool_operation(name: str, layer: PoolLayer, device: Accelerator) -> Operation:
    """Compile a max-pooling; CompileError where no tile of it fits the scratchpads."""
    tiling = pool_tiling(layer, device)
    if tiling is None:
        raise CompileError(f"layer '{name}': no tile of it fits the scratchpads")
    return Operation(
        name,
        layer_to_json(layer),
        "",
        ((layer.batch, layer.blocks, layer.height, layer.width, BLOCK),),
        (layer.batch, layer.blocks, layer.out_height, layer.out_width, BLOCK),
        (pool_stream(layer, tiling, device),),
        {IDENTITY: identity_block(0)},
        np.zeros((0, 4), dtype=np.int16),
    )


def sum_operation(
    name: str, layer: SumLayer, shape: tuple[int, ...], device: Accelerator
) -> Operation:
    """Compile a sum of tensors of the packed ``shape``."""
    return Operation(
        name,
        layer_to_json(layer),
        "",
        (shape,) * len(layer.lifts),
        shape,
        (sum_stream(layer, device),),
        {IDENTITY: np.stack([identity_block(lift) for lift in layer.lifts])},
        np.zeros((0, 4), dtype=np.int16),
    )
