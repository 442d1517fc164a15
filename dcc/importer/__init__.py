"""Import of ONNX models into Relax, with the weights as named parameters."""

from dcc.importer.importing import import_model
from dcc.importer.model import ImportedModel
from dcc.tensor_spec import TensorSpec

__all__ = ["ImportedModel", "TensorSpec", "import_model"]
