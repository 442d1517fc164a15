"""Power-of-two scales from calibration: int8 ``q`` stands for ``q * 2**-exponent``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
_MOST, _LEAST = 24, -24
_SAMPLES = 1 << 16


def best_exponent(values: Array, bits: int = 8) -> int:
    """Exponent with the least squared error for ``values``.

    The greatest that clips nothing, or one of the next three: clipping a few outliers may cost less
    than coarse steps for all.
    """
    finite = values[np.isfinite(values)].astype(np.float64).reshape(-1)
    largest = float(np.abs(finite).max(initial=0.0))
    if largest == 0.0:
        return 0
    top = (1 << (bits - 1)) - 1
    first = int(np.floor(np.log2(top / largest)))
    if len(finite) > _SAMPLES:
        step = len(finite) // _SAMPLES + 1
        finite = np.append(finite[::step], [finite.max(), finite.min()])

    def error(exponent: int) -> float:
        levels = np.clip(np.rint(np.ldexp(finite, exponent)), -top - 1, top)
        return float(np.square(np.ldexp(levels, -exponent) - finite).sum())

    best = min(range(first, first + 4), key=error)
    return max(_LEAST, min(_MOST, best))


def shared_exponents(exponents: dict[Any, int], groups: Iterable[Sequence[Any]]) -> dict[Any, int]:
    """Give all members of a group the least exponent among them; groups may overlap."""
    result = dict(exponents)
    leaders: dict[Any, Any] = {key: key for key in exponents}

    def leader(key: Any) -> Any:
        while leaders[key] is not key:
            key = leaders[key]
        return key

    for group in groups:
        for member in group[1:]:
            leaders[leader(member)] = leader(group[0])
    for key in exponents:
        first = leader(key)
        result[first] = min(result[first], exponents[key])
    return {key: result[leader(key)] for key in exponents}
