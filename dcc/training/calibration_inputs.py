"""The inputs of a calibration: cut into batches, some of them held out to measure on."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from os import PathLike

import numpy as np
import numpy.typing as npt
import onnx

from dcc.datasets import read_arrays
from dcc.errors import InputError
from dcc.importer.graph import read_graph
from dcc.importer.shapes import input_specs
from dcc.tensor_spec import TensorSpec

_log = logging.getLogger(__name__)

Arrays = Mapping[str, npt.NDArray[np.generic]]
SAMPLES = "x"
HELD_OUT = 4
"""One batch in so many is held out."""


def model_inputs(
    model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]] | None
) -> list[TensorSpec]:
    """Names, shapes and types of the inputs that a module of ``model`` takes."""
    return input_specs(read_graph(model.graph).inputs, shapes)


def read_batches(
    source: str | PathLike[str] | Arrays, specs: Sequence[TensorSpec]
) -> list[dict[str, npt.NDArray[np.generic]]]:
    """Cut inputs into batches as a model takes them.

    Parameters
    ----------
    source
        An ``.npz`` file, or arrays, by input name; ``x`` serves as well where the model has one
        input. Each holds a whole number of batches along its first axis, as many as the others; a
        last batch that is not full is left out.
    specs
        Inputs of the model.

    Raises
    ------
    InputError
        An input is missing, its samples have another size than the model takes, or there is not one
        whole batch.
    """
    named = isinstance(source, Mapping)
    arrays = source if isinstance(source, Mapping) else read_arrays(str(source))
    origin = "the calibration inputs" if named else f"'{source}'"
    if len(specs) == 1 and specs[0].name not in arrays and SAMPLES in arrays:
        arrays = {specs[0].name: arrays[SAMPLES]}
    columns = [_batches(arrays, spec, origin) for spec in specs]
    counts = [len(column) for column in columns]
    if not counts or min(counts) == 0 or min(counts) != max(counts):
        raise InputError(
            f"{origin}: expected one batch or more for each input and as many for all, got "
            + ", ".join(f"{count} of '{s.name}'" for s, count in zip(specs, counts, strict=True))
        )
    names = [spec.name for spec in specs]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def split_batches(
    batches: Sequence[dict[str, npt.NDArray[np.generic]]],
) -> tuple[list[Arrays], list[Arrays]]:
    """Split batches into those to learn from and, spread over all, one in four to measure on.

    A single batch serves as both, which a warning says.
    """
    if len(batches) == 1:
        _log.warning(
            "calibration inputs: one batch alone is learnt from and measured on, so that what is "
            "gained says little; give four or more"
        )
        return list(batches), list(batches)
    held_out = [index % HELD_OUT == HELD_OUT - 1 for index in range(len(batches))]
    if not any(held_out):
        held_out[-1] = True
    return (
        [batch for batch, held in zip(batches, held_out, strict=True) if not held],
        [batch for batch, held in zip(batches, held_out, strict=True) if held],
    )


def _batches(arrays: Arrays, spec: TensorSpec, origin: str) -> npt.NDArray[np.generic]:
    if spec.name not in arrays:
        raise InputError(
            f"{origin} holds the arrays {', '.join(sorted(arrays)) or 'none'}; expected one for "
            f"each input of the model, '{spec.name}' is missing"
        )
    array = np.asarray(arrays[spec.name])
    size = math.prod(spec.shape)
    sample = math.prod(array.shape[1:])
    batch = spec.shape[0] if spec.shape else 1
    if array.ndim == 0 or (sample * batch != size and sample != size):
        raise InputError(
            f"{origin}: '{spec.name}' has shape {list(array.shape)}, the model takes "
            f"{list(spec.shape)}; expected [number of samples, ...] with {size // max(batch, 1)} "
            "elements a sample"
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        position = [int(axis[0]) for axis in np.nonzero(~np.isfinite(array))]
        raise InputError(
            f"{origin}: '{spec.name}' holds NaN or infinity at {position}; expected finite numbers"
        )
    whole = array.size // size
    return array.reshape(-1)[: whole * size].reshape(whole, *spec.shape).astype(spec.dtype)
