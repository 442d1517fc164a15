"""Tune kernels of thread blocks without a card: candidates are built, checked and timed by PoCL.

Their times say nothing of a card; what runs is the tuner itself, from one end to the other.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pocl
import tvm

from dcc.build import build_executable, export
from dcc.card_candidates import CardBuild
from dcc.schedules.tuning.separate_weights import FILES, SeparateWeights
from dcc.schedules.tuning.workers import ignore_interrupts, local_runner
from dcc.tuning_devices import Devices

KERNELS = "kernels.json"


class PoclBuild(CardBuild):
    """Keeps the kernels' sources beside the library, which is for the processor."""

    def export(self, lowered, target, output):
        launches, sources = {}, []
        with pocl.host_for_processor(launches):
            executable = build_executable(lowered, target)
        for library in executable.mod.imports:
            sources += pocl.detach_kernels(library)
        (output.parent / KERNELS).write_text(json.dumps([sources, launches]))
        export(executable, target, output)


class PoclEvaluation(SeparateWeights):
    """Builds the kernels by PoCL before they run."""

    def measure(self, library, device, config):
        return super().measure(library, tvm.cpu(), config)

    def weights(self, machine, device):
        text = (Path(str(machine[FILES]())) / KERNELS).read_text()
        pocl.offer_kernels(*json.loads(text))
        return super().weights(machine, device)


@dataclass(frozen=True)
class PoclDevices(Devices):
    """This machine's PoCL."""

    def build(self, folder, target):
        return PoclBuild(folder, target)

    def runner(self, folder, limits):
        return local_runner(PoclEvaluation(folder), limits, ignore_interrupts)
