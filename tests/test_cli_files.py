"""Files by any name: told apart by content, and never written over what is read."""

import logging
import shutil
from importlib.resources import files

import pytest

import dcc
from dcc.__main__ import main
from dcc.errors import OutputError
from dcc.passes.options import Recipe


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "net.onnx"
    shutil.copyfile(files("dcc.data") / "digits.onnx", path)
    return path


@pytest.mark.parametrize("command", ["compress", "compile"])
def test_the_model_is_not_overwritten(command, model, capsys):
    before = model.read_bytes()
    assert main([command, str(model), "-o", str(model)]) == 2
    assert "it is the file that is read" in capsys.readouterr().err
    assert model.read_bytes() == before


def test_a_container_is_not_overwritten(model, tmp_path):
    container = tmp_path / "net.dcz"
    dcc.compress(model, container)
    with pytest.raises(OutputError, match="the file that is read"):
        dcc.decompress(container, container)
    with pytest.raises(OutputError, match="the file that is read"):
        dcc.compile(container, container)


def test_names_need_no_suffix(model, tmp_path):
    container, module = tmp_path / "net.v1", tmp_path / "plain"
    assert main(["compress", str(model), "-o", str(container)]) == 0
    assert main(["compile", str(container), "-o", str(module)]) == 0
    assert main(["run", str(module)]) == 0
    assert main(["verify", str(module), str(container)]) == 0


def test_without_arguments_there_is_help(capsys):
    assert main([]) == 2
    captured = capsys.readouterr()
    assert "Commands:" in captured.out
    assert not captured.err


def test_layer_settings_that_match_nothing_are_named(model, caplog):
    recipe = Recipe("mine", layers=(("nowhere", {"bits": 4}), (r"conv\d\.weight", {"bits": 4})))
    with caplog.at_level(logging.WARNING, logger="dcc"):
        dcc.compress(model, None, recipe)
    assert "'nowhere' matches no weight" in caplog.text
    assert "conv" not in caplog.text
