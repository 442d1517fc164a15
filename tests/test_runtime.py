import subprocess
import sys
import threading

import numpy as np
import pytest
from small_modules import build_decoding, build_function, build_row_sums
from tvm import relax

from dcc.benchmarking import benchmark
from dcc.errors import InputError, ModuleError, TargetError
from dcc.runtime import load
from dcc.targets import processor


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runtime")


@pytest.fixture(scope="module")
def sums(folder):
    path = folder / "sums.so"
    build_row_sums(path, np.ones((16, 100), np.uint8))
    return path


@pytest.fixture(scope="module")
def affine(folder):
    """x (2, 3), y () -> (2 x + y, x > y)."""
    path = folder / "affine.so"
    inputs = [("x:0", (2, 3), "float32"), ("y", (), "float32")]
    two = relax.const(2.0, "float32")
    build_function(
        path,
        inputs,
        lambda x, y: (relax.op.add(relax.op.multiply(x, two), y), relax.op.greater(x, y)),
    )
    return load(path)


X = np.arange(6, dtype=np.float32).reshape(2, 3)


def test_inputs_in_order_and_by_name(affine):
    assert [str(spec) for spec in affine.inputs] == ["x:0: float32[2, 3]", "y: float32[]"]
    by_order = affine(X, np.float32(1))
    by_name = affine({"y": np.array(1, np.float32), "x:0": X})
    for outputs in (by_order, by_name):
        np.testing.assert_array_equal(outputs[0], 2 * X + 1)
        np.testing.assert_array_equal(outputs[1], X > 1)
        assert outputs[1].dtype == np.bool_


def test_outputs_belong_to_the_caller(affine):
    first = affine(X, np.float32(0))[0]
    kept = first.copy()
    affine(X + 100, np.float32(5))
    np.testing.assert_array_equal(first, kept)
    first[:] = 7  # writable


def test_arrays_of_any_layout_and_python_numbers(affine):
    unaligned = np.zeros(25, np.uint8)[1:].view(np.float32).reshape(2, 3)
    unaligned[:] = X
    expected = 2 * X + 1
    read_only = X.copy()
    read_only.flags.writeable = False
    for x in (
        np.asfortranarray(X),
        np.repeat(X, 2, axis=1)[:, ::2],
        unaligned,
        read_only,
        X.astype(">f4"),
        X.tolist(),
    ):
        np.testing.assert_array_equal(affine(x, 1)[0], expected)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ((X,), r"2 inputs .*1 were given"),
        (({"x:0": X, "z": X},), r"unknown: 'z'; missing: 'y'.*expected: x:0: float32"),
        ((X.T, 1), r"input 'x:0' has shape \[3, 2\], expected \[2, 3\]"),
        ((X.astype(np.float64), 1), r"input 'x:0' has dtype float64.*astype\('float32'\)"),
        ((X, "one"), r"input 'y' has dtype"),
        ((X, [1]), r"input 'y' has shape \[1\]"),
        (([[1, 2, 3], [4, 5]], 1), r"input 'x:0': not an array"),
    ],
)
def test_wrong_inputs_say_what_was_expected(affine, inputs, message):
    with pytest.raises(InputError, match=message):
        affine(*inputs)


@pytest.mark.parametrize(
    "dtype",
    [
        "float16",
        "float64",
        "int8",
        "uint8",
        "int16",
        "uint16",
        "int32",
        "uint32",
        "int64",
        "uint64",
        "bool",
    ],
)
@pytest.mark.parametrize("shape", [(), (3,), (0, 4)])
def test_every_dtype_comes_back_as_it_went_in(folder, dtype, shape):
    path = folder / f"same_{dtype}_{len(shape)}.so"
    build_function(path, [("x", shape, dtype)], lambda x: (x, relax.op.reshape(x, (*shape, 1))))
    x = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    same, reshaped = load(path)(x)
    assert same.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(same, x)
    np.testing.assert_array_equal(reshaped[..., 0], x)


def test_integers_take_python_numbers_only_exactly(folder):
    path = folder / "integers.so"
    build_function(path, [("x", (2,), "int8")], lambda x: relax.op.add(x, x))
    module = load(path)
    np.testing.assert_array_equal(module([1, 2.0])[0], [2, 4])
    for wrong in ([1, 0.5], [1, 300], [1, float("nan")]):
        with pytest.raises(InputError, match="dtype"):
            module(wrong)


