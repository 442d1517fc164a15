"""Energy proxies of modules: from the file, by layer, for every target; what they are priced with."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import dcc
from dcc.codegen.module_file import read_metadata
from dcc.codegen.work import OPERATIONS, CallWork, ModuleWork, work_from_json
from dcc.energy import energy_of_work, module_energy
from dcc.energy_bench import benchmark_energy
from dcc.energy_counting import model_energy, model_work
from dcc.errors import CompileError, ModuleError
from dcc.targets.energy import EnergyTable, energy_table
from dcc.targets.registry import get_target, list_targets


def perceptron(batch=1, sizes=(96, 64, 24), density=0.2, seed=0):
    """Two matrix products with a ReLU between them; 15 levels and zero."""
    generator = np.random.default_rng(seed)
    nodes, weights, data = [], [], "x"
    for number, (inputs, outputs) in enumerate(pairwise(sizes)):
        kept = generator.random((inputs, outputs)) < density
        values = np.where(kept, generator.integers(1, 16, kept.shape) * 0.01, 0)
        weights.append(numpy_helper.from_array(values.astype(np.float32), f"w{number}"))
        nodes.append(helper.make_node("MatMul", [data, f"w{number}"], [f"h{number}"]))
        nodes.append(helper.make_node("Relu", [f"h{number}"], [f"r{number}"]))
        data = f"r{number}"
    graph = helper.make_graph(
        nodes,
        "perceptron",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [batch, sizes[0]])],
        [helper.make_tensor_value_info(data, onnx.TensorProto.FLOAT, [batch, sizes[-1]])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    path = tmp_path_factory.mktemp("energy") / "m.so"
    onnx.save(perceptron(), path.with_suffix(".onnx"))
    dcc.compile(path.with_suffix(".onnx"), path, storage="sparse", target="host")
    return path


def test_a_module_tells_its_proxy_by_layer(compiled):
    energy = module_energy(compiled)
    assert energy.target == "host"
    assert [layer.name for layer in energy.layers if layer.form == "sparse"] == ["w0", "w1"]
    assert energy.total == pytest.approx(sum(layer.total for layer in energy.layers))
    assert energy.notes == ()
    packed = {layer.name: layer.bytes["total"] for layer in dcc.inspect(compiled).layers}
    first = energy.layers[0]
    # The packed bytes, and x; what the first layer leaves is still in a cache.
    assert first.bytes["dram"] == pytest.approx(packed["w0"] + 4 * 96, rel=0.05)
    assert first.picojoules["dram"] == pytest.approx(first.bytes["dram"] / 4 * 640)
    values = json.loads(json.dumps(energy.to_json()))
    assert values["kind"] == "proxy"
    assert values["table"]["dram_word"][0] == 640


def test_the_same_without_code(compiled):
    """Counting alone gives what a module's file holds."""
    counted = model_energy(compiled.with_suffix(".onnx"), storage="sparse")
    stored = module_energy(compiled)
    assert counted.total == pytest.approx(stored.total, rel=1e-6)
    assert [layer.form for layer in counted.layers] == [layer.form for layer in stored.layers]


def test_dense_products_are_exact():
    """2 m n operations a sample; every weight once from main memory, activations between not."""
    sizes, batch = (96, 64, 32), 2
    energy = model_energy(perceptron(batch, sizes), storage="dense")
    assert energy.layers[0].operations["float_multiply"] == batch * 96 * 64
    assert energy.layers[1].operations["float_multiply"] == batch * 64 * 32
    assert energy.layers[0].bytes["dram"] == 4 * (96 * 64 + batch * 96)
    assert energy.layers[1].bytes["dram"] == 4 * (64 * 32 + batch * 32)


def test_weights_that_stay_cost_no_main_memory(compiled):
    cold, warm = module_energy(compiled), module_energy(compiled, resident=True)
    for before, after in zip(cold.layers, warm.layers, strict=True):
        assert after.bytes["dram"] < before.bytes["dram"]
    saved = sum(layer.bytes["dram"] for layer in warm.layers)
    assert saved == pytest.approx(4 * (96 + 24))  # inputs and outputs of the model


def test_what_fits_no_cache_goes_to_main_memory():
    """With a last level of 1 KB, what the first layer leaves is gone when the second reads it."""
    host = get_target("host")
    caches = replace(host.caches, level1=256, level2=512, last_level=1024)
    tiny = replace(host, caches=caches)
    model = perceptron(batch=8)
    near, far = (model_energy(model, target, storage="sparse") for target in (host, tiny))
    hidden = 4 * 8 * 64
    assert sum(layer.bytes["dram"] for layer in far.layers) >= 2 * hidden + sum(
        layer.bytes["dram"] for layer in near.layers
    )


@pytest.mark.parametrize("target", ["arm-cortex-a53", "x86-64-v4", "cuda-sm90"])
def test_every_target_is_counted(target):
    dense, sparse, huffman = (
        model_energy(perceptron(), target, storage=form) for form in ("dense", "sparse", "huffman")
    )
    assert dense.notes == sparse.notes == huffman.notes == ()
    assert sparse.total < dense.total
    assert huffman.layers[0].bytes["dram"] < 2.2 * sparse.layers[0].bytes["dram"]
    assert set(sparse.layers[0].operations) <= set(OPERATIONS)


