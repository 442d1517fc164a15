"""Draws a report as one HTML file: styles, script and plots are in it, and nothing is fetched.

Every text goes through Jinja's escaping, so that a layer may have any name. The page's own policy
(CSP) allows no network and no script but the one whose hash it names.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from typing import Any

import jinja2
from markupsafe import Markup

from dcc import __version__
from dcc.reporting import units
from dcc.reporting.cost_charts import ENERGY, TIME, cost_chart
from dcc.reporting.facts import AUTO, PARTS, CompressionReport, Device
from dcc.reporting.layer_charts import (
    MOST_HISTOGRAMS,
    code_chart,
    density_chart,
    left_out,
    row_chart,
    weight_layers,
)
from dcc.reporting.overview import overview
from dcc.reporting.stage_charts import STAGE_NAMES, accuracy_chart, part_chart, stage_chart
from dcc.reporting.tables import cost_table, layer_table, main_device

_TEMPLATES = "dcc.reporting"


def render(report: CompressionReport) -> str:
    """Return the page."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": units.count_text,
        "percent": units.percent_text,
        "ratio": units.ratio_text,
        "size": units.size_text,
        "time": units.time_text,
        "energy": units.energy_text,
        "short": units.short_name,
    }
    script = _source(environment, "sort.js")
    digest = b64encode(sha256(script.encode()).digest()).decode()
    return environment.get_template("page.html.j2").render(
        report=report,
        version=__version__,
        style=Markup(_source(environment, "style.css")),
        script=Markup(script),
        script_digest=digest,
        parts=PARTS,
        stage_names=STAGE_NAMES,
        overview=overview(report),
        layers=layer_table(report),
        device=main_device(report),
        histograms=_histograms(report),
        costs=[_costs(device) for device in report.devices],
        charts=_charts(report),
    )


def _source(environment: jinja2.Environment, name: str) -> str:
    """Text of a file that goes into the page as it is."""
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


def _charts(report: CompressionReport) -> dict[str, Any]:
    if not report.layers:
        return {"stages": None, "parts": None, "density": None, "accuracy": None}
    return {
        "stages": stage_chart(report),
        "parts": part_chart(report),
        "density": density_chart(weight_layers(report.layers)),
        "accuracy": accuracy_chart(report.points) if report.points else None,
    }


def _histograms(report: CompressionReport) -> dict[str, Any]:
    """Histograms of each weight, of the first so many."""
    shown = weight_layers(report.layers)
    figures = [(layer, code_chart(layer), row_chart(layer)) for layer in shown[:MOST_HISTOGRAMS]]
    return {
        "figures": [each for each in figures if each[1] or each[2]],
        "note": left_out(len(shown) - MOST_HISTOGRAMS),
    }


def _costs(device: Device) -> dict[str, Any]:
    """Gather what the sections on time and energy show of a device."""
    return {
        "device": device,
        "auto": device.variant(AUTO),
        "time_chart": cost_chart(device, TIME),
        "time_table": cost_table(device, TIME),
        "energy_chart": cost_chart(device, ENERGY),
        "energy_table": cost_table(device, ENERGY),
    }
