"""A page in a real browser: headless Chromium, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

COMMANDS = ("chromium", "chromium-browser", "google-chrome")
HEIGHT = 900


@dataclass
class Opened:
    """A page, and what the browser said while it was open.

    Attributes
    ----------
    complaints
        Errors and warnings of the console, and errors of scripts.
    requests
        Addresses that were asked for, the page's own among them.
    """

    page: Any
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def table(self, number: int = 0) -> Any:
        """Return one of the tables that sort."""
        return self.page.locator("table.sortable").nth(number)

    def heading(self, label: str, table: int = 0) -> tuple[Any, Any]:
        """Return the heading of a column, and the button in it."""
        button = self.page.get_by_role("button", name=label, exact=True)
        cell = self.table(table).locator("thead th", has=button)
        return cell, cell.locator("button")

    def rows(self, table: int = 0) -> list[str]:
        """Names of the rows of a table that sorts, in their order."""
        names = self.table(table).locator("tbody th").all_text_contents()
        return [name.strip() for name in names]

    def wider_than_the_window(self) -> int:
        """Pixels by which the page can be scrolled sideways."""
        return self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")


@contextmanager
def browser() -> Iterator[Any]:
    """Start Chromium; skips the test where it or Playwright is missing."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    path = next(filter(None, map(shutil.which, COMMANDS)), None)
    if path is None:
        pytest.skip("Chromium is not installed (Debian, Ubuntu: the package chromium)")
    # The sandbox does not work for root, who runs containers.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=path, args=arguments, timeout=180_000)
        yield started
        started.close()


@contextmanager
def opened(started: Any, path: Path, width: int, scheme: str = "light") -> Iterator[Opened]:
    """Open a file in a window of so many pixels."""
    page = started.new_page(
        viewport={"width": width, "height": HEIGHT}, color_scheme=scheme, reduced_motion="reduce"
    )
    page.set_default_timeout(120_000)
    found = Opened(page)
    page.on("console", lambda message: found.complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: found.complaints.append(str(error)))
    page.on("request", lambda request: found.requests.append(request.url))
    page.goto(path.resolve().as_uri())
    yield found
    page.close()


def check_page(found: Opened, path: Path) -> None:
    """What holds for every report: quiet, alone, drawn, and no wider than its window."""
    assert found.complaints == []
    assert found.requests == [path.resolve().as_uri()]
    assert found.wider_than_the_window() == 0
    plots = found.page.locator("svg.plot")
    assert plots.count()
    for number in range(plots.count()):
        box = plots.nth(number).bounding_box()
        assert box is not None
        assert box["width"] > 100
        assert box["height"] > 50
    marks = found.page.evaluate("""Array.from(document.querySelectorAll("svg.plot"), plot =>
        Array.from(plot.querySelectorAll("rect, circle"), mark => mark.getBBox())
            .filter(box => box.width > 0 && box.height > 0).length)""")
    assert all(marks)
