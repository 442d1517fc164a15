"""Candidates for devices with a memory of their own, whose weights are arguments.

Beside a candidate's library stands ``weights.npz``: the arrays in their order, the numbers of those
that ``decode`` takes, and how many copies of all ``rotated`` takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tvm

from dcc.schedules.tuning.evaluation import Evaluation

FILES = "files"
"""Function of a library that returns the folder in which it was made."""
ROTATED = "rotated"
_WEIGHTS, _DECODE, _COPIES = "weights.npz", "decode", "copies"


def write_weights(folder: Path, arrays: Sequence[Any], decode: Sequence[int], copies: int) -> None:
    """Write what :class:`SeparateWeights` reads."""
    content = {f"array{number:04}": array for number, array in enumerate(arrays)}
    content |= {_DECODE: np.array(decode, np.int64), _COPIES: np.array(copies)}
    np.savez(folder / _WEIGHTS, **content)


@dataclass(frozen=True)
class SeparateWeights(Evaluation):
    """Evaluates such candidates; kernels are timed back to back, over copies of the weights."""

    def weights(self, machine: Any, device: Any) -> list[Any]:
        """Send the weights to the device, and decode what is decoded at load."""
        with np.load(Path(str(machine[FILES]())) / _WEIGHTS) as stored:
            names = sorted(name for name in stored if name.startswith("array"))
            weights = [tvm.runtime.tensor(stored[name], device) for name in names]
            decode = [int(number) for number in stored[_DECODE]]
        if decode:
            machine.set_input("decode", *(weights[number] for number in decode))
            machine.invoke_stateful("decode")
            results = machine.get_outputs("decode")
            weights += [results] if hasattr(results, "numpy") else list(results)
        return weights

    def timed(
        self, machine: Any, inputs: list[Any], weights: list[Any], device: Any
    ) -> tuple[str, list[Any], int]:
        """Return ``rotated`` over copies of the weights."""
        with np.load(Path(str(machine[FILES]())) / _WEIGHTS) as stored:
            copies = int(stored[_COPIES])
        # Copied on the device: only the first one travels there.
        rotating = [weight.copyto(device) for _ in range(copies - 1) for weight in weights]
        return ROTATED, [*inputs, *weights, *rotating], copies
