"""The page of a report, of made-up facts: what it says, and that no name is more than a name."""

import json
import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from report_facts import HOSTILE, device, layers_named, made_up

from dcc.reporting import facts, units
from dcc.reporting.charts import Scale, linear_ticks, log_scale, log_ticks
from dcc.reporting.cost_charts import ENERGY, MOST_LAYERS, TIME, cost_chart
from dcc.reporting.layer_charts import MOST_ROWS, density_chart
from dcc.reporting.stage_charts import accuracy_chart, part_chart, stage_chart
from dcc.reporting.tables import cost_table, layer_table


class Outline(HTMLParser):
    """Tags with their attributes, and all text."""

    def __init__(self, page):
        super().__init__()
        self.tags = []
        self.text = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    handle_startendtag = handle_starttag

    def handle_data(self, data):
        self.text.append(data)

    def attributes(self, name):
        return [attributes[name] for _, attributes in self.tags if name in attributes]

    def count(self, tag):
        return sum(found == tag for found, _ in self.tags)


@pytest.fixture(scope="module")
def hostile():
    return Outline(made_up(HOSTILE).to_html())


def test_names_stay_names(hostile):
    plain = Outline(made_up([f"layer{place}" for place in range(len(HOSTILE))]).to_html())
    for tag in ("script", "style", "img", "svg", "link", "meta", "iframe", "th", "h3"):
        assert hostile.count(tag) == plain.count(tag), tag
    assert hostile.count("script") == 1
    assert not [name for _, attributes in hostile.tags for name in attributes if name[:2] == "on"]
    text = "".join(hostile.text)
    for name in HOSTILE:
        assert name in text


def test_nothing_is_fetched(hostile):
    assert set(hostile.attributes("href")) <= {
        "data:,", "#stages", "#accuracy", "#layers", "#histograms", "#time", "#energy", "#provenance",
    }  # fmt: skip
    assert not hostile.attributes("src")
    style = next(t for t in hostile.text if ":root" in t)
    assert "url(" not in style
    assert "@import" not in style
    policy = next(a["content"] for t, a in hostile.tags if a.get("http-equiv"))
    assert policy.startswith("default-src 'none'")


