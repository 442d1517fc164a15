"""The .dcz container, on small models and on the real ones."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from dcc.codegen.encoded_tensor import EncodedTensor
from dcc.codegen.raw_values import bits_of
from dcc.container import MAGIC, Container, read
from dcc.errors import ContainerError, ModelError, OutputError
from dcc.onnx_weights import array_of, load_model, strip, weight_tensors


def two_layers() -> onnx.ModelProto:
    generator = np.random.default_rng(0)
    first = generator.standard_normal((64, 32)) * (generator.random((64, 32)) < 0.1)
    second = generator.standard_normal(16)[generator.integers(0, 16, (32, 10))]
    weights = {"w1": first.astype(np.float32), "w2": second.astype(np.float32)}
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["h"]),
        helper.make_node("MatMul", ["h", "w2"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "two",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 10])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def assert_restored(dense, model):
    """Everything but -0.0 behind a mask is the same."""
    assert strip(dense) == strip(model)
    for name, tensor in weight_tensors(model).items():
        expected, actual = array_of(tensor), array_of(weight_tensors(dense)[name])
        assert actual.dtype == expected.dtype
        zero = (actual == 0) & (expected == 0)
        assert ((bits_of(actual) == bits_of(expected)) | zero).all(), name


def test_write_and_read(tmp_path):
    model = two_layers()
    recipe = {"name": "lossless", "settings": {"w1": {"bits": 5}}}
    container = Container.from_model(model, recipe=recipe)
    container.write(tmp_path / "m.dcz")
    back = read(tmp_path / "m.dcz")
    assert back.recipe == recipe
    assert list(back.tensors) == ["w1", "w2"]
    assert back.graph == container.graph
    assert_restored(back.to_onnx(), model)
    assert container.to_bytes() == back.to_bytes()
    parts = container.nbytes()
    assert parts.total == (tmp_path / "m.dcz").stat().st_size
    assert parts.tensors["w1"] == container.tensors["w1"].nbytes()


def test_given_tensors_are_stored():
    model = two_layers()
    coded = EncodedTensor.from_codes(
        None, np.ones((64, 32), np.uint8), np.array([1.0, 2.0], np.float32)
    )
    container = Container.from_model(model, {"w1": coded})
    weight = weight_tensors(Container.from_bytes(container.to_bytes()).to_onnx())["w1"]
    assert (array_of(weight) == 2).all()
    with pytest.raises(ModelError, match="does not fit"):
        Container.from_model(model, {"w2": coded})
    with pytest.raises(ModelError, match="no weight 'w3'"):
        Container.from_model(model, {"w3": coded})


def test_tensors_of_almost_nothing_are_padded_so_that_they_can_be_read():
    model = two_layers()
    del model.graph.node[1:]
    weight = model.graph.initializer[0]
    weight.CopyFrom(numpy_helper.from_array(np.zeros((1 << 14, 1 << 12), np.float32), "w1"))
    container = Container.from_model(model)
    data = container.to_bytes()
    assert 0 < container.nbytes().padding < len(data) == container.nbytes().total < 1 << 20
    assert Container.from_bytes(data).tensors["w1"].shape == (1 << 14, 1 << 12)
    with pytest.raises(ContainerError, match="limit"):
        Container.from_bytes(data.rstrip(b"\0"))
    with pytest.raises(ContainerError, match="left over"):
        Container.from_bytes(data + b"x")


def test_bad_files(tmp_path):
    data = Container.from_model(two_layers()).to_bytes()
    with pytest.raises(ContainerError, match=r"nothing\.dcz"):
        read(tmp_path / "nothing.dcz")
    (tmp_path / "a.dcz").write_bytes(b"PK\3\4" + data)
    with pytest.raises(ContainerError, match=r"a\.dcz: this is no \.dcz"):
        read(tmp_path / "a.dcz")
    with pytest.raises(ContainerError, match="version 2, expected 1"):
        Container.from_bytes(MAGIC + b"\2" + data[5:])
    with pytest.raises(ContainerError, match="checksum of the tensors"):
        Container.from_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(OutputError):
        Container.from_model(two_layers()).write(tmp_path / "no" / "folder.dcz")


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("squeezenet_v1.0_deep_compressed_decoded.onnx", 550_000),
        ("lenet300100_caffe_mnist_pruned_dns.onnx", 20_000),
        ("lenet5_caffe_mnist_pruned_dns.onnx", 16_500),
        ("silero_vad_lstm_op18_ifless.onnx", 1_700_000),
        ("tflm_mnist_lstm20.onnx", 34_000),
        ("ultraface_rfb320_simplified.onnx", 960_000),
    ],
)
def test_real_models_come_back_and_are_small(shared_model, tmp_path, name, limit):
    model = load_model(shared_model(name))
    Container.from_model(model).write(tmp_path / "m.dcz")
    assert (tmp_path / "m.dcz").stat().st_size <= limit
    assert_restored(read(tmp_path / "m.dcz").to_onnx(), model)
