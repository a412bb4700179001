"""Everything that a Pine script can see and do live is as PyneCore has it; where PyneCore is wrong, as TradingView."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from jobs import CRYPTO, Bars, Result, Run, crypto_bars, daily_bars, files_of, make_job, with_forming, write_script

# All clocks: the exchange's, UTC, sessions, and what a bar is.
CLOCK = '''"""@pyne"""
from pynecore.lib import (
    barstate, close, dayofmonth, dayofweek, hour, minute, month, na, nz, plot, script, session, syminfo, ta, time,
    time_close, timeframe, timestamp, weekofyear, year
)

@script.indicator("Clock")
def main():
    plot(time, "time")
    plot(time_close, "time_close")
    plot(year * 10000 + month * 100 + dayofmonth, "date")
    plot(hour * 100 + minute, "clock")
    plot(hour(time, "UTC"), "hour in UTC")
    plot(hour(time, "Asia/Tokyo"), "hour in Tokyo")
    plot(dayofweek, "day")
    plot(weekofyear, "week")
    plot(nz(time("60")), "hour's start")
    plot(nz(time("D")), "day's start")
    plot(nz(time(timeframe.period, "1000-1130", "America/New_York")), "in a session")
    plot(timeframe.change("D"), "new day")
    plot(session.ismarket, "market")
    plot(session.isfirstbar, "first")
    plot(timestamp("America/New_York", 2026, 3, 8, 9, 30), "a stamp")
    plot(syminfo.mintick * syminfo.pointvalue, "tick")
    plot(timeframe.multiplier, "multiplier")
    plot(ta.vwap(close), "vwap")
    plot(barstate.isfirst, "first bar")
    return {"ticker": syminfo.ticker, "zone": syminfo.timezone, "currency": syminfo.currency, "new": barstate.isnew}
'''

WEEKDAYS = range(5)
NEW_YORK = {
    "ticker": "AAPL", "timeframe": "30", "kind": "stock", "prefix": "NASDAQ", "timezone": "America/New_York",
    "opening_hours": [[day, 34_200, 57_600] for day in WEEKDAYS],
    "session_starts": [[day, 34_200, 34_200] for day in WEEKDAYS],
    "session_ends": [[day, 57_600, 57_600] for day in WEEKDAYS],
}  # fmt: skip
TOKYO = {
    "ticker": "7203", "timeframe": "30", "kind": "stock", "prefix": "TSE", "timezone": "Asia/Tokyo", "currency": "JPY",
    "mintick": 0.5, "pricescale": 10, "minmove": 5,
    "opening_hours": [[day, *half] for day in WEEKDAYS for half in ((32_400, 41_400), (45_000, 55_800))],
    "session_starts": [[day, 32_400, 32_400] for day in WEEKDAYS],
    "session_ends": [[day, 55_800, 55_800] for day in WEEKDAYS],
}  # fmt: skip

# A strategy in each of the ways in which PyneCore can calculate one.
STRATEGY = '''"""@pyne"""
from pynecore.types import IBPersistent
from pynecore.lib import bar_index, close, high, low, plot, script, strategy, ta

@script.strategy("Modes", initial_capital=5_000_000, default_qty_type=strategy.fixed, default_qty_value=10, MODE)
def main():
    runs: IBPersistent[int] = 0
    runs += 1
    fast, slow = ta.sma(close, 3), ta.sma(close, 8)
    if fast > slow and strategy.position_size <= 0:
        strategy.entry("up", strategy.long)
        strategy.exit("out", "up", trail_points=120, trail_offset=60, loss=300)
    if fast < slow and strategy.position_size > 0:
        strategy.close_all()
    if bar_index % 9 == 0:
        strategy.entry("dip", strategy.long, limit=low * 0.99)
    if bar_index % 9 == 5:
        strategy.cancel("dip")
    plot(runs, "runs")
    plot(strategy.position_size, "held")
    plot(strategy.netprofit, "profit")
    plot(strategy.opentrades, "trades")
'''
MODES = {
    "plain": "",
    "fills": "calc_on_order_fills=True",
    "both": "calc_on_every_tick=True, calc_on_order_fills=True, pyramiding=3",
    "history": "calc_on_every_history_tick=True",
}


def session_bars(zone: str, count: int, spans: list[list[int]]) -> Bars:
    """Half hours of an exchange's sessions, over a change of New York's clocks."""
    chance, bars, day, price = random.Random(7), [], datetime(2026, 3, 5, tzinfo=ZoneInfo(zone)), 150.0
    while len(bars) < count:
        for _, start_s, end_s in (span for span in spans if span[0] == day.weekday()):
            for second in range(start_s, end_s, 1800):
                opens = day.replace(hour=second // 3600, minute=second % 3600 // 60)
                price = round(price + chance.randrange(-4, 5) * 0.5, 2)
                shape = [price, price + 1.5, price - 1.0, price + 0.5, float(chance.randrange(1000))]
                bars.append([int(opens.timestamp() * 1000), *shape])
        day = (day + timedelta(days=1)).replace(hour=0)
    return bars[:count]


def check(host: Result, oracle: Result) -> None:
    """The same executions, plots on every update, trades and files."""
    assert host["fault"] is None
    assert host["plots"] == oracle["plots"]
    assert host["forming"] == [update[:2] for update in oracle["forming"] if update[1]]
    assert host["trades"] == oracle["trades"]
    assert files_of(host) == files_of(oracle)


def test_clocks_and_sessions_equal_the_oracle(run: Run, tmp_path: Path) -> None:
    """In three time zones, over a change to summer time, with sessions that have a break: on every update."""
    script = write_script(tmp_path, CLOCK)
    feeds = [
        (NEW_YORK, session_bars("America/New_York", 80, NEW_YORK["opening_hours"])),
        (TOKYO, session_bars("Asia/Tokyo", 80, TOKYO["opening_hours"])),
        (CRYPTO | {"timeframe": "30"}, session_bars("UTC", 200, [[day, 0, 86_400] for day in range(7)])),
    ]
    jobs = []
    for instrument, bars in feeds:
        updates, transition = with_forming(bars, 30)
        job = make_job(script, updates, transition, instrument=instrument)
        jobs += [job, job | {"mode": "oracle"}]
    results = run(*jobs)
    for host, oracle in zip(results[::2], results[1::2], strict=True):
        check(host, oracle)
        assert len(host["forming"]) > 100
    zones = [results[at]["plots"][-1][1]["zone"] for at in (0, 2, 4)]
    assert zones == ["America/New_York", "Asia/Tokyo", "UTC"]


@pytest.mark.parametrize("source", [daily_bars, crypto_bars])
def test_every_mode_of_a_strategy_equals_the_oracle(run: Run, tmp_path: Path, source: Any) -> None:
    """On closes, on ticks, on order fills, within the bars: the same runs, plots, trades and files."""
    bars, jobs = source(200), []
    for mode, declared in MODES.items():
        script = write_script(tmp_path, STRATEGY.replace("MODE", declared), f"{mode}.py")
        for updates, transition in ((bars, 60), with_forming(bars, 60)):
            instrument = {} if source is daily_bars else {"instrument": CRYPTO}
            job = make_job(script, updates, transition, updates="all", **instrument)
            jobs += [job, job | {"mode": "oracle"}]
    results = run(*jobs)
    for host, oracle in zip(results[::2], results[1::2], strict=True):
        check(host, oracle)
        assert len(host["trades"]) > 3


def test_orders_on_close_are_filled_at_the_close(run: Run, tmp_path: Path) -> None:
    """Live as in the backtest: `pyne run --live` would fill them at the next open instead."""
    script = write_script(tmp_path, STRATEGY.replace("MODE", "process_orders_on_close=True"))
    bars = daily_bars(300)
    job = make_job(script, bars, 100, trade_history=True)
    host, backtest, oracle = run(job, job | {"mode": "backtest"}, job | {"mode": "oracle"})
    assert host["plots"] == backtest["plots"]
    assert host["trades"] == backtest["trades"]
    assert files_of(host) == files_of(backtest)
    assert oracle["trades"] != backtest["trades"], "PyneCore does it itself now: LiveRunner need not"
    closes = {bar[0]: bar[4] for bar in bars}
    assert all(trade[5] == pytest.approx(closes[trade[0]]) for trade in host["trades"] if trade[2] == "up")


# In and out at once, whenever an update says so: each order is filled from the next price on.
TICKS = '''"""@pyne"""
from pynecore.lib import barstate, close, open, plot, script, strategy

@script.strategy("Ticks", calc_on_every_tick=True, initial_capital=5_000_000)
def main():
    if strategy.position_size == 0 and close > open:
        strategy.entry("up", strategy.long, 1)
    elif strategy.position_size > 0 and close < open:
        strategy.close("up")
    plot(strategy.position_size, "held")
'''


@pytest.mark.parametrize("source", [daily_bars, crypto_bars])
def test_orders_of_a_tick_are_filled_at_its_price(run: Run, tmp_path: Path, source: Any) -> None:
    """Not at the bar's open, which was over; and the script sees its position on the next update."""
    updates, transition = with_forming(source(120), 40)
    instrument = {} if source is daily_bars else {"instrument": CRYPTO}
    (host,) = run(make_job(write_script(tmp_path, TICKS), updates, transition, **instrument))
    held, order, before, entered, trades, seen = 0.0, 0, updates[transition - 1], [], [], []
    for update in updates[transition:]:
        time_ms, opened, _, _, price = update[:5]
        if order:
            filled = before[4] if before[0] == time_ms else opened
            held += order
            if order > 0:
                entered = [time_ms, filled]
            else:
                trades.append([entered[0], time_ms, entered[1], filled])
        order = 1 if held == 0 and price > opened else -1 if held > 0 and price < opened else 0
        before = update
        seen.append(held)
    said = sorted([*host["forming"], *host["plots"][40:]], key=lambda plot: plot[0])
    assert [values["held"] for _, values in said] == seen
    assert [[t[0], t[1], pytest.approx(t[5]), pytest.approx(t[6])] for t in host["trades"]] == trades
    assert len(trades) > 20


def test_a_stop_within_the_bar_is_filled_where_it_stood(run: Run, tmp_path: Path) -> None:
    """Extremes between two updates count; prices from before the order do not."""
    exit_first = "    strategy.exit('out', 'up', stop=99, limit=104)\n    if strategy.position_size == 0"
    text = TICKS.replace("    if strategy.position_size == 0", exit_first).replace("close < open", "close < 0")
    script = write_script(tmp_path, text)
    shapes = [(100, 100, 100, 100), (100, 100, 98, 98), (100, 102, 98, 101), (100, 102, 98, 100), (100, 105, 98, 101)]
    bars = [[60_000 * number, *([100.0] * 4), 1.0] for number in range(3)]
    live = [[180_000, *map(float, shape), 1.0, False] for shape in shapes] + [[180_000, 100.0, 105.0, 98.0, 101.0, 1.0]]
    (host,) = run(make_job(script, bars + live, 3, instrument=CRYPTO | {"timeframe": "1"}))
    assert [trade[3:7] for trade in host["trades"]] == [["out", 1.0, 101.0, 104.0]], host["fault"]
    assert [values["held"] for _, values in host["forming"]] == [0.0, 0.0, 0.0, 1.0, 0.0]
