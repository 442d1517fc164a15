"""Streams as text: a line for each instruction with its fields, its tokens and its tile."""

from __future__ import annotations

from collections.abc import Iterator

from dcc.codegen.vta.stream import Stream
from dcc.errors import EncodingError
from dcc.targets.vta.isa import AluOpcode, Memory, Opcode, Queue, queue_of, unpack

_QUEUES = {Queue.LOAD: "load", Queue.COMPUTE: "compute", Queue.STORE: "store"}


def disassemble(stream: Stream) -> Iterator[str]:
    """Give the lines of a stream.

    Raises
    ------
    EncodingError
        A word is no instruction.
    """
    tile = None
    for number, (low, high) in enumerate(stream.words.tolist()):
        if stream.labels[number] != tile:
            tile = stream.labels[number]
            yield f"; {tile or 'before the first tile'}"
        try:
            fields = unpack(low, high)
        except ValueError as error:
            raise EncodingError(f"VTA stream, instruction {number}: {error}") from None
        place = int(stream.places[number])
        buffer = stream.buffers[place] if place >= 0 else ""
        yield line(number, fields, buffer)


def line(number: int, fields: dict[str, int], buffer: str = "") -> str:
    """Write one instruction."""
    opcode = Opcode(fields["opcode"])
    text = (
        f"{number:5}  {_QUEUES[queue_of(fields)]:8}{opcode.name:7}{_text(opcode, fields, buffer)}"
    )
    tokens = _tokens(fields)
    return f"{text:118}{tokens}".rstrip()


def _tokens(f: dict[str, int]) -> str:
    """Name the tokens that are taken before and given after."""
    found = []
    if f["pop_prev"]:
        found.append("pop prev")
    if f["pop_next"]:
        found.append("pop next")
    if f["push_prev"]:
        found.append("push prev")
    if f["push_next"]:
        found.append("push next")
    return ", ".join(found)


def _text(opcode: Opcode, f: dict[str, int], buffer: str) -> str:
    if opcode == Opcode.FINISH:
        return ""
    if opcode in (Opcode.LOAD, Opcode.STORE):
        memory = Memory(f["memory"]).name
        if not f["x_size"]:
            return f"{memory} nothing"
        text = (
            f"{memory}[{f['sram_base']}] {buffer or 'dram'}[{f['dram_base']}] "
            f"{f['y_size']} x {f['x_size']} stride {f['x_stride']}"
        )
        pads = [f[name] for name in ("y_pad_0", "y_pad_1", "x_pad_0", "x_pad_1")]
        return text + f" pad {' '.join(map(str, pads))}" * any(pads)
    loops = (
        f"uop[{f['uop_bgn']}:{f['uop_end']}] x {f['iter_out']} x {f['iter_in']} "
        f"dst +{f['dst_factor_out']} +{f['dst_factor_in']}"
    )
    src = f" src +{f['src_factor_out']} +{f['src_factor_in']}"
    if opcode == Opcode.ALU:
        operation = AluOpcode(f["alu_opcode"]).name
        operand = f" {f['imm']}" if f["use_imm"] else ""
        return f"{operation}{operand} {loops}{src}"
    if f["reset"]:
        return f"reset {loops}"
    return f"{loops}{src} wgt +{f['wgt_factor_out']} +{f['wgt_factor_in']}"
