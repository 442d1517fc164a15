"""An ONNX model as a torch module whose parameters are its initialisers.

``onnx2torch`` lacks ``auto_pad: SAME`` and recurrent layers and needs torchvision; what is trained
here are few operators, so the graph is walked with a torch function for each.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import torch
from torch import nn

from dcc.errors import ModelError
from dcc.importer.graph import DEFAULT_DOMAINS, Graph, read_graph
from dcc.importer.weights import ATTRIBUTE_INPUTS, operator_types
from dcc.onnx_weights import array_of, clear_data, weight_tensors
from dcc.training.operators import OPERATORS, OperatorCall

BIAS = "bias"
_STATISTICS = (3, 4)  # inputs of BatchNormalization


class TorchGraph(nn.Module):
    """Computes what the ONNX model computes, for any first dimension.

    Attributes
    ----------
    model
        The ONNX model.
    weight_names
        Name of each parameter of this module -> name of the initialiser.
    operator_types
        Initialiser -> the operator that reads it as a weight, or ``bias``.
    sample_shape
        Shape of one sample: the input's without its first dimension.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        super().__init__()
        self.model = model
        self._graph = read_graph(model.graph)
        self._opset = next(
            (entry.version for entry in model.opset_import if entry.domain in DEFAULT_DOMAINS), 13
        )
        _check_operators(self._graph, model)
        self._read_input()
        self._attributes: dict[str, str] = {}
        self.weight_names: dict[str, str] = {}
        self.operator_types: dict[str, str] = {}
        types = operator_types(self._graph)
        statistics, fixed = _statistics(self._graph), _attribute_constants(self._graph)
        for index, (name, value) in enumerate(self._graph.constants.items()):
            self._attributes[name] = f"constant{index}"
            tensor = _tensor(value)
            trained = tensor.is_floating_point() and tensor.ndim > 0 and tensor.numel() > 1
            if trained and name not in fixed | statistics:
                self.register_parameter(f"constant{index}", nn.Parameter(tensor))
                self.weight_names[f"constant{index}"] = name
                self.operator_types[name] = types.get(name, BIAS)
            else:
                self.register_buffer(f"constant{index}", tensor)
        self._statistics = statistics & self._graph.constants.keys()
        self._last_use = _last_uses(self._graph)

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """First output for ``samples`` [N, ...]."""
        values: dict[str, torch.Tensor] = {
            name: getattr(self, attribute) for name, attribute in self._attributes.items()
        }
        values[self.input_name] = samples
        for index, node in enumerate(self._graph.nodes):
            call = OperatorCall(
                node,
                [values[name] if name else None for name in node.inputs],
                self._opset,
                self.training,
                self._fixed_batch,
                len(samples),
            )
            result = OPERATORS[node.operator](call)
            outputs = result if isinstance(result, tuple) else (result,)
            values.update(zip(node.outputs, outputs, strict=False))
            for name in self._last_use.get(index, ()):
                values.pop(name, None)
        return values[self._graph.outputs[0]]

    def arrays(self, values: Mapping[str, torch.Tensor] | None = None) -> dict[str, np.ndarray]:
        """Give initialisers that training may have changed, as numpy arrays of their own types.

        Parameters
        ----------
        values
            Instead of the parameters of these names of ``weight_names``.
        """
        given = dict(values or {})
        tensors = {
            name: given.get(parameter, getattr(self, parameter))
            for parameter, name in self.weight_names.items()
        }
        tensors |= {name: getattr(self, self._attributes[name]) for name in self._statistics}
        return {
            name: tensor.detach().cpu().numpy().astype(self._graph.constants[name].dtype)
            for name, tensor in tensors.items()
        }

    def _read_input(self) -> None:
        if len(self._graph.inputs) != 1:
            names = ", ".join(value.name for value in self._graph.inputs)
            raise ModelError(f"a model with one input can be trained, this one has {names}")
        value = self._graph.inputs[0]
        dimensions = value.type.tensor_type.shape.dim
        sizes = [size.dim_value or None for size in dimensions]
        if not sizes or None in sizes[1:]:
            raise ModelError(
                f"input '{value.name}' has an open shape {[size or '?' for size in sizes]}; only "
                "the first dimension may be open in a model that is trained"
            )
        self.input_name: str = value.name
        self._fixed_batch = sizes[0]
        self.sample_shape = tuple(size for size in sizes[1:] if size is not None)


def with_weights(model: onnx.ModelProto, arrays: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    """Copy of ``model`` whose weights of these names have these values."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for name, tensor in weight_tensors(changed).items():
        if name in arrays:
            old = array_of(tensor, name)
            value = np.ascontiguousarray(arrays[name].astype(old.dtype)).reshape(old.shape)
            clear_data(tensor)
            tensor.raw_data = onnx.numpy_helper.from_array(value).raw_data
    return changed


def _check_operators(graph: Graph, model: onnx.ModelProto) -> None:
    if model.functions:
        raise ModelError(
            f"the model has functions ({model.functions[0].name}, ...), which cannot be trained; "
            "inline them (onnx.inliner.inline_local_functions)"
        )
    for node in graph.nodes:
        known = node.operator in OPERATORS and node.domain in DEFAULT_DOMAINS
        if not known:
            domain = f"{node.domain}." if node.domain else ""
            raise ModelError(
                f"{node.label}: the operator {domain}{node.operator} has no form that can be "
                "trained; compress the model without training (dcc compress)"
            )


def _tensor(value: np.ndarray) -> torch.Tensor:
    floats = value.dtype.kind == "f" or value.dtype.name == "bfloat16"
    return torch.from_numpy(np.array(value, dtype=np.float32 if floats else value.dtype))


def _statistics(graph: Graph) -> set[str]:
    """Name the running means and variances."""
    return {
        node.inputs[position]
        for node in graph.nodes
        if node.operator == "BatchNormalization"
        for position in _STATISTICS
    }


def _attribute_constants(graph: Graph) -> set[str]:
    """Constants that an operator reads like an attribute: clip bounds, paddings, scales."""
    positions = {
        kind: indices
        for kind, indices in ATTRIBUTE_INPUTS.items()
        if kind not in ("BatchNormalization", "LSTM", "GRU")
    }
    return {
        node.inputs[position]
        for node in graph.nodes
        for position in positions.get(node.operator, ())
        if position < len(node.inputs)
    }


def _last_uses(graph: Graph) -> dict[int, list[str]]:
    """Index of a node -> tensors that nothing reads after it, so that they can be freed."""
    last = {name: index for index, node in enumerate(graph.nodes) for name in node.inputs}
    uses: dict[int, list[str]] = {}
    for name, index in last.items():
        if name not in graph.outputs:
            uses.setdefault(index, []).append(name)
    return uses
