"""Finding, taking out and putting back the weights of ONNX models."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from dcc.container import Container
from dcc.errors import ModelError
from dcc.onnx_weights import array_of, load_model, restore, strip, weight_tensors


def constant(name, array):
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(array))


def odd_model() -> onnx.ModelProto:
    """Weights wherever ONNX lets them be."""
    weight = np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32)
    branches = []
    for shift in (1.0, 2.0):
        bias = numpy_helper.from_array(
            np.full(4, shift, np.float32), "bias"
        )  # the same name in both
        body = [constant("k", np.full(4, -shift)), helper.make_node("Add", ["x", "bias"], ["r"])]
        output = helper.make_tensor_value_info("r", TensorProto.FLOAT, [4, 4])
        branches.append(helper.make_graph(body, "branch", [], [output], [bias]))
    nodes = [
        constant("shape", np.array([4, 4])),
        helper.make_node("Constant", [], ["one"], value_float=1.0),
        constant("words", np.array(["a", "b"], dtype=object)),
        helper.make_node("Reshape", ["raw", "shape"], ["w"], name="reshape"),
        helper.make_node("MatMul", ["x", "w"], ["y"], doc_string="multiply"),
        helper.make_node("local", ["y"], ["v"], domain="here"),
        helper.make_node("If", ["which"], ["z"], then_branch=branches[0], else_branch=branches[1]),
    ]
    raw = numpy_helper.from_array(weight.reshape(-1), "raw")
    raw.doc_string = "flat"
    fields = helper.make_tensor("halves", TensorProto.FLOAT16, [3], [1.0, -2.0, 0.5])
    brain = helper.make_tensor("brain", TensorProto.BFLOAT16, [2], [1.0, 3.0])
    nibbles = helper.make_tensor("nibbles", TensorProto.INT4, [3], [-8, 7, 1])
    strings = helper.make_tensor("strings", TensorProto.STRING, [1], [b"kept"])
    flag = numpy_helper.from_array(np.array(True), "which")
    sparse = helper.make_sparse_tensor(
        helper.make_tensor("sparse", TensorProto.FLOAT, [1], [3.0]),
        helper.make_tensor("sparse_indices", TensorProto.INT64, [1], [5]),
        [9],
    )
    function = helper.make_function(
        "here",
        "local",
        ["a"],
        ["b"],
        [constant("k", np.float32([5.0])), helper.make_node("Mul", ["a", "k"], ["b"])],
        [helper.make_opsetid("", 21)],
    )
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 4]),
        helper.make_tensor_value_info("raw", TensorProto.FLOAT, [16]),  # an initialiser as an input
    ]
    outputs = [helper.make_tensor_value_info("z", TensorProto.FLOAT, [4, 4])]
    graph = helper.make_graph(
        nodes,
        "odd",
        inputs,
        outputs,
        [raw, fields, brain, nibbles, strings, flag],
        sparse_initializer=[sparse],
    )
    return helper.make_model(
        graph,
        functions=[function],
        ir_version=10,
        opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("here", 1)],
    )


def test_every_weight_is_found_once():
    names = list(weight_tensors(odd_model()))
    assert names == [
        "raw",
        "halves",
        "brain",
        "nibbles",
        "which",
        "shape",
        "bias",
        "k",
        "bias#2",
        "k#2",
        "k#3",
    ]


def test_strip_and_restore():
    model = odd_model()
    arrays = {name: array_of(tensor) for name, tensor in weight_tensors(model).items()}
    stripped = strip(model)
    assert all(not t.raw_data and not t.int32_data for t in weight_tensors(stripped).values())
    restored = restore(stripped, arrays)
    onnx.checker.check_model(restored)
    assert strip(restored) == stripped
    for name, tensor in weight_tensors(restored).items():
        assert array_of(tensor).tobytes() == arrays[name].tobytes(), name
    assert restored.graph.initializer[4].string_data == [b"kept"]
    with pytest.raises(ModelError, match="missing"):
        restore(stripped, {})
    with pytest.raises(ModelError, match=r"'raw': got float32\[1\], the graph expects float\[16\]"):
        restore(stripped, arrays | {"raw": np.zeros(1, np.float32)})


def test_container_of_the_odd_model(tmp_path):
    path = tmp_path / "odd.onnx"
    onnx.save(odd_model(), path)
    model = load_model(path)
    dense = Container.from_bytes(Container.from_model(model).to_bytes()).to_onnx()
    assert strip(dense) == strip(model)
    for name, tensor in weight_tensors(dense).items():
        assert array_of(tensor).tobytes() == array_of(weight_tensors(model)[name]).tobytes()


def test_external_data(tmp_path):
    path, model = tmp_path / "m.onnx", odd_model()
    onnx.save(
        odd_model(), path, save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    loaded = load_model(tmp_path / "m.onnx")
    assert (
        array_of(loaded.graph.initializer[0]).tobytes()
        == array_of(model.graph.initializer[0]).tobytes()
    )
    (tmp_path / "weights.bin").write_bytes(b"short")
    with pytest.raises(ModelError):
        load_model(tmp_path / "m.onnx")
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(ModelError, match=r"weights\.bin"):
        load_model(tmp_path / "m.onnx")


def test_external_data_stays_in_its_folder(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(64))
    (tmp_path / "folder").mkdir()
    model = odd_model()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")
    (tmp_path / "folder" / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError):
        load_model(tmp_path / "folder" / "m.onnx")


@pytest.mark.parametrize(
    "damage", ["missing", "folder", "empty", "text", "half", "dims", "no weight"]
)
def test_broken_files(tmp_path, damage):
    path = tmp_path / "m.onnx"
    model = odd_model()
    if damage == "dims":
        model.graph.initializer[0].dims[0] = 17
    if damage == "no weight":
        model.graph.initializer[0].ClearField("raw_data")
    whole = model.SerializeToString()
    contents = {"empty": b"", "text": b"not a model at all\n" * 9, "half": whole[: len(whole) // 2]}
    if damage == "folder":
        path.mkdir()
    elif damage != "missing":
        path.write_bytes(contents.get(damage, whole))
    with pytest.raises(ModelError, match=r"m\.onnx"):
        load_model(path)


def test_a_container_is_no_onnx_model(tmp_path):
    path = tmp_path / "odd.dcz"
    Container.from_model(odd_model(), {}).write(path)
    with pytest.raises(ModelError, match=r"compressed container, .* decompress .* -o odd.onnx'"):
        load_model(path)


def test_quantised_models_get_a_clear_answer(tmp_path):
    node = helper.make_node("DequantizeLinear", ["q", "s"], ["y"], name="dq")
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("q", TensorProto.INT8, [2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])],
        [numpy_helper.from_array(np.float32(0.5), "s")],
    )
    onnx.save(helper.make_model(graph), tmp_path / "q.onnx")
    with pytest.raises(ModelError, match=r"quantised: node 'dq' is a DequantizeLinear"):
        load_model(tmp_path / "q.onnx")
