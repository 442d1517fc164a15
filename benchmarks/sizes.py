"""Bytes of the shared models as ONNX and as lossless ``.dcz``, and where they go.

    python benchmarks/sizes.py [FOLDER_OR_MODEL.onnx ...]

Without arguments: the models of the folder ``shared/models`` beside the repository.
"""

from __future__ import annotations

import sys
from pathlib import Path

from dcc.container import Container
from dcc.onnx_weights import load_model

COLUMNS = ["onnx", "dcz", "ratio", "weights", "indices", "codebook", "tables", "graph", "rest"]


def row(path: Path) -> list[str]:
    """Compress one model and account for its bytes."""
    size = Container.from_model(load_model(path)).nbytes()
    onnx_bytes = path.stat().st_size
    parts = [
        sum(getattr(storage, name) for storage in size.tensors.values())
        for name in ("weights", "indices", "codebook", "tables")
    ]
    rest = size.recipe + size.framing + size.padding
    ratio = f"{onnx_bytes / size.total:.1f}x"
    return [
        f"{onnx_bytes:,}",
        f"{size.total:,}",
        ratio,
        *(f"{n:,}" for n in [*parts, size.graph, rest]),
    ]


def models(arguments: list[str]) -> list[Path]:
    """Files to look at."""
    default = Path(__file__).resolve().parents[1].parent / "shared" / "models"
    places = [Path(argument) for argument in arguments] or [default]
    return [
        path
        for place in places
        for path in (sorted(place.glob("*.onnx")) if place.is_dir() else [place])
    ]


def main() -> None:
    paths = models(sys.argv[1:])
    if not paths:
        sys.exit("no models: give a folder or .onnx files")
    width = max(len(path.stem) for path in paths)
    print(" " * width + "".join(f"{column:>12}" for column in COLUMNS))
    for path in paths:
        print(f"{path.stem:<{width}}" + "".join(f"{cell:>12}" for cell in row(path)), flush=True)


if __name__ == "__main__":
    main()
