"""Progress reaches the listener, as lines where there is no terminal."""

import pytest

from dcc.cli import console
from dcc.progress import listening, report, track


def test_reports_reach_the_listener_only_within():
    heard = []
    with listening(lambda *event: heard.append(event)):
        assert list(track("working", ["a", "b"])) == ["a", "b"]
    report("working", 0, 1)
    assert heard == [("working", 0, 2), ("working", 1, 2), ("working", 2, 2)]


def test_lines_without_a_terminal(monkeypatch, capsys):
    seconds = iter(range(0, 100, 3))
    monkeypatch.setattr(console.time, "monotonic", lambda: next(seconds))
    with console.shown_progress():
        list(track("working", range(3)))
    assert capsys.readouterr().err.splitlines() == [f"working: {done} of 3" for done in (1, 2, 3)]


def test_quick_work_prints_nothing(capsys):
    with console.shown_progress():
        list(track("working", range(100)))
    assert capsys.readouterr().err == ""


def test_a_bar_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(console.sys.stderr, "isatty", lambda: True, raising=False)
    with console.shown_progress():
        list(track("working", range(3)))


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, ""), (0.0001234, "0.123"), (0.0123, "12.3"), (1.5, "1500.0")]
)
def test_times(seconds, text):
    assert console.time_text(seconds) == text