def test_compressed_layers_and_operators_of_a_network(tmp_path):
    """The model that ships: convolutions, pooling, batch; twice the batch is twice the work."""
    from importlib.resources import files

    model = str(files("dcc.data") / "digits.onnx")
    one = model_energy(model, recipe="deep-compression")
    assert one.notes == ()
    assert {"max_pool2d", "conv1.weight", "hidden.weight"} <= {layer.name for layer in one.layers}
    assert any(layer.form == "operator" for layer in one.layers)


def test_objective_energy_takes_the_least():
    target = get_target("x86-64-v3")
    totals = {
        form: model_energy(perceptron(), target, storage=form).layers
        for form in ("dense", "codebook", "sparse", "huffman")
    }
    chosen = model_energy(perceptron(), target, objective="energy")
    for number, layer in enumerate(chosen.layers[:2]):
        least = min(layers[number].total for layers in totals.values())
        assert layer.total == pytest.approx(least, rel=0.02)


def test_tables_name_their_sources():
    for target in list_targets():
        for name, (value, source) in target.energy.describe().items():
            assert value > 0, name
            assert len(source) > 10, name
    assert "Table I" in EnergyTable().sources["float_multiply"]
    assert "Horowitz" in EnergyTable().sources["byte_multiply"]
    mine = EnergyTable(dram_word=100.0)
    assert mine.sources["dram_word"] == "given with the target"
    assert energy_table("data sheet", dram_word=100.0).sources["dram_word"] == "data sheet"
    assert EnergyTable.from_json(json.loads(json.dumps(mine.describe()))) == mine


def test_a_target_from_outside_brings_its_table(compiled):
    mine = replace(get_target("host"), energy=energy_table("data sheet", dram_word=1.0))
    work, forms = model_work(perceptron(), mine, storage="sparse")
    energy = energy_of_work("mine", work, forms)
    layer = energy.layers[0]
    assert layer.picojoules["dram"] == pytest.approx(layer.bytes["dram"] / 4)
    other = module_energy(compiled, table=mine.energy)
    assert other.total < module_energy(compiled).total


def test_the_accelerator_is_counted_from_its_streams(tmp_path):
    """What the streams say is what the simulator counts when it runs them."""
    from dcc.accelerator.energy import count_operation
    from dcc.accelerator.report import measure_operations
    from dcc.targets.vta.isa import Memory

    path = tmp_path / "m.so"
    for form in ("dense", "codebook"):
        dcc.compile(perceptron(), path, "vta-sim", storage=form)
        for report in measure_operations(path):
            operations, moved = count_operation(report.operation)
            run = report.run
            assert operations["byte_multiply"] == 256 * run.micro_ops
            loaded = run.loaded(Memory.WGT)
            assert moved["last_level"] == (2 * loaded if form == "codebook" else 0)
        energy = module_energy(path)
        offloaded = [layer for layer in energy.layers if layer.form.startswith("accelerator")]
        assert len(offloaded) == 2
        assert offloaded[0].form == f"accelerator, {form}"
        assert offloaded[0].operations["byte_multiply"] >= 96 * 64
    with pytest.raises(CompileError, match="compile a module"):
        model_energy(perceptron(), "vta-sim")


def rewritten(path, change):
    """Change the metadata in the file, in place."""
    metadata = read_metadata(path)
    data = path.read_bytes()
    old = json.dumps(metadata, ensure_ascii=False).encode()
    assert data.count(old) == 1
    change(metadata)
    new = json.dumps(metadata, ensure_ascii=False).encode()
    assert len(new) <= len(old)
    return data.replace(old, new + b" " * (len(old) - len(new)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.pop("work"), "holds no counts of its work"),
        (lambda m: m["work"].pop("calls"), "counts of its work are damaged"),
        (lambda m: m["work"].update(calls=7), "counts of its work are damaged"),
        (lambda m: m["work"]["calls"][0].update(bytes={"l9": 1}), "'l9' is none of level1"),
        (lambda m: m["work"]["calls"][0].update(weights=-1), "-1 is no count"),
        (lambda m: m["work"]["energy"].pop("dram_word"), "counts of its work are damaged"),
    ],
)
def test_damaged_counts(compiled, tmp_path, change, message):
    path = tmp_path / "m.so"
    path.write_bytes(rewritten(compiled, change))
    with pytest.raises(ModuleError, match=message):
        module_energy(path)


def test_a_kernel_that_cannot_be_counted_is_noted(monkeypatch):
    from dcc.passes import count_work

    def defeated(*arguments):
        raise RecursionError("too deep")

    monkeypatch.setattr(count_work, "count_kernel", defeated)
    energy = model_energy(perceptron(), storage="sparse")
    assert energy.total == 0
    assert any("not counted (RecursionError: too deep)" in note for note in energy.notes)


def test_counts_come_back():
    call = CallWork("k", "w", {"float_add": 3.0}, {"level1": 8.0, "dram": 4.0}, 4.0)
    work = ModuleWork(EnergyTable(), 1024, 12.0, (call,), (call,), ("note",))
    assert work_from_json(json.loads(json.dumps(work.to_json()))) == work


def test_bench_counts_every_form(compiled):
    result = benchmark_energy(compiled, compiled.with_suffix(".onnx"), measure=False)
    assert set(result.forms) == {"dense", "codebook", "sparse", "huffman"}
    rows = dict(result.by_layer())
    assert rows["w0"]["sparse"] < rows["w0"]["dense"]
    assert rows["all"]["sparse"] == pytest.approx(result.module.total, rel=1e-6)
    values = json.loads(json.dumps(result.to_json()))
    assert values["forms"]["huffman"]["kind"] == "proxy"
