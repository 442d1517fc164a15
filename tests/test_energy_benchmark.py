"""``benchmarks/energy.py``: its rows, its factors, its pictures."""

import json
import sys

import energy
import pytest
from layer_cases import Case


@pytest.fixture
def small(monkeypatch):
    """One small layer in the place of the nine."""
    layers = (Case("small", (512, 128), 0.08),)
    monkeypatch.setattr(energy, "LAYERS", layers)


def test_rows_plots_and_json(small, tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    record = {"rows": [{"name": "small", "ratios": {"sparse": 3.0, "huffman": 0.5}}]}
    (tmp_path / "layers.json").write_text(json.dumps(record))
    names = ("out.json", "energy.png", "layers.json", "speed.png")
    paths = [str(tmp_path / name) for name in names]
    flags = ("--json", "--plot", "--speed", "--speed-plot")
    options = [each for pair in zip(flags, paths, strict=True) for each in pair]
    monkeypatch.setattr(sys, "argv", ["energy.py", "--target", "x86-64-v3", *options])
    energy.main()
    shown = capsys.readouterr().out
    assert "energy proxy of one run" in shown
    assert "Deep Compression, Figure 10, CPU, measured" in shown
    values = json.loads((tmp_path / "out.json").read_text())
    assert values["kind"] == "proxy"
    forms = values["layers"]["small"]
    assert forms["dense"]["multiplications"] == 512 * 128
    assert forms["dense"]["weight_bytes"] == 4 * 512 * 128
    assert values["ratios"]["small"]["sparse"] > 3
    split = values["decomposition"]["sparse"]
    entries = forms["sparse"]["multiplications"]
    assert split["sparsity"] == pytest.approx(512 * 128 / entries)
    assert split["weight sharing"] == pytest.approx(4 * entries / forms["sparse"]["weight_bytes"])
    for name in ("energy.png", "speed.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_ratios_compare_like_with_like():
    """Where dense stays in the cache as well, it is not charged for main memory."""
    dense = energy.Proxy(100.0, 20.0, 10, 40, {}, True)
    sparse = energy.Proxy(10.0, 5.0, 2, 2, {}, True)
    row = {"dense": dense, "sparse": sparse}
    assert energy.ratio_of(row, "sparse", "cold") == 10
    assert energy.ratio_of(row, "sparse", "resident") == 4
