"""The real models: dense TVM against ONNX Runtime on random inputs."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx_models import compare, run_dense, run_reference

from dcc.importer import import_model

SILERO = "silero_vad_lstm_op18_ifless.onnx"
QUICK = [
    "lenet300100_caffe_mnist_pruned_dns.onnx",
    "mnist_cntk_zoo.onnx",
    "arm_kws_ds_cnn_l.onnx",
    "tflm_mnist_lstm20.onnx",
    "dtln_noise_suppression_lstm_stage1.onnx",
    "resnet20_cifar10_akamaster.onnx",
]
SLOW = [
    "arm_kws_cnn_l.onnx",
    "arm_kws_dnn_l.onnx",
    "dtln_noise_suppression_lstm_stage2.onnx",
    "lenet300100_caffe_mnist_dense.onnx",
    "lenet5_caffe_mnist_dense.onnx",
    "lenet5_caffe_mnist_pruned_dns.onnx",
    "mlperf_tiny_ad_autoencoder_f32.onnx",
    "mlperf_tiny_kws_dscnn_f32.onnx",
    "mlperf_tiny_vww_mobilenetv1_025_96_f32.onnx",
    "mobilenet_v2_1.0_224_imagenet_dequantised_u8.onnx",
    "resnet56_cifar10_akamaster.onnx",
    "squeezenet_v1.0_deep_compressed_decoded.onnx",
    "ultraface_rfb320_simplified.onnx",
]


def feeds_of(imported, rate=0):
    random = np.random.default_rng(0)
    return {
        spec.name: random.standard_normal(spec.shape).astype(spec.dtype)
        if spec.dtype == "float32"
        else np.full(spec.shape, rate, spec.dtype)
        for spec in imported.inputs
    }


@pytest.mark.parametrize(
    "name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]
)
def test_model_agrees_with_onnx_runtime(name, shared_model):
    model = onnx.load(shared_model(name))
    assert compare(model, feeds_of(import_model(model))) <= 1e-5


@pytest.mark.parametrize("rate", [16000, 8000])
def test_conditional_model_agrees_with_onnx_runtime(rate, shared_model):
    model = onnx.load(shared_model(SILERO))
    shapes = {"input": (1, 576)}
    feeds = feeds_of(import_model(model, shapes), rate)
    assert compare(model, feeds, shapes) <= 1e-5


def test_every_large_float_tensor_is_a_parameter(shared_model):
    folder = shared_model("mnist_cntk_zoo.onnx").parent
    for path in sorted(folder.glob("*.onnx")):
        model = onnx.load(path)
        shapes = {"input": (1, 576)} if path.name == SILERO else None
        imported = import_model(model, shapes)
        gate_biases = {n.input[3] for n in model.graph.node if n.op_type == "LSTM"}
        large = {
            tensor.name: tensor
            for tensor in model.graph.initializer
            if tensor.data_type == onnx.TensorProto.FLOAT
            and np.prod(tensor.dims) >= 1000
            and tensor.name not in gate_biases
        }
        kept = {imported.onnx_names[name]: value for name, value in imported.weights.items()}
        for name, tensor in large.items():
            assert np.array_equal(kept[name], onnx.numpy_helper.to_array(tensor)), (path, name)


def test_running_twice_gives_the_same(shared_model):
    model = onnx.load(shared_model("dtln_noise_suppression_lstm_stage1.onnx"))
    imported = import_model(model)
    feeds = feeds_of(imported)
    arrays = [feeds[spec.name] for spec in imported.inputs]
    for first, second in zip(run_dense(imported, arrays), run_dense(imported, arrays), strict=True):
        assert np.array_equal(first, second)
    assert len(run_reference(model, feeds)) == len(imported.outputs)
