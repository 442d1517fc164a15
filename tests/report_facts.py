"""Made-up facts for tests of the report's page: quick, and with names that would like to be more."""

from __future__ import annotations

import numpy as np

from dcc.codegen.encoded_tensor import EncodedTensor
from dcc.reporting import facts
from dcc.reporting.layers import layer_of
from dcc.reporting.stages import summed

HOSTILE = [
    "<script>document.title='owned'</script>",
    '"><img src=http://127.0.0.1:1/x onerror=document.title="owned">',
    "{{ 7 * 7 }}{% raise %}",
    "]]></svg><style>body{display:none}</style>",
    "a" * 300,
    "Ünïcode/層.重み:0",
    "\u202egnissimarts\u202c",
]


def tensor(shape=(40, 30), density=0.2, levels=15, seed=0) -> EncodedTensor:
    generator = np.random.default_rng(seed)
    codes = generator.integers(1, levels + 1, shape).astype(np.uint8)
    mask = generator.random(shape) < density
    codebook = np.concatenate([[0], np.sort(generator.standard_normal(levels))]).astype(np.float32)
    return EncodedTensor.from_codes(mask, codes * mask, codebook)


def layers_named(names) -> list[facts.Layer]:
    """Weights of different sizes, a bias without a codebook last."""
    found = [
        layer_of(name, tensor((16 + 8 * place, 30), 0.1 + 0.05 * place, seed=place), "Gemm")
        for place, name in enumerate(names)
    ]
    bias = np.linspace(-1, 1, 30).astype(np.float32)
    return [*found, layer_of("bias of it", EncodedTensor.from_dense(bias), "bias")]


def device(name: str, layers, timing: facts.Timing = "measured") -> facts.Device:
    """A target with five forms, or one that cannot be timed."""
    storages = ("auto", "dense", "codebook", "sparse", "huffman")
    about = "Measured on a machine of this test."
    if timing == "none":
        about = f"It cannot be timed here: {HOSTILE[0]}."
    return facts.Device(
        name,
        f"a device of the test ({HOSTILE[0]})",
        timing,
        about,
        [variant(storage, place, layers, timing) for place, storage in enumerate(storages)],
        1.5e-4 if timing == "measured" else None,
        {"dram_word": [640.0, f"Horowitz 2014 {HOSTILE[0]}"]},
        ["caches are cold in each run"],
    )


def variant(storage, place, layers, timing: facts.Timing) -> facts.Variant:
    timed = timing != "none"
    costs = [
        facts.LayerCost(
            layer.name,
            "sparse" if storage == "auto" else storage,
            f"because of {HOSTILE[1]}",
            layer.bytes["huffman"]["total"],
            (place + 1) * layer.weights * 1e-9 if timed else None,
            {"arithmetic": 4.6 * layer.weights, "dram": 640.0 * (place + 1)},
        )
        for layer in layers
        if layer.operator != "bias"
    ]
    return facts.Variant(
        storage,
        90_000,
        sum(c.seconds for c in costs) + 3e-6 if timed else None,
        1e-6 if timed else None,
        9e-6 if timed else None,
        3e-6 if timed else None,
        sum(c.energy for c in costs) + 50.0,
        50.0,
        costs,
        [f"a note with {HOSTILE[0]}"] if storage == "huffman" else [],
    )


def made_up(names=("conv1.weight", "conv2.weight", "fc1.weight"), accuracy=True):
    """A whole report."""
    layers = layers_named(names)
    right = {"dense": 98.89, "pruned": 98.61, "shared": 98.33, "huffman": 98.33}
    files = {"dense": 60_000, "huffman": 4_000}
    stages = [
        facts.Stage(
            stage, summed(layers, stage), files.get(stage), right[stage] if accuracy else None
        )
        for stage in facts.STAGES
    ]
    points = [facts.Point(s.name, "stage", s.bytes["total"], s.accuracy) for s in stages]
    points.append(facts.Point(HOSTILE[0], "recipe", 9_000, 97.5))
    return facts.CompressionReport(
        facts.Provenance(
            model=f"{HOSTILE[0]}.onnx",
            model_bytes=60_000,
            model_sha256="0" * 64,
            recipe=HOSTILE[1],
            recipe_text=f"layers:\n  '{HOSTILE[0]}': {{skip: true}}\n",
            options={
                "targets": ["host"],
                "objective": "latency",
                "shapes": {HOSTILE[0]: [1, 3]},
                "threads": 2,
                "compare": [],
            },
            seed=0,
            machine={
                "processor": "a processor",
                "processors": 2,
                "system": "Linux",
                "python": "3.11",
                "versions": {"apache-tvm": "0.27.0", "onnxruntime": None},
            },
            date="2026-01-02T03:04:05+00:00",
        ),
        stages,
        layers,
        [device("host", layers), device("board", layers, "none")],
        points if accuracy else [],
        facts.Data(HOSTILE[0], 360, "all samples of the file") if accuracy else None,
    )