def test_needs_nothing_of_the_compiler(sums):
    code = f"""
import sys
import dcc
light = set(sys.modules)
assert not light & {{"numpy", "tvm", "tvm_ffi", "onnx", "click"}}, light
module = dcc.load({str(sums)!r})
assert module()[0].tolist() == [100.0] * 16
heavy = {{"tvm", "onnx", "click", "rich", "yaml", "pydantic", "elftools", "psutil"}} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_works_beside_the_compiler_in_either_order(sums):
    for code in ("import tvm; m = load(p)", "m = load(p); import tvm"):
        program = (
            f"from dcc.runtime import load; p = {str(sums)!r}; {code}; assert m()[0][0] == 100"
        )
        subprocess.run([sys.executable, "-c", program], check=True)


def test_bare_file_name(sums, monkeypatch):
    monkeypatch.chdir(sums.parent)
    assert load("sums.so")()[0][0] == 100


def test_replaced_module_runs_its_new_code(tmp_path):
    path = tmp_path / "module.so"
    build_row_sums(path, np.ones((16, 100), np.uint8))
    old = load(path)
    build_row_sums(path, np.full((16, 100), 2, np.uint8))
    assert load(path)()[0][0] == 200
    assert old()[0][0] == 100


def test_large_section_costs_nothing_at_load(tmp_path):
    psutil = pytest.importorskip("psutil")
    path = tmp_path / "large.so"
    matrix = np.ones((16, 4_000_000), np.uint8)
    build_row_sums(path, matrix)
    load(path)  # the library's own start-up
    before = psutil.Process().memory_info().rss
    module = load(path)
    assert psutil.Process().memory_info().rss - before < 0.1 * matrix.nbytes
    np.testing.assert_array_equal(module()[0], 4_000_000)
    assert psutil.Process().memory_info().rss - before < 1.1 * matrix.nbytes


def test_decodes_once_at_load(tmp_path):
    weights = np.arange(100, dtype=np.uint8)
    build_decoding(tmp_path / "one.so", weights)
    build_decoding(tmp_path / "other.so", weights[::-1].copy())
    one, other = load(tmp_path / "one.so"), load(tmp_path / "other.so")
    x = np.ones(100, np.float32)
    for _ in range(2):
        np.testing.assert_array_equal(one(x)[0], 1 + 2.0 * weights)
        np.testing.assert_array_equal(other(x)[0], 1 + 2.0 * weights[::-1])
    assert "reading" in [each.name for each in one.profile(x, repeats=2)]


def test_threads_wait_for_each_other(affine):
    wrong = []

    def work(value):
        first = [affine(X + value, np.float32(0))[0][0, 0] for _ in range(300)]
        wrong.extend(each for each in first if each != 2 * value)

    threads = [threading.Thread(target=work, args=(value,)) for value in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_profile_names_the_kernels(sums):
    times = load(sums).profile(repeats=3)
    assert "row_sums" in [each.name for each in times]
    assert all(each.seconds >= 0 for each in times)


def test_missing_file_folder_and_foreign_files(tmp_path):
    with pytest.raises(ModuleError, match="there is no file"):
        load(tmp_path / "absent.so")
    with pytest.raises(ModuleError, match="cannot be read"):
        load(tmp_path)
    empty = tmp_path / "empty.so"
    empty.touch()
    with pytest.raises(ModuleError):
        load(empty)
    text = tmp_path / "text.so"
    text.write_text("nothing of the kind" * 10)
    with pytest.raises(ModuleError, match="not a shared library in ELF format"):
        load(text)


def test_foreign_library_is_no_module():
    import _ctypes

    with pytest.raises(ModuleError, match="not a module of dcc"):
        load(_ctypes.__file__)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"format": 99}, ModuleError, "module format 99"),
        ({"format": "1"}, ModuleError, "no format version"),
        ({"tvm": "0.99"}, ModuleError, "compiled with TVM 0.99, installed is"),
        ({"target": {"features": ["avx9"]}}, TargetError, r"lacks \(avx9\)"),
        ({"target": {}}, ModuleError, "target.features"),
        ({"outputs": [{"name": "y"}]}, ModuleError, "outputs"),
        ({"decode": None}, ModuleError, "decode"),
    ],
)
def test_module_that_does_not_fit_is_refused(tmp_path, changes, error, message):
    path = tmp_path / "module.so"
    build_row_sums(path, np.ones((16, 16), np.uint8), **changes)
    with pytest.raises(error, match=message):
        load(path)


def test_unknown_features_are_not_held_against_a_module(sums, monkeypatch):
    monkeypatch.setattr("dcc.runtime.cpu_features", lambda: None)
    assert load(sums)()[0][0] == 100
    monkeypatch.setattr("dcc.runtime.cpu_features", lambda: frozenset({"sse3"}))
    if processor.architecture() == "x86_64":
        with pytest.raises(TargetError, match="--target host"):
            load(sums)


def test_other_architecture_is_refused(sums, monkeypatch):
    monkeypatch.setattr("dcc.runtime.architecture", lambda: "vax")
    with pytest.raises(TargetError, match=r"this machine is vax: .*--emulate"):
        load(sums)


def test_a_module_that_cannot_run_is_refused_before_its_opponents_are_built(sums, monkeypatch):
    monkeypatch.setattr("dcc.runtime.architecture", lambda: "vax")
    monkeypatch.setattr("dcc.benchmarking._prepare_opponent", lambda *_: pytest.fail("built"))
    with pytest.raises(TargetError, match="this machine is vax"):
        benchmark(sums, "model.onnx")
