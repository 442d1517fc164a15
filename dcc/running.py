"""Where a module runs: in this process, under an emulator, or on a device in the network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from dcc.errors import InputError, TargetError
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


def each_answer(
    module: RunnableModule, inputs: Iterable[Mapping[str, npt.ArrayLike]]
) -> Iterator[list[npt.NDArray[Any]]]:
    """Run a module on each of ``inputs``: many at once where a run takes long to start."""
    from dcc.emulation import EmulatedModule

    if isinstance(module, EmulatedModule):
        return module.each(inputs)
    return (module(given) for given in inputs)


def check_place(metadata: Mapping[str, Any], path: str | Path, place: str) -> None:
    """Refuse a module that needs more than a processor where only a processor is served.

    Raises
    ------
    TargetError
        It has weights on a card, or layers for an accelerator.
    """
    for key, device in (("device", "a card"), ("accelerator", "an accelerator")):
        if key in metadata:
            raise TargetError(
                f"'{path}' is for {device}: {place} is for modules of processors; 'dcc run' runs "
                "it on a machine that has the device"
            )


def load_for(
    path: str | Path,
    *,
    emulate: bool = False,
    rpc: str | None = None,
    driver: str | None = None,
) -> RunnableModule:
    """Load a module where it is to run.

    Parameters
    ----------
    emulate
        Under QEMU's user mode, for a module of another processor architecture.
    rpc
        ``HOST:PORT`` of TVM's RPC server on the device.
    driver
        Library that drives the accelerator on this machine; None: its simulator.

    Raises
    ------
    ModuleError, TargetError, InputError
    """
    if emulate and rpc is not None:
        raise InputError("--emulate and --rpc say two places to run at: give one")
    if driver is not None and (emulate or rpc is not None):
        raise InputError("a driver is for modules that run here: leave --emulate and --rpc out")
    if rpc is not None:
        from dcc.remote import RemoteModule

        return RemoteModule(path, rpc)
    if emulate:
        from dcc.emulation import EmulatedModule

        return EmulatedModule(path)
    from dcc.runtime import load

    return load(path, driver)
