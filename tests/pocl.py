"""Run kernels of thread blocks without a card: TVM's OpenCL source, built and launched by PoCL.

TVM's wheel has no OpenCL runtime. So the host code is built for the processor, and each kernel is a
global function that launches the source through pyopencl, on the memory of the process.
"""

from __future__ import annotations

import ctypes
import functools
import os
from contextlib import contextmanager
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import tvm
from opencl_halves import with_stored_halves
from tvm import tirx

from dcc.build import build_executable, lower
from dcc.codegen.section import WeightSection
from dcc.compilation import compilation_steps
from dcc.compressed_module import compressed_module
from dcc.passes.lift_weights import LiftedWeights
from dcc.targets.cuda_toolchain import compile_cuda
from dcc.targets.registry import get_target
from dcc.tvm_library import load_cuda_library

os.environ.setdefault("POCL_CACHE_DIR", "/tmp/pocl-of-tests")
# Its default method, which vectorises over threads, miscompiles tiles: docs/upstream.md.
os.environ.setdefault("POCL_WORK_GROUP_METHOD", "loops")
HOST = {"kind": "llvm"}
MOST_BYTES = 1 << 28


@functools.cache
def device():
    """Context and queue of PoCL; skips the test where it is absent."""
    cl = pytest.importorskip("pyopencl")
    for platform in cl.get_platforms():
        if "Portable" in platform.name:
            context = cl.Context(platform.get_devices())
            return cl, context, cl.CommandQueue(context)
    return pytest.skip("PoCL is not among the OpenCL platforms")


def opencl_options(gpu):
    """TVM's target for PoCL with the limits of ``gpu``."""
    return {
        "kind": "opencl",
        "max_num_threads": gpu.block_threads,
        "max_threads_per_block": gpu.block_threads,
        "max_shared_memory_per_block": gpu.shared_bytes,
        "thread_warp_size": 1,
        "host": HOST,
    }


@contextmanager
def host_for_processor(launches):
    """Let host code take tensors of the processor; note the launch parameters of each kernel."""
    original = tirx.transform.MakePackedAPI

    @tirx.transform.prim_func_pass(opt_level=0, name="tests.HostForProcessor")
    def host(function, _module, _context):
        target = function.attrs.get("target", None)
        if target is None or target.kind.name != "opencl":
            return function
        if target.host is not None:
            return function.with_attr("target", tvm.target.Target(HOST, HOST))
        tags = [str(tag) for tag in function.attrs["tirx.kernel_launch_params"]]
        launches[str(function.attrs["global_symbol"])] = tags
        return function

    def sequence():
        return tvm.transform.Sequential([host, original()])

    with mock.patch.object(tirx.transform, "MakePackedAPI", sequence):
        yield


def detach_kernels(library):
    """Take the kernels off a built module; returns their sources."""
    sources = [each.inspect_source("cl") for each in library.imports if each.kind == "opencl"]
    library.clear_imports()
    return sources


def offer_kernels(sources, launches):
    """Make global functions of kernels: host code finds them by name."""
    cl, context, queue = device()
    tvm.register_global_func("__tvm_set_device", lambda *_: None, override=True)
    for source in sources:
        program = cl.Program(context, with_stored_halves(source)).build()
        for kernel in program.all_kernels():
            launch = _Launch(cl, queue, kernel, launches[kernel.function_name])
            tvm.register_global_func(kernel.function_name, launch, override=True)


class _Launch:
    """Call of a kernel: pointers, then the extents that its launch parameters name."""

    def __init__(self, cl, queue, kernel, tags):
        self.cl, self.queue, self.kernel, self.tags = cl, queue, kernel, tags

    def __call__(self, *arguments):
        count = len(arguments) - len(self.tags)
        sizes = dict(zip(self.tags, arguments[count:], strict=True))
        # OpenCL does not keep the buffers of its arguments alive.
        held = [_memory(self.cl, self.queue.context, each.value) for each in arguments[:count]]
        for index, buffer in enumerate(held):
            self.kernel.set_arg(index, buffer)
        local = [sizes.get(f"threadIdx.{axis}", 1) for axis in "xyz"]
        blocks = [sizes.get(f"blockIdx.{axis}", 1) for axis in "xyz"]
        whole = [a * b for a, b in zip(local, blocks, strict=True)]
        self.cl.enqueue_nd_range_kernel(self.queue, self.kernel, whole, local).wait()


def _memory(cl, context, address):
    """The memory at a pointer, used in place; how much of it there is, only the kernel knows."""
    flags = cl.mem_flags.READ_WRITE | cl.mem_flags.USE_HOST_PTR
    return cl.Buffer(context, flags, hostbuf=(ctypes.c_char * MOST_BYTES).from_address(address))


def opencl_target(name="cuda-sm90"):
    """The target ``name`` with its kernels in OpenCL."""
    target = get_target(name)
    return replace(target, name="opencl", options=opencl_options(target.gpu))


def run_functions(functions, kernels, outputs, target):
    """Compile and run ``functions``, those of ``kernels``; see ``kernel_runs.run_all``."""
    launches = {}
    place = tvm.cpu() if target.kind == "opencl" else tvm.cuda()
    if target.kind == "opencl":
        with host_for_processor(launches):
            library = tvm.compile(tvm.IRModule(functions), target.tvm_target()).mod
        offer_kernels(detach_kernels(library), launches)
    else:
        load_cuda_library()
        arch = target.options["arch"]
        compiler = "tvm_callback_cuda_compile"
        tvm.register_global_func(compiler, lambda code: compile_cuda(code, arch), override=True)
        library = tvm.compile(tvm.IRModule(functions), target.tvm_target()).mod
    results = {}
    for name, (_, arguments) in kernels.items():
        empty = [np.full(shape, np.nan, dtype) for shape, dtype in outputs]
        tensors = [tvm.runtime.tensor(array, place) for array in (*arguments, *empty)]
        library[name](*tensors)
        results[name] = [tensor.numpy() for tensor in tensors[-len(outputs) :]]
    return results


class Module:
    """A whole model, compiled as for a card, that PoCL runs on the processor."""

    def __init__(
        self, model, storage="auto", shapes=None, target=None, tuned=None, precision="fp32"
    ):
        self.target = target or opencl_target()
        prepared = compressed_module(model, self.target, None, shapes, None)
        lowering = compilation_steps(
            prepared.table, self.target, storage, "latency", tuned, precision=precision
        )
        module = prepared.pipeline.run(prepared.module, lowering)
        section, lifted, launches = WeightSection(), LiftedWeights(), {}
        module = lower(module, self.target, section, lifted)
        with host_for_processor(launches):
            executable = build_executable(module, self.target)
        for library in executable.mod.imports:
            offer_kernels(detach_kernels(library), launches)
        self.inputs, self.outputs = prepared.imported.inputs, prepared.imported.outputs
        self.choices = prepared.table.choices
        self.machine = tvm.relax.VirtualMachine(executable, tvm.cpu())
        places = zip(section.arrays, lifted.arrays, strict=True)
        self.weights = [tvm.runtime.tensor(array.reshape(at["shape"])) for array, at in places]
        if lifted.decode:
            decoded = self.machine["decode"](*(self.weights[number] for number in lifted.decode))
            self.weights += list(decoded)

    def __call__(self, feeds):
        """Results for ``name -> array``."""
        given = [tvm.runtime.tensor(np.asarray(feeds[each.name])) for each in self.inputs]
        results = self.machine["main"](*given, *self.weights)
        results = [results] if isinstance(results, tvm.runtime.Tensor) else list(results)
        return [result.numpy() for result in results]
