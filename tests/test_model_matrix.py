"""Every real model in every storage form against ONNX Runtime; what ``make test`` leaves out is marked slow."""

import numpy as np
import onnx
import pytest

from dcc.compilation import compile as compile_model
from dcc.compression import compress, decompress
from dcc.container import read
from dcc.onnx_weights import array_of, load_model, weight_tensors
from dcc.recipes import load_recipe
from dcc.verification import verify

FORMS = ["auto", "dense", "codebook", "sparse", "huffman"]
QUICK = [
    "lenet300100_caffe_mnist_pruned_dns",
    "lenet5_caffe_mnist_pruned_dns",
    "mnist_cntk_zoo",
    "tflm_mnist_lstm20",
    "mlperf_tiny_kws_dscnn_f32",
    "dtln_noise_suppression_lstm_stage1",
]
SLOW = [
    "arm_kws_cnn_l",
    "arm_kws_dnn_l",
    "arm_kws_ds_cnn_l",
    "dtln_noise_suppression_lstm_stage2",
    "lenet300100_caffe_mnist_dense",
    "lenet5_caffe_mnist_dense",
    "mlperf_tiny_ad_autoencoder_f32",
    "mlperf_tiny_vww_mobilenetv1_025_96_f32",
    "mobilenet_v2_1.0_224_imagenet_dequantised_u8",
    "resnet20_cifar10_akamaster",
    "resnet56_cifar10_akamaster",
    "silero_vad_lstm_op18_ifless",
    "squeezenet_v1.0_deep_compressed_decoded",
    "ultraface_rfb320_simplified",
]
SHAPES = {"silero_vad_lstm_op18_ifless": {"input": (1, 576), "state": (2, 1, 128)}}
RANGES = {"silero_vad_lstm_op18_ifless": {"sr": (16000, 16000)}}
# Models of handwritten digits that take the official test set, with the number their pixels are divided by.
MNIST = {
    "lenet300100_caffe_mnist_pruned_dns": (256.0, 98.01),
    "lenet5_caffe_mnist_pruned_dns": (256.0, 99.09),
    "mnist_cntk_zoo": (1.0, 98.91),
}
MODELS = [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", MODELS)
def test_lossless_module_agrees_with_onnx_runtime(name, form, shared_model, tmp_path):
    pytest.importorskip("onnxruntime")
    model = shared_model(f"{name}.onnx")
    module = tmp_path / "model.so"
    compile_model(model, module, storage=form, shapes=SHAPES.get(name))
    result = verify(module, model, ranges=RANGES.get(name))
    assert result.criterion == "tolerance"
    assert result.holds, result.reason


@pytest.mark.parametrize("name", MODELS)
def test_lossless_container_gives_every_weight_back(name, shared_model, tmp_path):
    model = load_model(shared_model(f"{name}.onnx"))
    compress(model, tmp_path / "model.dcz")
    back = decompress(read(tmp_path / "model.dcz"))
    onnx.checker.check_model(back)
    before, after = weight_tensors(model), weight_tensors(back)
    assert before.keys() == after.keys()
    for key, tensor in before.items():
        old, new = array_of(tensor, key), array_of(after[key], key)
        assert old.dtype == new.dtype
        # -0.0 may come back as 0.0; everything else is compared by its bits.
        differs = old.view(np.uint8) != new.view(np.uint8) if old.ndim else old != new
        assert not np.any(differs) or np.array_equal(old[old != 0], new[new != 0])
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("name", MNIST)
def test_accuracy_on_the_official_test_set(name, shared_model, shared_folder, tmp_path):
    pytest.importorskip("onnxruntime")
    scale, given = MNIST[name]
    model = shared_model(f"{name}.onnx")
    compile_model(model, tmp_path / "model.so")
    result = verify(
        tmp_path / "model.so", model, data=shared_folder / "data" / "mnist", scale=scale
    )
    assert result.holds, result.reason
    assert result.accuracy == pytest.approx(given, abs=0.02)


@pytest.mark.parametrize(
    ("name", "least_ratio", "least_accuracy"),
    [
        ("lenet300100_caffe_mnist_pruned_dns", 110, 97.9),
        ("lenet5_caffe_mnist_pruned_dns", 180, 99.0),
    ],
)
def test_deep_compression_of_pruned_networks(
    name, least_ratio, least_accuracy, shared_model, shared_folder, tmp_path
):
    pytest.importorskip("onnxruntime")
    model = shared_model(f"{name}.onnx")
    compress(model, tmp_path / "model.dcz", recipe=load_recipe("deep-compression"))
    size = (tmp_path / "model.dcz").stat().st_size
    assert model.stat().st_size / size >= least_ratio
    compile_model(tmp_path / "model.dcz", tmp_path / "model.so")
    result = verify(
        tmp_path / "model.so", model, data=shared_folder / "data" / "mnist", max_drop=0.2
    )
    assert result.holds, result.reason
    assert result.accuracy >= least_accuracy


def test_squeezenet_in_fewer_bytes_than_its_authors(shared_model, tmp_path):
    compress(shared_model("squeezenet_v1.0_deep_compressed_decoded.onnx"), tmp_path / "model.dcz")
    assert (tmp_path / "model.dcz").stat().st_size <= 550_000
