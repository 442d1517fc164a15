"""Train the small convolutional network that ships with dcc, prune it meanwhile, write it as ONNX.

    pip install '.[train]' scikit-learn        # in the source tree
    python tutorials/train_digits.py --output dcc/data

The data are scikit-learn's bundled handwritten digits (1,797 images of 8 x 8 pixels, values 0 to
16): nothing is downloaded. They are divided by 16 and split once, stratified by class, with seed
0: 1,437 images to train, 360 held out. Training follows Deep Compression (Han, Mao, Dally 2016,
section 2): learn densely, remove the weights of least magnitude step by step, and go on learning
under the mask. The same seed on the same machine gives the same file.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

SPLIT_SEED = 0
DENSE_EPOCHS = 20
PRUNING_EPOCHS = 30
RETRAINING_EPOCHS = 30
# Fraction of weights kept at the end; the first convolution and the biases are tiny: dense.
FINAL_DENSITY = {"conv2": 0.30, "conv3": 0.12, "hidden": 0.08, "classes": 0.30}


class DigitsNet(nn.Module):
    """Three normalised 3 x 3 convolutions and two fully connected layers: 57,000 weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(32)
        self.conv3 = nn.Conv2d(32, 64, 3, padding=1)
        self.norm3 = nn.BatchNorm2d(64)
        self.hidden = nn.Linear(256, 128)
        self.classes = nn.Linear(128, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits [N, 10] of images [N, 1, 8, 8]."""
        image = torch.relu(self.norm1(self.conv1(image)))
        image = torch.max_pool2d(torch.relu(self.norm2(self.conv2(image))), 2)
        image = torch.max_pool2d(torch.relu(self.norm3(self.conv3(image))), 2)
        return self.classes(torch.relu(self.hidden(torch.flatten(image, 1))))


def load_split() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Images [N, 1, 8, 8] in 0 to 1, then labels [N]; of each the training and held-out ones."""
    digits = load_digits()
    images = (digits.images / 16.0).astype(np.float32)[:, np.newaxis]
    labels = digits.target.astype(np.int64)
    return tuple(
        train_test_split(images, labels, test_size=360, random_state=SPLIT_SEED, stratify=labels)
    )


def shifted(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Shift each image by -1, 0 or 1 pixels in both directions: the only augmentation."""
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1))
    offsets = torch.randint(0, 3, (len(images), 2), generator=generator)
    return torch.stack(
        [padded[i, :, dy : dy + 8, dx : dx + 8] for i, (dy, dx) in enumerate(offsets.tolist())]
    )


def density_at(epoch: int, final: float) -> float:
    """Fraction of weights kept in ``epoch``: a cubic descent (Zhu, Gupta 2017, equation 1)."""
    progress = min(max((epoch - DENSE_EPOCHS) / PRUNING_EPOCHS, 0.0), 1.0)
    return final + (1.0 - final) * (1.0 - progress) ** 3


def update_masks(net: DigitsNet, masks: dict[str, torch.Tensor], epoch: int) -> None:
    """Drop each layer's weights of least magnitude as ``epoch`` asks; dropped ones stay dropped."""
    for name, final in FINAL_DENSITY.items():
        weight = getattr(net, name).weight.data
        kept = round(density_at(epoch, final) * weight.numel())
        magnitude = (weight.abs() * masks[name]).flatten()
        mask = torch.zeros_like(magnitude)
        mask[magnitude.topk(kept).indices] = 1.0
        masks[name] = mask.reshape(weight.shape)


def train(net: DigitsNet, images: torch.Tensor, labels: torch.Tensor, seed: int) -> None:
    """Learn, prune and retrain in place; prints one line every ten epochs."""
    generator = torch.Generator().manual_seed(seed)
    epochs = DENSE_EPOCHS + PRUNING_EPOCHS + RETRAINING_EPOCHS
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    masks = {name: torch.ones_like(getattr(net, name).weight) for name in FINAL_DENSITY}
    net.train()
    for epoch in range(epochs):
        update_masks(net, masks, epoch + 1)
        total = 0.0
        for batch in torch.randperm(len(images), generator=generator).split(32):
            apply_masks(net, masks)
            loss = nn.functional.cross_entropy(
                net(shifted(images[batch], generator)), labels[batch]
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        scheduler.step()
        if (epoch + 1) % 10 == 0:
            print(f"epoch {epoch + 1:3d}: loss {total / len(images):.4f}")
    apply_masks(net, masks)
    net.eval()


def apply_masks(net: DigitsNet, masks: dict[str, torch.Tensor]) -> None:
    """Set the dropped weights to exactly zero."""
    for name, mask in masks.items():
        getattr(net, name).weight.data.mul_(mask)


def accuracy(net: DigitsNet, images: np.ndarray, labels: np.ndarray) -> float:
    """Fraction of ``images`` that ``net`` classifies as ``labels`` say."""
    with torch.no_grad():
        answers = net(torch.from_numpy(images)).argmax(1).numpy()
    return float((answers == labels).mean())


def to_onnx(net: DigitsNet) -> onnx.ModelProto:
    """Write the network as ONNX: batch normalisation kept, the first dimension symbolic."""
    state = {name: value.numpy() for name, value in net.state_dict().items() if value.ndim}
    nodes = []
    current = "image"
    for index in (1, 2, 3):
        conv, norm = f"conv{index}", f"norm{index}"
        nodes += [
            helper.make_node(
                "Conv",
                [current, f"{conv}.weight", f"{conv}.bias"],
                [conv],
                conv,
                pads=[1, 1, 1, 1],
                kernel_shape=[3, 3],
            ),
            helper.make_node(
                "BatchNormalization",
                [
                    conv,
                    *(
                        f"{norm}.{part}"
                        for part in ("weight", "bias", "running_mean", "running_var")
                    ),
                ],
                [norm],
                norm,
                epsilon=1e-5,
            ),
            helper.make_node("Relu", [norm], [f"relu{index}"], f"relu{index}"),
        ]
        current = f"relu{index}"
        if index > 1:
            nodes.append(
                helper.make_node(
                    "MaxPool",
                    [current],
                    [f"pool{index}"],
                    f"pool{index}",
                    kernel_shape=[2, 2],
                    strides=[2, 2],
                )
            )
            current = f"pool{index}"
    nodes += [
        helper.make_node("Flatten", [current], ["flat"], "flatten", axis=1),
        helper.make_node(
            "Gemm", ["flat", "hidden.weight", "hidden.bias"], ["hidden"], "hidden", transB=1
        ),
        helper.make_node("Relu", ["hidden"], ["relu4"], "relu4"),
        helper.make_node(
            "Gemm", ["relu4", "classes.weight", "classes.bias"], ["logits"], "classes", transB=1
        ),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10])],
        [numpy_helper.from_array(value, name) for name, value in state.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 13)], producer_name="dcc tutorials"
    )
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    return model


