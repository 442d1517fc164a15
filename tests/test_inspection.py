"""Reports of files, and the tables that show them."""

import numpy as np
import pytest

from dcc.cli.tables import print_report
from dcc.codegen.encoded_tensor import EncodedTensor
from dcc.errors import ModelError, ModuleError
from dcc.inspection import inspect, layer_of_tensor
from dcc.layer_report import LayerReport, Report


def pruned(shape=(40, 50), density=0.1, levels=15):
    generator = np.random.default_rng(0)
    codes = generator.integers(1, levels + 1, shape).astype(np.uint8)
    mask = generator.random(shape) < density
    codebook = np.concatenate([[0], generator.standard_normal(levels)]).astype(np.float32)
    return EncodedTensor.from_codes(mask, codes * mask, codebook)


def test_layer_of_a_pruned_tensor():
    tensor = pruned()
    layer = layer_of_tensor("w", tensor)
    assert layer.form == "mask, codebook"
    assert "16 levels" in layer.reason
    assert layer.density == tensor.mask.mean()
    assert layer.bytes["total"] == len(tensor.to_bytes())
    assert layer.dense_bytes == 8000
    assert layer.ratio == 8000 / len(tensor.to_bytes())
    assert layer.weight_bits == tensor.choices.code_bits
    assert layer.index_bits == tensor.choices.gap_bits


def test_layer_of_raw_values():
    array = np.random.default_rng(0).standard_normal((30, 20)).astype(np.float32)
    layer = layer_of_tensor("w", EncodedTensor.from_dense(array))
    assert layer.form == "raw values"
    assert layer.density == 1
    assert layer.weight_bits is None


def test_table_has_a_line_for_each_layer(capsys):
    layers = [layer_of_tensor("first.weight", pruned())]
    sizes = dict.fromkeys(("weights", "indices", "codebook", "tables", "padding"), 0)
    layers.append(
        LayerReport("scalar", (), "float32", 1.0, "dense", "tiny [bold]", {**sizes, "total": 4}, 4)
    )
    print_report(Report("a.so", "module", 100, layers, {"code": 60, "weights": 30, "rest": 10}))
    out = capsys.readouterr().out
    assert "first.weight" in out
    assert "40x50" in out
    assert "tiny [bold]" in out
    assert "code 60, weights 30, rest 10" in out


@pytest.mark.parametrize(
    ("name", "start", "said"),
    [
        ("libm.a", b"!<arch>\n/  0", "is a static library, which has no layers .*expected an ONNX"),
        ("x.npz", b"PK\x03\x04ab", "is a zip archive .*expected an ONNX"),
        ("notes.txt", b"some text", "is of no kind that can be read: expected an ONNX"),
        ("empty", b"", "is of no kind that can be read: expected an ONNX"),
    ],
)
def test_files_of_other_kinds(tmp_path, name, start, said):
    (tmp_path / name).write_bytes(start)
    with pytest.raises(ModelError, match=said):
        inspect(tmp_path / name)


def test_a_module_says_its_target_and_interface(capsys):
    spec = {"name": "x", "shape": [1, 4], "dtype": "float32"}
    details = {"target": {"name": "arm-cortex-a53"}, "inputs": [spec], "outputs": [spec]}
    print_report(Report("a.so", "module", 100, [], details=details))
    out = capsys.readouterr().out
    assert "target arm-cortex-a53; inputs: x" in out
    assert "outputs: x" in out


def test_missing_files(tmp_path):
    with pytest.raises(ModelError, match="no file"):
        inspect(tmp_path / "a.onnx")
    with pytest.raises(ModuleError, match="no file"):
        inspect(tmp_path / "a.so")
