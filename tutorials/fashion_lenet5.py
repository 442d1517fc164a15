"""LeNet-5 on Fashion-MNIST, from scratch: learn densely, then compress while learning.

    python tutorials/fashion_lenet5.py --data FOLDER_OF_IDX_FILES

The folder holds Fashion-MNIST's four files (https://github.com/zalandoresearch/fashion-mnist). A
twelfth of the training images chooses between epochs; the test images are for the two figures at
the end only. About ten minutes of one core.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import dcc
import dcc.torch
from dcc.training.data import read_splits, to_tensors
from dcc.training.evaluate import evaluate
from dcc.training.outcome import compiled_accuracy

SHAPE = (1, 28, 28)
RECIPE = """
operators:
  bias: {bits: 5}
layers:
  0.weight: {density: 0.6, bits: 6}
  2.weight: {density: 0.25, bits: 5}
  5.weight: {density: 0.06, bits: 4}
  7.weight: {density: 0.3, bits: 5}
training:
  learning_rate: 0.0005
  distillation: 0.5
  prune: {epochs: 8, strategy: splicing}
  retrain: {epochs: 4, learning_rate: 0.001}
  share: {epochs: 4, entropy: 0.005}
"""


def lenet5() -> nn.Sequential:
    """Caffe's LeNet-5: 431,080 weights."""
    return nn.Sequential(
        nn.Conv2d(1, 20, 5),
        nn.MaxPool2d(2),
        nn.Conv2d(20, 50, 5),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(800, 500),
        nn.ReLU(),
        nn.Linear(500, 10),
    )


def learn(module: nn.Module, loader: DataLoader, epochs: int) -> None:
    """Train densely, the rate falling along a cosine."""
    optimizer = torch.optim.AdamW(module.parameters(), 1e-3, weight_decay=1e-2)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for epoch in range(epochs):
        total = 0.0
        for samples, labels in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(module(samples), labels)
            loss.backward()
            optimizer.step()
            total += loss.item()
        scheduler.step()
        print(f"dense {epoch + 1} of {epochs}: loss {total / len(loader):.4f}", flush=True)


def main() -> None:
    """Train, compress, compile and print the two accuracies and the ratio."""
    parser = argparse.ArgumentParser(description="LeNet-5 on Fashion-MNIST, compressed.")
    parser.add_argument("--data", type=Path, required=True, help="folder of the IDX files")
    parser.add_argument("--output", type=Path, default=Path("fashion"), help="folder to write")
    parser.add_argument("--epochs", type=int, help="of the compression, instead of 16")
    parser.add_argument("--dense-epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(arguments.seed)
    splits = read_splits(arguments.data)
    print(splits.describe())
    cpu = torch.device("cpu")
    train, validation, test = (
        to_tensors(part, SHAPE, cpu) for part in (splits.train, splits.validation, splits.test)
    )
    loader = DataLoader(TensorDataset(*train), 128, shuffle=True)
    # Half the time on a CPU: the layout in which its convolutions and pooling are quickest.
    module = lenet5().to(memory_format=torch.channels_last)
    learn(module, loader, arguments.dense_epochs)
    module.eval()
    dense_accuracy = evaluate(module, *test).accuracy
    example = test[0][:1]
    recipe = arguments.output / "fashion.yaml"
    recipe.write_text(RECIPE)
    uncompressed = dcc.torch.Trained(module, dcc.load_recipe("lossless"), [])
    dense_bytes = uncompressed.to_onnx(example).ByteSize()

    trained = dcc.torch.finetune(
        module,
        loader,
        recipe,
        validation=DataLoader(TensorDataset(*validation), 1000),
        epochs=arguments.epochs,
        seed=arguments.seed,
        on_epoch=lambda report: print(
            f"{report.stage} {report.epoch} of {report.epochs}: loss {report.loss:.4f}, "
            f"validation {report.accuracy:.2f} %, about {report.projected_bytes:,} bytes",
            flush=True,
        ),
    )
    container = trained.compress(arguments.output / "lenet5.dcz", example)
    size = (arguments.output / "lenet5.dcz").stat().st_size
    accuracy = compiled_accuracy(container, splits.test)
    print(f"bytes: {dense_bytes:,} -> {size:,}, {dense_bytes / size:.1f} times smaller")
    print(f"test accuracy: {dense_accuracy:.2f} -> {accuracy:.2f} % by the compiled module")
    print(f"CPU time: {time.process_time() / 60:.1f} minutes")


if __name__ == "__main__":
    main()
