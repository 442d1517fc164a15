"""What the documentation shows works: its commands and its Python are run, its recipes are read."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dcc.recipes import load_recipe

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def run(folder, *command):
    # The commands as this interpreter has them, whether or not they are on the path.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def tour(tmp_path_factory):
    """Folder and output of the commands; the Python goes on with their files."""
    pytest.importorskip("onnxruntime")
    folder = tmp_path_factory.mktemp("readme")
    functions = (
        f'python() {{ "{sys.executable}" "$@"; }}\ndcc() {{ python -m dcc "$@"; }}\nset -e\n'
    )
    return folder, run(folder, "bash", "-c", functions + "".join(blocks(README, "bash")))


def test_commands(tour):
    assert "accuracy:" in tour[1]


@pytest.mark.parametrize("block", blocks(README, "python"))
def test_python(tour, block):
    run(tour[0], sys.executable, "-c", block)


@pytest.mark.parametrize("name", ["README.md", "docs/recipes.md"])
def test_recipes(name, tmp_path):
    for block in blocks((ROOT / name).read_text(), "yaml"):
        path = tmp_path / "recipe.yaml"
        path.write_text(block)
        load_recipe(path).for_layer("conv1.weight", "Conv")


def test_links_lead_somewhere():
    for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
            if "://" not in target:
                assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_nothing_is_left_to_fill_in():
    assert not re.search(r"DEMO OUTPUT|FIGURES", README)


def test_every_command_is_in_the_readme():
    from dcc.cli.main_group import main_group

    for name in main_group.commands:
        assert f"dcc {name}" in README
