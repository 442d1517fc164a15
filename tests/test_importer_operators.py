"""Every operator that real models use, in the forms that importers get wrong, against ONNX Runtime."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from onnx_models import compare, single_node

RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.standard_normal((2, 4, 9, 8)).astype(np.float32)
SIGNAL = RANDOM.standard_normal((2, 4, 11)).astype(np.float32)
MATRIX = RANDOM.standard_normal((5, 6)).astype(np.float32)
CUBE = RANDOM.standard_normal((2, 5, 6)).astype(np.float32)


def floats(*shape):
    return RANDOM.standard_normal(shape).astype(np.float32)


def ints(*values):
    return np.array(values, dtype=np.int64)


def scalar(value, dtype=np.float32):
    return np.array(value, dtype=dtype)


@dataclass
class Case:
    operator: str
    arrays: list[Any]
    attributes: dict[str, Any] = field(default_factory=dict)
    opset: int = 17
    outputs: int = 1
    constants: Any = "rest"
    domain: str = ""

    def label(self) -> str:
        text = "-".join(f"{k}={v}" for k, v in self.attributes.items())
        shape = "x".join(map(str, self.arrays[0].shape))
        return f"{self.operator}{self.opset}-{shape}-{text}".replace(" ", "")[:80]


CONVOLUTIONS = [
    Case("Conv", [IMAGE, floats(6, 4, 3, 3), floats(6)]),
    Case("Conv", [IMAGE, floats(6, 4, 3, 2)], {"pads": [0, 1, 2, 3], "strides": [2, 1]}),
    Case("Conv", [IMAGE, floats(4, 1, 3, 3), floats(4)], {"group": 4, "pads": [1] * 4}),
    Case("Conv", [IMAGE, floats(8, 1, 3, 3)], {"group": 4, "strides": [2, 2]}),
    Case("Conv", [IMAGE, floats(6, 2, 3, 3)], {"group": 2, "dilations": [2, 1]}),
    Case("Conv", [IMAGE, floats(6, 4, 3, 3)], {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    Case("Conv", [IMAGE, floats(6, 4, 2, 4)], {"auto_pad": "SAME_LOWER", "strides": [1, 2]}),
    Case("Conv", [IMAGE, floats(6, 4, 3, 3)], {"auto_pad": "VALID", "dilations": [2, 2]}),
    Case("Conv", [SIGNAL, floats(6, 4, 3), floats(6)], {"pads": [2, 0], "dilations": [2]}),
    Case("Conv", [SIGNAL, floats(6, 2, 3)], {"group": 2, "strides": [2]}),
    Case("Conv", [SIGNAL, floats(4, 1, 5), floats(4)], {"group": 4, "auto_pad": "SAME_LOWER"}),
    Case("Conv", [floats(1, 2, 4, 5, 6), floats(3, 2, 2, 3, 3)], {"pads": [0, 1, 1, 1, 1, 1]}),
    Case("ConvTranspose", [IMAGE, floats(4, 3, 3, 3), floats(3)], {"strides": [2, 2]}),
    Case("ConvTranspose", [IMAGE, floats(4, 2, 3, 3)], {"group": 2, "pads": [1, 0, 2, 1]}),
    Case(
        "ConvTranspose",
        [IMAGE, floats(4, 3, 3, 3)],
        {"strides": [2, 2], "pads": [1] * 4, "output_padding": [1, 1]},
    ),
    Case("ConvTranspose", [IMAGE, floats(4, 3, 3, 3)], {"dilations": [2, 2]}),
    Case(
        "ConvTranspose",
        [IMAGE, floats(4, 3, 3, 3)],
        {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
    ),
    Case(
        "ConvTranspose", [IMAGE, floats(4, 3, 3, 3)], {"strides": [2, 2], "output_shape": [18, 16]}
    ),
    Case("ConvTranspose", [SIGNAL, floats(4, 3, 3), floats(3)], {"strides": [2]}),
    Case("ConvTranspose", [SIGNAL, floats(4, 2, 4)], {"strides": [3], "group": 2}),
]

POOLINGS = [
    Case("MaxPool", [IMAGE], {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    Case("MaxPool", [IMAGE], {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1]}),
    Case("MaxPool", [IMAGE], {"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    Case("MaxPool", [IMAGE], {"kernel_shape": [2, 2], "auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    Case("MaxPool", [IMAGE], {"kernel_shape": [2, 2], "dilations": [2, 2]}),
    Case("MaxPool", [IMAGE - 9], {"kernel_shape": [3, 3], "pads": [1] * 4, "strides": [2, 2]}),
    Case("MaxPool", [SIGNAL], {"kernel_shape": [3], "strides": [2], "ceil_mode": 1}),
    Case("MaxPool", [IMAGE], {"kernel_shape": [3, 3], "strides": [2, 2]}, opset=8),
    Case("AveragePool", [IMAGE], {"kernel_shape": [3, 3], "pads": [1] * 4}),
    Case("AveragePool", [IMAGE], {"kernel_shape": [3, 3], "pads": [1] * 4, "count_include_pad": 1}),
    Case("AveragePool", [IMAGE], {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    Case(
        "AveragePool",
        [IMAGE],
        {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1, "pads": [1, 0, 0, 1]},
    ),
    Case("AveragePool", [IMAGE], {"kernel_shape": [2, 2], "auto_pad": "SAME_UPPER"}),
    Case(
        "AveragePool",
        [IMAGE],
        {"kernel_shape": [3, 3], "auto_pad": "SAME_LOWER", "strides": [2, 2]},
    ),
    Case("AveragePool", [SIGNAL], {"kernel_shape": [3], "strides": [2], "pads": [1, 1]}),
    Case("AveragePool", [IMAGE], {"kernel_shape": [2, 2], "dilations": [2, 2]}, opset=19),
    Case("AveragePool", [IMAGE], {"kernel_shape": [4, 4], "strides": [4, 4]}, opset=8),
    Case("GlobalAveragePool", [IMAGE]),
    Case("GlobalAveragePool", [SIGNAL]),
    Case("GlobalMaxPool", [IMAGE]),
    Case(
        "MaxPool",
        [IMAGE],
        {"kernel_shape": [3, 3], "pads": [1] * 4, "strides": [3, 3], "ceil_mode": 1},
    ),
    Case("MaxPool", [SIGNAL], {"kernel_shape": [3], "pads": [1, 0], "dilations": [2]}),
    Case("MaxPool", [floats(1, 2, 4, 5, 6)], {"kernel_shape": [2, 2, 3], "strides": [2, 1, 2]}),
    Case(
        "AveragePool",
        [floats(1, 1, 2, 2)],
        {
            "kernel_shape": [3, 3],
            "strides": [3, 3],
            "ceil_mode": 1,
            "pads": [1] * 4,
            "count_include_pad": 1,
        },
        opset=19,
    ),
    Case("LpPool", [IMAGE], {"kernel_shape": [2, 2], "p": 2}),
]

LINEAR = [
    Case("Gemm", [MATRIX, floats(6, 7), floats(7)]),
    Case("Gemm", [MATRIX, floats(7, 6), floats(7)], {"transB": 1, "alpha": 0.5, "beta": 2.0}),
    Case("Gemm", [MATRIX, floats(5, 7)], {"transA": 1, "alpha": 3.0}),
    Case("Gemm", [MATRIX, floats(7, 6), floats(5, 1)], {"transB": 1}, opset=9),
    Case("Gemm", [MATRIX, floats(6, 7), scalar(2.5)], opset=11),
    Case("Gemm", [MATRIX, floats(6, 7), floats(7)], {"beta": 0.0}),
    Case("MatMul", [CUBE, floats(6, 3)]),
    Case("MatMul", [CUBE, floats(2, 6, 3)]),
    Case("MatMul", [MATRIX, floats(6)]),
    Case("MatMul", [floats(6), floats(6, 4)]),
    Case("MatMul", [floats(2, 3, 4, 5), floats(3, 5, 2)]),
    Case("MatMul", [floats(1, 2, 4, 5), floats(3, 1, 5, 2)], constants=()),
    Case("Gather", [floats(20, 8), ints(1, 5, -1).reshape(1, 3)], constants=(0,)),
    Case("Gather", [IMAGE, ints(0, -2)], {"axis": 1}),
    Case("Gather", [IMAGE, scalar(-1, np.int64)], {"axis": 2}),
    Case("GatherElements", [MATRIX, ints(0, 1, -1, 2, 0, 1).reshape(1, 6)], {"axis": 0}),
    Case("GatherND", [IMAGE, ints(0, 1, 1, -1).reshape(2, 2)]),
    Case("Einsum", [CUBE, floats(2, 6, 3)], {"equation": "bij,bjk->bik"}),
]

NORMALIZATIONS = [
    Case("BatchNormalization", [IMAGE, floats(4), floats(4), floats(4), abs(floats(4)) + 0.1]),
    Case("BatchNormalization", [MATRIX, floats(6), floats(6), floats(6), abs(floats(6)) + 0.1]),
    Case(
        "BatchNormalization",
        [IMAGE, floats(4), floats(4), floats(4), abs(floats(4))],
        {"epsilon": 1e-3},
        opset=8,
    ),
    Case("InstanceNormalization", [IMAGE, floats(4), floats(4)], {"epsilon": 1e-3}),
    Case("LayerNormalization", [CUBE, floats(6), floats(6)]),
    Case("LayerNormalization", [IMAGE, floats(9, 8)], {"axis": 2, "epsilon": 1e-2}),
    Case("GroupNormalization", [IMAGE, floats(4), floats(4)], {"num_groups": 2}, opset=21),
    Case("LpNormalization", [MATRIX], {"axis": 1, "p": 2}),
    Case("LRN", [IMAGE], {"size": 3, "alpha": 1e-2}),
    Case("LRN", [IMAGE], {"size": 5, "alpha": 0.1, "beta": 0.5, "bias": 2.0}),
    Case("MeanVarianceNormalization", [IMAGE]),
    Case("Softmax", [IMAGE], opset=11),
    Case("Softmax", [IMAGE], {"axis": 2}, opset=8),
    Case("Softmax", [IMAGE], {"axis": -1}, opset=11),
    Case("Softmax", [IMAGE], opset=13),
    Case("Softmax", [IMAGE * 60], {"axis": 1}, opset=13),
    Case("LogSoftmax", [CUBE], opset=11),
    Case("LogSoftmax", [IMAGE], {"axis": 1}, opset=13),
    Case("Hardmax", [CUBE], opset=11),
    Case("Hardmax", [CUBE], {"axis": 1}, opset=13),
]

UNARY = [
    Case(name, [MATRIX * 2])
    for name in [
        "Relu",
        "Sigmoid",
        "Tanh",
        "Exp",
        "Neg",
        "Abs",
        "Floor",
        "Ceil",
        "Erf",
        "Sin",
        "Cos",
        "Softplus",
        "Softsign",
        "Sign",
    ]
] + [
    Case("Tanh", [MATRIX * 1e-3]),
    Case("Softplus", [MATRIX * 100]),
    Case("Log", [abs(MATRIX) + 0.1]),
    Case("Sqrt", [abs(MATRIX)]),
    Case("Reciprocal", [MATRIX + 4]),
    Case("Round", [ints(*range(-7, 8)).astype(np.float32) / 2]),
    Case("Elu", [MATRIX], {"alpha": 0.7}),
    Case("Selu", [MATRIX]),
    Case("Celu", [MATRIX], {"alpha": 1.5}),
    Case("LeakyRelu", [MATRIX], {"alpha": 0.2}),
    Case("LeakyRelu", [MATRIX], {"alpha": 1.5}),
    Case("ThresholdedRelu", [MATRIX], {"alpha": 0.5}),
    Case("HardSigmoid", [MATRIX * 3]),
    Case("HardSigmoid", [MATRIX * 3], {"alpha": 0.3, "beta": 0.4}),
    Case("HardSwish", [MATRIX * 4]),
    Case("Mish", [MATRIX * 2], opset=18),
    Case("Mish", [MATRIX * 80], opset=18),
    Case("Shrink", [MATRIX], {"lambd": 0.3, "bias": 0.1}),
    Case("Gelu", [MATRIX], opset=20),
    Case("Gelu", [MATRIX], {"approximate": "tanh"}, opset=20),
    Case("Gelu", [MATRIX], domain="com.microsoft"),
    Case("FastGelu", [CUBE, floats(6)], domain="com.microsoft"),
    Case("BiasGelu", [CUBE, floats(6)], domain="com.microsoft"),
    Case("SkipLayerNormalization", [CUBE, floats(2, 5, 6), *floats(3, 6)], domain="com.microsoft"),
    Case("Clip", [MATRIX], {"min": -0.5, "max": 0.5}, opset=6),
    Case("Clip", [MATRIX], {"max": 0.5}, opset=8),
    Case("Clip", [MATRIX], {"min": 0.0}, opset=10),
    Case("Clip", [MATRIX, scalar(-0.5), scalar(0.5)], opset=11),
    Case("Clip", [MATRIX, scalar(0.1)], opset=12),
    Case("Clip", [MATRIX, None, scalar(0.5)], opset=13),
    Case("Clip", [MATRIX, scalar(-0.5), scalar(0.5)], constants=()),
    Case("Clip", [ints(-3, 4, 9), scalar(0, np.int64), scalar(5, np.int64)], opset=13),
    Case("PRelu", [IMAGE, floats(4, 1, 1)]),
    Case("PRelu", [IMAGE, floats(1)]),
    Case("EyeLike", [MATRIX], {"k": 1, "dtype": 7}),
    Case("PRelu", [MATRIX, floats(6)]),
    Case("PRelu", [IMAGE, floats(4, 9, 8)]),
    Case("Dropout", [MATRIX], {"ratio": 0.3}, opset=10),
    Case("Dropout", [MATRIX, scalar(0.5)], opset=13),
    Case("Identity", [MATRIX]),
    Case("Not", [MATRIX > 0]),
    Case("IsNaN", [np.array([1, np.nan, np.inf], np.float32)]),
    Case("IsInf", [np.array([1, -np.inf, np.inf], np.float32)], {"detect_negative": 0}),
    Case("Cast", [MATRIX * 5], {"to": 7}),
    Case("Cast", [MATRIX * 5], {"to": 6}),
    Case("Cast", [MATRIX], {"to": 10}),
    Case("Cast", [MATRIX], {"to": 9}),
    Case("Cast", [MATRIX > 0], {"to": 1}),
    Case("Cast", [ints(-1, 0, 3)], {"to": 1}),
    Case("Cast", [MATRIX], {"to": 11}),
    Case("Trilu", [MATRIX], {"upper": 0}),
    Case("Trilu", [CUBE, scalar(1, np.int64)]),
    Case("CumSum", [MATRIX, scalar(1, np.int64)]),
    Case("CumSum", [MATRIX, scalar(0, np.int64)], {"reverse": 1, "exclusive": 1}),
]

BINARY = [
    Case(name, [IMAGE, floats(4, 1, 1)]) for name in ("Add", "Sub", "Mul", "Div", "Max", "Min")
] + [
    Case("Div", [ints(7, -7, 9), ints(2, 2, -4)]),
    Case("Mod", [ints(7, -7, 9), ints(3, 3, -4)]),
    Case("Mod", [MATRIX, floats(5, 6)], {"fmod": 1}),
    Case("Pow", [abs(MATRIX), scalar(1.5)]),
    Case("Pow", [MATRIX, scalar(3.0)]),
    Case("Pow", [MATRIX, scalar(2, np.int64)]),
    Case("Pow", [MATRIX, scalar(2.0)]),
    Case("Pow", [scalar(2.0), MATRIX], constants=()),
    Case("Greater", [MATRIX, floats(6)]),
    Case("LessOrEqual", [MATRIX, floats(6)]),
    Case("Equal", [ints(1, 2, 3), ints(1, 0, 3)]),
    Case("And", [MATRIX > 0, floats(6) > 0]),
    Case("Where", [MATRIX > 0, MATRIX, floats(6)], constants=(2,)),
    Case("Sum", [MATRIX, floats(6), floats(5, 1)]),
    Case("Mean", [MATRIX, floats(5, 6)]),
    Case("Max", [MATRIX, floats(6), floats(5, 1)]),
]

MOVING = [
    Case("Reshape", [IMAGE, ints(0, -1)]),
    Case("Reshape", [IMAGE, ints(2, 0, -1)], opset=14),
    Case("Flatten", [IMAGE], {"axis": 0}),
    Case("Flatten", [IMAGE], {"axis": -1}, opset=11),
    Case("Transpose", [IMAGE], {"perm": [0, 2, 3, 1]}),
    Case("Transpose", [IMAGE]),
    Case("Squeeze", [floats(1, 3, 1, 2)], {"axes": [0, 2]}, opset=11),
    Case("Squeeze", [floats(1, 3, 1, 2), ints(-2)], opset=13),
    Case("Squeeze", [floats(1, 3, 1, 2)], opset=13),
    Case("Unsqueeze", [MATRIX], {"axes": [0, 3]}, opset=11),
    Case("Unsqueeze", [MATRIX, ints(-1, 0)], opset=13),
    Case("Concat", [MATRIX, floats(5, 2)], {"axis": -1}, constants=()),
    Case("Split", [IMAGE], {"axis": 1}, opset=11, outputs=2),
    Case("Split", [IMAGE], {"axis": 2, "split": [2, 7]}, opset=11, outputs=2),
    Case("Split", [IMAGE, ints(5, 3)], {"axis": -1}, opset=13, outputs=2),
    Case("Split", [IMAGE], {"axis": 2, "num_outputs": 2}, opset=18, outputs=2),
    Case("Slice", [IMAGE], {"starts": [1, 0], "ends": [9999, -1], "axes": [2, 3]}, opset=9),
    Case("Slice", [IMAGE, ints(1), ints(2**63 - 1), ints(-1), ints(2)], opset=11),
    Case("Slice", [IMAGE, ints(-1), ints(-(2**63)), ints(2), ints(-1)], opset=13),
    Case("Slice", [IMAGE, ints(7, -3), ints(1, -1), ints(2, 3), ints(-2, 1)], opset=13),
    Case("Expand", [floats(3, 1), ints(2, 1, 4)]),
    Case("Tile", [MATRIX, ints(2, 3)]),
    Case("Pad", [IMAGE], {"pads": [0, 0, 1, 2, 0, 0, 3, 0], "value": 1.5}, opset=8),
    Case("Pad", [IMAGE, ints(0, 0, 1, 2, 0, 0, 3, 0), scalar(2.0)], opset=13),
    Case("Pad", [IMAGE, ints(0, 0, 1, 2, 0, 0, 3, 1)], {"mode": "reflect"}, opset=13),
    Case("Pad", [IMAGE, ints(0, 1, 1, 2, 0, 0, 3, 1)], {"mode": "edge"}, opset=13),
    Case("Pad", [IMAGE, ints(0, 0, -1, 2, 0, 0, -2, -1)], opset=13),
    Case("Pad", [IMAGE, ints(1, 2), None, ints(-1)], opset=18),
    Case("Pad", [IMAGE, ints(1, 2), None, ints(3)], {"mode": "wrap"}, opset=19),
    Case("DepthToSpace", [IMAGE], {"blocksize": 2}),
    Case("DepthToSpace", [IMAGE], {"blocksize": 2, "mode": "CRD"}),
    Case("SpaceToDepth", [floats(1, 2, 4, 6)], {"blocksize": 2}),
    Case("OneHot", [ints(1, 0, -1), scalar(4, np.int64), np.array([0, 1], np.float32)]),
    Case("OneHot", [ints(1, 0, 3), ints(4), np.array([-1, 2], np.float32)], {"axis": 0}),
    Case("ScatterElements", [MATRIX, ints(0, 2).reshape(1, 2), floats(1, 2)], {"axis": 1}),
    Case("ScatterND", [MATRIX, ints(0, 3).reshape(2, 1), floats(2, 6)]),
]

RESIZES = (
    [
        Case("Upsample", [IMAGE], {"scales": [1.0, 1.0, 2.0, 3.0]}, opset=8),
        Case("Upsample", [IMAGE, np.array([1, 1, 2, 2], np.float32)], {"mode": "linear"}, opset=9),
        Case(
            "Resize", [IMAGE, np.array([1, 1, 2, 1.5], np.float32)], {"mode": "nearest"}, opset=10
        ),
    ]
    + [
        Case(
            "Resize",
            [IMAGE, None, None, ints(2, 4, 13, 5)],
            {"mode": mode, "coordinate_transformation_mode": coordinates},
            opset=13,
        )
        for mode in ("nearest", "linear", "cubic")
        for coordinates in ("half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel")
    ]
    + [
        Case(
            "Resize", [IMAGE, None, np.array([1, 1, 2, 2], np.float32)], {"nearest_mode": rounding}
        )
        for rounding in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
    ]
)

REDUCTIONS = (
    [
        Case(name, [IMAGE], {"axes": [1, -1], "keepdims": keep})
        for name in [
            "ReduceMean",
            "ReduceMax",
            "ReduceMin",
            "ReduceProd",
            "ReduceL1",
            "ReduceL2",
            "ReduceLogSumExp",
            "ReduceSumSquare",
        ]
        for keep in (0, 1)
    ]
    + [
        Case(name, [IMAGE, ints(-1, 1)], {"keepdims": keep}, opset=18)
        for name in [
            "ReduceMean",
            "ReduceMax",
            "ReduceMin",
            "ReduceSum",
            "ReduceL2",
            "ReduceLogSumExp",
        ]
        for keep in (0, 1)
    ]
    + [
        Case("ReduceMean", [IMAGE]),
        Case("ReduceSum", [IMAGE], {"axes": [2]}, opset=11),
        Case("ReduceSum", [IMAGE], {"noop_with_empty_axes": 1}, opset=13),
        Case("ReduceSum", [IMAGE, ints()], opset=13),
        Case("ReduceMean", [IMAGE], {"keepdims": 0}, opset=18),
        Case("ReduceLogSumExp", [IMAGE * 60], {"axes": [1]}),
        Case("ArgMax", [IMAGE], {"axis": 1}),
        Case("ArgMax", [IMAGE], {"axis": -1, "keepdims": 0}),
        Case("ArgMin", [IMAGE], {"axis": 2}),
        Case("ArgMax", [np.ones((3, 4), np.float32)], {"axis": 1, "select_last_index": 1}),
        Case("TopK", [MATRIX, ints(3)], outputs=2),
        Case("TopK", [MATRIX, ints(2)], {"axis": 0, "largest": 0}, outputs=2),
        Case("TopK", [MATRIX], {"k": 3}, opset=9, outputs=2),
    ]
)


def recurrent(operator, gates, directions, **attributes):
    hidden, width = 20, 7
    shapes = [(directions, gates * hidden, width), (directions, gates * hidden, hidden)]
    weights = [floats(*shape) * 0.3 for shape in shapes]
    bias = floats(directions, 2 * gates * hidden)
    states = [floats(directions, 3, hidden) for _ in range(2 if gates == 4 else 1)]
    kinds = {1: "forward", 2: "bidirectional"}
    attributes = {"direction": kinds[directions], **attributes, "hidden_size": hidden}
    outputs = 3 if gates == 4 else 2
    arrays = [floats(5, 3, width), *weights, bias, None, *states]
    first = Case(operator, arrays, attributes, outputs=outputs, constants=(1, 2, 3))
    bare = Case(operator, arrays[:3], attributes, outputs=outputs, constants=(1, 2))
    return [first, bare]


RECURRENCES = [
    case
    for group in (
        recurrent("LSTM", 4, 1),
        recurrent("LSTM", 4, 1, direction="reverse"),
        recurrent("LSTM", 4, 2, activations=["Sigmoid", "Tanh", "Tanh"] * 2),
        recurrent("LSTM", 4, 1, input_forget=1),
        recurrent("GRU", 3, 1),
        recurrent("GRU", 3, 1, linear_before_reset=1),
        recurrent("GRU", 3, 1, direction="reverse"),
        recurrent("GRU", 3, 2, linear_before_reset=1),
        recurrent("GRU", 3, 2),
    )
    for case in group
]

ALL = [
    *CONVOLUTIONS,
    *POOLINGS,
    *LINEAR,
    *NORMALIZATIONS,
    *UNARY,
    *BINARY,
    *MOVING,
    *RESIZES,
    *REDUCTIONS,
    *RECURRENCES,
]


@pytest.mark.parametrize("case", ALL, ids=Case.label)
def test_agrees_with_onnx_runtime(case: Case):
    constants = range(1, len(case.arrays)) if case.constants == "rest" else case.constants
    model, feeds = single_node(
        case.operator,
        case.arrays,
        case.attributes,
        case.opset,
        case.outputs,
        constants,
        case.domain,
    )
    assert compare(model, feeds) <= 1e-5
