"""The end of `up`: who did how much, what was kept, what has failed; in columns."""

import pytest
from pynelive.bus.children import View
from pynelive.bus.status import Rate, Status, StreamStatus
from pynelive.bus.summary import summarize


def test_the_summary_reads_as_columns() -> None:
    """What an actor says of its work comes before its streams, and a long list is cut."""
    streams = [StreamStatus("demo:BTC/USDT@1", bars=1234), StreamStatus("demo:AAPL@1", bars=1)]
    kept = ["data/a.ohlcv  1,234 bars  2025-01-06 … 2025-01-07", "data/long.ohlcv  9 bars  2025-01-06 … 2025-01-06"]
    many = [f"data/{number}" for number in range(20)]
    views = [
        View("demo", "producer", "stopped", status=Status("demo", "producer", bars=1235, streams=streams)),
        View("rsi", "runner", "failed", restarts=4, why="the script is wrong"),
        View("recorder", "sink", "done", status=Status("recorder", "sink", bars=1, streams=streams, summary=kept)),
        View("csv", "sink", "done", restarts=1, status=Status("csv", "sink", summary=many)),
    ]
    assert "\n".join(summarize(views)) == """\
demo      stopped  1,235 bars
    demo:BTC/USDT@1  1,234 bars
    demo:AAPL@1           1 bar
rsi       failed               4 restarts
    the script is wrong
recorder  done          1 bar
    data/a.ohlcv     1,234 bars  2025-01-06 … 2025-01-07
    data/long.ohlcv      9 bars  2025-01-06 … 2025-01-06
csv       done         0 bars   1 restart
    data/0
    data/1
    data/2
    data/3
    data/4
    data/5
    data/6
    … and 13 more"""
    assert list(summarize([])) == []


def test_a_rate_counts_what_came_since_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the last minute: neither what a journal held at the start nor a warm-up is in it."""
    now = 0.0
    monkeypatch.setattr("pynelive.bus.status.time.monotonic", lambda: now)
    rate = Rate()
    assert [rate.of(0, "starting"), rate.of(500, "warming"), rate.of(5_000, "running")] == [0, 0, 0]
    for now in range(1, 11):
        rate.of(5_000 + now)
    assert rate.now == 1
    for now in range(11, 201):  # noqa: B007 - the clock
        rate.of(5_010)
    assert rate.now == 0
    for now in range(201, 321):
        rate.of(5_010 + (now - 200) // 60)
    assert rate.now == pytest.approx(1 / 60, rel=0.5)  # bars of a minute are seen too
