"""The main job on the model that ships with dcc: compress, compile, run, verify, measure.

``make demo`` runs this. It gives the commands that a user would type, one after the other, and ends
with the figures that matter. The model is a small convolutional network for handwritten digits
(``tutorials/train_digits.py`` trained it), the data are the 360 digits that it never saw.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from importlib.resources import files
from pathlib import Path
from typing import Any

from dcc.__main__ import main as dcc_command
from dcc.cli.console import print_table, size_text, time_text

RECIPE = "deep-compression"
MAX_DROP = "1.0"


def step(title: str, *arguments: str) -> None:
    """Print a command, run it, and stop the demo if it fails."""
    print(f"\n== {title}\n$ dcc {shlex.join(arguments)}", flush=True)
    code = dcc_command(arguments)
    if code:
        sys.exit(code)


def main() -> None:
    """Run all steps in the folder of ``--output`` and print the figures."""
    parser = argparse.ArgumentParser(description="dcc on the model that ships with it")
    parser.add_argument("--output", type=Path, default=Path("build/demo"), help="folder to work in")
    folder = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    model, data = (str(files("dcc.data") / name) for name in ("digits.onnx", "digits.npz"))
    container, module = str(folder / "digits.dcz"), str(folder / "digits.so")
    verified, measured = str(folder / "verify.json"), str(folder / "bench.json")
    step("Compress", "compress", model, "-o", container, "--recipe", RECIPE)
    step("Compile for this machine", "compile", container, "-o", module)
    step("Run once on random input", "run", module)
    step("The module computes what the container says", "verify", module, container)
    arguments = ("--data", data, "--max-drop", MAX_DROP, "--json", verified)
    step("Accuracy on held-out digits, before and after", "verify", module, model, *arguments)
    step("Side by side", "bench", module, model, "--layers", "--json", measured)
    print_figures(model, container, module, _read(verified), _read(measured))
    print(f"\n{time.perf_counter() - started:.0f} s; the files are in {folder}")


def print_figures(
    model: str, container: str, module: str, verified: dict[str, Any], measured: dict[str, Any]
) -> None:
    """Print size, accuracy and latency before and after."""
    sizes = [Path(path).stat().st_size for path in (model, container, module)]
    before, after = verified["reference_accuracy"], verified["accuracy"]
    rows = [
        ("ONNX model", size_text(sizes[0]), "1.0x", f"{before:.2f} %"),
        (".dcz container", size_text(sizes[1]), f"{sizes[0] / sizes[1]:.1f}x", f"{after:.2f} %"),
        (
            ".so module, code included",
            size_text(sizes[2]),
            f"{sizes[0] / sizes[2]:.1f}x",
            f"{after:.2f} %",
        ),
    ]
    print()
    print_table(
        "Figures", ("file", "bytes", "smaller", "accuracy", ""), [(*row, "") for row in rows]
    )
    latency = ", ".join(
        f"{row['label']} {time_text(row['median_seconds'])} ms"
        for row in measured["contenders"]
        if row["median_seconds"] is not None
    )
    print(f"median latency of one digit, {measured['threads']} threads: {latency}")


def _read(path: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path(path).read_text())
    return content


if __name__ == "__main__":
    main()
