"""The page of a report in a real browser."""

import pytest
from browser import browser, check_page, opened
from report_facts import HOSTILE, made_up


@pytest.fixture(scope="module")
def chromium():
    with browser() as started:
        yield started


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(made_up(HOSTILE).to_html())
    return path


@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_quiet_and_fits(chromium, page, width, scheme):
    with opened(chromium, page, width, scheme) as found:
        check_page(found, page)
        assert found.page.title() == f"{HOSTILE[0]}.onnx: compression report"
        ground = found.page.evaluate("getComputedStyle(document.body).backgroundColor")
        bright = sum(map(int, ground.removeprefix("rgb(").removesuffix(")").split(","))) > 384
        assert bright == (scheme == "light")


@pytest.mark.parametrize("width", [400, 1400])
def test_texts_in_plots_are_as_large_at_every_width(chromium, page, width):
    with opened(chromium, page, width) as found:
        heights = found.page.evaluate("""Array.from(document.querySelectorAll("svg.plot text"),
            text => text.getBoundingClientRect().height)""")
        assert min(heights) >= 11


def test_a_click_on_a_heading_sorts(chromium, page):
    with opened(chromium, page, 1400) as found:
        before = found.rows()
        heading, button = found.heading("Weights")
        assert heading.get_attribute("aria-sort") == "none"
        button.click()
        assert heading.get_attribute("aria-sort") == "descending"
        largest = found.rows()
        assert largest == [*reversed(HOSTILE), "bias of it"]
        button.click()
        assert heading.get_attribute("aria-sort") == "ascending"
        assert found.rows() == largest[::-1]
        assert sorted(found.rows()) == sorted(before)
        assert found.table().locator("tfoot th").inner_text() == "All weights"


def test_the_keyboard_sorts_too(chromium, page):
    with opened(chromium, page, 1400) as found:
        found.heading("Weights")[1].click()
        heading, button = found.heading("Layer")
        button.focus()
        found.page.keyboard.press("Enter")
        assert heading.get_attribute("aria-sort") == "ascending"
        assert found.heading("Weights")[0].get_attribute("aria-sort") == "none"
        ascending = found.rows()
        found.page.keyboard.press("Space")
        assert found.rows() == ascending[::-1]


def test_what_has_no_number_stands_last_either_way(chromium, page):
    with opened(chromium, page, 1400) as found:
        _, button = found.heading("Levels")
        for _ in range(2):
            button.click()
            assert found.rows()[-1] == "bias of it"


def test_wide_tables_scroll_in_their_own_box(chromium, page):
    with opened(chromium, page, 400) as found:
        box = found.page.locator(".scroll", has=found.page.locator("table.sortable")).first
        assert box.evaluate("box => box.scrollWidth > box.clientWidth")
        assert box.get_attribute("tabindex") == "0"


def test_print_shows_tables_whole(chromium, page):
    with opened(chromium, page, 1000) as found:
        found.page.emulate_media(media="print")
        overflow = found.page.locator(".scroll").first.evaluate(
            "box => getComputedStyle(box).overflow"
        )
        assert overflow == "visible"
        assert found.page.locator("nav").is_hidden()
