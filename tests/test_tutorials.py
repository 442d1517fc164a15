"""The tutorials run, and print what they show."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "tutorials"


@pytest.mark.parametrize(
    ("script", "shown"),
    [
        ("01_first_model.py", "of 360 digits are right"),
        ("03_custom_pass.py", "points: after_import"),
    ],
)
def test_tutorial(script, shown, tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, str(FOLDER / script)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert shown in done.stdout
    assert not list(tmp_path.iterdir())
