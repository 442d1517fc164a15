"""Two thousand damaged containers: an error or a well-formed model, in bounded time and memory.

They run in a process of their own whose address space is limited, so that a request for more memory fails the test rather
than the machine. Half of them get their checksums recomputed, so that the parsers behind them are reached.
"""

import multiprocessing
import random
import resource
import time
import zlib
from pathlib import Path

import numpy as np
import onnx
import pytest

from dcc.codegen.byte_reader import ByteReader, varint
from dcc.container import MAGIC, Container
from dcc.errors import ContainerError, ModelError
from dcc.onnx_weights import load_model, weight_tensors

CASES = 2000
MEMORY = 1 << 30
SECONDS_A_CASE = 10
SHARED = [
    "lenet300100_caffe_mnist_pruned_dns.onnx",
    "mnist_cntk_zoo.onnx",
    "tflm_mnist_lstm20.onnx",
    "squeezenet_v1.0_deep_compressed_decoded.onnx",
]


def synthetic() -> onnx.ModelProto:
    """Model with each kind of tensor; no node needs to make sense."""
    generator = np.random.default_rng(0)
    few = generator.standard_normal(12).astype(np.float32)
    sparse = (generator.random((80, 90)) < 0.1).astype(np.float32)
    arrays = {
        "raw": generator.standard_normal((9, 31)).astype(np.float32),
        "codes": few[generator.integers(0, 12, (40, 50))],
        "masked": sparse * generator.standard_normal((80, 90)).astype(np.float32),
        "both": sparse * few[generator.integers(0, 12, (80, 90))],
        "shape": np.array([1, -1]),
        "flags": generator.random(31) < 0.5,
        "empty": np.zeros((0, 3), np.float16),
    }
    graph = onnx.helper.make_graph([], "g", [], [])
    graph.initializer.extend(onnx.numpy_helper.from_array(a, n) for n, a in arrays.items())
    return onnx.helper.make_model(graph)


def sections(data: bytes) -> list[bytes]:
    reader = ByteReader(data, "test")
    reader.take(len(MAGIC) + 1)
    found = []
    for _ in range(3):
        found.append(reader.take(reader.varint()))
        reader.take(4)
    return found


def assemble(parts: list[bytes]) -> bytes:
    framed = [varint(len(part)) + part + zlib.crc32(part).to_bytes(4, "little") for part in parts]
    return MAGIC + b"\1" + b"".join(framed)


def flip(data: bytes, chance: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 8])):
        # Headers stand in front: meet them more often than chance would.
        end = len(out) if chance.random() < 0.6 else min(len(out), 200)
        out[chance.randrange(end)] ^= 1 << chance.randrange(8)
    return bytes(out)


def splice(data: bytes, other: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(data))
    source = chance.randrange(len(other))
    length = chance.choice([1, 4, 40, 4000])
    return (
        data[:start] + other[source : source + length] + data[start + chance.choice([0, length]) :]
    )


def damage(data: bytes, other: bytes, chance: random.Random) -> bytes:
    kind = chance.choice(["flip", "flip", "cut", "splice"])
    if kind == "flip":
        return flip(data, chance)
    return data[: chance.randrange(len(data))] if kind == "cut" else splice(data, other, chance)


def hostile(originals: list[bytes], chance: random.Random, checksums: bool) -> bytes:
    data, other = chance.choice(originals), chance.choice(originals)
    if not checksums:
        return damage(data, other, chance)
    parts = sections(data)
    if chance.random() < 0.1:
        parts[chance.randrange(3)] = chance.choice(sections(other))
    target = chance.choice([0, 1, 2, 2, 2, 2])
    parts[target] = damage(parts[target], chance.choice(sections(other)), chance)
    return assemble(parts)


def outcome(data: bytes) -> str:
    try:
        container = Container.from_bytes(data)
        model = container.to_onnx()
    except (ContainerError, ModelError):
        return "error"
    tensors = weight_tensors(model)
    assert list(tensors) == list(container.tensors)
    for name, tensor in container.tensors.items():
        assert tuple(tensors[name].dims) == tensor.shape
        assert tensor.nbytes().total == len(tensor.to_bytes())
        assert tensor.decode().shape == tensor.shape
    return "well-formed"


def attack(originals: list[bytes], results) -> None:
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (in_use + MEMORY, in_use + MEMORY))
    exact = set(originals)
    for seed in range(CASES):
        data = hostile(originals, random.Random(seed), checksums=seed % 2 == 1)
        start = time.monotonic()
        try:
            result = outcome(data)
            if seed % 2 == 0 and result != "error" and data not in exact:
                result = "accepted in spite of the checksums"
        except BaseException as error:
            result = f"{type(error).__name__}: {error}"
        results.put((seed, result, time.monotonic() - start))


def test_damaged_containers_end_in_an_error_or_a_well_formed_model(shared_path):
    paths = [shared_path / "models" / name for name in SHARED]
    models = [synthetic(), *(load_model(path) for path in paths if path.is_file())]
    originals = [Container.from_model(model).to_bytes() for model in models]
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    process = context.Process(target=attack, args=(originals, results))
    process.start()
    outcomes: dict[str, int] = {}
    for _ in range(CASES):
        seed, result, seconds = results.get(timeout=60)
        assert result in ("error", "well-formed"), f"seed {seed}: {result}"
        assert seconds < SECONDS_A_CASE, f"seed {seed} took {seconds:.1f} s"
        outcomes[result] = outcomes.get(result, 0) + 1
    process.join()
    assert process.exitcode == 0
    assert outcomes["error"] > CASES // 2
    assert outcomes["well-formed"] > 0


def test_a_bomb_is_refused_before_it_unfolds():
    shape = varint(2) + varint(1 << 15) * 2
    bomb = bytes([0]) + shape + b"\1" + varint(1) + b"\0"
    parts = sections(Container.from_model(synthetic()).to_bytes())
    graph = onnx.helper.make_graph([], "g", [], [])
    graph.initializer.add(name="w")
    parts[1] = b"\0" + onnx.helper.make_model(graph).SerializeToString()
    parts[2] = varint(1) + varint(len(bomb)) + bomb
    with pytest.raises(ContainerError, match="limit"):
        Container.from_bytes(assemble(parts))
