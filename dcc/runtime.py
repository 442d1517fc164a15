"""Loads and runs a compiled module; needs numpy and TVM's runtime library, nothing of the compiler.

The virtual machine takes 1.4 us a call and copying into tensors that are kept 0.7 us, where
making new ones takes 20: so a module keeps its input tensors. Its outputs are copies that belong
to the caller.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dcc.codegen.module_file import ModuleFile, read_module
from dcc.device import DeviceWeights, open_device
from dcc.errors import DriverError, ModuleError, TargetError
from dcc.input_arrays import InputArrays
from dcc.targets.processor import architecture, cpu_features
from dcc.tensor_spec import TensorSpec
from dcc.tvm_library import tvm_version

if TYPE_CHECKING:
    from dcc.accelerator.host_calls import Runs
    from dcc.targets.vta.driver import Driver


@dataclass(frozen=True)
class KernelTime:
    """Median time of one kernel call, in the order of the calls of one run."""

    name: str
    seconds: float


class Module:
    """A compiled model.

    ``module(*arrays)`` takes the inputs in order, ``module({name: array})`` by their ONNX names;
    both return a list of numpy arrays. Calls from several threads wait for each other.

    Attributes
    ----------
    inputs, outputs : list of TensorSpec
    metadata : dict
        Format version, target, layers, source: what ``dcc inspect`` shows.
    accelerator
        What runs the layers that were compiled for one; None where there are none.
    """

    def __init__(
        self,
        library: Any,
        metadata: dict[str, Any],
        device: DeviceWeights,
        accelerator: Runs | None = None,
    ) -> None:
        self.metadata = metadata
        self.accelerator = accelerator
        self.inputs = [TensorSpec.from_json(spec) for spec in metadata["inputs"]]
        self.outputs = [TensorSpec.from_json(spec) for spec in metadata["outputs"]]
        self._library = library
        self._arrays = InputArrays(self.inputs)
        self._lock = threading.Lock()
        machine = device.virtual_machine(library)
        self._device = device
        self._weights = device.decoded(machine, metadata["decode"])
        self._main = machine["main"]

    def __call__(
        self, *inputs: npt.ArrayLike | Mapping[str, npt.ArrayLike]
    ) -> list[npt.NDArray[Any]]:
        """Run the model once.

        Raises
        ------
        InputError
            Wrong number, names, shapes or dtypes of inputs.
        """
        with self._lock:
            self._arrays.fill(inputs)
            with self._running():
                given = self._device.sent(self._arrays.tensors)
                return self._copied(self._main(*given, *self._weights))

    def on(self, accelerator: Runs) -> Module:
        """Make the same module with another device, or its reference, for the accelerator."""
        return Module(self._library, self.metadata, self._device, accelerator)

    def _running(self) -> AbstractContextManager[None]:
        """Direct calls of the accelerator to this module's."""
        if self.accelerator is None:
            return nullcontext()
        from dcc.accelerator.host_calls import running_on

        return running_on(self.accelerator)

    def profile(
        self, *inputs: npt.ArrayLike | Mapping[str, npt.ArrayLike], repeats: int = 20
    ) -> list[KernelTime]:
        """Time each call that the model's main function makes: kernels and the runtime's services.

        Measured by the virtual machine's instrument hook, which adds about a microsecond a call.
        """
        import tvm_ffi

        runs: list[list[tuple[str, int]]] = []
        started, device = 0, self._device

        def instrument(
            _function: Any, name: str, before: bool, _result: Any, *_arguments: Any
        ) -> int:
            nonlocal started
            device.wait()  # kernels of a card go on after the call
            if before:
                started = time.perf_counter_ns()
            else:
                runs[-1].append((str(name), time.perf_counter_ns() - started))
            return 0  # go on

        with self._lock:
            # Of its own: an instrument cannot be taken off again.
            machine = self._device.virtual_machine(self._library)
            machine["set_instrument"](tvm_ffi.convert(instrument))
            self._arrays.fill(inputs)
            given = self._device.sent(self._arrays.tensors)
            with self._running():
                for _ in range(repeats + 1):
                    runs.append([])
                    machine["main"](*given, *self._weights)
        measured = runs[1:]  # the first run warms the caches
        return [
            KernelTime(calls[0][0], statistics.median(elapsed for _, elapsed in calls) * 1e-9)
            for calls in zip(*measured, strict=True)
        ]

    def _copied(self, result: Any) -> list[npt.NDArray[Any]]:
        tensors: Sequence[Any] = (result,) if hasattr(result, "__dlpack__") else result
        received = self._device.received(tensors)
        return [_owned(array, spec) for array, spec in zip(received, self.outputs, strict=True)]


