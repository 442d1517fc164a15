"""Counters of the machine: a made-up powercap tree, wrap-around, permissions; NVML's shape."""

import sys
from types import ModuleType

import pytest

from dcc import energy_counters
from dcc.energy_counters import RaplCounter, find_counters, measure_energy


def package(folder, number=0, name="package-0", energy=1_000_000, largest=262_143_328_850):
    zone = folder / f"intel-rapl:{number}"
    zone.mkdir(parents=True)
    (zone / "name").write_text(name + "\n")
    (zone / "energy_uj").write_text(f"{energy}\n")
    (zone / "max_energy_range_uj").write_text(f"{largest}\n")
    return zone


def test_packages_are_found_and_their_parts_left_out(tmp_path):
    zone = package(tmp_path)
    package(tmp_path, 1, "package-1", 5)
    part = tmp_path / "intel-rapl:0:0"
    part.mkdir()
    (part / "name").write_text("core\n")
    package(tmp_path / "other")
    (tmp_path / "intel-rapl-mmio:0").mkdir()
    found = find_counters(tmp_path)
    assert [counter.name for counter in found.counters] == ["RAPL package-0", "RAPL package-1"]
    assert found.counters[0].read() == pytest.approx(1.0)
    assert found.counters[0].period == pytest.approx(262143.32885)
    assert found.missing == []
    assert found.counters[0].folder == zone


def test_no_counters(tmp_path):
    found = find_counters(tmp_path / "nowhere")
    assert found.counters == []
    assert "there is none below" in found.missing[0]


def test_permissions_are_named(tmp_path, monkeypatch):
    package(tmp_path)

    def refused(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(RaplCounter, "read", refused)
    found = find_counters(tmp_path)
    assert found.counters == []
    assert "energy_uj' may be read by root only" in found.missing[0]


@pytest.mark.parametrize("text", ["", "many\n"])
def test_a_damaged_zone_is_named(tmp_path, text):
    zone = package(tmp_path)
    (zone / "energy_uj").write_text(text)
    found = find_counters(tmp_path)
    assert found.counters == []
    assert "intel-rapl:0' cannot be read" in found.missing[0]


class Clock:
    """A clock that goes on by a step with each look."""

    def __init__(self, step):
        self.now, self.step = 0.0, step

    def __call__(self):
        self.now += self.step
        return self.now


def test_a_run_is_the_difference_over_the_calls(tmp_path):
    zone = package(tmp_path, energy=0)
    spent = [0]

    def run():
        spent[0] += 2_000_000  # 2 J
        (zone / "energy_uj").write_text(str(spent[0]))

    (measured,) = measure_energy(run, find_counters(tmp_path).counters, 1.0, Clock(0.25))
    assert measured.counter == "RAPL package-0"
    assert measured.joules == pytest.approx(2.0)
    assert measured.calls == 4
    assert measured.watts == pytest.approx(8.0)
    assert measured.to_json()["kind"] == "measured"


def test_a_counter_that_starts_again(tmp_path):
    """It wraps at 10 J; every call takes 3 J; it is read each second."""
    largest = 10_000_000
    zone = package(tmp_path, energy=0, largest=largest)
    spent = [0]

    def run():
        spent[0] += 3_000_000
        (zone / "energy_uj").write_text(str(spent[0] % largest))

    (measured,) = measure_energy(run, find_counters(tmp_path).counters, 12.0, Clock(1.0))
    assert measured.joules == pytest.approx(3.0)
    assert measured.calls == 12


def test_nothing_is_run_without_counters():
    assert measure_energy(lambda: pytest.fail("ran"), []) == []


def nvml(monkeypatch, failing=False):
    """A module with the four functions that are used."""
    fake = ModuleType("pynvml")
    fake.NVMLError = type("NVMLError", (Exception,), {})
    energy = [0]

    def start():
        if failing:
            raise fake.NVMLError("Driver Not Loaded")

    def total(handle):
        energy[0] += 500  # millijoules
        return energy[0]

    fake.nvmlInit, fake.nvmlDeviceGetHandleByIndex = start, lambda number: number
    fake.nvmlDeviceGetName = lambda handle: b"NVIDIA H100"
    fake.nvmlDeviceGetTotalEnergyConsumption = total
    monkeypatch.setitem(sys.modules, "pynvml", fake)


def test_a_card(tmp_path, monkeypatch):
    nvml(monkeypatch)
    found = find_counters(tmp_path, cards=True)
    (counter,) = found.counters
    assert counter.name == "NVML NVIDIA H100"
    assert counter.read() == pytest.approx(1.0)  # it was read once when it was found
    assert any(text.startswith("RAPL") for text in found.missing)


def test_a_card_without_a_driver(tmp_path, monkeypatch):
    nvml(monkeypatch, failing=True)
    found = find_counters(tmp_path, cards=True)
    assert "NVML: Driver Not Loaded" in found.missing


def test_nvml_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    found = find_counters(tmp_path, cards=True)
    assert any("nvidia-ml-py" in text for text in found.missing)
    assert energy_counters.POWERCAP.is_absolute()
