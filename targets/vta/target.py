"""The compiling machine with a VTA beside it: simulated, or behind a driver library."""

from __future__ import annotations

from dataclasses import replace

from dcc.targets.host import host_target
from dcc.targets.target import Target
from dcc.targets.vta.device import VTA


def vta_target() -> Target:
    """Describe the host with the default configuration of VTA."""
    host = host_target()
    return replace(
        host,
        name="vta-sim",
        description=f"VTA, 16 x 16 int8, with {host.description}; simulated, or by --vta-driver",
        accelerator=VTA,
    )
