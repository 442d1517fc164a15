"""Whole models compiled for VTA: bit for bit with the integer reference, near the float model."""

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import dcc
from dcc.__main__ import main
from dcc.accelerator.account import OperationRun, StreamRun, overlapped_cycles
from dcc.accelerator.reference import ReferenceExecutor
from dcc.errors import CompileError, DriverError, InputError, ModuleError, TuningError
from dcc.random_inputs import random_inputs
from dcc.targets.vta.simulator import SimulatedDriver
from dcc.targets.vta.timing import Timeline


def small_network(levels=None, seed=0):
    """Convolutions with a residual, pooling, a depthwise layer on the host, concatenation."""
    random = np.random.default_rng(seed)

    def weight(name, *shape):
        values = random.standard_normal(shape).astype(np.float32) / np.sqrt(np.prod(shape[1:]))
        if levels is not None:
            grid = np.linspace(-0.4, 0.4, levels).astype(np.float32)
            values = grid[np.abs(values[..., None] - grid).argmin(-1)]
        return helper.make_tensor(name, TensorProto.FLOAT, shape, values.reshape(-1))

    weights = [
        weight("w1", 24, 3, 3, 3),
        weight("w2", 24, 24, 3, 3),
        weight("wd", 24, 1, 3, 3),
        weight("w3", 32, 24, 1, 1),
        weight("w4", 20, 24, 1, 1),
        weight("w5", 10, 52 * 6 * 6),
        helper.make_tensor("b1", TensorProto.FLOAT, [24], random.standard_normal(24) / 8),
    ]
    pads = {"pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], **pads),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], **pads),
        helper.make_node("Add", ["c2", "r1"], ["a2"]),
        helper.make_node("Relu", ["a2"], ["r2"]),
        helper.make_node("MaxPool", ["r2"], ["p2"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["p2", "wd"], ["d"], group=24, **pads),
        helper.make_node("Conv", ["d", "w3"], ["c3"]),
        helper.make_node("Conv", ["p2", "w4"], ["c4"]),
        helper.make_node("Concat", ["c3", "c4"], ["k"], axis=1),
        helper.make_node("Flatten", ["k"], ["f"]),
        helper.make_node("Gemm", ["f", "w5"], ["y"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 12, 12])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 10])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model


def signal_to_noise(actual, expected):
    noise = np.square(actual.astype(np.float64) - expected).sum()
    return 10 * np.log10(np.square(expected.astype(np.float64)).sum() / noise)


def check_module(path, host, seeds=range(3), least=15.0):
    """Equal to the integer reference; the outputs' SQNR against the float module."""
    module = dcc.load(path)
    reference = module.on(ReferenceExecutor(module.accelerator.operations))
    for seed in seeds:
        inputs = random_inputs(module.inputs, seed + 50)
        ours = module(inputs)
        for each, other in zip(ours, reference(inputs), strict=True):
            np.testing.assert_array_equal(each, other)
        assert signal_to_noise(ours[0], host(inputs)[0]) > least
    return module


@pytest.fixture(scope="module", name="small")
def _small(tmp_path_factory):
    path = tmp_path_factory.mktemp("small") / "small.so"
    dcc.compile(small_network(), path, target="vta-sim")
    return path, dcc.load(dcc.compile(small_network()))


def test_small_network(small):
    path, host = small
    module = check_module(path, host)
    kinds = [operation.layer["kind"] for operation in module.accelerator.operations]
    assert kinds == ["conv", "conv", "pool", "conv", "conv", "conv"]
    assert module.accelerator.operations[1].layer["residual"] is not None


def test_what_stays_on_the_host_says_why(small):
    layers = {layer.name: layer for layer in dcc.inspect(small[0]).layers}
    assert layers["w1"].form == "accelerator, dense"
    assert "stays on the host: it has groups" in layers["wd"].reason


def test_random_orders_of_the_queues_give_the_same(small):
    module = dcc.load(small[0])
    inputs = random_inputs(module.inputs, 9)
    expected = module(inputs)[0]
    for seed in range(3):
        other = dcc.load(small[0], SimulatedDriver(interleave=seed))
        np.testing.assert_array_equal(other(inputs)[0], expected)


def test_behind_a_driver_library(small, vta_driver_library, tmp_path, capsys):
    module = dcc.load(small[0])
    inputs = random_inputs(module.inputs, 9)
    other = dcc.load(small[0], vta_driver_library)
    np.testing.assert_array_equal(other(inputs)[0], module(inputs)[0])
    np.savez(tmp_path / "x.npz", **inputs)
    arguments = ["--input", str(tmp_path / "x.npz"), "--output", str(tmp_path / "y.npz")]
    assert main(["run", str(small[0]), "--vta-driver", str(vta_driver_library), *arguments]) == 0
    np.testing.assert_array_equal(np.load(tmp_path / "y.npz")["y"], module(inputs)[0])
    assert main(["run", str(small[0]), "--vta-driver", str(tmp_path / "x.npz")]) == 2
    assert "cannot be loaded" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["blocks", "codebook", "huffman"])
