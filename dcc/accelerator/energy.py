"""Energy proxy of the layers on an accelerator: counted from their streams, without running them.

A multiplication of blocks is 256 products of int8 and 256 additions of 32 bits; it reads a block of
weights and a vector of inputs, and reads and writes a vector of sums. Loads, stores, instructions
and micro-ops are bytes of main memory that the scratchpads take or give. Coded weights are read by
the host, which looks each one up (three simple operations and a table access) and writes it to its
cache, from where a coherent port serves the loads.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dcc.accelerator.loading import read_operations
from dcc.codegen.vta.program import Operation
from dcc.codegen.vta.stream import Stream
from dcc.energy import LayerEnergy, layer_energy
from dcc.targets.energy import EnergyTable
from dcc.targets.vta.isa import (
    BLOCK,
    ELEMENT_BYTES,
    INSTRUCTION_BYTES,
    Memory,
    Opcode,
    queue_of,
    unpack,
)
from dcc.targets.vta.prepared import Instruction

_BLOCK_BYTES = ELEMENT_BYTES[Memory.INP] + ELEMENT_BYTES[Memory.WGT] + 2 * ELEMENT_BYTES[Memory.ACC]
_LOOK_UP = 3
_WORD = 4


def accelerator_layers(
    path: str | Path, metadata: Mapping[str, Any], table: EnergyTable
) -> tuple[LayerEnergy, ...]:
    """Price the operations of a module on its accelerator, in their order.

    Raises
    ------
    ModuleError
        The accelerator's part of the file is damaged.
    """
    layers = []
    for operation in read_operations(path, metadata):
        operations, moved = count_operation(operation)
        form = f"accelerator, {operation.form}" if operation.form else "accelerator"
        layers.append(layer_energy(operation.name, form, operations, moved, table))
    return tuple(layers)


def count_operation(operation: Operation) -> tuple[Counter[str], Counter[str]]:
    """Operations by kind, and bytes by level, of one operation."""
    operations: Counter[str] = Counter()
    moved: Counter[str] = Counter()
    weights = 0
    for stream in operation.streams:
        weights += _count_stream(stream, operations, moved)
    coded = operation.coded
    # Expanded weights come from the host's cache.
    moved["dram" if coded is None else "last_level"] += weights
    if coded is not None:
        moved["dram"] += sum(payload.nbytes for payload in coded.payloads)
        moved["dram"] += coded.tables.nbytes + coded.lengths.nbytes
        count = sum(coded.weights(chunk) for chunk in range(len(coded.chunks)))
        operations["integer_add"] += _LOOK_UP * count
        moved["level1"] += _WORD * count
        moved["last_level"] += weights
    return operations, moved


def _count_stream(stream: Stream, operations: Counter[str], moved: Counter[str]) -> int:
    """Count all but what weights move between memories; returns bytes of weights loaded."""
    weights = 0
    moved["dram"] += len(stream.words) * INSTRUCTION_BYTES
    moved["level1"] += len(stream.words) * INSTRUCTION_BYTES
    for number, (low, high) in enumerate(stream.words.tolist()):
        fields = unpack(low, high)
        instruction = Instruction(number, Opcode(fields["opcode"]), queue_of(fields), fields)
        if instruction.opcode in (Opcode.LOAD, Opcode.STORE):
            size = ELEMENT_BYTES[instruction.memory]
            moved["level1"] += instruction.sram_elements * size
            transferred = instruction.dram_elements * size
            if instruction.memory == Memory.WGT:
                weights += transferred
            else:
                moved["dram"] += transferred
        elif instruction.opcode == Opcode.GEMM:
            _count_products(instruction, operations, moved)
        elif instruction.opcode == Opcode.ALU:
            steps = instruction.iterations
            operations["integer_add"] += steps * BLOCK
            reads = 1 if fields["use_imm"] else 2
            moved["level1"] += steps * ELEMENT_BYTES[Memory.ACC] * (1 + reads)
    return weights


def _count_products(
    instruction: Instruction, operations: Counter[str], moved: Counter[str]
) -> None:
    steps = instruction.iterations
    if instruction.fields["reset"]:
        moved["level1"] += steps * ELEMENT_BYTES[Memory.ACC]
        return
    operations["byte_multiply"] += steps * BLOCK * BLOCK
    operations["integer_add"] += steps * BLOCK * BLOCK
    moved["level1"] += steps * _BLOCK_BYTES
