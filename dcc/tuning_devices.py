"""Where candidates run: this machine, or the devices that a TVM tracker lends."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tvm.s_tir import meta_schedule as ms

from dcc.candidate_build import CandidateBuild, CandidateEstimate
from dcc.card_candidates import CardBuild, PrepareCard
from dcc.errors import TuningError
from dcc.schedules.mca.cycles import find_mca
from dcc.schedules.tuning.estimates import EstimateRunner
from dcc.schedules.tuning.evaluation import Evaluation
from dcc.schedules.tuning.separate_weights import SeparateWeights
from dcc.schedules.tuning.workers import (
    BuildCandidate,
    Limits,
    Tracker,
    ignore_interrupts,
    local_runner,
    rpc_runner,
)
from dcc.targets.cuda import find_card, why_unfit
from dcc.targets.cuda_toolchain import find_device_compiler
from dcc.targets.emulation import emulator_for
from dcc.targets.processor import cpu_features
from dcc.targets.target import Target
from dcc.targets.toolchain import compiler_for, linux_triple
from dcc.tuning_database import (
    LOCAL,
    MCA,
    RPC,
    card_identity,
    estimate_identity,
    local_identity,
    remote_identity,
)


@dataclass(frozen=True)
class Devices:
    """Devices, what a database says about them, and how candidates get there.

    Attributes
    ----------
    tracker
        None for this machine.
    device_type
        Of TVM: where a candidate computes.
    repeatable
        Whether a candidate takes as long each time.
    """

    identity: dict[str, Any]
    count: int = 1
    tracker: Tracker | None = None
    device_type: str = "cpu"
    repeatable: bool = False

    def build(self, folder: str, target: Mapping[str, Any]) -> BuildCandidate:
        """Make what builds a candidate in a worker process."""
        return CandidateBuild(folder, target)

    def runner(self, folder: str, limits: Limits) -> ms.Runner:
        """Make what runs and times candidates."""
        return self._runner(Evaluation(folder), limits, ignore_interrupts)

    def _runner(
        self, evaluation: Evaluation, limits: Limits, initializer: Callable[[], None]
    ) -> ms.Runner:
        if self.tracker is None:
            return local_runner(evaluation, limits, initializer)
        return rpc_runner(evaluation, limits, self.tracker, self.count)


@dataclass(frozen=True)
class Estimates(Devices):
    """No devices: llvm-mca estimates the cycles of candidates."""

    repeatable: bool = True

    def build(self, folder: str, target: Mapping[str, Any]) -> BuildCandidate:
        """Make what estimates a candidate."""
        return CandidateEstimate(folder, target)

    def runner(self, folder: str, limits: Limits) -> ms.Runner:
        """Make what reads the estimates."""
        return EstimateRunner()


@dataclass(frozen=True)
class Cards(Devices):
    """CUDA cards, with a memory of their own."""

    device_type: str = "cuda"

    def build(self, folder: str, target: Mapping[str, Any]) -> BuildCandidate:
        """Make what builds a candidate, kernels and all, without a card."""
        return CardBuild(folder, target)

    def runner(self, folder: str, limits: Limits) -> ms.Runner:
        """Make what runs and times candidates."""
        return self._runner(SeparateWeights(folder), limits, PrepareCard(folder))


def find_devices(
    target: Target, runner: str | Devices, tracker: str | None, key: str | None
) -> Devices:
    """Check that there is a device for the target; ``runner`` may be the devices themselves.

    Raises
    ------
    TuningError
        This machine cannot run the target's code, or the tracker has no such device.
    """
    if isinstance(runner, Devices):
        return runner
    if runner not in (LOCAL, RPC, MCA):
        raise TuningError(f"unknown runner '{runner}': expected '{LOCAL}', '{RPC}' or '{MCA}'")
    if target.gpu is not None and runner != MCA:
        find_device_compiler()  # before the work: is there one?
    if runner != RPC:
        if tracker is not None or key is not None:
            raise TuningError("a tracker and a key need the runner 'rpc': add --runner rpc")
        if runner == MCA:
            return Estimates(_estimated(target))
        if target.gpu is not None:
            return Cards(card_identity(target, _fitting_card(target)))
        present = cpu_features()
        missing = sorted(set(target.required_features) - present) if present is not None else []
        if missing:
            raise TuningError(
                f"this machine cannot run code for '{target.name}': it lacks {', '.join(missing)}; "
                "tune on devices that a tracker lends (--runner rpc) or by estimates (--runner mca)"
            )
        return Devices(local_identity(target))
    if tracker is None or key is None:
        raise TuningError(
            "the runner 'rpc' needs the tracker's address and the devices' key: "
            "--tracker HOST:PORT --key KEY"
        )
    address = parse_tracker(tracker, key)
    make = Devices if target.gpu is None else Cards
    return make(remote_identity(target, key), _count(address), address)


def _fitting_card(target: Target) -> str:
    """Name the card of this machine.

    Raises
    ------
    TuningError
        There is none, or not one that runs code for ``target``.
    """
    card = find_card()
    if card is None:
        raise TuningError(
            f"'{target.name}' is tuned on a CUDA card, which this machine lacks: tune on devices "
            "that a tracker lends (--runner rpc)"
        )
    unfit = why_unfit(card, str(target.options["arch"]))
    if unfit is not None:
        raise TuningError(
            f"'{target.name}' needs {unfit}: tune for 'cuda', or on devices that a tracker lends "
            "(--runner rpc)"
        )
    return card.name


def _estimated(target: Target) -> dict[str, Any]:
    """Check that cycles can be estimated for ``target``, and describe the estimates."""
    if target.pipeline is None:
        raise TuningError(
            f"target '{target.name}' has no model of its pipeline: cycles can be estimated for ARM "
            "cores (see 'dcc targets')"
        )
    find_mca()
    triple = linux_triple(target.triple)  # which the kernels are run as
    emulator_for(triple)
    compiler_for(triple)
    return estimate_identity(target)


def parse_tracker(tracker: str, key: str) -> Tracker:
    """Read ``HOST:PORT``.

    Raises
    ------
    TuningError
        It has another form.
    """
    host, separator, port = tracker.rpartition(":")
    if not (separator and host and port.isdecimal()):
        raise TuningError(f"tracker '{tracker}': expected HOST:PORT, such as 127.0.0.1:9190")
    return Tracker(host, int(port), key)


def _count(tracker: Tracker) -> int:
    """Count the devices of the key."""
    from tvm import rpc

    where = f"the tracker {tracker.host}:{tracker.port}"
    try:
        # TVM itself would try for a minute.
        socket.create_connection((tracker.host, tracker.port), timeout=10).close()
        summary = rpc.connect_tracker(tracker.host, tracker.port).summary()
    except (RuntimeError, OSError) as error:
        raise TuningError(
            f"{where} does not answer: {str(error).strip().splitlines()[-1]}"
        ) from None
    keys = [str(item["key"]).removeprefix("server:") for item in summary["server_info"]]
    if tracker.key not in keys:
        known = ", ".join(sorted(set(keys))) or "none"
        raise TuningError(
            f"{where} has no device with the key '{tracker.key}' (there: {known}); start one with "
            f"'python -m tvm.exec.rpc_server --tracker {tracker.host}:{tracker.port} --key "
            f"{tracker.key}'"
        )
    return keys.count(tracker.key)