def load(path: str | Path, driver: str | Path | Driver | None = None) -> Module:
    """Load a module that :func:`dcc.compile` has written.

    Everything that can be known before the module's code runs is checked before.

    Parameters
    ----------
    driver
        For modules with an accelerator: its driver library, or a driver; None simulates it.

    Raises
    ------
    ModuleError
        The file is missing, no shared library, no module of dcc, damaged, or of another format
        version or TVM version.
    TargetError
        It is for another processor architecture or needs features this machine lacks; or TVM's
        runtime is missing.
    DriverError
        The driver library is missing or lacks a function, or the module has no use for one.
    """
    module_file = check_runs_here(path)
    device = open_device(module_file.metadata, path)
    accelerator = _accelerator(path, module_file, driver)
    import tvm_ffi

    try:
        with _alias(Path(path).resolve()) as name:
            library = tvm_ffi.load_module(name, keep_module_alive=False)
    except RuntimeError as error:
        reason = str(error).strip()
        raise ModuleError(f"'{path}' cannot be loaded ({reason}): compile it again") from None
    return Module(library, module_file.metadata, device, accelerator)


def _accelerator(
    path: str | Path, module_file: ModuleFile, driver: str | Path | Driver | None
) -> Runs | None:
    if "accelerator" not in module_file.metadata:
        if driver is not None:
            raise DriverError(
                f"'{path}' has no part for an accelerator: a driver is for modules of a target "
                "with one (see 'dcc targets')"
            )
        return None
    from dcc.accelerator.executor import Executor
    from dcc.accelerator.host_calls import register
    from dcc.accelerator.loading import read_operations
    from dcc.targets.vta.library import LibraryDriver
    from dcc.targets.vta.simulator import SimulatedDriver

    operations = read_operations(path, module_file.metadata)
    if driver is None:
        driver = SimulatedDriver()
    elif isinstance(driver, str | Path):
        driver = LibraryDriver(driver)
    register()
    return Executor(operations, driver)


@contextmanager
def _alias(path: Path) -> Iterator[Path]:
    """Give the file a name that was never loaded before.

    The system's loader knows a library by the name it was opened with and looks no further: a file
    that was replaced while this process had it loaded would give the old code again.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix="dcc-load-")
    except OSError:  # no place for temporary files: at worst the fault above
        yield path
        return
    with folder as name:
        # TVM tells the format by the suffix.
        alias = Path(name) / f"{path.stem}.so"
        try:
            alias.symlink_to(path)
        except OSError:
            alias = path
        yield alias


def check_runs_here(path: str | Path) -> ModuleFile:
    """Read a module, and refuse one that this machine or TVM cannot run.

    Raises
    ------
    ModuleError, TargetError
        As of :func:`load`.
    """
    module_file = read_module(path)
    metadata = module_file.metadata
    if module_file.architecture != architecture():
        raise TargetError(
            f"'{path}' is compiled for {module_file.architecture}, this machine is "
            f"{architecture()}: 'dcc run' and 'dcc verify' take --emulate (under QEMU) and --rpc "
            "HOST:PORT (on a device); else compile it for a target of this machine (see 'dcc "
            "targets')"
        )
    present = cpu_features()
    missing = sorted(set(metadata["target"]["features"]) - present) if present is not None else []
    if missing:
        raise TargetError(
            f"'{path}' needs processor features that this machine lacks ({', '.join(missing)}): "
            "compile it with '--target host' here, or for a more general target (see 'dcc targets')"
        )
    if metadata["tvm"] != tvm_version():
        raise ModuleError(
            f"'{path}' was compiled with TVM {metadata['tvm']}, installed is {tvm_version()}: "
            "compile it again or install that version"
        )
    return module_file


def _owned(array: npt.NDArray[Any], spec: TensorSpec) -> npt.NDArray[Any]:
    # TVM keeps booleans in bytes; some of its operators say so in the type as well.
    return array.view(np.bool_) if spec.dtype == "bool" and array.dtype != np.bool_ else array
