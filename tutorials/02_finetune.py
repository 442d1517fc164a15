"""From a dense model to one that is some forty times smaller, by training between lossy steps.

    pip install '.[train]' scikit-learn        # in the source tree
    python tutorials/02_finetune.py

Two ways: an ONNX file, and a torch module with a loader of your own. The data are scikit-learn's
handwritten digits; nothing is downloaded, and it takes about a minute. What each stage does to the
ratio and accuracy of LeNet-5 is drawn in docs/lenet5_curve.png, by benchmarks/accuracy_curve.py.
"""

from __future__ import annotations

import argparse
import tempfile
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import dcc
import dcc.torch

RECIPE = """
extends: deep-compression
global: {density: 0.1, bits: 4}
layers:
  0.weight: {density: 0.5}                  # the names of the module's parameters
training:
  prune: {epochs: 10, strategy: splicing, every: 20}
  retrain: {epochs: 8}
  share: {epochs: 6}
"""


def write_data(path: Path) -> None:
    """Write one ``.npz`` with training and test digits, as `dcc finetune --data` reads it."""
    digits = load_digits()
    images = (digits.images / 16.0).astype(np.float32)[:, np.newaxis]
    train, test, labels, test_labels = train_test_split(
        images, digits.target, test_size=360, random_state=0, stratify=digits.target
    )
    np.savez(path, x=train, y=labels, x_test=test, y_test=test_labels)


def from_onnx(folder: Path, epochs: int | None) -> None:
    """Compress the ONNX model that ships with dcc; the recipe `digits` names its weights."""
    model = str(files("dcc.data") / "digits.onnx")
    result = dcc.finetune(
        model,
        folder / "digits.npz",
        folder / "digits.dcz",
        recipe="digits",
        epochs=epochs,
        on_epoch=lambda report: print(
            f"  {report.stage} {report.epoch}: validation {report.accuracy:.2f} %, "
            f"{100 * report.density:.1f} % kept, about {report.projected_bytes:,} bytes"
        ),
    )
    untrained = dcc.compress(model, recipe="digits")
    print(f"data: {result.splits}")
    print(f"  dense:            {result.dense_bytes:7,} bytes, {result.dense_accuracy:.2f} %")
    print(f"  same recipe, not trained: {len(untrained.to_bytes()):,} bytes")
    print(
        f"  trained:          {result.bytes:7,} bytes, {result.accuracy:.2f} % by the compiled "
        f"module, {result.ratio:.1f} times smaller"
    )


def from_torch(folder: Path, epochs: int | None) -> None:
    """Compress a module of your own: two calls after the training that you have anyway."""
    arrays = np.load(folder / "digits.npz")
    samples, labels = torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["y"])
    loader = DataLoader(TensorDataset(samples[:1300], labels[:1300]), 32, shuffle=True)
    validation = DataLoader(TensorDataset(samples[1300:], labels[1300:]), 137)
    module = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(512, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )
    learn(module, loader, epochs or 15)
    (folder / "mine.yaml").write_text(RECIPE)

    trained = dcc.torch.finetune(
        module, loader, folder / "mine.yaml", validation=validation, epochs=epochs
    )
    trained.compress(folder / "mine.dcz", example=samples[:1])

    dense = sum(4 * parameter.numel() for parameter in module.parameters())
    compiled = dcc.compile(folder / "mine.dcz", folder / "mine.so")
    answers = [compiled(sample[None])[0].argmax() for sample in arrays["x_test"]]
    accuracy = 100 * float(np.mean(np.array(answers) == arrays["y_test"]))
    size = (folder / "mine.dcz").stat().st_size
    print(f"  {dense:,} bytes of weights -> {size:,} bytes, {accuracy:.2f} % on the test digits")


def learn(module: nn.Module, loader: DataLoader, epochs: int) -> None:
    """Train densely: whatever your own training is."""
    optimizer = torch.optim.Adam(module.parameters(), 2e-3)
    for _ in range(epochs):
        for samples, labels in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(samples), labels).backward()
            optimizer.step()


def main() -> None:
    """Run both ways."""
    parser = argparse.ArgumentParser(description="Compress with training.")
    parser.add_argument("--epochs", type=int, help="fewer, to see it work (default: the recipes')")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        write_data(Path(folder) / "digits.npz")
        print("an ONNX model:")
        from_onnx(Path(folder), arguments.epochs)
        print("a torch module:")
        from_torch(Path(folder), arguments.epochs)


if __name__ == "__main__":
    main()