def test_storage_forms(form, tmp_path):
    model = small_network(levels=15)
    path = tmp_path / "coded.so"
    dcc.compile(model, path, target="vta-sim", storage=form)
    module = check_module(path, dcc.load(dcc.compile(model)), range(1), least=10.0)
    operations = [o for o in module.accelerator.operations if o.form]
    assert {operation.form for operation in operations} == {form}
    if form == "blocks":
        return
    for number, run in module.accelerator.runs.items():
        operation = module.accelerator.operations[number]
        if operation.form:
            dense = operation.bytes["dense"]
            if dense > 4000:
                assert run.coded_bytes <= (0.55 if form == "codebook" else 0.6) * dense
            assert run.coded_bytes == operation.coded.coded_bytes
            assert run.expand_cycles > 0
    # The chunks of the large layer fit into halves of the double buffer.
    large = operations[-1]
    assert np.diff(large.starts).max() * 256 <= 64 * 1024


def test_sparse_is_refused():
    with pytest.raises(CompileError, match="'sparse' does not exist on the accelerator"):
        dcc.compile(small_network(), target="vta-sim", storage="sparse")
    with pytest.raises(CompileError, match="form 'blocks' is for targets with an accelerator"):
        dcc.compile(small_network(), storage="blocks")
    with pytest.raises(CompileError, match="--calibrate is for targets with an accelerator"):
        dcc.compile(small_network(), calibrate={"x": np.zeros((1, 3, 12, 12), np.float32)})


def test_blocks_of_zeros(tmp_path):
    path = tmp_path / "pruned.so"
    dcc.compile(small_network(), path, target="vta-sim", recipe="blocks-50")
    module = dcc.load(path)
    reference = module.on(ReferenceExecutor(module.accelerator.operations))
    inputs = random_inputs(module.inputs, 1)
    np.testing.assert_array_equal(module(inputs)[0], reference(inputs)[0])
    large = module.accelerator.operations[-1]
    assert large.form == "blocks"
    # The last layer is a convolution of the whole image for the accelerator, a matrix for the recipe.
    second = module.accelerator.operations[1]
    assert second.bytes["kept_blocks"] == second.bytes["dense_blocks"] // 2


class _Wrong(SimulatedDriver):
    """Gives the first lane of every result wrong by one."""

    def invalidate(self, buffer):
        buffer.view[0] ^= 1


def test_verify_finds_a_single_wrong_number(small, tmp_path):
    source = tmp_path / "small.onnx"
    onnx.save(small_network(), source)
    found = dcc.verify(dcc.load(small[0], _Wrong()), source)
    assert not found.holds
    assert "bit for bit in 0 of 3 runs" in found.reason
    assert dcc.verify(dcc.load(small[0], SimulatedDriver()), source).holds


