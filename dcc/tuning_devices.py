"""Where candidates run: this machine, or the devices that a TVM tracker lends."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Any

from dcc.errors import TuningError
from dcc.schedules.mca.cycles import find_mca
from dcc.schedules.tuning.workers import Tracker
from dcc.targets.emulation import emulator_for
from dcc.targets.processor import cpu_features
from dcc.targets.target import Target
from dcc.targets.toolchain import compiler_for
from dcc.tuning_database import MCA, RPC, estimate_identity, local_identity, remote_identity


@dataclass(frozen=True)
class Devices:
    """Devices, and what a database says about them.

    Attributes
    ----------
    tracker
        None for this machine.
    """

    identity: dict[str, Any]
    count: int = 1
    tracker: Tracker | None = None


def find_devices(target: Target, runner: str, tracker: str | None, key: str | None) -> Devices:
    """Check that there is a device for the target.

    Raises
    ------
    TuningError
        This machine cannot run the target's code, or the tracker has no such device.
    """
    if runner != RPC:
        if tracker is not None or key is not None:
            raise TuningError("a tracker and a key need the runner 'rpc': add --runner rpc")
        if runner == MCA:
            return Devices(_estimated(target))
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
    return Devices(remote_identity(target, key), _count(address), address)


def _estimated(target: Target) -> dict[str, Any]:
    """Check that cycles can be estimated for ``target``, and describe the estimates."""
    if target.pipeline is None:
        raise TuningError(
            f"target '{target.name}' has no model of its pipeline: cycles can be estimated for ARM "
            "cores (see 'dcc targets')"
        )
    find_mca()
    emulator_for(target.triple)
    compiler_for(target.triple)
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
