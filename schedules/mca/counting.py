"""How often each basic block of a kernel runs: counted by running it under QEMU.

    .LBB0_3:                      .LBB0_3:
            ldrb w8, [x1], #1             counts[3] += 1
                                          ldrb w8, [x1], #1

The counters are inserted into the assembly text, so that the blocks counted are those that LLVM
made: unrolled, vectorised, with their remainders.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dcc.errors import CompileError
from dcc.schedules.mca.assembly import AssemblyFunction
from dcc.targets.emulation import emulator_for
from dcc.targets.toolchain import linux_triple, run_compiler

Array = npt.NDArray[np.generic]
_COUNTER = """\
\tstp x16, x17, [sp, #-16]!
\tadrp x16, dcc_counts+{offset}
\tldr x17, [x16, :lo12:dcc_counts+{offset}]
\tadd x17, x17, #1
\tstr x17, [x16, :lo12:dcc_counts+{offset}]
\tldp x16, x17, [sp], #16"""
_DRIVER = """\
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
uint64_t dcc_counts[{blocks}] __attribute__((aligned(64)));
void {name}({parameters});
static const size_t sizes[] = {{{sizes}}};
int main(int count, char **files) {{
  void *data[{count}];
  FILE *file = count > 2 ? fopen(files[1], "rb") : NULL;
  if (file == NULL) return 1;
  for (int n = 0; n < {count}; ++n) {{
    data[n] = aligned_alloc(64, (sizes[n] / 64 + 2) * 64);
    if (data[n] == NULL || fread(data[n], 1, sizes[n], file) != sizes[n]) return 2;
  }}
  fclose(file);
  {name}({arguments});
  file = fopen(files[2], "wb");
  if (file == NULL) return 3;
  if (fwrite(dcc_counts, 8, {blocks}, file) != {blocks}) return 4;
  {writing}
  return fclose(file) == 0 ? 0 : 5;
}}
"""
_WRITE = "if (fwrite(data[{number}], 1, sizes[{number}], file) != sizes[{number}]) return 4;"


@dataclass(frozen=True)
class CountedRun:
    """How often each block of the function ran, and what it computed."""

    counts: npt.NDArray[np.uint64]
    results: list[Array]


def count_blocks(
    function: AssemblyFunction, arguments: Sequence[Array], results: Sequence[int], triple: str
) -> CountedRun:
    """Run a function of plain pointers once, and count.

    Parameters
    ----------
    arguments
        What its pointers point to.
    results
        Numbers of the arguments that it writes.
    triple
        Of its code; Android's runs as Linux's.

    Raises
    ------
    TargetError
        There is no emulator or no compiler.
    CompileError
        The program failed.
    """
    triple = linux_triple(triple)
    emulator = emulator_for(triple)
    arrays = [np.ascontiguousarray(array) for array in arguments]
    blocks = len(function.blocks)
    with tempfile.TemporaryDirectory(prefix="dcc-") as folder:
        path = Path(folder)
        (path / "kernel.s").write_text(_with_counters(function))
        names = [f"data[{number}]" for number in range(len(arrays))]
        driver = _DRIVER.format(
            blocks=blocks,
            name=function.name,
            parameters=", ".join(["void *"] * len(arrays)),
            sizes=", ".join(str(array.nbytes) for array in arrays),
            count=len(arrays),
            arguments=", ".join(names),
            writing=" ".join(_WRITE.format(number=number) for number in results),
        )
        (path / "driver.c").write_text(driver)
        with (path / "data").open("wb") as file:
            for array in arrays:
                file.write(array.tobytes())
        sources: list[str | Path] = [
            "-x",
            "c",
            path / "driver.c",
            "-x",
            "assembler",
            path / "kernel.s",
        ]
        program = path / "program"
        options: list[str | Path] = ["-O1", "-static", *sources, "-x", "none", "-lm", "-o", program]
        run_compiler(options, "building a kernel with counters", triple)
        command = [*emulator, str(program), str(path / "data"), str(path / "out")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise CompileError(
                f"the kernel '{function.name}' failed under emulation (exit code "
                f"{done.returncode}): {done.stderr.strip()[-500:]}"
            )
        found = (path / "out").read_bytes()
    counts, at = np.frombuffer(found[: 8 * blocks], np.uint64), 8 * blocks
    answers: list[Array] = []
    for number in results:
        like = arrays[number]
        part = np.frombuffer(found[at : at + like.nbytes], like.dtype)
        answers.append(part.reshape(like.shape))
        at += like.nbytes
    return CountedRun(counts, answers)


def _with_counters(function: AssemblyFunction) -> str:
    starts = {block.line: number for number, block in enumerate(function.blocks)}
    lines = []
    for number, line in enumerate(function.lines):
        if number in starts:
            lines.append(_COUNTER.format(offset=8 * starts[number]))
        lines.append(line)
    return "\n".join(lines) + "\n"
