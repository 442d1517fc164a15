"""
A target of your own
====================

Describes a device that dcc has never heard of, compiles a network for it, runs the result, and
estimates how long it would take there. Nothing of dcc is changed: a target is data.

    python tutorials/04_new_target.py

The device here is a camera's processor with two ARM cores. Where a cross compiler, QEMU or llvm-mca
is missing, the steps that need it say so; docs/arm.md tells how to get them.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from typing import TypeVar

import numpy as np

import dcc
from dcc.emulation import EmulatedModule
from dcc.errors import TargetError
from dcc.estimation import estimate
from dcc.targets.registry import get_target, registered
from dcc.targets.target import Caches, Pipeline, Target

Result = TypeVar("Result")


def attempt(step: Callable[[], Result]) -> Result | None:
    """Do what needs tools that may be missing; None, and a line that says which, where they are."""
    try:
        return step()
    except TargetError as error:
        print("not here:", error)
        return None


model = str(files("dcc.data") / "digits.onnx")
image = np.load(str(files("dcc.data") / "digits.npz"))["x"][:1]
container = dcc.compress(model, recipe="deep-compression")

# %%
# Describe the device
# -------------------
# ``options`` is what TVM's own target takes, and decides which code LLVM makes. The rest is what
# dcc's schedules and cost model choose by, never by a name: the width of a vector, the cores, the
# caches, how fast memory is. ``pipeline`` names the model of a core that LLVM has, for estimates of
# time. A table of energies may go with it; without one, the figures of a 45 nm process count.


def camera() -> Target:
    """Two in-order cores with little cache and slow memory."""
    return Target(
        name="camera-a55",
        description="a camera's processor: two Cortex-A55 at 1.2 GHz",
        options={"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": "cortex-a55"},
        features=frozenset({"neon", "dotprod", "fullfp16"}),
        vector_floats=4,
        cores=2,
        caches=Caches(level1=32 * 1024, level2=64 * 1024, last_level=256 * 1024),
        memory_bandwidth=2.0,  # bytes a nanosecond
        cache_bandwidth=6.0,
        pipeline=Pipeline(clock=1.2, model="cortex-a55"),
    )


# %%
# Give it a name
# --------------
# A target can be handed over as it is. Registered, it is also found by its name, by ``dcc.compile``
# and all the others, for as long as the ``with`` block lasts.

with registered(camera()):
    print(get_target("camera-a55").description)

# %%
# Compile for it
# --------------
# The same container, for the camera and for this machine: each layer has the storage form that the
# cost model finds fastest there. Code for another processor needs a cross compiler.

here = dcc.compile(container)
there = attempt(lambda: dcc.compile(container, target=camera()))
if there is not None:
    for ours, theirs in zip(here.metadata["layers"], there.metadata["layers"], strict=True):
        if ours["form"] != "constant":
            print(f"{ours['name']}: {theirs['form']} on the camera, {ours['form']} here")

# %%
# Run
# ---
# QEMU runs the camera's code. For the device itself, ``dcc deploy`` writes all that it needs.

(expected,) = here(image)
if there is not None:
    answers = attempt(lambda: EmulatedModule(there.path)(image))
    if answers is not None:
        print("largest difference to this machine's answer", np.abs(answers[0] - expected).max())

# %%
# Estimate
# --------
# The emulator counts how often each piece of the code runs, and LLVM's model of the pipeline says
# how many cycles that takes: on one core, and never less than its memory needs for the bytes.

for storage in ("dense", "sparse"):
    found = attempt(
        lambda form=storage: estimate(container, {"image": image}, camera(), storage=form)
    )
    if found is not None:
        print(f"{storage}: estimated {found.nanoseconds / 1000:.1f} us")

# %%
# Installed packages
# ------------------
# A package that is installed beside dcc adds its target without any call, by an entry point in its
# ``pyproject.toml``: the target's name, and the function that makes it::
#
#     [project.entry-points."dcc.targets"]
#     "camera-a55" = "my_package.targets:camera"
#
# From then on ``dcc targets`` lists it and ``dcc compile --target camera-a55`` compiles for it. A
# device with a matrix unit or a card of its own needs more than data: kernels and a code generator;
# ``targets/vta`` and ``targets/cuda.py`` show where they go.

print("entry point: camera-a55 = my_package.targets:camera, in the group dcc.targets")
