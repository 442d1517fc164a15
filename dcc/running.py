"""Where a module runs: in this process, under an emulator, or on a device in the network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from dcc.errors import InputError
from dcc.tensor_spec import TensorSpec


class RunnableModule(Protocol):
    """What :class:`dcc.Module` and those that run elsewhere have in common."""

    metadata: dict[str, Any]
    inputs: list[TensorSpec]
    outputs: list[TensorSpec]

    def __call__(
        self, *inputs: npt.ArrayLike | Mapping[str, npt.ArrayLike]
    ) -> list[npt.NDArray[Any]]:
        """Run the model once."""


def load_for(path: str | Path, *, emulate: bool = False, rpc: str | None = None) -> RunnableModule:
    """Load a module where it is to run.

    Parameters
    ----------
    emulate
        Under QEMU's user mode, for a module of another processor architecture.
    rpc
        ``HOST:PORT`` of TVM's RPC server on the device.

    Raises
    ------
    ModuleError, TargetError, InputError
    """
    if emulate and rpc is not None:
        raise InputError("--emulate and --rpc say two places to run at: give one")
    if rpc is not None:
        from dcc.remote import RemoteModule

        return RemoteModule(path, rpc)
    if emulate:
        from dcc.emulation import EmulatedModule

        return EmulatedModule(path)
    from dcc.runtime import load

    return load(path)
