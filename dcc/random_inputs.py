"""Random inputs for a model: seeded, so that two runs see the same numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dcc.errors import InputError
from dcc.tensor_spec import TensorSpec

Range = tuple[float, float]


def random_inputs(
    specs: Sequence[TensorSpec], seed: int = 0, ranges: Mapping[str, Range] | None = None
) -> dict[str, np.ndarray]:
    """Draw one array for each input.

    Parameters
    ----------
    specs
        Names, shapes and dtypes.
    seed
        Of numpy's default generator.
    ranges
        (lowest, highest) by input name: floats are uniform between them, integers uniform with both
        ends. Without one, floats are standard normal, and integers and booleans are 0: any other
        number might lie outside of what the model can take (an index, a rate).

    Raises
    ------
    InputError
        A range names no input, or is empty.
    """
    ranges = ranges or {}
    names = [spec.name for spec in specs]
    for name, (lowest, highest) in ranges.items():
        if name not in names:
            raise InputError(f"--range {name}: the model's inputs are {', '.join(names)}")
        if not lowest <= highest:
            raise InputError(f"--range {name}={lowest}:{highest}: the lower end exceeds the upper")
    generator = np.random.default_rng(seed)
    return {spec.name: _draw(generator, spec, ranges.get(spec.name)) for spec in specs}


def _draw(generator: np.random.Generator, spec: TensorSpec, limits: Range | None) -> np.ndarray:
    dtype = np.dtype(spec.dtype)
    if dtype.kind not in "iub":
        if limits is None:
            return generator.standard_normal(spec.shape).astype(dtype)
        return generator.uniform(*limits, spec.shape).astype(dtype)
    if limits is None:
        return np.zeros(spec.shape, dtype)
    return generator.integers(int(limits[0]), int(limits[1]) + 1, spec.shape).astype(dtype)
