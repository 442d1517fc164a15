"""``deploy``: a folder with all that a device needs to run a module."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from dcc.codegen.module_file import ModuleFile, read_module
from dcc.device_runtime import (
    LIBRARIES,
    build_runner,
    check_libraries,
    fetch_libraries,
    runner_source,
)
from dcc.errors import CompileError, OutputError, TargetError
from dcc.running import check_place
from dcc.tensor_spec import TensorSpec

_PAGE = """\
# {name} on {architecture}

| file | is |
|---|---|
| `{name}` | the model: kernels and compressed weights |
{rows}
Inputs of the model, in order: {inputs}.
Outputs: {outputs}.

## With Python on the device

```sh
pip install numpy apache-tvm=={tvm}
pip install .       # in the source tree of deep-compression-compiler, or: pip install its wheel
dcc run {name} --input inputs.npz --output outputs.npz
```

## Without Python

{native}
Save the inputs with `numpy.save` (little-endian, C order). The runner prints
the name of each output file; with `-n 100` also the median time of 100 runs. `TVM_NUM_THREADS` sets
the number of threads.

## Over the network

On the device `python -m tvm.exec.rpc_server --host 0.0.0.0 --port 9090`, then at home
`dcc run {name} --rpc DEVICE:9090`. The server runs whatever it is sent: on trusted networks only.
"""
_BUILD = """\
c++ -std=c++17 -O2 runner.cc -I TVM_FFI/include -L lib -ltvm_ffi -Wl,--no-as-needed -ltvm_runtime \\
    -Wl,-rpath,'$ORIGIN/lib' -o runner"""


@dataclass
class Deployment:
    """What was written.

    Attributes
    ----------
    files
        Sizes in bytes by name below ``folder``.
    notes
        What is missing, and why.
    """

    folder: Path
    files: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def deploy(
    module: str | Path,
    output: str | Path,
    *,
    fetch_runtime: bool = False,
    runtime: str | Path | None = None,
) -> Deployment:
    """Write a module, a runner and TVM's runtime libraries into a folder.

    Parameters
    ----------
    module
        What ``dcc compile`` has written for a processor.
    output
        The folder, made where it is missing; files of these names in it are replaced.
    fetch_runtime
        Take the runtime libraries from the wheels for the module's platform, by pip.
    runtime
        Folder that has them: for platforms without a wheel.

    Raises
    ------
    ModuleError, TargetError, OutputError
    """
    file = read_module(module)
    check_place(file.metadata, module, "'dcc deploy'")
    triple = str(file.metadata["target"].get("mtriple", ""))
    libraries = None
    if runtime is not None:
        libraries = check_libraries(runtime)
    elif fetch_runtime:
        libraries = fetch_libraries(triple)
    name = Path(module).name
    result = Deployment(Path(output))
    try:
        result.folder.mkdir(parents=True, exist_ok=True)
        _copy(Path(module), result.folder / name)
        (result.folder / "runner.cc").write_text(runner_source())
        if libraries is None:
            result.notes.append(
                "without TVM's runtime libraries: say --fetch-runtime, or --runtime DIR"
            )
        else:
            (result.folder / "lib").mkdir(exist_ok=True)
            for library in LIBRARIES:
                _copy(libraries / library, result.folder / "lib" / library)
            _build(triple, libraries, result)
        (result.folder / "README.md").write_text(_page(name, file, result.folder))
    except OSError as error:
        raise OutputError(
            f"cannot write into '{output}': {error.strerror or error}; give a folder that can be "
            "written"
        ) from error
    for path in sorted(result.folder.rglob("*")):
        if path.is_file():
            result.files[str(path.relative_to(result.folder))] = path.stat().st_size
    return result


def _copy(source: Path, target: Path) -> None:
    """Copy a file unless it is already there: the folder may be that of the module."""
    if not (target.exists() and target.samefile(source)):
        shutil.copyfile(source, target)
        target.chmod(0o755)


def _build(triple: str, libraries: Path, result: Deployment) -> None:
    """Build the runner; a device may have a compiler where this machine has none."""
    try:
        build_runner(triple, libraries, result.folder / "runner")
    except (TargetError, CompileError) as error:
        result.notes.append(f"without a binary of the runner: {error}")


def _page(name: str, file: ModuleFile, folder: Path) -> str:
    specs = [TensorSpec.from_json(spec) for spec in file.metadata["inputs"]]
    outputs = [TensorSpec.from_json(spec) for spec in file.metadata["outputs"]]
    rows = ["| `runner.cc` | source of the runner: needs the headers of tvm-ffi only |"]
    if (folder / "runner").exists():
        rows.append("| `runner` | the same, compiled |")
    if (folder / "lib").exists():
        rows.append("| `lib/` | TVM's runtime libraries |")
    inputs = " ".join(f"input_{number}.npy" for number in range(len(specs)))
    run = f"./runner {name} -o . {inputs}".rstrip()
    if (folder / "runner").exists():
        native = f"```sh\n{run}\n```\n"
    else:
        native = (
            "Put TVM's runtime libraries for the device into `lib` and build the runner; the "
            f"headers are in the Python package `apache-tvm-ffi`:\n\n```sh\n{_BUILD}\n{run}\n```\n"
        )
    return _PAGE.format(
        name=name,
        architecture=file.architecture,
        rows="\n".join(rows) + "\n",
        tvm=file.metadata["tvm"],
        inputs="; ".join(f"`{spec}`" for spec in specs) or "none",
        outputs="; ".join(f"`{spec}`" for spec in outputs),
        native=native,
    )