def test_headings_go_down_step_by_step(hostile):
    levels = [int(tag[1]) for tag, _ in hostile.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_every_plot_says_what_it_shows(hostile):
    plots = [a for tag, a in hostile.tags if tag == "svg" and a.get("class") == "plot"]
    assert len(plots) > 10
    assert all(plot["role"] == "img" and plot["aria-label"] for plot in plots)


def test_proxies_are_called_so(hostile):
    text = " ".join("".join(hostile.text).split())
    assert text.count("proxy") > 5
    assert "A proxy is a model, not a measurement" in text
    for match in re.finditer(r"[^.]*energy[^.]*", text, re.IGNORECASE):
        assert not re.search(r"energy (was )?measured", match.group(), re.IGNORECASE)


def test_a_target_that_cannot_be_timed_says_why(hostile):
    text = " ".join("".join(hostile.text).split())
    assert "It cannot be timed here:" in text
    assert "not timed" in text


def test_without_data_it_says_how_to_give_some():
    page = made_up(accuracy=False).to_html()
    assert "No labelled data were given" in page
    assert "Accuracy against the bytes" not in page


def test_a_model_without_weights():
    report = made_up([])
    empty = facts.CompressionReport(
        report.provenance,
        [facts.Stage(name, dict.fromkeys((*facts.PARTS, "total"), 0)) for name in facts.STAGES],
        [],
        [facts.Device("host", "this machine", "measured", "", [facts.Variant("auto", 80_000)])],
    )
    page = empty.to_html()
    assert "there is nothing to compress" in page
    assert empty.density == 1.0


def test_json_holds_all_that_the_page_shows():
    report = made_up(HOSTILE)
    content = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert content["schema"] == "dcc-report"
    assert {layer["name"] for layer in content["layers"]} == {*HOSTILE, "bias of it"}


def test_bars_of_the_stages_are_as_long_as_their_bytes():
    report = made_up()
    chart = stage_chart(report)
    rows = {}
    for bar in chart.bars:
        rows[bar.y] = rows.get(bar.y, 0.0) + bar.width
    dense = report.stage("dense").bytes["total"]
    expected = [100 * stage.bytes["total"] / dense for stage in report.stages]
    assert list(rows.values()) == pytest.approx(expected)
    whole = {}
    for bar in part_chart(report).bars:
        whole[bar.y] = whole.get(bar.y, 0.0) + bar.width
    assert list(whole.values()) == pytest.approx([100] * 4)


def test_points_of_equal_accuracy_are_drawn_inside():
    points = [
        facts.Point(name, "stage", size, 50.0) for name, size in (("dense", 9), ("huffman", 0))
    ]
    chart = accuracy_chart(points)
    assert all(0 <= dot.x <= 100 and 0 < dot.y < chart.height for dot in chart.dots)


def test_bars_of_costs_keep_the_order_of_values():
    layers = layers_named(["a", "b"])
    host = device("host", layers)
    for quantity in (TIME, ENERGY):
        chart = cost_chart(host, quantity)
        assert len(chart.bars) == 2 * 5
        for name in ("a", "b"):
            widths = [bar.width for bar in chart.bars if bar.tip.startswith(f"{name},")]
            assert widths == sorted(widths)
            assert len(set(widths)) == 5
        assert all(0 < bar.width <= 80 for bar in chart.bars)
    assert cost_chart(device("board", layers, "none"), TIME) is None
    assert cost_table(device("board", layers, "none"), TIME) is None


def test_many_layers_are_cut_and_counted():
    layers = layers_named([f"layer{place}" for place in range(MOST_ROWS + 5)])
    assert len(cost_chart(device("host", layers), TIME).bars) == 5 * MOST_LAYERS
    assert str(MOST_ROWS + 5 - MOST_LAYERS) in cost_chart(device("host", layers), TIME).note
    assert "6 smaller layers" in density_chart(layers).note  # the bias is one of them


def test_rows_of_the_table_add_up():
    report = made_up()
    table = layer_table(report)
    assert all(len(row) == len(table.columns) for row in [*table.rows, *table.sums])
    for column, heading in enumerate(table.columns):
        if heading.label == "Weights" or heading.label.endswith(", B"):
            assert sum(row[column].value for row in table.rows) == table.sums[0][column].value


def test_a_layer_that_cannot_have_a_form_shows_the_one_it_has():
    layers = layers_named(["a"])
    table = cost_table(device("host", layers), TIME)
    assert [column.label for column in table.columns][1:] == [
        "auto", "dense", "codebook", "sparse", "huffman",
    ]  # fmt: skip
    assert table.rows[0][1].text.endswith("(sparse)")
    assert "(" not in table.rows[0][2].text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (units.time_text(None), "-"),
        (units.time_text(0.0), "0 ns"),
        (units.time_text(1.234e-5), "12.3 µs"),
        (units.time_text(0.99951e-3), "1.00 ms"),
        (units.time_text(75.0), "75.0 s"),
        (units.energy_text(640.0), "640 pJ"),
        (units.energy_text(2.5e6), "2.50 µJ"),
        (units.size_text(999), "999 B"),
        (units.size_text(1_500_000), "1.50 MB"),
        (units.ratio_text(18.385), "18.4x"),
        (units.ratio_text(float("inf")), "-"),
        (units.percent_text(0.08), "8.0 %"),
        (units.count_text(233518), "233,518"),
    ],
)
def test_numbers_as_people_read_them(text, expected):
    assert text == expected


def test_names_are_cut_in_the_middle():
    assert units.short_name("conv1.weight", 20) == "conv1.weight"
    cut = units.short_name("model/layer/block_17/conv/weight", 20)
    assert len(cut) == 20
    assert cut.startswith("model")
    assert cut.endswith("weight")


def test_scales():
    scale, decades = log_scale([3e-6, 2e-3], 0, 80)
    assert scale(2e-3) == pytest.approx(80)
    assert 0 < scale(3e-6) < 20
    assert decades == pytest.approx([1e-6, 1e-5, 1e-4, 1e-3])
    assert Scale(0, 0, 0, 100)(5) == 0
    assert linear_ticks(97.2, 99.1) == pytest.approx([97.5, 98, 98.5, 99])
    assert linear_ticks(4, 4) == [4]
    assert log_ticks(1_500, 40_000) == pytest.approx([2_000, 5_000, 10_000, 20_000])
    assert log_ticks(1, 1e6) == pytest.approx([10.0**n for n in range(7)])
