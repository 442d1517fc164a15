"""
From an ONNX model to a compressed module
=========================================

Compresses a small network, compiles it to a shared library that computes from the compressed
weights, runs it, and looks inside. The network, for handwritten digits of 8 x 8 pixels, ships with
dcc, and so do 360 digits that it never saw.

    python tutorials/01_first_model.py
"""

from __future__ import annotations

import tempfile
from importlib.resources import files
from pathlib import Path

import numpy as np

import dcc

model = Path(str(files("dcc.data") / "digits.onnx"))
digits = np.load(str(files("dcc.data") / "digits.npz"))
workplace = tempfile.TemporaryDirectory()
folder = Path(workplace.name)

# %%
# Compress
# --------
# A recipe says what happens to each weight. This one shares the weights through small codebooks and
# takes the zeros that training has left in this network. The container is pure data: for no target
# in particular, and every byte of it accounted for.

container = dcc.compress(model, folder / "digits.dcz", recipe="deep-compression")
before, after = model.stat().st_size, (folder / "digits.dcz").stat().st_size
print(f"{before:,} bytes as ONNX, {after:,} as a container: {before / after:.1f}x smaller")
for name, tensor in container.tensors.items():
    if tensor.codebook is not None:
        share = 1.0 if tensor.mask is None else tensor.mask.mean()
        print(f"  {name}: {share:.0%} kept, {tensor.codebook.size} distinct values")

# %%
# Compile
# -------
# For the machine at hand. Each layer gets the storage form that the cost model finds fastest;
# where compression would make a layer slower, its weight is decoded when the module is loaded, and
# the report says so.

dcc.compile(folder / "digits.dcz", folder / "digits.so")

# %%
# Run
# ---
# Loading needs TVM's runtime and numpy, nothing of the compiler.

module = dcc.load(folder / "digits.so")
print("inputs ", module.inputs)
print("outputs", module.outputs)

image = digits["x"][:1]
for row in image[0, 0]:
    print("".join(" .:oO@"[int(5 * value)] * 2 for value in row))
(logits,) = module(image)
print(f"the module says {logits.argmax()}, the label {digits['y'][0]}")

answers = [module(sample[np.newaxis])[0].argmax() for sample in digits["x"]]
accuracy = np.mean(np.array(answers) == digits["y"])
print(f"{accuracy:.2%} of {len(answers)} digits are right")

# %%
# Inspect
# -------
# What ``dcc inspect digits.so`` prints as a table.

for layer in dcc.inspect(folder / "digits.so").layers:
    print(f"{layer.name}: {layer.ratio:.1f}x, {layer.form}; {layer.reason}")
