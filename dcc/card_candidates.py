"""From a candidate of the tuner to a library for a card, and what runs it there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dcc.build import build_executable, device_modules, export, lower
from dcc.candidate_build import CandidateBuild, candidate_module, named
from dcc.card_binaries import SUFFIX, digest_of, offer_folder
from dcc.codegen.section import WeightSection
from dcc.passes.lift_weights import LiftedWeights
from dcc.passes.parameters import MAIN
from dcc.passes.rotate_weights import RotateWeights
from dcc.schedules.tuning.candidate import Candidate
from dcc.schedules.tuning.separate_weights import FILES, ROTATED, write_weights
from dcc.schedules.tuning.workers import ignore_interrupts
from dcc.targets.cuda_toolchain import compile_cuda
from dcc.targets.target import Target
from dcc.tvm_library import load_cuda_library


class CardBuild(CandidateBuild):
    """Builds candidates for a card.

    Their kernels, compiled, stand in ``folder``, where :class:`PrepareCard` offers them.
    """

    def __call__(self, layer: str, candidate: Candidate, output: Path) -> None:
        """Write the library, and its weights beside it."""
        target = Target(**self.target)
        module = candidate_module(self.folder, layer, candidate, target)
        inputs = len(module[MAIN].params)
        module = named(module, layer, **{FILES: str(output.parent)})
        section, lifted = WeightSection(), LiftedWeights()
        rotation = RotateWeights(inputs, target.caches.last_level)
        lowered = lower(module, target, section, lifted, more=[rotation])
        places = zip(section.arrays, lifted.arrays, strict=True)
        arrays = [array.reshape(place["shape"]) for array, place in places]
        copies = (len(lowered[ROTATED].params) - inputs) // (len(lowered[MAIN].params) - inputs)
        write_weights(output.parent, arrays, lifted.decode, copies)
        self.export(lowered, target, output)

    def export(self, lowered: Any, target: Target, output: Path) -> None:
        """Generate code and write the library."""
        executable = build_executable(lowered, target)
        for each in device_modules(executable.mod):
            source = each.inspect_source()
            binary = compile_cuda(source, str(target.options["arch"]))
            (Path(self.folder) / f"{digest_of(source)}{SUFFIX}").write_bytes(binary)
        export(executable, target, output)


@dataclass(frozen=True)
class PrepareCard:
    """What a runner's process does first: load TVM's runtime of CUDA, offer compiled kernels."""

    folder: str

    def __call__(self) -> None:
        """Prepare this process."""
        ignore_interrupts()
        load_cuda_library()
        offer_folder(Path(self.folder))
