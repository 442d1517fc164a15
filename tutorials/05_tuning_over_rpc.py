"""
Tuning on other devices
=======================

Candidates are built on this machine and timed on the devices that TVM's tracker lends. Here the
tracker and two devices are processes of this machine; for real boards start the same three programs
on the machines where they belong, and skip to the second part.

    python tutorials/05_tuning_over_rpc.py
"""

from __future__ import annotations

import socket
import tempfile
from importlib.resources import files
from pathlib import Path

import numpy as np
from tvm import rpc
from tvm.rpc.tracker import Tracker

import dcc
from dcc.schedules.tuning.workers import Limits

model = files("dcc.data") / "digits.onnx"

# %%
# A tracker and its devices
# -------------------------
# On real machines, once and then on each board:
#
#     python -m tvm.exec.rpc_tracker --host 0.0.0.0 --port 9190
#     python -m tvm.exec.rpc_server --tracker HOST:9190 --key board
#
# A key stands for devices that are alike: times of different processors do not compare.

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
tracker = Tracker("127.0.0.1", port=port, port_end=port + 50, silent=True)
address = ("127.0.0.1", tracker.port)
boards = [
    rpc.Server("127.0.0.1", 9091, 9290, key="board", tracker_addr=address, silent=True)
    for _ in range(2)
]
print(len(boards), "devices with the key 'board'")

# %%
# The search
# ----------
# The same as ``dcc tune digits.onnx --recipe deep-compression --runner rpc --tracker HOST:PORT
# --key board --database records``. The target is what the boards are, not what this machine is.
# Answers are checked on the device before a time counts. Ten candidates and short measurements keep
# this quick: three for each layer, the default among them; without `trials` it is 64 each.

with tempfile.TemporaryDirectory() as folder:
    records = Path(folder) / "records"
    report = dcc.tune(
        str(model),
        records,
        target="host",
        recipe="deep-compression",
        runner="rpc",
        tracker=f"127.0.0.1:{tracker.port}",
        key="board",
        trials=10,
        limits=Limits(repeats=3, block_milliseconds=2, rounds=3),
    )
    for layer in report.layers:
        print(f"{layer.layers}: {layer.trials} tried, {layer.ratio:.2f}x, {layer.chosen}")

    # %%
    # What the records are for
    # ------------------------
    # ``compile`` takes them, and says for each layer whether it was tuned.

    compiled = dcc.compile(str(model), target="host", recipe="deep-compression", database=records)
    for entry in compiled.metadata["layers"]:
        print(f"{entry['name']}: {entry['form']}; {entry['reason']}")

for board in boards:
    board.terminate()
tracker.terminate()

# %%
# The result is the same as without records, but for rounding.

image = np.load(str(files("dcc.data") / "digits.npz"))["x"][:1]
(expected,) = dcc.compile(str(model), recipe="deep-compression")(image)
(logits,) = compiled(image)
error = np.abs(logits - expected).max() / np.abs(expected).max()
print(f"largest difference from the default schedules: {error:.1e}")
assert error < 1e-5
