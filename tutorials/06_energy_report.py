"""
What a run costs
================

Counts what the kernels of a model do, prices it with a target's table of energies, and changes the
table. A proxy, not a measurement: the machine's own counters, where it has any, stand beside it.

    python tutorials/06_energy_report.py
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import dcc
from dcc.energy import module_energy
from dcc.energy_counters import find_counters, measure_energy
from dcc.energy_counting import model_energy
from dcc.random_inputs import random_inputs
from dcc.targets.energy import EnergyTable, energy_table
from dcc.targets.registry import get_target

model = str(files("dcc.data") / "digits.onnx")
MICRO = 1e-6

# %%
# A module knows what it does
# ---------------------------
# ``dcc.compile`` counts operations and bytes from the scheduled kernels and the packed weights, and
# writes the counts into the module. So its proxy can be told without the model, without a run.

folder = tempfile.TemporaryDirectory()
path = Path(folder.name) / "digits.so"
dcc.compile(model, path, recipe="deep-compression")
energy = module_energy(path)
print(f"proxy of one run on {energy.target}: {energy.total * MICRO:.2f} uJ")
for layer in energy.layers:
    parts = ", ".join(f"{part} {value * MICRO:.3f}" for part, value in layer.picojoules.items())
    print(f"  {layer.name:16} {layer.form:9} {layer.total * MICRO:7.3f} uJ: {parts}")
for note in energy.notes:
    print("note:", note)

# %%
# Each number has a source
# ------------------------

for name, (value, source) in energy.table.describe().items():
    print(f"{name:16} {value:7.2f} pJ  {source}")

# %%
# Forms beside each other
# -----------------------
# ``model_energy`` schedules and counts without generating code: any target will do, also one that
# this machine has no compiler for. Every layer that can be stored in the form is.

for target in ("host", "arm-cortex-a53", "cuda-sm80"):
    totals = {
        form: model_energy(model, target, "deep-compression", storage=form).total
        for form in ("dense", "sparse", "huffman")
    }
    ratios = ", ".join(f"{form} {totals['dense'] / total:.2f}x" for form, total in totals.items())
    print(f"{target}: dense over each form: {ratios}")

# %%
# Another table
# -------------
# Where main memory costs less, as memory stacked on the chip does, arithmetic weighs more, and the
# choice of the form (``--objective energy``) may be another. A target brings its table along.

near = energy_table("assumed: memory on the chip", dram_word=20.0, large_sram_word=10.0)
cheap = module_energy(path, table=near)
print(f"the same counts with memory near: {cheap.total * MICRO:.2f} uJ")
for table in (EnergyTable(), near):
    target = replace(get_target("host"), energy=table)
    chosen = model_energy(model, target, "deep-compression", objective="energy")
    forms = {layer.name: layer.form for layer in chosen.layers if layer.form != "operator"}
    print(f"a word of main memory at {table.dram_word:g} pJ:", forms)

# %%
# What stays in the cache
# -----------------------
# By default each run starts with cold caches. If all weights fit the last cache level with the
# activations, they may as well stay there from run to run: what EIE calls the gain from DRAM to
# SRAM.

print(f"weights resident: {module_energy(path, resident=True).total * MICRO:.2f} uJ")

# %%
# What the machine measures
# -------------------------
# RAPL counts the energy of a processor's package on Linux, NVML that of a card: all that runs on
# them, idle power included. A virtual machine usually has neither; then this says why.

counters = find_counters()
module = dcc.load(path)
inputs = random_inputs(module.inputs)
for each in measure_energy(lambda: module(inputs), counters.counters, seconds=0.5):
    print(f"measured by {each.counter}: {each.joules * 1e6:.1f} uJ a run, {each.watts:.1f} W")
for why in counters.missing:
    print("not measured:", why)

folder.cleanup()
