"""The rules that make a stream run alike on all implementations of VTA.

The simulators of VTA and its two hardware designs differ at the edges: what one runs, another
crashes on or computes wrongly. A stream that passes here meets none of the edges.
"""

from __future__ import annotations

import numpy as np

from dcc.errors import StreamError
from dcc.targets.vta.device import VTA, Accelerator
from dcc.targets.vta.isa import ELEMENT_BYTES, AluOpcode, Memory, Opcode, Words
from dcc.targets.vta.prepared import Indices, Instruction, Read, prepare
from dcc.targets.vta.queues import check_tokens
from dcc.targets.vta.scratchpad_rules import check_scratchpads

_PADS = ("y_pad_0", "y_pad_1", "x_pad_0", "x_pad_1")
_PADDED = (Memory.INP, Memory.ACC)


def verify(words: Words, read: Read, device: Accelerator = VTA) -> list[Instruction]:
    """Check a stream with its addresses filled in.

    Parameters
    ----------
    words
        Shape (instructions, 2), uint64.
    read
        Access to DRAM; raises StreamError outside of allocations. Loads and stores are checked to
        lie in one allocation each.

    Returns
    -------
    list of Instruction
        The decoded stream.

    Raises
    ------
    StreamError
        The first rule that is broken, and by which instruction.
    """
    if len(words) * words.itemsize * 2 > device.limits.allocation:
        raise StreamError(
            f"a stream of {len(words):,} instructions exceeds one allocation "
            f"({device.limits.allocation:,} bytes)"
        )
    instructions = prepare(words, read, device)
    for instruction in instructions:
        if instruction.opcode in (Opcode.LOAD, Opcode.STORE):
            _check_transfer(instruction, read, device)
        elif instruction.opcode in (Opcode.GEMM, Opcode.ALU):
            _check_loop(instruction, device)
    order = check_tokens(instructions, device)
    check_scratchpads(instructions, order, device)
    return instructions


def _check_transfer(instruction: Instruction, read: Read, device: Accelerator) -> None:
    fields = instruction.fields
    if instruction.is_no_operation:
        _check_no_operation(instruction)
        return
    memory = instruction.memory
    if memory == Memory.ACC_8BIT:
        raise instruction.fail("ACC_8BIT is not available on HLS and Chisel")
    if (instruction.opcode == Opcode.STORE) != (memory == Memory.OUT):
        raise instruction.fail(f"cannot move memory {memory.name}: STORE takes OUT, LOAD the rest")
    if fields["y_size"] == 0:
        raise instruction.fail("y_size is 0: no implementation defines rows of padding alone")
    if memory not in _PADDED and any(fields[name] for name in _PADS):
        raise instruction.fail(f"padding on {memory.name}: only LOADs of INP and ACC may pad")
    depth = device.limits.micro_ops if memory == Memory.UOP else device.depths[memory]
    end = fields["sram_base"] + instruction.sram_elements
    if end > depth:
        raise instruction.fail(
            f"elements {fields['sram_base']} to {end - 1} of {memory.name} exceed its {depth}"
        )
    size = ELEMENT_BYTES[memory]
    span = (fields["y_size"] - 1) * fields["x_stride"] + fields["x_size"]
    try:
        read(fields["dram_base"] * size, span * size)
    except StreamError as error:
        raise instruction.fail(str(error)) from None


def _check_no_operation(instruction: Instruction) -> None:
    kept = ("opcode", "memory", "pop_prev", "pop_next", "push_prev", "push_next")
    for name, value in instruction.fields.items():
        if name not in kept and value:
            raise instruction.fail(f"{name} = {value} in an instruction of x_size 0: expected 0")
    allowed: tuple[Memory, ...] = (Memory.INP, Memory.UOP)
    if instruction.opcode == Opcode.STORE:
        allowed = (Memory.OUT,)
    if instruction.memory not in allowed:
        names = " or ".join(memory.name for memory in allowed)
        raise instruction.fail(f"x_size 0 with memory {instruction.memory.name}: expected {names}")


def _check_loop(instruction: Instruction, device: Accelerator) -> None:
    fields = instruction.fields
    if fields["iter_out"] < 1 or fields["iter_in"] < 1 or fields["uop_end"] <= fields["uop_bgn"]:
        raise instruction.fail("the loop is empty: Chisel would run it 16384 times")
    if fields["uop_end"] > device.limits.micro_ops:
        raise instruction.fail(
            f"micro-op {fields['uop_end'] - 1}: Chisel has {device.limits.micro_ops} only"
        )
    if instruction.opcode == Opcode.ALU:
        _check_alu(instruction, device)
    _check_range(instruction, "dst", Memory.ACC, device)
    if instruction.opcode == Opcode.ALU:
        _check_range(instruction, "src", Memory.ACC, device)
    elif not fields["reset"]:
        _check_range(instruction, "src", Memory.INP, device)
        _check_range(instruction, "wgt", Memory.WGT, device)
    dst = instruction.indices("dst").reshape(-1)
    _check_distance(instruction, dst, device)
    if instruction.opcode == Opcode.ALU and not fields["use_imm"]:
        src = instruction.indices("src").reshape(-1)
        for lag in range(1, device.limits.distance):
            if (src[lag:] == dst[:-lag]).any():
                raise instruction.fail("an iteration reads what one just before it writes")


def _check_alu(instruction: Instruction, device: Accelerator) -> None:
    fields = instruction.fields
    if fields["reset"]:
        raise instruction.fail("reset is set on an ALU instruction")
    if fields["alu_opcode"] >= AluOpcode.MUL:
        raise instruction.fail(
            f"ALU operation {fields['alu_opcode']} is not available on HLS and Chisel"
        )
    shift = device.limits.shift
    immediate = fields["imm"]
    if not fields["use_imm"] and immediate:
        raise instruction.fail(f"imm = {immediate} without use_imm: Chisel reads its sign")
    if fields["use_imm"] and fields["alu_opcode"] == AluOpcode.SHR and abs(immediate) > shift:
        raise instruction.fail(f"shift by {immediate}: expected {-shift} to {shift}")
    assert instruction.micro_ops is not None
    dst, src, wgt = instruction.micro_ops
    if wgt.any():
        raise instruction.fail("a micro-op of the ALU has a weight index: Chisel takes it for src")
    factors = all(
        fields[f"dst_factor_{loop}"] == fields[f"src_factor_{loop}"] for loop in ("out", "in")
    )
    if fields["use_imm"] and not (factors and np.array_equal(dst, src)):
        raise instruction.fail("src differs from dst with an immediate: Chisel reads src")


def _check_range(
    instruction: Instruction, operand: str, memory: Memory, device: Accelerator
) -> None:
    most = int(instruction.elements(operand)[-1])
    if most >= device.depths[memory]:
        raise instruction.fail(
            f"{operand} reaches element {most} of {memory.name}, which has {device.depths[memory]}"
        )


def _check_distance(instruction: Instruction, dst: Indices, device: Accelerator) -> None:
    """Refuse iterations that update an accumulator again too soon."""
    for lag in range(1, device.limits.distance):
        if (dst[lag:] == dst[:-lag]).any():
            raise instruction.fail(
                f"accumulators are updated again after {lag} iterations, "
                f"expected {device.limits.distance} or more"
            )
