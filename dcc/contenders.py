"""What a benchmark runs side by side, each behind the same call: arrays by name in, arrays out.

This module is imported by the measuring process only, which must not carry more than a user's
process would: nothing of the compiler.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from dcc.tensor_spec import TensorSpec

Kind = Literal["dcc", "onnxruntime", "tvm"]
Run = Callable[[], list[np.ndarray]]


def prepare(kind: Kind, path: str, inputs: Mapping[str, np.ndarray], threads: int) -> Run:
    """Load the file at ``path`` and return a function that runs it on ``inputs``.

    Parameters
    ----------
    kind
        ``dcc``: a module of ours. ``onnxruntime``: an ONNX file. ``tvm``: a module that TVM's own
        importer and pipeline made (:mod:`dcc.stock_tvm`), whose inputs are in the order of
        ``inputs``.
    """
    if kind == "dcc":
        from dcc.runtime import load

        module = load(path)
        return lambda: module(inputs)
    if kind == "onnxruntime":
        from dcc.reference import ReferenceModel

        reference = ReferenceModel(path, threads)
        return lambda: reference(inputs)
    return _stock_tvm(path, list(inputs.values()))


def _stock_tvm(path: str, inputs: Sequence[np.ndarray]) -> Run:
    from dcc.input_arrays import InputArrays
    from dcc.tvm_library import load_runtime_library

    load_runtime_library()
    import tvm_ffi

    machine = tvm_ffi.load_module(path)["vm_load_executable"]()
    machine["vm_initialization"](1, 0, 2)  # CPU, device 0, pooled allocator
    main = machine["main"]
    specs = [TensorSpec(f"input {i}", a.shape, a.dtype.name) for i, a in enumerate(inputs)]
    arrays = InputArrays(specs)

    def run() -> list[np.ndarray]:
        arrays.fill(tuple(inputs))
        result: Any = main(*arrays.tensors)
        tensors = (result,) if hasattr(result, "__dlpack__") else result
        return [np.from_dlpack(tensor).copy() for tensor in tensors]

    return run
