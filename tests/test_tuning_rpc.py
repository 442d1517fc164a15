"""``--runner rpc``: candidates run on the devices that TVM's tracker lends, two at a time."""

from __future__ import annotations

import json
import socket

import pytest
from tuning_runs import small_model
from tvm import rpc
from tvm.rpc.tracker import Tracker

import dcc
from dcc.errors import TuningError
from dcc.schedules.tuning.database import DEVICE, MEASUREMENTS
from dcc.schedules.tuning.workers import Limits

KEY = "board"


@pytest.fixture
def tracker():
    """A tracker with two devices, all on this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = Tracker("127.0.0.1", port=port, port_end=port + 50, silent=True)
    address = ("127.0.0.1", started.port)
    servers = [
        rpc.Server("127.0.0.1", 9091, 9290, key=KEY, tracker_addr=address, silent=True)
        for _ in range(2)
    ]
    yield f"127.0.0.1:{started.port}"
    for server in servers:
        server.terminate()
    started.terminate()


def test_two_devices(tracker, tmp_path):
    model, _ = small_model()
    limits = Limits(repeats=3, block_milliseconds=1, rounds=1)
    folder = tmp_path / "database"
    report = dcc.tune(
        model, folder, trials=5, runner="rpc", tracker=tracker, key=KEY, limits=limits
    )
    (layer,) = report.layers
    assert layer.trials == 5
    assert layer.failures == []
    assert len((folder / MEASUREMENTS).read_text().splitlines()) == 5
    device = json.loads((folder / DEVICE).read_text())["device"]
    assert device == {"runner": "rpc", "key": KEY}
    # This machine compiles for the devices, but may not add its own times.
    (compiled,) = dcc.compile(model, database=folder).metadata["layers"]
    assert compiled["reason"].startswith("tuned:")
    with pytest.raises(TuningError, match="device runner was 'rpc', now 'local'"):
        dcc.tune(model, folder)
    with pytest.raises(TuningError, match=r"has no device with the key 'bord' \(there: board"):
        dcc.tune(model, tmp_path / "other", runner="rpc", tracker=tracker, key="bord")


def test_no_tracker(tmp_path):
    with pytest.raises(TuningError, match=r"the tracker 127\.0\.0\.1:1 does not answer"):
        dcc.tune(small_model()[0], tmp_path, runner="rpc", tracker="127.0.0.1:1", key=KEY)
