"""Small ONNX models for tests, and the three ways to run one."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import tvm
from onnx import TensorProto, helper, numpy_helper
from tvm import relax

from dcc.importer import import_model
from dcc.importer.model import ImportedModel
from dcc.passes.outline_branches import OutlineBranches


def make_model(nodes, inputs, outputs, initializers=None, opset=17, **graph) -> onnx.ModelProto:
    """A model of nodes; inputs and outputs are name -> shape or (shape, numpy dtype)."""

    def info(name, spec):
        shape, dtype = spec if isinstance(spec, tuple) and len(spec) == 2 else (spec, "float32")
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return helper.make_tensor_value_info(name, kind, shape)

    proto = helper.make_graph(
        list(nodes),
        "test",
        [info(*item) for item in inputs.items()],
        [info(*item) for item in outputs.items()],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in (initializers or {}).items()],
        **graph,
    )
    domains = {node.domain for node in nodes}
    imports = [helper.make_opsetid("", opset)]
    imports += [helper.make_opsetid(d, 1) for d in sorted(domains) if d]
    model = helper.make_model(proto, opset_imports=imports)
    model.ir_version = 8 if opset < 21 else 10
    return model


def single_node(
    operator, arrays, attributes=None, opset=17, outputs=1, constants=(), domain=""
) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """A model of one node and its feeds; inputs at positions ``constants`` become initialisers."""
    names = ["" if a is None else f"i{k}" for k, a in enumerate(arrays)]
    results = [f"o{k}" for k in range(outputs)]
    node = helper.make_node(operator, names, results, domain=domain, **(attributes or {}))
    known = {names[k]: np.asarray(arrays[k]) for k in constants if arrays[k] is not None}
    feeds = {
        name: np.asarray(a)
        for name, a in zip(names, arrays, strict=True)
        if name and name not in known
    }
    inputs = {name: (list(a.shape), a.dtype) for name, a in feeds.items()}
    model = make_model([node], inputs, {}, known, opset)
    for name in results:
        model.graph.output.append(onnx.ValueInfoProto(name=name))
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    for output, found in zip(model.graph.output, inferred.graph.output, strict=True):
        kind = found.type.tensor_type.elem_type or TensorProto.FLOAT
        output.CopyFrom(helper.make_tensor_value_info(output.name, kind, None))
    return model, feeds


def run_dense(imported: ImportedModel, arrays) -> list[np.ndarray]:
    """Outputs of the imported module with its weights bound, compiled by TVM alone."""
    weights = {name: tvm.runtime.tensor(value) for name, value in imported.weights.items()}
    module = relax.transform.BindParams("main", weights)(imported.module)
    executable = tvm.compile(OutlineBranches()(module), "llvm")
    machine = relax.VirtualMachine(executable, tvm.cpu())
    result = machine["main"](*[tvm.runtime.tensor(np.array(a, order="C")) for a in arrays])
    return [result.numpy()] if hasattr(result, "numpy") else [item.numpy() for item in result]


def run_reference(model: onnx.ModelProto, feeds) -> list[np.ndarray]:
    """Outputs by ONNX Runtime without its graph optimisations."""
    onnxruntime = pytest.importorskip("onnxruntime")

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, feeds)


def largest_error(got, expected) -> float:
    """Largest difference over the largest magnitude; shapes, types and non-finite values agree."""
    worst = 0.0
    assert len(got) == len(expected)
    for ours, theirs in zip(got, expected, strict=True):
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype
        ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
        finite = np.isfinite(theirs)
        np.testing.assert_array_equal(ours[~finite], theirs[~finite])
        assert np.isfinite(ours[finite]).all()
        if finite.any():
            scale = max(np.abs(theirs[finite]).max(), 1e-30)
            worst = max(worst, float(np.abs(ours[finite] - theirs[finite]).max() / scale))
    return worst


def compare(model: onnx.ModelProto, feeds, shapes=None) -> float:
    """Largest error of the imported model against ONNX Runtime."""
    imported = import_model(model, shapes)
    got = run_dense(imported, [feeds[spec.name] for spec in imported.inputs])
    for spec, array in zip(imported.outputs, got, strict=True):
        assert spec.shape == array.shape
        assert spec.dtype == str(array.dtype)
    return largest_error(got, run_reference(model, feeds))