def main() -> None:
    """Train, report and write ``digits.onnx`` and ``digits.npz``."""
    parser = argparse.ArgumentParser(description="Train the digits network that ships with dcc.")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("dcc/data"),
        help="folder for digits.onnx and digits.npz",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of the weights, the order and the shifts"
    )
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    train_images, held_images, train_labels, held_labels = load_split()
    print(
        f"split: seed {SPLIT_SEED}, {len(train_images)} to train, {len(held_images)} held out; "
        f"training seed {arguments.seed}"
    )
    net = DigitsNet()
    train(net, torch.from_numpy(train_images), torch.from_numpy(train_labels), arguments.seed)
    for name in FINAL_DENSITY:
        weight = getattr(net, name).weight
        density = weight.count_nonzero().item() / weight.numel()
        print(f"{name}: {weight.numel()} weights, density {density:.3f}")
    print(
        f"accuracy: {100 * accuracy(net, train_images, train_labels):.2f} % trained, "
        f"{100 * accuracy(net, held_images, held_labels):.2f} % held out"
    )
    arguments.output.mkdir(parents=True, exist_ok=True)
    onnx.save(to_onnx(net), arguments.output / "digits.onnx")
    np.savez_compressed(arguments.output / "digits.npz", x=held_images, y=held_labels)


if __name__ == "__main__":
    main()
