"""The C interface of a model without TVM's runtime: a header, its source, and an example program.

The source calls the kernels in order; temporary tensors stand at planned places in the caller's
workspace, weights in read-only data.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod
from pathlib import Path

from dcc.codegen.raw_values import numpy_dtype
from dcc.errors import CompileError

ALIGNMENT = 64
"""Of the workspace and of the caller's tensors, in bytes: kernels load whole vectors."""
_C_TYPES = {
    "float16": "uint16_t",
    "float32": "float",
    "float64": "double",
    "bool": "uint8_t",
    **{f"{sign}int{bits}": f"{sign}int{bits}_t" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}


@dataclass(frozen=True)
class Port:
    """An input or output: its ONNX name, shape and numpy dtype."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def c_type(self) -> str:
        """Type of its elements in C."""
        if self.dtype not in _C_TYPES:
            raise CompileError(
                f"'{self.name}' is {self.dtype}, which C has no type for: expected one of "
                f"{', '.join(_C_TYPES)}; deploy it without --standalone"
            )
        return _C_TYPES[self.dtype]

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return prod(self.shape) * numpy_dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Place:
    """Where a tensor stands: ``input``, ``output``, ``workspace`` or ``weights``.

    ``at`` is the number of the input or output, or the offset in bytes.
    """

    where: str
    at: int


@dataclass(frozen=True)
class Step:
    """A call of a kernel, or a copy of ``size`` bytes where ``kernel`` is empty."""

    kernel: str
    arguments: tuple[Place, ...]
    size: int = 0


@dataclass(frozen=True)
class StandaloneModel:
    """All that the C interface says.

    Attributes
    ----------
    name
        An identifier of C, the prefix of every symbol.
    workspace
        Bytes that the caller provides.
    """

    name: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    steps: tuple[Step, ...]
    workspace: int


def identifier(name: str) -> str:
    """Make an identifier of C from any name."""
    word = re.sub(r"\W", "_", name, flags=re.ASCII)
    return word if re.match(r"[A-Za-z]", word) else f"m_{word}"


def header(model: StandaloneModel) -> str:
    """Text of ``NAME.h``."""
    name, upper = model.name, model.name.upper()
    lines = [
        f"/* {name}: a compiled model without a runtime. Plain C99, no memory of its own. */",
        f"#ifndef {upper}_H",
        f"#define {upper}_H",
        "",
        "#include <stddef.h>",
        "#include <stdint.h>",
        "",
        "#ifdef __cplusplus",
        'extern "C" {',
        "#endif",
        "",
        "/* What the caller provides to init; it may be another for each use at a time. */",
        f"#define {upper}_WORKSPACE_BYTES {max(model.workspace, ALIGNMENT)}",
        "/* Of the workspace and of the tensors, in bytes. */",
        f"#define {upper}_ALIGNMENT {ALIGNMENT}",
        "",
        *_port_constants(model),
        "",
        f"typedef struct {{ unsigned char *workspace; }} {name}_model;",
        "",
        f"enum {{ {upper}_OK = 0, {upper}_BAD_WORKSPACE = 1, {upper}_BAD_TENSOR = 2 }};",
        "",
        f"/* Returns {upper}_BAD_WORKSPACE where it is missing, too small or not aligned. */",
        f"int {name}_init({name}_model *model, void *workspace, size_t bytes);",
        "",
        f"/* Computes the outputs; returns {upper}_BAD_TENSOR where one is missing or not aligned.",
        "   Tensors are in C order. Calls with models of their own may run at the same time. */",
        f"int {name}_run(const {name}_model *model{_parameters(model)});",
        "",
        "#ifdef __cplusplus",
        "}",
        "#endif",
        "#endif",
    ]
    return "\n".join(lines) + "\n"


def source(model: StandaloneModel, weights: Path) -> str:
    """Text of the C source; ``weights`` is a file with the bytes of the read-only data."""
    name, upper = model.name, model.name.upper()
    escaped = str(weights).replace("\\", "\\\\").replace('"', '\\"')
    escaped = escaped.replace("\\", "\\\\").replace('"', '\\"')
    kernels = sorted({step.kernel for step in model.steps if step.kernel})
    counts = {step.kernel: len(step.arguments) for step in model.steps}
    declared = [f"extern void {k}({', '.join(['void *'] * counts[k])});" for k in kernels]
    copies = any(not step.kernel for step in model.steps)
    return "\n".join(
        [
            f'#include "{name}.h"',
            "#include <string.h>" if copies else "",
            '__asm__(".section .rodata.dcc,\\"a\\",%progbits\\n"',
            f'        ".balign {ALIGNMENT}\\n"',
            f'        "{name}_weights_start:\\n"',
            f'        ".incbin \\"{escaped}\\"\\n"',
            '        ".byte 0\\n"',
            '        ".text\\n");',
            '#define HIDDEN __attribute__((visibility("hidden")))',
            f"extern HIDDEN const unsigned char {name}_weights_start[];",
            f"HIDDEN void *{name}_weights(void) {{ return (void *){name}_weights_start; }}",
            *declared,
            "",
            f"int {name}_init({name}_model *model, void *workspace, size_t bytes) {{",
            f"  if (model == NULL || workspace == NULL || bytes < {upper}_WORKSPACE_BYTES ||",
            f"      (uintptr_t)workspace % {upper}_ALIGNMENT != 0)",
            f"    return {upper}_BAD_WORKSPACE;",
            "  model->workspace = (unsigned char *)workspace;",
            f"  return {upper}_OK;",
            "}",
            "",
            f"int {name}_run(const {name}_model *model{_parameters(model)}) {{",
            *_checks(model),
            "  unsigned char *const workspace = model->workspace;",
            f"  unsigned char *const weights = (unsigned char *){name}_weights_start;",
            "  (void)workspace;",
            "  (void)weights;",
            *[_statement(step) for step in model.steps],
            f"  return {upper}_OK;",
            "}",
            "",
        ]
    )


def example(model: StandaloneModel) -> str:
    """Text of a program that reads ``.npy`` files of the inputs and writes those of the outputs."""
    name, upper = model.name, model.name.upper()
    count, results = len(model.inputs), len(model.outputs)
    lines = [
        f"/* example INPUT.npy ... OUTPUT.npy ...: {count} inputs, {results} outputs. */",
        f'#include "{name}.h"',
        "#include <stdio.h>",
        "",
        f"#define ALIGNED __attribute__((aligned({upper}_ALIGNMENT)))",
        f"static ALIGNED unsigned char workspace[{upper}_WORKSPACE_BYTES];",
    ]
    for kind, ports in (("input", model.inputs), ("output", model.outputs)):
        for number, port in enumerate(ports):
            size = max(prod(port.shape), 1)
            lines.append(f"static ALIGNED {port.c_type} {kind}_{number}[{size}];")
    arguments = [f"input_{n}" for n in range(count)]
    arguments += [f"output_{n}" for n in range(len(model.outputs))]
    lines += [
        _EXAMPLE_IO,
        "int main(int count, char **files) {",
        f"  {name}_model model;",
        f"  if (count != {1 + count + len(model.outputs)}) return 2;",
        *[
            f"  if (read_npy(files[{n + 1}], input_{n}, {port.nbytes}) != 0) return 2;"
            for n, port in enumerate(model.inputs)
        ],
        f"  if ({name}_init(&model, workspace, sizeof workspace) != {upper}_OK) return 3;",
        f"  if ({name}_run(&model{''.join(', ' + each for each in arguments)}) != {upper}_OK)",
        "    return 3;",
        *[_written(number, port, count) for number, port in enumerate(model.outputs)],
        "  return 0;",
        "}",
    ]
    return "\n".join(lines) + "\n"


_EXAMPLE_IO = """
static int read_npy(const char *name, void *data, size_t bytes) {
  unsigned char start[10];
  FILE *file = fopen(name, "rb");
  size_t got = 0;
  if (file == NULL) return 1;
  if (fread(start, 1, sizeof start, file) == sizeof start &&
      fseek(file, 10 + start[8] + 256 * start[9], SEEK_SET) == 0)
    got = fread(data, 1, bytes, file);
  fclose(file);
  return got == bytes ? 0 : 1;
}

static int write_npy(const char *name, const char *header, const void *data, size_t bytes) {
  FILE *file = fopen(name, "wb");
  size_t put = 0;
  if (file == NULL) return 1;
  if (fwrite("\\x93NUMPY\\x01\\x00\\x76\\x00", 1, 10, file) == 10 &&
      fprintf(file, "%-117s\\n", header) == 118)
    put = fwrite(data, 1, bytes, file);
  return fclose(file) == 0 && put == bytes ? 0 : 1;
}
"""


def _written(number: int, port: Port, inputs: int) -> str:
    kind = numpy_dtype(port.dtype).str
    shape = "".join(f"{size}, " for size in port.shape)
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': ({shape}), }}"
    file = f"files[{1 + inputs + number}]"
    return f'  if (write_npy({file}, "{text}", output_{number}, {port.nbytes}) != 0) return 2;'


def _port_constants(model: StandaloneModel) -> list[str]:
    upper, lines = model.name.upper(), []
    for kind, ports in (("INPUT", model.inputs), ("OUTPUT", model.outputs)):
        for number, port in enumerate(ports):
            shape = "x".join(map(str, port.shape)) or "scalar"
            name = port.name.replace("*/", "* /")
            lines.append(f"/* {name}: {port.dtype} {shape} */")
            lines.append(f"#define {upper}_{kind}_{number}_BYTES {port.nbytes}")
    return lines


def _parameters(model: StandaloneModel) -> str:
    parts = [f"const {port.c_type} *input_{n}" for n, port in enumerate(model.inputs)]
    parts += [f"{port.c_type} *output_{n}" for n, port in enumerate(model.outputs)]
    return "".join(f", {part}" for part in parts)


def _checks(model: StandaloneModel) -> list[str]:
    upper = model.name.upper()
    names = [f"input_{n}" for n in range(len(model.inputs))]
    names += [f"output_{n}" for n in range(len(model.outputs))]
    faults = [f"{each} == NULL || (uintptr_t){each} % {upper}_ALIGNMENT != 0" for each in names]
    return [
        f"  if (model == NULL || model->workspace == NULL) return {upper}_BAD_WORKSPACE;",
        *[f"  if ({fault}) return {upper}_BAD_TENSOR;" for fault in faults],
    ]


def _statement(step: Step) -> str:
    arguments = [_pointer(place) for place in step.arguments]
    if step.kernel:
        return f"  {step.kernel}({', '.join(arguments)});"
    return f"  memcpy({arguments[0]}, {arguments[1]}, {step.size});"


def _pointer(place: Place) -> str:
    if place.where in ("input", "output"):
        return f"(void *){place.where}_{place.at}"
    return f"{place.where} + {place.at}"
