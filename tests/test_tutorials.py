"""The tutorials run, and print what they show."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_datasets import idx_bytes

FOLDER = Path(__file__).resolve().parents[1] / "tutorials"


def run(script, folder, *arguments):
    """Run a tutorial in an empty folder; what it prints."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, str(FOLDER / script), *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("script", "shown"),
    [
        ("01_first_model.py", "of 360 digits are right"),
        ("03_custom_pass.py", "points: after_import"),
        ("04_new_target.py", "entry point: camera-a55"),
        ("06_energy_report.py", "the same counts with memory near"),
        ("05_tuning_over_rpc.py", "largest difference from the default schedules"),
    ],
)
def test_tutorial(script, shown, tmp_path):
    assert shown in run(script, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_training_from_onnx_and_from_torch(tmp_path):
    for needed in ("torch", "sklearn"):
        pytest.importorskip(needed)
    text = run("02_finetune.py", tmp_path, "--epochs", "3")
    assert "times smaller" in text
    assert "on the test digits" in text
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_training_from_scratch(tmp_path):
    """On a handful of made-up pictures in Fashion-MNIST's format."""
    pytest.importorskip("torch")
    generator = np.random.default_rng(0)
    for prefix, count in (("train", 240), ("t10k", 40)):
        labels = (np.arange(count) % 10).astype(np.uint8)
        images = generator.integers(0, 40, (count, 28, 28), np.uint8)
        images[np.arange(count), 2 * labels] += 200
        (tmp_path / f"{prefix}-images-idx3-ubyte").write_bytes(idx_bytes(images))
        (tmp_path / f"{prefix}-labels-idx1-ubyte").write_bytes(idx_bytes(labels))
    text = run("fashion_lenet5.py", tmp_path, "--data", ".", "--epochs", "3", "--dense-epochs", "1")
    assert "220 to train, 20 to validate, 40 to test" in text
    assert "by the compiled module" in text
    assert (tmp_path / "fashion" / "lenet5.dcz").is_file()