def test_calibration_inputs(tmp_path):
    x = np.random.default_rng(0).uniform(0, 4, (5, 3, 12, 12)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    onnx.save(small_network(), tmp_path / "m.onnx")
    arguments = ["--target", "vta-sim", "--calibrate", str(tmp_path / "x.npz")]
    out = str(tmp_path / "m.so")
    assert main(["compile", str(tmp_path / "m.onnx"), "-o", out, *arguments]) == 0
    host = dcc.load(dcc.compile(small_network()))
    module = dcc.load(out)
    assert signal_to_noise(module(x[:1])[0], host(x[:1])[0]) > 15
    with pytest.raises(InputError):
        dcc.compile(small_network(), target="vta-sim", calibrate={"z": x})


def test_commands(small, tmp_path, capsys):
    path = str(small[0])
    onnx.save(small_network(), tmp_path / "m.onnx")
    assert main(["verify", path, str(tmp_path / "m.onnx")]) == 0
    assert "bit for bit in 3 of 3 runs" in capsys.readouterr().out
    plots = ["--roofline", str(tmp_path / "r.svg"), "--json", str(tmp_path / "b.json")]
    assert main(["bench", path, *plots]) == 0
    text = capsys.readouterr().out
    assert "utilisation" in text
    assert "no coherent port" in text
    facts = json.loads((tmp_path / "b.json").read_text())["operations"]
    assert all(0 < each["utilisation"] <= 1 for each in facts)
    assert "<svg" in (tmp_path / "r.svg").read_text()
    timeline = ["--timeline", str(tmp_path / "t.svg")]
    assert main(["inspect", path, "--stream", "--layer", "w2", *timeline]) == 0
    listing = capsys.readouterr().out
    assert "== w2 (dense)" in listing
    assert "compute GEMM   reset" in listing
    assert "FINISH" in listing
    assert (tmp_path / "t.svg").read_text().count("<title>") > 10
    assert main(["inspect", path, "--stream", "--layer", "none"]) == 2
    assert "no operation 'none'" in capsys.readouterr().err


def test_modules_without_an_accelerator(tmp_path, capsys):
    path = str(tmp_path / "host.so")
    dcc.compile(small_network(), path)
    with pytest.raises(DriverError, match="has no part for an accelerator"):
        dcc.load(path, "driver.so")
    assert main(["inspect", path, "--stream"]) == 2
    assert "has no part for an accelerator" in capsys.readouterr().err
    assert main(["bench", path, "--roofline", "x.svg", "--against", ""]) == 2


def test_a_damaged_accelerator_part(small, tmp_path):
    data = bytearray(small[0].read_bytes())
    place = data.index(b'"starts"')
    data[place : place + 8] = b'"stortz"'
    (tmp_path / "damaged.so").write_bytes(data)
    with pytest.raises(ModuleError, match="accelerator's part is damaged"):
        dcc.load(tmp_path / "damaged.so")


def test_tuning(tmp_path):
    database = tmp_path / "records"
    report = dcc.tune(small_network(), database, "vta-sim", trials_per_layer=10)
    assert len(report.layers) == 5
    assert all(layer.ratio >= 1.0 and layer.trials <= 10 for layer in report.layers)
    again = dcc.tune(small_network(), database, "vta-sim", trials_per_layer=12)
    assert all(a.ratio >= b.ratio for a, b in zip(again.layers, report.layers, strict=True))
    path = tmp_path / "tuned.so"
    dcc.compile(small_network(), path, target="vta-sim", database=database)
    check_module(path, dcc.load(dcc.compile(small_network())), range(1))
    with pytest.raises(TuningError, match="no tuning database of an accelerator"):
        dcc.compile(small_network(), path, target="vta-sim", database=tmp_path)
    with pytest.raises(TuningError, match="is simulated"):
        dcc.tune(small_network(), database, "vta-sim", runner="rpc")


def test_expansion_overlaps_with_the_device():
    def run(cycles, expand):
        return StreamRun(Timeline(cycles=cycles), expand)

    assert overlapped_cycles([run(100, 0), run(100, 0)]) == 200
    # Expanding takes longer: the device waits for each.
    assert overlapped_cycles([run(10, 50), run(10, 50), run(10, 50)]) == 160
    # Shorter: only the first shows.
    assert overlapped_cycles([run(50, 10), run(50, 10), run(50, 10)]) == 160
    whole = OperationRun("x", [run(10, 50), run(10, 50)])
    assert whole.idle_cycles == whole.cycles - 20


MODELS = [
    ("lenet5_caffe_mnist_dense.onnx", {"data": [1, 1, 28, 28]}),
    ("lenet5_caffe_mnist_pruned_dns.onnx", {"data": [1, 1, 28, 28]}),
    ("mlperf_tiny_kws_dscnn_f32.onnx", {"input_1": [1, 49, 10, 1]}),
]
SLOW_MODELS = [
    ("arm_kws_cnn_l.onnx", None),
    ("resnet20_cifar10_akamaster.onnx", {"input": [1, 3, 32, 32]}),
    ("squeezenet_v1.0_deep_compressed_decoded.onnx", {"data": [1, 3, 227, 227]}),
    ("lenet300100_caffe_mnist_dense.onnx", {"data": [1, 1, 28, 28]}),
    ("mobilenet_v2_1.0_224_imagenet_dequantised_u8.onnx", None),
]


@pytest.mark.parametrize(
    ("name", "shapes"),
    [*MODELS, *(pytest.param(*each, marks=pytest.mark.slow) for each in SLOW_MODELS)],
)
def test_shared_models(name, shapes, tmp_path, shared_model):
    path = tmp_path / "model.so"
    dcc.compile(shared_model(name), path, target="vta-sim", shapes=shapes)
    module = dcc.load(path)
    reference = module.on(ReferenceExecutor(module.accelerator.operations))
    inputs = random_inputs(module.inputs, 3)
    for ours, expected in zip(module(inputs), reference(inputs), strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_running_needs_no_compiler(small):
    program = (
        "import sys, numpy as np, dcc\n"
        f"module = dcc.load({str(small[0])!r})\n"
        "module(np.zeros((1, 3, 12, 12), np.float32))\n"
        "assert 'tvm' not in sys.modules, 'the compiler was imported'\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
