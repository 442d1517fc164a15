"""Runs single layers on VTA's simulator beside their numpy reference."""

from __future__ import annotations

import numpy as np

from dcc.codegen.vta.bias_blocks import constant_input, to_blocks
from dcc.codegen.vta.blocks import block_weights, pack_activations, unpack_activations
from dcc.schedules.vta.conv import conv_stream
from dcc.schedules.vta.epilogue import bias_rounds
from dcc.schedules.vta.pool import pool_stream, pool_tiling
from dcc.schedules.vta.reference import conv_reference, pool_reference, sum_reference
from dcc.schedules.vta.sums import identity_block, sum_stream
from dcc.schedules.vta.tiling import default_tiling
from dcc.schedules.vta.weight_order import weight_tiles
from dcc.targets.vta.device import VTA
from dcc.targets.vta.simulator import SimulatedDriver


def run_stream(stream, contents, output_bytes, driver=None):
    """Place buffers, run, and return the output's bytes and the timeline."""
    driver = driver or SimulatedDriver()
    buffers = {}
    for name, array in {**contents, "uops": stream.micro_ops}.items():
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        buffers[name] = driver.allocate(len(data))
        buffers[name].view[:] = data
    buffers["output"] = driver.allocate(output_bytes)
    words = stream.placed({name: buffers[name].physical for name in stream.buffers})
    code = driver.allocate(words.nbytes)
    code.view[:] = words.astype("<u8").reshape(-1).view(np.uint8)
    driver.run(code, len(words))
    return buffers["output"].view.copy(), driver


def conv_case(layer, seed=0, tiling=None, kept_share=1.0, driver=None, sparse=False):
    """Run a convolution; return (result, expected, driver)."""
    random = np.random.default_rng(seed)
    x = random.integers(-128, 128, (layer.batch, layer.channels, layer.height, layer.width))
    x = x.astype(np.int8)
    shape = (layer.outputs, layer.channels, *layer.kernel)
    weight = random.integers(-128, 128, shape).astype(np.int8)
    grid = block_weights(weight)
    if kept_share < 1:
        drop = random.random(grid.shape[:4]) >= kept_share
        grid[drop] = 0
        weight = grid.transpose(0, 4, 1, 5, 2, 3).reshape(
            grid.shape[0] * 16, grid.shape[1] * 16, *layer.kernel
        )[: layer.outputs, : layer.channels]
    bias = random.integers(-5000, 5000, layer.outputs).astype(np.int32) if layer.bias else None
    residual = None
    out_shape = (layer.batch, layer.outputs, layer.out_height, layer.out_width)
    if layer.residual is not None:
        residual = random.integers(-128, 128, out_shape).astype(np.int8)
    tiling = tiling or default_tiling(layer, VTA)
    kept = grid.reshape(*grid.shape[:4], -1).any(axis=-1) if sparse else None
    stream = conv_stream(layer, tiling, VTA, kept)
    order = np.concatenate([t.blocks for t in weight_tiles(layer, tiling, kept).values()])
    contents = {"input": pack_activations(x), "weights": grid[tuple(order.T)]}
    if bias is not None:
        padded = np.zeros(layer.output_blocks * 16, np.int32)
        padded[: layer.outputs] = bias
        if layer.residual is None and bias_rounds(layer.requantise):
            padded += layer.requantise.rounding
        contents["bias"] = to_blocks(padded) if layer.bias_blocks else padded
        contents["ones"] = constant_input()
    if residual is not None:
        contents["residual"] = pack_activations(residual)
        contents["identity"] = identity_block(layer.residual.lift)
    elements = layer.batch * layer.output_blocks * layer.out_height * layer.out_width
    raw, driver = run_stream(stream, contents, elements * 16, driver)
    expected = conv_reference(x, weight, layer, bias, residual)
    return unpack_activations(raw.view(np.int8), out_shape), expected, driver


def pool_case(layer, seed=0, tiling=None, driver=None):
    random = np.random.default_rng(seed)
    x = random.integers(-128, 128, (layer.batch, layer.channels, layer.height, layer.width))
    x = x.astype(np.int8)
    stream = pool_stream(layer, tiling or pool_tiling(layer, VTA), VTA)
    out_shape = (layer.batch, layer.channels, layer.out_height, layer.out_width)
    elements = layer.batch * layer.blocks * layer.out_height * layer.out_width
    contents = {"input": pack_activations(x), "identity": identity_block(0)}
    raw, driver = run_stream(stream, contents, elements * 16, driver)
    return unpack_activations(raw.view(np.int8), out_shape), pool_reference(x, layer), driver


def sum_case(layer, seed=0, driver=None):
    random = np.random.default_rng(seed)
    operands = [
        random.integers(-128, 128, layer.elements * 16).astype(np.int8) for _ in layer.lifts
    ]
    contents = dict(zip(("input", "residual"), operands, strict=False))
    contents["identity"] = np.stack([identity_block(lift) for lift in layer.lifts])
    raw, driver = run_stream(sum_stream(layer, VTA), contents, layer.elements * 16, driver)
    return raw.view(np.int8), sum_reference(operands, layer), driver
