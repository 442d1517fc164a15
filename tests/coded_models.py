"""Small ONNX models with weights that are worth coding, for the tests of compilation."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx_models import make_model

node = helper.make_node
FORMS = ("dense", "codebook", "sparse", "huffman")


def weight(*shape, levels=13, density=0.4, dtype="float32", seed=None, scale=1.0):
    """Random weight of ``levels`` distinct values, a ``density`` of them not zero."""
    random = np.random.default_rng(sum(shape) + levels if seed is None else seed)
    values = (random.standard_normal(levels) * scale).astype(dtype)
    kept = random.random(shape) < density
    return np.where(kept, values[random.integers(0, levels, shape)], 0).astype(dtype)


def data(*shape, dtype="float32", seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def model_of(nodes, feeds, weights, outputs=("y",)):
    """Make the model and give its inputs back; shapes and types of the outputs are inferred."""
    inputs = {name: (list(array.shape), array.dtype.name) for name, array in feeds.items()}
    model = make_model(nodes, inputs, dict.fromkeys(outputs), weights)
    for output in model.graph.output:
        output.ClearField("type")
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True, strict_mode=True)
    return inferred, feeds


def gemm():
    """Every flag: the weight on the right, transposed or not, factors, biases that broadcast."""
    feeds = {"x": data(3, 20), "xt": data(20, 3)}
    weights = {"a": weight(20, 33), "b": weight(33, 20), "c": weight(20, 33, seed=5)}
    weights |= {"row": data(33), "column": data(3, 1), "one": data(1)}
    nodes = [
        node("Gemm", ["x", "a", "row"], ["y0"], alpha=0.5, beta=2.0),
        node("Gemm", ["x", "b", "column"], ["y1"], transB=1),
        node("Gemm", ["xt", "c", "one"], ["y2"], transA=1, alpha=-1.5),
        node("Gemm", ["x", "b"], ["y3"], transB=1, alpha=0.25),
    ]
    return model_of(nodes, feeds, weights, ["y0", "y1", "y2", "y3"])


def matmul_batches():
    feeds = {"v": data(20), "m": data(2, 5, 20), "n": data(2, 3, 4, 20)}
    nodes = [node("MatMul", [name, "w"], [f"y_{name}"]) for name in feeds]
    return model_of(nodes, feeds, {"w": weight(20, 17)}, [f"y_{name}" for name in feeds])


def matmul_sizes():
    """Odd sizes on both axes."""
    nodes, feeds, weights = [], {}, {}
    for number, (columns, rows) in enumerate(
        [(1, 33), (7, 1), (8, 31), (9, 15), (15, 8), (17, 9), (31, 7), (33, 17)]
    ):
        feeds[f"x{number}"] = data(1 + number % 3, columns)
        weights[f"w{number}"] = weight(columns, rows, levels=5)
        nodes.append(node("MatMul", [f"x{number}", f"w{number}"], [f"y{number}"]))
    return model_of(nodes, feeds, weights, [f"y{n}" for n in range(8)])


def conv2d():
    feeds = {"x": data(2, 8, 9, 11)}
    weights = {"plain": weight(9, 8, 3, 3), "bias": data(9), "one": weight(17, 8, 1, 1)}
    weights |= {"strided": weight(7, 8, 3, 2), "dilated": weight(5, 8, 3, 3, seed=9)}
    weights |= {"grouped": weight(12, 4, 3, 3), "depthwise": weight(16, 1, 3, 3)}
    nodes = [
        node("Conv", ["x", "plain", "bias"], ["y0"], pads=[1, 1, 1, 1]),
        node("Conv", ["x", "one"], ["y1"]),
        node("Conv", ["x", "strided"], ["y2"], strides=[2, 3], pads=[1, 0, 2, 1]),
        node("Conv", ["x", "dilated"], ["y3"], dilations=[2, 3], pads=[2, 3, 1, 2]),
        node("Conv", ["x", "grouped"], ["y4"], group=2),
        node("Conv", ["x", "depthwise"], ["y5"], group=8, pads=[1, 1, 1, 1]),
    ]
    return model_of(nodes, feeds, weights, [f"y{n}" for n in range(6)])


def conv1d():
    feeds = {"x": data(2, 6, 31)}
    weights = {"plain": weight(9, 6, 5), "strided": weight(8, 6, 3), "depthwise": weight(6, 1, 7)}
    nodes = [
        node("Conv", ["x", "plain"], ["y0"], pads=[2, 2]),
        node("Conv", ["x", "strided"], ["y1"], strides=[2], dilations=[3], pads=[1, 0]),
        node("Conv", ["x", "depthwise"], ["y2"], group=6, pads=[6, 0]),
    ]
    return model_of(nodes, feeds, weights, ["y0", "y1", "y2"])


def gather():
    table = weight(33, 17)
    feeds = {"i": np.array([[0, -1, 5], [32, -33, 7]])}
    feeds["j"] = np.array([3, -2], np.int32)
    nodes = [node("Gather", ["t", "i"], ["y0"]), node("Gather", ["t", "j"], ["y1"])]
    return model_of(nodes, feeds, {"t": table}, ["y0", "y1"])


def tied_embedding():
    """One weight, looked up and multiplied transposed, as language models share it."""
    nodes = [
        node("Gather", ["t", "i"], ["h"]),
        node("Transpose", ["t"], ["tt"], perm=[1, 0]),
        node("MatMul", ["h", "tt"], ["y"]),
    ]
    return model_of(nodes, {"i": np.array([4, 0, -1])}, {"t": weight(33, 16)})


def lstm():
    """Both directions, initial states, biases; no zeros, so that both halves look the same."""
    feeds = {"x": data(5, 2, 9), "h": data(2, 2, 17), "c": data(2, 2, 17, seed=1)}
    options = {"density": 1.0, "scale": 0.4}
    weights = {"w": weight(2, 68, 9, **options), "r": weight(2, 68, 17, **options)}
    weights["b"] = data(2, 136)
    inputs = ["x", "w", "r", "b", "", "h", "c"]
    nodes = [
        node("LSTM", inputs, ["y", "yh", "yc"], hidden_size=17, direction="bidirectional"),
        node("LSTM", ["x", "w1", "r1"], ["z"], hidden_size=8, direction="reverse", input_forget=1),
    ]
    weights |= {"w1": weight(1, 32, 9, scale=0.4), "r1": weight(1, 32, 8, scale=0.4)}
    return model_of(nodes, feeds, weights, ["y", "yh", "yc", "z"])


def gru():
    feeds = {"x": data(5, 2, 9), "h": data(2, 2, 17)}
    weights = {"w": weight(2, 51, 9, scale=0.4), "r": weight(2, 51, 17, scale=0.4)}
    weights |= {"b": data(2, 102)}
    weights |= {"w1": weight(1, 24, 9, scale=0.4), "r1": weight(1, 24, 8, scale=0.4)}
    nodes = [
        node("GRU", ["x", "w", "r", "b", "", "h"], ["y", "yh"], hidden_size=17,
             direction="bidirectional", linear_before_reset=1),
        node("GRU", ["x", "w1", "r1"], ["z"], hidden_size=8, direction="reverse"),
    ]  # fmt: skip
    return model_of(nodes, feeds, weights, ["y", "yh", "z"])


def batch_norm():
    """A batch norm and a clip after a convolution, a ReLU after a Gemm, a residual addition."""
    feeds = {"x": data(1, 8, 9, 9)}
    weights = {"k": weight(8, 8, 3, 3), "f": weight(16, 648)}
    weights |= {"scale": data(8), "shift": data(8, seed=1), "mean": data(8, seed=2)}
    weights |= {"variance": np.abs(data(8, seed=3)) + 0.1, "fb": data(16)}
    weights |= {"low": np.float32(-0.5), "high": np.float32(2.0)}
    nodes = [
        node("Conv", ["x", "k"], ["c"], pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["c", "scale", "shift", "mean", "variance"], ["n"]),
        node("Clip", ["n", "low", "high"], ["r"]),
        node("Add", ["r", "x"], ["s"]),
        node("Flatten", ["s"], ["flat"]),
        node("Gemm", ["flat", "f", "fb"], ["g"], transB=1),
        node("Relu", ["g"], ["y"]),
    ]
    return model_of(nodes, feeds, weights)


def moved_weights():
    """Weights in Constant nodes, behind Transpose, Reshape, Identity, Slice and Split."""
    constant = helper.make_tensor("value", 1, [12, 18], weight(12, 18).tobytes(), raw=True)
    weights = {"t": weight(18, 12), "r": weight(3, 4, 18), "s": weight(20, 18), "p": weight(12, 36)}
    weights |= {
        "shape": np.array([12, 18]),
        "starts": np.array([2, -1]),
        "ends": np.array([14, -99]),
    }
    weights |= {"axes": np.array([0, 1]), "steps": np.array([1, -1]), "k": weight(6, 36)}
    weights |= {"kernel": np.array([6, 4, 3, 3]), "parts": np.array([18, 18])}
    nodes = [
        node("Constant", [], ["c"], value=constant),
        node("MatMul", ["x", "c"], ["y0"]),
        node("Transpose", ["t"], ["tt"], perm=[1, 0]),
        node("MatMul", ["x", "tt"], ["y1"]),
        node("Reshape", ["r", "shape"], ["rr"]),
        node("Identity", ["rr"], ["ri"]),
        node("MatMul", ["x", "ri"], ["y2"]),
        node("Slice", ["s", "starts", "ends", "axes", "steps"], ["ss"]),
        node("MatMul", ["x", "ss"], ["y3"]),
        node("Split", ["p", "parts"], ["p0", "p1"], axis=1),
        node("MatMul", ["x", "p0"], ["y4"]),
        node("MatMul", ["x", "p1"], ["y5"]),
        node("Reshape", ["k", "kernel"], ["kk"]),
        node("Conv", ["image", "kk"], ["y6"]),
    ]
    feeds = {"x": data(2, 12), "image": data(1, 4, 7, 7)}
    return model_of(nodes, feeds, weights, [f"y{n}" for n in range(7)])


def shared_weight():
    """One weight for two layers of one shape, one of another, and an operator that is no layer."""
    nodes = [
        node("MatMul", ["x", "w"], ["a"]),
        node("MatMul", ["a", "w"], ["b"]),
        node("MatMul", ["z", "w"], ["y0"]),
        node("ReduceMax", ["w"], ["m"], keepdims=0),
        node("Add", ["b", "m"], ["y1"]),
    ]
    feeds = {"x": data(1, 24), "z": data(5, 24)}
    return model_of(nodes, feeds, {"w": weight(24, 24)}, ["y0", "y1"])


def branches():
    """Weights of the subgraphs of an If, one of them shared with the graph around it."""

    def branch(name, operator, own):
        nodes = [
            node("MatMul", ["h", own], [f"{name}_h"]),
            node(operator, [f"{name}_h"], [f"{name}_r"]),
            node("MatMul", [f"{name}_r", "w"], [f"{name}_y"]),
        ]
        initializer = numpy_helper.from_array(weight(16, 16, seed=len(own)), own)
        output = helper.make_tensor_value_info(f"{name}_y", 1, [2, 16])
        return helper.make_graph(nodes, name, [], [output], [initializer])

    nodes = [
        node("MatMul", ["x", "w"], ["h"]),
        node("If", ["condition"], ["y"], then_branch=branch("then", "Relu", "then_w"),
             else_branch=branch("else", "Tanh", "else_own_w")),
    ]  # fmt: skip
    feeds = {"x": data(2, 16), "condition": np.array(True)}
    return model_of(nodes, feeds, {"w": weight(16, 16)})


def extremes():
    """Nothing kept, everything kept, one entry, an empty row and an empty column, 256 values."""
    holes = weight(24, 20)
    holes[3], holes[:, 5] = 0, 0
    one = np.where(weight(24, 20) != 0, np.float32(0.75), np.float32(0))
    weights = {
        "none": np.zeros((24, 20), np.float32),
        "all": weight(24, 20, density=1.0),
        "one": one,
        "only": np.full((24, 20), 0.75, np.float32),
        "holes": holes,
        "many": weight(24, 100, levels=256, density=1.0),
        "distinct": data(24, 20),
        "few": np.where(weight(24, 20) != 0, data(24, 20), np.float32(0)),
        "single": np.where(np.arange(480).reshape(24, 20) == 111, np.float32(2), np.float32(0)),
    }
    nodes = [node("MatMul", ["x", name], [f"y_{name}"]) for name in weights]
    return model_of(nodes, {"x": data(1, 24)}, weights, [f"y_{name}" for name in weights])


def other_readers():
    """Weights that layers cannot read coded, beside one that is an output of the model, too."""
    weights = {"w": weight(16, 12), "left": weight(8, 2), "batches": weight(4, 12, 5)}
    weights |= {"columns": weight(12, 7), "cube": weight(9, 3, 4), "up": weight(4, 6, 3, 3)}
    nodes = [
        node("MatMul", ["x", "w"], ["h"]),
        node("MatMul", ["left", "h"], ["y0"]),
        node("MatMul", ["h", "batches"], ["y1"]),
        node("Gather", ["columns", "i"], ["y2"], axis=1),
        node("Gather", ["cube", "i"], ["y3"]),
        node("ConvTranspose", ["image", "up"], ["y4"]),
    ]
    feeds = {"x": data(2, 16), "i": np.array([1, -2]), "image": data(1, 4, 5, 5)}
    return model_of(nodes, feeds, weights, ["w", *(f"y{n}" for n in range(5))])


def not_finite():
    """NaN and infinity among the values of a codebook, and among raw ones."""
    weights = {"few": weight(16, 12), "raw": data(16, 12)}
    for array in weights.values():
        array[3, 4], array[5, 6], array[5, 7] = np.nan, np.inf, -np.inf
    nodes = [node("MatMul", ["x", name], [f"y_{name}"]) for name in weights]
    return model_of(nodes, {"x": data(2, 16)}, weights, [f"y_{name}" for name in weights])


def half_precision():
    """Enough terms that sums in half precision would show."""
    half = {"dtype": "float16"}
    feeds = {"x": data(1, 256, 5, 5, **half), "m": data(20, 600, **half), "i": np.array([1, -1])}
    weights = {"k": weight(16, 256, 3, 3, **half), "w": weight(600, 17, **half)}
    weights |= {"b": data(16, **half), "t": weight(17, 9, **half)}
    nodes = [
        node("Conv", ["x", "k", "b"], ["c"], pads=[1, 1, 1, 1]),
        node("Relu", ["c"], ["y0"]),
        node("MatMul", ["m", "w"], ["y1"]),
        node("Gather", ["t", "i"], ["y2"]),
    ]
    return model_of(nodes, feeds, weights, ["y0", "y1", "y2"])


def stored_in_half_precision():
    """Half precision in the file, cast to single where it is used."""
    weights = {"k": weight(9, 8, 3, 3, dtype="float16"), "d": data(20, 17, dtype="float16")}
    nodes = [
        node("Cast", ["k"], ["k32"], to=1),
        node("Cast", ["d"], ["d32"], to=1),
        node("Conv", ["x", "k32"], ["y0"]),
        node("MatMul", ["m", "d32"], ["y1"]),
    ]
    return model_of(nodes, {"x": data(1, 8, 6, 6), "m": data(2, 20)}, weights, ["y0", "y1"])


def double_precision():
    double = {"dtype": "float64"}
    weights = {"w": weight(20, 17, **double), "b": data(17, **double)}
    nodes = [node("MatMul", ["m", "w"], ["s"]), node("Add", ["s", "b"], ["y"])]
    return model_of(nodes, {"m": data(3, 20, **double)}, weights)


CASES = {
    case.__name__: case
    for case in (
        gemm, matmul_batches, matmul_sizes, conv2d, conv1d, gather, tied_embedding, lstm, gru,
        batch_norm, moved_weights, shared_weight, branches, extremes,
        other_readers, not_finite, half_precision, stored_in_half_precision, double_precision,
    )
}  # fmt: skip
