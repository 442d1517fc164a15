"""From a Relax module with its kernels to the shared library on disk.

The passes are those of TVM's own pipeline for processors (``tvm.relax.backend.cpu_generic``)
without ``FoldConstant``, which would turn the lookup of a codebook back into a dense constant.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm import relax

from dcc.card_binaries import digest_of, sources_only
from dcc.codegen.section import WeightSection
from dcc.codegen.work import WORK
from dcc.errors import CompileError, OutputError
from dcc.files import atomic_path
from dcc.passes.count_work import count_work
from dcc.passes.legalize_coded_layers import kernel_layers
from dcc.passes.lift_weights import LiftedWeights, LiftWeights
from dcc.passes.link_weights import LinkWeights
from dcc.schedules.cpu.default import apply_default_schedules, kernel_schedules
from dcc.schedules.cpu.stack import PIPELINE
from dcc.schedules.cuda.default import apply_default_schedules as apply_block_schedules
from dcc.targets.cuda_toolchain import compile_cuda
from dcc.targets.target import Target
from dcc.targets.toolchain import compiler_for, run_compiler


def schedule_kernels(module: tvm.IRModule, target: Target) -> tvm.IRModule:
    """Legalise what operators are left, fuse, schedule; weights stay constants of the calls."""
    transform = relax.transform
    before = [
        *([] if target.gpu is None else [relax.backend.DispatchSortScan()]),
        transform.LegalizeOps(),
        transform.AnnotateTIROpPattern(),
        transform.FuseOps(),
        transform.FuseTIR(),
        transform.DeadCodeElimination(),
        # Before the schedules, which hide that a kernel only copies.
        transform.RewriteDataflowReshape(),
    ]
    schedule = apply_default_schedules if target.gpu is None else apply_block_schedules
    with target.tvm_target():
        return schedule(tvm.transform.Sequential(before)(module), target)


def lower_to_kernels(
    module: tvm.IRModule,
    target: Target,
    section: WeightSection | None,
    lifted: LiftedWeights | None = None,
    counted: dict[str, Any] | None = None,
) -> tvm.IRModule:
    """Schedule the kernels and link the weights.

    Without a section the weights stay constants of the calls. On a device with a memory of its own
    they become parameters, noted in ``lifted``. What the kernels do is noted in ``counted``.
    """
    module = schedule_kernels(module, target)
    if counted is not None:
        counted[WORK] = count_work(module, target).to_json()
    if section is None:
        return module
    with target.tvm_target():
        # Behind the last pass that looks into kernels or at their constants.
        linking = LinkWeights(section) if lifted is None else LiftWeights(section, lifted)
        return tvm.transform.Sequential([linking])(module)


def lower(
    module: tvm.IRModule,
    target: Target,
    section: WeightSection,
    lifted: LiftedWeights | None = None,
    counted: dict[str, Any] | None = None,
    more: Sequence[Any] = (),
) -> tvm.IRModule:
    """Lower the whole module to calls of the virtual machine; see :func:`lower_to_kernels`.

    ``more`` runs behind the linking.
    """
    transform = relax.transform
    after = [
        transform.ToNonDataflow(),
        transform.RemovePurityChecking(),
        transform.CallTIRRewrite(),
        transform.StaticPlanBlockMemory(),
        transform.LowerAllocTensor(),
        transform.KillAfterLastUse(),
        transform.LowerRuntimeBuiltin(),
        transform.ComputePrimValue(),
        transform.VMShapeLower(),
        transform.AttachGlobalSymbol(),
    ]
    module = lower_to_kernels(module, target, section, lifted, counted)
    with target.tvm_target():
        return tvm.transform.Sequential([*more, *after])(module)


def lower_and_build(
    module: tvm.IRModule,
    target: Target,
    section: WeightSection,
    metadata: dict[str, Any],
    output: str | Path,
    *,
    count: bool = False,
) -> None:
    """Lower ``module``, generate its code, link it with its weights and write the shared library.

    Parameters
    ----------
    module : tvm.IRModule
        Relax functions ``main`` (and ``decode`` if ``metadata["decode"]``); kernels marked
        ``tirx.is_scheduled`` are left as they are.
    section : WeightSection
        What ``dcc_weights()`` and ``dcc_decoded()`` point to.
    metadata : dict
        See :mod:`dcc.codegen.module_file`; ``kernels``, their schedules by name, and
        ``kernel_layers``, the layer of each that computes one, are added.
    output : path
        Replaced in one step when all is done: processes that run the old module go on with it.
    count
        Also add ``work``, what the kernels do in one run, for the energy proxy.

    Raises
    ------
    CompileError
        Code generation or linking failed.
    TargetError
        There is no C++ compiler.
    OutputError
        The file cannot be written.
    """
    compiler_for(target.triple)  # before the work: is there one?
    lifted = None if target.gpu is None else LiftedWeights()
    lowered = lower(module, target, section, lifted, metadata if count else None)
    metadata["kernels"] = kernel_schedules(lowered)
    metadata["kernel_layers"] = kernel_layers(lowered)
    executable = build_executable(lowered, target)
    if lifted is not None:
        code = [
            place_code(each.inspect_source(), section, target)
            for each in device_modules(executable.mod)
        ]
        metadata = metadata | {"device": {"kind": target.kind, **lifted.describe(), "code": code}}
    with _work_folder(output) as folder:
        text = json.dumps(metadata, ensure_ascii=False).encode()
        weights = section.assemble(text, target, folder)
        library = folder / "module.so"
        export(executable, target, library, [weights])
        with atomic_path(output) as temporary:
            shutil.copyfile(library, temporary)
            temporary.chmod(0o755)


def export(executable: Any, target: Target, library: Path, addons: Sequence[Path] = ()) -> None:
    """Link what was built with ``addons`` to the shared library ``library``.

    Raises
    ------
    CompileError
        Linking failed.
    """
    try:
        executable.export_library(
            str(library),
            addons=[str(each) for each in addons],
            fcompile=_linker(target),
            workspace_dir=str(library.parent),
        )
    except RuntimeError as error:
        raise CompileError(f"linking '{library}' failed: {str(error).strip()[-2000:]}") from error


def build_executable(module: tvm.IRModule, target: Target) -> Any:
    """Generate the code of a lowered module."""
    if target.gpu is None:
        return relax.build(module, target.tvm_target(), relax_pipeline=None, tir_pipeline=PIPELINE)
    with sources_only():
        return relax.build(module, target.tvm_target(), relax_pipeline=None)


def device_modules(module: Any) -> list[Any]:
    """List the modules of a card's source among the imports of a built module."""
    found = [module] if module.kind == "cuda" else []
    return found + [each for imported in module.imports for each in device_modules(imported)]


def place_code(source: str, section: WeightSection, target: Target) -> dict[str, Any]:
    """Compile kernels and put the binary into ``section``; says where, and of which source.

    TVM's module holds the source, which its runtime wants compiled when the module is loaded.
    """
    binary = np.frombuffer(compile_cuda(source, str(target.options["arch"])), np.uint8)
    return {"source": digest_of(source), "offset": section.add(binary), "size": binary.size}


def _linker(target: Target) -> Callable[..., None]:
    """Make the function that TVM calls with the objects of a module."""

    def link(output: str, objects: Sequence[str], **_options: Any) -> None:
        run_compiler(
            ["-shared", "-fPIC", "-o", output, *objects, "-Wl,-s"],
            "linking the module",
            target.triple,
        )

    return link


@contextmanager
def _work_folder(output: str | Path) -> Iterator[Path]:
    """Make a temporary folder; the disk below it may be full, too."""
    try:
        with tempfile.TemporaryDirectory(prefix="dcc-") as name:
            yield Path(name)
    except OSError as error:
        raise OutputError(
            f"cannot write '{output}': {error.strerror or error} in the temporary folder "
            f"{tempfile.gettempdir()}; make room there, or set TMPDIR to another folder"
        ) from error
