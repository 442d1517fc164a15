"""Time and energy proxies by layer and storage form, on a logarithmic scale."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dcc.reporting.charts import Anchor, Bar, Chart, Label, Rule, log_scale
from dcc.reporting.facts import Device, LayerCost, Variant
from dcc.reporting.layer_charts import left_out
from dcc.reporting.units import energy_text, short_name, time_text

MOST_LAYERS = 12
_NAME, _BAR, _GAP, _AXIS, _END = 15, 11, 10, 22, 80


@dataclass(frozen=True)
class Quantity:
    """What is compared: the heading, its values, and how they are written.

    Attributes
    ----------
    of_layer, other, whole
        Value of a layer, of what belongs to no layer, and of the whole model.
    """

    title: str
    of_layer: Callable[[LayerCost], float | None]
    other: Callable[[Variant], float | None]
    whole: Callable[[Variant], float | None]
    text: Callable[[float | None], str]


TIME = Quantity(
    "Time",
    lambda layer: layer.seconds,
    lambda variant: variant.other_seconds,
    lambda variant: variant.seconds,
    time_text,
)
ENERGY = Quantity(
    "Energy proxy",
    lambda layer: layer.energy,
    lambda variant: variant.other_picojoules,
    lambda variant: variant.picojoules,
    energy_text,
)


def cost_chart(device: Device, quantity: Quantity) -> Chart | None:
    """Draw one bar a storage form for each layer; None where nothing is known."""
    names = _layers(device, quantity)
    values = {
        (name, variant.storage): value
        for variant in device.variants
        for name, value in _values(variant, quantity).items()
    }
    positive = [value for (name, _), value in values.items() if name in names and value > 0]
    if not positive:
        return None
    storages = [v.storage for v in device.variants if any(key[1] == v.storage for key in values)]
    title = f"{quantity.title} by layer and form, {device.name}"
    scale, decades = log_scale(positive, 0, _END)
    block = _NAME + (_BAR + 2) * len(storages) + _GAP
    every = len(_every(device, quantity))
    chart = Chart(
        title,
        _summary(title, names, storages, values, quantity),
        _AXIS + block * len(names),
        legend=[(storage, storage) for storage in storages],
        note=left_out(every - len(names)),
    )
    for decade in decades:
        x = scale(decade)
        chart.rules.append(Rule(x, _AXIS - 6, x, chart.height, "grid"))
        anchor: Anchor = "start" if x < 5 else "middle"
        chart.labels.append(Label(x, 11, quantity.text(decade), "tick", anchor))
    for row, name in enumerate(names):
        top = _AXIS + row * block
        chart.labels.append(Label(0, top + _NAME - 3, short_name(name), "name"))
        for line, storage in enumerate(storages):
            value = values.get((name, storage))
            if value is None:
                continue
            y = top + _NAME + line * (_BAR + 2)
            width = max(scale(value), 0.5) if value > 0 else 0.5
            text = quantity.text(value)
            chart.bars.append(Bar(0, y, width, _BAR, storage, f"{name}, {storage}: {text}"))
            chart.labels.append(Label(width, y + _BAR - 1, text, "tick", shift=4))
    return chart


def _values(variant: Variant, quantity: Quantity) -> dict[str, float]:
    found = {layer.name: quantity.of_layer(layer) for layer in variant.layers}
    return {name: value for name, value in found.items() if value is not None}


def _every(device: Device, quantity: Quantity) -> dict[str, float]:
    """Each layer that anything is known of, and the most that it takes in any form."""
    most: dict[str, float] = {}
    for variant in device.variants:
        for name, value in _values(variant, quantity).items():
            most[name] = max(value, most.get(name, 0.0))
    return most


def _layers(device: Device, quantity: Quantity) -> list[str]:
    """Keep the layers that take most, in the order of the model."""
    most = _every(device, quantity)
    kept = set(sorted(most, key=lambda name: -most[name])[:MOST_LAYERS])
    return [name for name in most if name in kept]


def _summary(
    title: str,
    names: list[str],
    storages: list[str],
    values: dict[tuple[str, str], float],
    quantity: Quantity,
) -> str:
    parts = [
        f"{name}: "
        + ", ".join(
            f"{storage} {quantity.text(values[name, storage])}"
            for storage in storages
            if (name, storage) in values
        )
        for name in names
    ]
    return f"{title}. " + "; ".join(parts)
