"""The real models in every storage form on real ARM code, under QEMU, against ONNX Runtime."""

import numpy as np
import onnx
import pytest
from coded_models import conv1d, conv2d, gather, gemm, lstm, matmul_sizes
from emulated import agrees_under_emulation, needs_runtime
from test_model_matrix import QUICK, RANGES, SHAPES, SLOW

from dcc.compilation import compile as compile_model
from dcc.emulation import EmulatedModule
from dcc.errors import InputError, ModuleError

pytestmark = pytest.mark.emulated
FORMS = ["dense", "codebook", "sparse", "huffman"]
MODELS = [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]


@pytest.fixture(autouse=True)
def _emulator():
    pytest.importorskip("onnxruntime")
    needs_runtime()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", MODELS)
def test_model_agrees_with_onnx_runtime(name, form, shared_model, tmp_path):
    model = shared_model(f"{name}.onnx")
    module = tmp_path / "model.so"
    target = "arm-cortex-a76" if form in ("sparse", "huffman") else "arm-cortex-a53"
    compile_model(model, module, target=target, storage=form, shapes=SHAPES.get(name))
    agrees_under_emulation(module, model, RANGES.get(name))


@pytest.mark.slow
@pytest.mark.parametrize("target", ["arm-cortex-a53", "arm-cortex-a72", "arm-neoverse-n1"])
@pytest.mark.parametrize("name", QUICK)
def test_every_core(name, target, shared_model, tmp_path):
    model = shared_model(f"{name}.onnx")
    compile_model(model, tmp_path / "model.so", target=target)
    agrees_under_emulation(tmp_path / "model.so", model)


OPERATORS = {each.__name__: each for each in (conv1d, conv2d, gather, gemm, lstm, matmul_sizes)}


@pytest.mark.parametrize(
    ("name", "form"),
    [
        pytest.param(
            name,
            form,
            marks=[] if form in ("sparse", "huffman") else pytest.mark.slow,
        )
        for name in OPERATORS
        for form in FORMS
    ],
)
def test_operators_of_odd_sizes(name, form, tmp_path):
    model, feeds = OPERATORS[name]()
    onnx.save(model, tmp_path / "model.onnx")
    compile_model(tmp_path / "model.onnx", tmp_path / "m.so", target="arm-cortex-a76", storage=form)
    import onnxruntime

    outputs = EmulatedModule(tmp_path / "m.so")(feeds)
    expected = onnxruntime.InferenceSession(str(tmp_path / "model.onnx")).run(None, feeds)
    for ours, theirs in zip(outputs, expected, strict=True):
        scale = max(float(np.abs(theirs).max()), 1.0)
        np.testing.assert_allclose(ours, theirs, atol=1e-4 * scale)


def test_faults_are_told(tmp_path):
    model, feeds = matmul_sizes()
    onnx.save(model, tmp_path / "model.onnx")
    compile_model(tmp_path / "model.onnx", tmp_path / "m.so", target="arm-cortex-a53")
    module = EmulatedModule(tmp_path / "m.so")
    with pytest.raises(InputError, match="missing"):
        module({})
    damaged = bytearray((tmp_path / "m.so").read_bytes())
    damaged[64:120] = bytes(56)  # the first program header
    (tmp_path / "m.so").write_bytes(damaged)
    with pytest.raises(ModuleError, match=r"failed under qemu-aarch64"):
        module(feeds)
