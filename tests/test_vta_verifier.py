"""Every rule of a portable stream: a small stream that keeps it, and one that breaks it."""

import numpy as np
import pytest

from dcc.codegen.vta.instructions import Alu, Finish, Flags, Gemm, Transfer, encode_stream
from dcc.codegen.vta.stream import micro_ops
from dcc.errors import StreamError
from dcc.targets.vta.device import VTA
from dcc.targets.vta.isa import AluOpcode, Memory
from dcc.targets.vta.simulator import SimulatedDriver
from dcc.targets.vta.verifier import verify

PAGE = 0x1000
UOPS = np.concatenate(
    [micro_ops(0, 0, 0), micro_ops(8, 0, 0), micro_ops(np.zeros(2), 0, 0), micro_ops(2047, 0)]
)


def read(address, nbytes):
    """A page of micro-ops; the rest of 1 MiB is mapped and zero."""
    memory = np.zeros(1 << 20, np.uint8)
    memory[: UOPS.nbytes] = UOPS.view(np.uint8)
    if address < PAGE or address + nbytes > PAGE + len(memory):
        raise StreamError(f"address {address:#x} is not mapped")
    return memory[address - PAGE : address - PAGE + nbytes]


def stream():
    """Load, multiply, clip, store: four accumulators."""
    return {
        "inp": Transfer(Memory.INP, 0, "", PAGE // 16, 1, 8, 8),
        "wgt": Transfer(Memory.WGT, 0, "", PAGE // 256, 1, 1, 1, flags=Flags(push_next=True)),
        "uop": Transfer(Memory.UOP, 0, "", PAGE // 4, 1, 5, 5),
        "reset": Gemm((0, 1), (1, 4), (0, 1), reset=True),
        "gemm": Gemm((0, 1), (1, 4), (0, 1), (0, 1), Flags(pop_prev=True)),
        "alu": Alu((0, 1), (1, 4), (0, 1), (0, 1), Flags(push_next=True), "", AluOpcode.MAX, -128),
        "store": Transfer(
            Memory.OUT, 0, "", PAGE // 16, 1, 4, 4, flags=Flags(pop_prev=True, push_prev=True)
        ),
        "finish": Finish(Flags(pop_next=True)),
    }


def check(parts):
    return verify(encode_stream(list(parts.values())), read)


def test_a_correct_stream_passes():
    assert len(check(stream())) == 8


def change(name, **values):
    def apply(parts):
        for key, value in values.items():
            target = parts[name].flags if hasattr(Flags(), key) else parts[name]
            setattr(target, key, value)

    return apply


def drop(name):
    return lambda parts: parts.pop(name)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (change("inp", pop_prev=True), r"pop_prev is set, but the LOAD queue has no such stage"),
        (change("store", push_next=True), "push_next is set, but the STORE queue"),
        (drop("finish"), "does not end with FINISH"),
        (change("finish", pop_next=False), "tokens are left over"),
        (change("gemm", pop_prev=False), "tokens are left over"),
        (change("wgt", push_next=False), "deadlock: instruction 4 .GEMM. waits for load->compute"),
        (drop("uop"), "micro-op 0 was never loaded"),
        (drop("reset"), "reads element 0 of ACC, which this stream has not written"),
        (change("inp", columns=3, stride=3), "reads element 3 of INP"),
        (change("inp", offset=0), "not mapped"),
        (change("inp", offset=1 << 20), "not mapped"),
        (change("inp", sram=2045), "exceed its 2048"),
        (change("uop", sram=2044), "micro-op 0 was never loaded"),
        (change("wgt", pads=(1, 0, 0, 0)), "padding on WGT"),
        (change("uop", rows=2), "one row without padding"),
        (change("inp", rows=0), "y_size is 0"),
        (change("inp", columns=0), "in an instruction of x_size 0: expected 0"),
        (change("gemm", trips=(0, 4)), "the loop is empty"),
        (change("gemm", micro_ops=(1, 1)), "the loop is empty"),
        (change("gemm", dst=(0, 0)), "updated again after 1 iterations"),
        (change("reset", micro_ops=(4, 5)), "dst reaches element 2050 of ACC"),
        (change("gemm", src=(0, 1023)), "src reaches element 3069 of INP"),
        (change("alu", operation=AluOpcode.MUL), "ALU operation 4 is not available"),
        (change("alu", operation=AluOpcode.SHR, immediate=16), "shift by 16"),
        (change("alu", operation=AluOpcode.SHR, immediate=-16), "shift by -16"),
        (change("alu", src=(0, 0)), "src differs from dst with an immediate"),
        (change("alu", immediate=None, dst=(0, 1), src=(0, 1)), None),
        (change("store", sram=4), "reads element 4 of ACC"),
        (change("store", memory=Memory.ACC_8BIT), "ACC_8BIT is not available"),
        (change("store", pads=(0, 0, 1, 0)), "padding on OUT"),
    ],
)
def test_a_broken_rule_is_named(broken, message):
    parts = stream()
    broken(parts)
    if message is None:
        check(parts)
        return
    with pytest.raises(StreamError, match=message):
        check(parts)


def test_finish_waits_for_the_last_store():
    parts = stream()
    parts["store"].flags.push_prev = False
    parts["finish"].flags.pop_next = False
    with pytest.raises(StreamError, match="may run before instruction 6"):
        check(parts)


def test_a_loaded_or_reset_element_is_not_stored():
    parts = stream()
    del parts["alu"], parts["gemm"]
    parts["reset"].flags = Flags(pop_prev=True, push_next=True)
    with pytest.raises(StreamError, match="element 0 was reset and not computed"):
        check(parts)
    parts["reset"] = Transfer(
        Memory.ACC, 0, "", PAGE // 64, 1, 4, 4, flags=Flags(pop_prev=True, push_next=True)
    )
    with pytest.raises(StreamError, match="element 0 was loaded and not computed"):
        check(parts)


def test_a_race_between_load_and_compute():
    parts = stream()
    # A second load of what the GEMM reads, without a token from compute to load.
    again = Transfer(Memory.INP, 0, "", PAGE // 16, 1, 8, 8, flags=Flags(push_next=True))
    parts["finish"].flags.pop_prev = True
    order = [*list(parts.values())[:6], again, *list(parts.values())[6:]]
    with pytest.raises(StreamError, match=r"(overwrite|read) INP before .* a token is missing"):
        verify(encode_stream([*order[:-1], order[-1]]), read)


def test_a_race_between_store_and_compute():
    parts = list(stream().values())
    reset = Gemm((0, 1), (1, 4), (0, 1), reset=True)
    with pytest.raises(StreamError, match=r"(overwrite|read) ACC before .* a token is missing"):
        verify(encode_stream([*parts[:-1], reset, parts[-1]]), read)


def test_micro_ops_beyond_those_of_chisel():
    parts = stream()
    parts = {**parts, "more": Transfer(Memory.UOP, 2044, "", PAGE // 4, 1, 5, 5)}
    order = ["inp", "wgt", "uop", "more", "reset", "gemm", "alu", "store", "finish"]
    with pytest.raises(StreamError, match="elements 2044 to 2048 of UOP exceed its 2048"):
        check({name: parts[name] for name in order})


def test_too_many_tokens():
    pushes = [Transfer(Memory.INP, flags=Flags(push_next=True)) for _ in range(256)]
    pops = [Transfer(Memory.UOP, flags=Flags(pop_prev=True)) for _ in range(256)]
    with pytest.raises(StreamError, match="256 tokens may wait in load->compute"):
        verify(encode_stream([*pushes, *pops, Finish()]), read)


def test_alu_does_not_read_what_it_just_wrote():
    parts = stream()
    tensor = Alu((0, 1), (1, 3), (0, 1), (0, 1), operation=AluOpcode.ADD)
    tensor.micro_ops = (0, 1)
    parts["shift"] = tensor
    keys = ["inp", "wgt", "uop", "reset", "gemm", "shift", "alu", "store", "finish"]
    ordered = {key: parts[key] for key in keys}
    check(ordered)
    tensor.micro_ops, tensor.trips = (2, 4), (1, 1)
    with pytest.raises(StreamError, match="again after 1 iterations"):
        check(ordered)


def test_the_simulator_refuses_what_the_verifier_does():
    driver = SimulatedDriver(VTA)
    code = driver.allocate(16)
    code.view[:] = encode_stream([Transfer(Memory.INP)]).astype("<u8").view(np.uint8).reshape(-1)
    with pytest.raises(StreamError, match="does not end with FINISH"):
        driver.run(code, 1)
