"""Tables on terminals of any width: names, streams and numbers are whole, and what is left out is named."""

from __future__ import annotations

import sys

import pytest
from pynelive.bus.census import StreamRow
from pynelive.bus.children import View
from pynelive.bus.status import Status, StreamStatus
from pynelive.commands import streams as command
from pynelive.commands.lines import print_table
from pynelive.commands.table import print_views
from rich.text import Text

STREAMS = ("ccxt:BYBIT:BTC/USDT:USDT@1", "ccxt:BYBIT:SOL/USDT:USDT@1")
NUMBERS = ("1,234,567", "7,654,321", "12.3/s", "98,765")


WIDTHS = (80, 100, 120, 200)


def be_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    """Let standard output be a terminal."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")


def plain(capsys: pytest.CaptureFixture[str]) -> str:
    """What was printed, without colours."""
    return Text.from_ansi(capsys.readouterr().out).plain


@pytest.mark.parametrize("terminal", WIDTHS)
def test_ps_cuts_nothing_that_matters(
    terminal: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two streams of one producer can be told apart, numbers are whole, and a column is there or is named."""
    be_terminal(monkeypatch, terminal)
    rows = [
        StreamStatus(STREAMS[0], bars=1_234_567, last_ms=1, last_price=1.5),
        StreamStatus(STREAMS[1], bars=7_654_321, lag=98_765),
    ]
    said = "alert: " + "the price has crossed the average " * 8
    status = Status("bybit", "producer", "running", 4_000_000, rows, 8_888_888, 12.34, said, 43.0)
    gone = Status("gone", "sink", streams=rows[:1], bars=1_234_567, rate=19.4)
    print_views([
        View("bybit", "producer", "running", 4_000_000, 1000.0, 3, status=status, journal_mb=12.0),
        View("gone", "sink", "stopped", status=gone),
    ])  # fmt: skip
    shown = plain(capsys)
    table, _, left_out = shown.partition("not shown here: ")
    assert max(map(len, table.splitlines())) <= terminal
    assert [word for word in (*STREAMS, *NUMBERS, "bybit", "restarts") if word not in table] == []
    assert [title for title in ("pid", "up", "memory", "journal", "price", "last said") if title not in shown] == []
    assert "19.4" not in table
    assert ("last said" in left_out) == (terminal < 200)
    assert table.count("…") == (terminal == 200)


@pytest.mark.parametrize("terminal", WIDTHS)
def test_streams_cuts_nothing_that_matters(
    terminal: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Origin and the number of subscribers go first."""
    be_terminal(monkeypatch, terminal)
    row = StreamRow("bybit", STREAMS[0], "live", 1_234_567, 0.0167, 98_765, 1, 94_431.03, "venue", 4)
    print_table(command.COLUMNS, [command.stream_cells(row)], command.MAY_GO)
    shown = plain(capsys)
    table, _, left_out = shown.partition("not shown here: ")
    assert max(map(len, table.splitlines())) <= terminal
    assert [word for word in (STREAMS[0], "1,234,567", "0.017", "98,765") if word not in table] == []
    assert ("origin" in left_out) == (terminal < 120)
    assert "…" not in shown
