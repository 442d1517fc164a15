"""From a layer and its quantised weights to what the device runs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from dcc.codegen.vta.bias_blocks import LARGEST, constant_input, to_blocks
from dcc.codegen.vta.blocks import block_weights
from dcc.codegen.vta.buffers import BIAS, IDENTITY, ONES, UNIT, WEIGHTS
from dcc.codegen.vta.coded_weights import Chunk, CodedForm, Levels, coding_refusal, encode_weight
from dcc.codegen.vta.program import Operation
from dcc.codegen.vta.stream import Stream
from dcc.errors import CompileError
from dcc.schedules.vta.chunks import chunk_blocks, chunk_layer, weight_chunks
from dcc.schedules.vta.conv import conv_stream
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
    there = blocks_kept(grid)
    kept = None if form == "dense" else there
    coded: CodedForm | None = form if form in ("codebook", "huffman") else None
    most = device.limits.allocation
    if coded is not None:
        refusal = coding_refusal(weights.levels, coded)
        if refusal:
            raise CompileError(f"layer '{name}': storage form '{form}': {refusal}")
        most = device.expand_bytes // 2
    chunks = weight_chunks(np.ones_like(there) if kept is None else kept, most)
    compiled = [_compile_chunk(name, layer, chunk, kept, device, tiling) for chunk in chunks]
    order = np.concatenate([blocks for _, blocks in compiled]).astype(np.int16)
    starts = np.cumsum([0, *(len(blocks) for _, blocks in compiled)]).tolist()
    constants = _constants(layer, weights.bias, any(chunk.first for chunk in chunks))
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
        tuple(stream for stream, _ in compiled),
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


def _compile_chunk(
    name: str,
    layer: ConvLayer,
    chunk: Chunk,
    kept: npt.NDArray[np.bool_] | None,
    device: Accelerator,
    tiling: Tiling | None,
) -> tuple[Stream, npt.NDArray[np.int64]]:
    """Compile the stream of a chunk; return it with its weight blocks in their order."""
    positions = layer.input_blocks * layer.kernel[0] * layer.kernel[1]
    part, outputs = chunk_layer(layer, chunk, positions), (chunk.low, chunk.high)
    count = chunk.high - chunk.low
    kept = chunk_blocks(kept, chunk, layer)
    share = 1.0 if kept is None else float(kept[slice(*outputs)].mean())
    used = tiling if tiling is not None and part == layer else None
    used = used or default_tiling(part, device, count, share)
    if used is None:
        raise CompileError(f"layer '{name}': no tile of it fits the scratchpads")
    used = replace(used, outputs=min(used.outputs, count))
    tiles = weight_tiles(part, used, kept, outputs).values()
    blocks = np.concatenate([tile.blocks for tile in tiles])
    return conv_stream(part, used, device, kept, outputs), blocks


def bias_in_blocks(layer: ConvLayer, bias: npt.NDArray[np.int32] | None) -> bool:
    """Whether the matrix unit can add a bias: its blocks stay in WGT, its values fit them."""
    if bias is None or layer.output_blocks > _MOST_BIAS_BLOCKS:
        return False
    return int(np.abs(bias.astype(np.int64)).max()) + layer.requantise.rounding <= LARGEST


def blocks_kept(grid: npt.NDArray[np.int8]) -> npt.NDArray[np.bool_]:
    """Say which blocks of weights hold anything but zeros; drops the last two axes."""
    return np.asarray(grid.reshape(*grid.shape[:4], -1).any(axis=-1))


def _constants(
    layer: ConvLayer, bias: npt.NDArray[np.int32] | None, sums: bool
) -> dict[str, npt.NDArray[Any]]:
    """Give what the streams read besides tensors; ``sums``: whether one goes on with another's."""
    constants: dict[str, npt.NDArray[Any]] = {UNIT: identity_block(0)} if sums else {}
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
