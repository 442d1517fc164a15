"""What a device without Python needs beside a module: TVM's runtime libraries and a runner."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import subprocess
import sys
import tempfile
import zipfile
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from dcc.errors import DccError, TargetError
from dcc.files import atomic_path
from dcc.targets.toolchain import compiler_for, run_compiler

LIBRARIES = ("libtvm_runtime.so", "libtvm_ffi.so")
_PACKAGES = ("apache-tvm", "apache-tvm-ffi")
_WHEEL_TAGS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_24", "manylinux2014")
_LINK = ("-ltvm_ffi", "-Wl,--no-as-needed", "-ltvm_runtime", "-Wl,-rpath,$ORIGIN/lib")


def runner_source() -> str:
    """Source of the runner, C++17."""
    return (files("dcc.codegen") / "device" / "runner.cc").read_text()


def header_folder() -> Path:
    """Folder of tvm-ffi's headers, in the installed package."""
    found = importlib.util.find_spec("tvm_ffi")
    folders = list(found.submodule_search_locations or ()) if found else []
    for folder in folders:
        path = Path(folder) / "include"
        if (path / "tvm" / "ffi" / "function.h").is_file():
            return path
    raise TargetError("the headers of tvm-ffi were not found: install apache-tvm-ffi again")


def check_libraries(folder: str | Path) -> Path:
    """Return a folder that the user gave as having TVM's runtime libraries.

    Raises
    ------
    TargetError
        It lacks one of them.
    """
    for name in LIBRARIES:
        if not (Path(folder) / name).is_file():
            raise TargetError(
                f"the folder '{folder}' lacks {name}: give one with TVM's runtime libraries for "
                "the device"
            )
    return Path(folder)


def fetch_libraries(triple: str) -> Path:
    """Return a folder with TVM's runtime libraries for ``triple``, from the platform's wheels.

    pip downloads the wheels of the installed versions once; the libraries are kept in the user's
    cache folder (``XDG_CACHE_HOME``, or ``~/.cache``).

    Raises
    ------
    TargetError
        No wheel serves the platform (Android), or pip could not get it.
    """
    if "linux-gnu" not in triple:
        raise TargetError(
            f"no wheel of TVM serves {triple}: give the folder of a runtime that was built for it "
            "(--runtime DIR), or use --standalone, which needs none"
        )
    folder = _cache_folder(triple)
    if not all((folder / name).is_file() for name in LIBRARIES):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="dcc-") as download:
            _download(triple, Path(download))
            for wheel in sorted(Path(download).glob("*.whl")):
                _extract(wheel, folder)
        check_libraries(folder)
    return folder


def build_runner(triple: str, libraries: Path, output: Path, *, reuse: bool = False) -> None:
    """Compile and link the runner for ``triple``; it finds the libraries in ``lib`` beside it.

    ``reuse`` also makes it find them where they are now, and keeps the file if it is current.

    Raises
    ------
    CompileError, TargetError
    """
    text = runner_source()
    stamp = output.with_suffix(".stamp")
    current = hashlib.sha256(f"{text}{compiler_for(triple)}".encode()).hexdigest()
    if reuse and output.is_file() and stamp.is_file() and stamp.read_text() == current:
        return
    with tempfile.TemporaryDirectory(prefix="dcc-") as folder, atomic_path(output) as made:
        source = Path(folder) / "runner.cc"
        source.write_text(text)
        include, search = f"-I{header_folder()}", f"-L{libraries}"
        more = [f"-Wl,-rpath,{libraries}"] if reuse else ["-s"]
        arguments: list[str | Path] = [
            "-std=c++17",
            "-O2",
            source,
            include,
            search,
            *_LINK,
            *more,
            "-o",
            made,
        ]
        run_compiler(arguments, "building the runner", triple)
        made.chmod(0o755)
    if reuse:
        stamp.write_text(current)


def cached_runner(triple: str) -> Path:
    """Return a runner for ``triple`` in the user's cache, made when it is first asked for."""
    libraries = fetch_libraries(triple)
    runner = libraries / "runner"
    build_runner(triple, libraries, runner, reuse=True)
    return runner


def _cache_folder(triple: str) -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    versions = "-".join(version(package) for package in _PACKAGES)
    return Path(root) / "dcc" / f"runtime-{triple}-{versions}"


def _download(triple: str, folder: Path) -> None:
    architecture = triple.partition("-")[0]
    platforms = [f"--platform={tag}_{architecture}" for tag in _WHEEL_TAGS]
    wanted = [f"{package}=={version(package)}" for package in _PACKAGES]
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    python = ".".join(platform.python_version_tuple()[:2])
    command = [*pip, *platforms, f"--python-version={python}", "-d", str(folder), *wanted]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        reason = (result.stderr or result.stdout).strip().splitlines()[-1:]
        raise TargetError(
            f"pip could not get TVM's runtime for {architecture} ({''.join(reason)}): check the "
            "network, or give a folder that has it (--runtime DIR)"
        )


def _extract(wheel: Path, folder: Path) -> None:
    """Take the libraries out of a wheel, each in one step."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.namelist():
                name = member.rpartition("/")[2]
                if name in LIBRARIES:
                    with atomic_path(folder / name) as made:
                        made.write_bytes(archive.read(member))
    except zipfile.BadZipFile as error:
        raise DccError(f"the wheel {wheel.name} is damaged ({error}): try again") from None
