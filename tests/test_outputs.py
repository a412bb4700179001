"""What a script says besides its plots: how they look, what it draws, what it wants and holds; also to latecomers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from jobs import EXAMPLES, Result, daily_bars, looks_of, make_job, plain, with_forming, write_script
from jobs import Run as RunJobs
from pynelive.bus.calls import Start
from pynelive.bus.messages import Account, Drawing, Fill, Message, Meta, Plot, Run, Signal, is_forming
from pynelive.bus.picture import Picture
from pynelive.bus.rundir import RunDir
from pynelive.bus.subscribe import listen
from pynelive.bus.wire import encode
from support import publishing, run_dir

DRAW = '''"""@pyne"""
from pynecore import Persistent
from pynecore.types import IBPersistent
from pynecore.lib import (
    array, bar_index, barstate, bgcolor, box, chart, close, color, fill, high, hline, label, line, linefill, low, open,
    plot, plotshape, polyline, script, string, table, time, xloc
)

@script.indicator("Draw", overlay=True, max_labels_count=7)
def main():
    up = close > open
    trend: Persistent = line.new(bar_index, close, bar_index, close, color=color.blue)
    ceiling: Persistent = line.new(time, high, time, high, xloc=xloc.bar_time)
    board: Persistent = table.new("top_right", 2, 2)
    runs: IBPersistent[int] = 0
    runs += 1
    if bar_index == 0:
        linefill.new(trend, ceiling, color.new(color.green, 80))
    line.set_xy2(trend, bar_index, close)
    line.set_xy2(ceiling, time, high)
    if up:
        label.new(bar_index, high, "up " + string.tostring(close), style=label.style_label_down)
    if bar_index % 5 == 0:
        box.new(bar_index, high, bar_index + 3, low, bgcolor=color.new(color.red, 70))
        points = array.from_items(chart.point.from_index(bar_index, low), chart.point.from_time(time, high))
        polyline.new(points, curved=True)
    table.cell(board, 0, 0, string.tostring(bar_index))
    table.cell(board, 1, 1, "fixed")
    if bar_index % 7 == 6:
        table.clear(board, 1, 1)
    first = plot(close, "first", color=color.green if up else color.red)
    second = plot(runs, "second")
    fill(first, second, color=color.new(color.blue, 90))
    bgcolor(color.new(color.yellow, 80) if up else None)
    plotshape(up, "shape")
    hline(100.0, "hundred")
'''


def said_of(host: Result) -> list[list[Message]]:
    """What each update of a job made the script say."""
    return [msgspec.convert(said, list[Message]) for said in host["said"]]


def look(picture: Picture) -> dict[str, Any]:
    """A picture in the terms of PyneCore's own file."""
    said = picture.messages()
    plots = [message for message in said if isinstance(message, Plot)]
    return {
        "metas": {plot["id"]: plot for message in said if isinstance(message, Meta) for plot in message.plots},
        "values": plots[-1].values if plots else {},
        "styles": plots[-1].styles if plots else {},
        "drawings": {f"{m.kind} {m.id}": m.fields for m in said if isinstance(m, Drawing)},
    }


def drawing_job(tmp_path: Path, count: int = 60) -> tuple[dict[str, Any], int]:
    updates, transition = with_forming(daily_bars(count), count // 2)
    return make_job(write_script(tmp_path, DRAW), updates, transition), transition


def test_what_is_drawn_equals_the_oracle(run: RunJobs, tmp_path: Path) -> None:
    """Folded, the messages are what PyneCore's own file says of every live bar, and its state on every update."""
    job, transition = drawing_job(tmp_path)
    host, oracle = run(job, job | {"mode": "oracle"})
    expected, picture, seen = looks_of(Path(oracle["output"]) / "viz.ndjson"), Picture(), set()
    forming = iter(oracle["forming"])
    first_live = job["bars"][transition][0]
    for said in said_of(host):
        plot = next((message for message in said if isinstance(message, Plot)), None)
        if plot and not plot.closed:
            assert said == [plot]
            after = Picture()
            after.take(picture.messages())
            after.take(plot.drawings)
            time_ms, values, drawn = next(forming)
            drawn = {name: plain(fields) for name, fields in drawn.items()}
            assert (plot.time_ms, plot.values, look(after)["drawings"]) == (time_ms, values, drawn)
            continue
        picture.take(said)
        if plot and plot.time_ms >= first_live:
            assert look(picture) == expected[plot.time_ms]
            seen |= {drawing.split()[0] for drawing in expected[plot.time_ms]["drawings"]}
    assert next(forming, None) is None
    assert seen == {"line", "label", "box", "table", "polyline", "linefill"}
    assert {plot["kind"] for plot in look(picture)["metas"].values()} >= {"plot", "shape", "hline", "fill", "bgcolor"}
    ops = {message.op for said in said_of(host) for message in said if isinstance(message, Drawing)}
    assert ops == {"create", "update", "delete"}


TRADE = '''"""@pyne"""
from pynecore.lib import bar_index, close, high, low, script, strategy, ta

@script.strategy("Trade", pyramiding=2, initial_capital=100_000, default_qty_type=strategy.fixed, default_qty_value=10,
                 commission_type=strategy.commission.percent, commission_value=0.1, slippage=2)
def main():
    fast, slow = ta.ema(close, 5), ta.ema(close, 15)
    if ta.crossover(fast, slow):
        strategy.entry("up", strategy.long, comment="crossed")
        strategy.exit("trail", "up", trail_points=150, trail_offset=100, loss=400)
    if ta.crossunder(fast, slow):
        strategy.close("up", comment="crossed back")
        strategy.entry("down", strategy.short, limit=high, stop=low)
        strategy.exit("half", "down", qty_percent=50, profit=200)
        strategy.exit("rest", "down", stop=high * 1.05, limit=low * 0.9)
    if bar_index % 11 == 0:
        strategy.order("more", strategy.long, 3, stop=high * 1.01, oca_name="pair", oca_type=strategy.oca.cancel)
        strategy.order("less", strategy.short, 3, stop=low * 0.99, oca_name="pair", oca_type=strategy.oca.cancel)
    if bar_index % 11 == 4:
        strategy.cancel("more")
    if bar_index % 60 == 59:
        strategy.close_all(immediately=True)
'''


def test_the_account_is_the_simulators(run: RunJobs, tmp_path: Path) -> None:
    """Position, equity, open trades and statistics are PyneCore's; the orders add up to those that stand."""
    scripts = [write_script(tmp_path, TRADE), str(EXAMPLES / "stops.py"), str(EXAMPLES / "ema_cross.py")]
    bars = daily_bars(400)
    jobs = []
    for script in scripts:
        for updates, transition in ((bars, 50), with_forming(bars, 50)):
            job = make_job(script, updates, transition, updates="all")
            jobs += [job, job | {"mode": "oracle"}]
    results = run(*jobs)
    for host, oracle in zip(results[::2], results[1::2], strict=True):
        check_account(host, {book[0]: book[1:] for book in oracle["books"]})


def sides_of(fills: list[Fill]) -> dict[str, Any]:
    """What is counted from the trades of either side, where PyneCore has another rule, or none."""
    counted: dict[str, Any] = {}
    for side, sign in (("Long", 1), ("Short", -1)):
        trades = [fill for fill in fills if fill.size * sign > 0]
        shares = []
        for fill in trades:  # of what was paid at the entry, its part of a commission in percent included
            fee = fill.commission * fill.entry_price / (fill.entry_price + fill.exit_price)
            shares.append(100 * fill.profit / (abs(fill.size) * fill.entry_price + fee))
        counted[f"{side} Losing Trades"] = sum(fill.profit < 0 for fill in trades)
        counted[f"{side} Avg Trade %"] = pytest.approx(sum(shares) / max(len(shares), 1))
    return counted


def check_account(host: Result, books: dict[int, list[Any]]) -> None:
    account, closed, ops = Account(0, 0.0, None, 0.0, 0.0, 0.0), 0, set()
    fills: list[Fill] = []
    for said in said_of(host):
        fills += [message for message in said if isinstance(message, Fill)]
        for signal in (message for message in said if isinstance(message, Signal)):
            before, account = account, next((m for m in said if isinstance(m, Account)), account)
            check_orders(signal, before, account, [m for m in said if isinstance(m, Fill)])
            ops |= {order.op for order in signal.orders}
            size, average, equity, open_profit, net_profit, trades, figures = books[signal.time_ms]
            assert signal.position == account.position == size
            assert (account.average_price, signal.equity) == (average if size else None, equity or signal.equity)
            assert (account.open_profit, account.net_profit) == (open_profit, net_profit)
            assert [[t.entry_id, t.size, t.entry_ms, t.entry_price] for t in account.open_trades] == trades
            if account.statistics:
                closed += 1
                assert account.statistics == figures | sides_of(fills)
                account = msgspec.structs.replace(account, statistics={})
    assert closed > 5
    assert ops == {"place"} or ops == {"place", "replace", "cancel"}


def check_orders(signal: Signal, before: Account, account: Account, fills: list[Fill]) -> None:
    """What stood, and what the signal changes of it, are the orders that stand now and those that were filled."""
    stood = {order.id: order for order in before.orders}
    for order in signal.orders:
        assert (order.op == "place") is (order.id not in stood), order
        if order.op == "cancel":
            del stood[order.id]
        else:
            stood[order.id] = msgspec.structs.replace(order, op="place")
    stand = {order.id: order for order in account.orders}
    assert stand.items() <= stood.items()
    traded = {fill.exit_id for fill in fills} | {fill.entry_id for fill in fills}
    traded |= {trade.entry_id for trade in account.open_trades if trade.entry_ms == signal.time_ms}
    assert {order.partition("#")[0] for order in stood.keys() - stand.keys()} <= traded


def test_the_target_is_held_one_bar_later(run: RunJobs) -> None:
    """Market orders fill in the next bar: what a signal's target says is the position then."""
    (host,) = run(make_job(str(EXAMPLES / "ema_cross.py"), daily_bars(300), 100))
    signals = [message for said in said_of(host) for message in said if isinstance(message, Signal)]
    assert [signal.target for signal in signals[:-1]] == [signal.position for signal in signals[1:]]
    held = {signal.action: (signal.target or 0) - signal.position for signal in signals}
    assert held["buy"] > 0 > held["sell"]
    assert held["hold"] == 0
    assert all((signal.action == "hold") is (not signal.orders) for signal in signals)


async def test_a_latecomer_gets_the_whole_picture(run: RunJobs, tmp_path: Path) -> None:
    """Who attaches late knows what an early reader has added up, wherever he begins, and after a restart too."""
    job, _ = drawing_job(tmp_path)
    (host,) = run(job)
    said = [[message for message in update if not is_forming(message)] for update in said_of(host)]
    records = [update for update in said if update]
    bus, stream = run_dir(tmp_path), "run:draw"
    half = len(records) // 2
    opening: list[Message] = [Run("draw.py", "demo:AAPL@1D", "f")]
    begun, early = folded(opening, *records[:half]), folded(opening, *records[:-1])
    async with publishing(bus) as publisher:
        for record in (opening, *records[:half]):
            publisher.publish(stream, *record)
        assert await told(bus, stream, len(begun)) == begun
    async with publishing(bus) as publisher:  # again, from its journal
        for record in records[half:-1]:
            publisher.publish(stream, *record)
        assert await told(bus, stream, len(early)) == early
        middle = Start(seq=1 + sum(map(len, records[:half])))
        assert await told(bus, stream, len(begun), middle) == begun
        async with listen(stream, bus=bus) as messages:
            late = [await anext(aiter(messages)) for _ in early]
            publisher.publish(stream, *records[-1])
            late += [await anext(aiter(messages)) for _ in records[-1]]
    assert folded([heard.message for heard in late]) == folded(opening, *records)
    assert len(early) > 15


def folded(*records: list[Message]) -> list[Message]:
    picture = Picture()
    for record in records:
        picture.take(record)
    return picture.messages()


async def told(bus: RunDir, stream: str, count: int, start: Start | None = None) -> list[Message]:
    """The first messages that a latecomer gets."""
    async with listen(stream, start=start, bus=bus, timeout_s=60) as messages:
        return [(await anext(aiter(messages))).message for _ in range(count)]


HEAVY = '''"""@pyne"""
from pynecore import Persistent
from pynecore.lib import bar_index, close, high, label, plot, script, string, table

@script.indicator("Heavy", max_labels_count=500)
def main():
    board: Persistent = table.new("top_right", 5, 10)
    label.new(bar_index, high, "H " + string.tostring(high))
    for row in range(10):
        for column in range(5):
            table.cell(board, column, row, string.tostring(close) if row == 0 else "fixed")
    plot(close)
'''


def test_a_bar_says_only_what_has_changed(run: RunJobs, tmp_path: Path) -> None:
    """With 500 labels and 50 cells on the chart: history says once what stands, a bar two labels and five cells."""
    (host,) = run(make_job(write_script(tmp_path, HEAVY), daily_bars(620), 600))
    drawn = [[message for message in said if isinstance(message, Drawing)] for said in said_of(host)]
    sizes = [len(said) for said in drawn if said]
    assert sizes == [501] + [3] * 20
    assert not any(drawn[:600])
    *_, last = drawn[:-2]
    assert sorted((drawing.op, drawing.kind) for drawing in last) == [
        ("create", "label"), ("delete", "label"), ("update", "table"),
    ]  # fmt: skip
    assert all(len(drawing.fields["cells"]) == 5 for drawing in last if drawing.kind == "table")
    assert all(len(encode(said)) < 4_000 for said in said_of(host)[602:])


WORDS = '''"""@pyne"""
from pynecore.lib import bar_index, close, script, strategy

@script.strategy("Words")
def main():
    if bar_index % 10 == 0:
        strategy.entry("up", strategy.long, 1, alert_message="bought")
        strategy.exit("out", "up", limit=close * 1.1, stop=close * 0.9, alert_profit="won", alert_loss="lost")
    if bar_index % 10 == 9:
        strategy.close("up", alert_message="enough")
'''


def test_filled_orders_say_their_words(run: RunJobs, tmp_path: Path) -> None:
    """The alert_message of an order, and those of a bracket's legs, are alerts when it is filled on a live bar."""
    (host,) = run(make_job(write_script(tmp_path, WORDS), daily_bars(300), 100))
    fills = [message for said in said_of(host) for message in said if isinstance(message, Fill)]
    word = {fill.exit_ms: "won" if fill.profit > 0 else "lost" for fill in fills}
    outs = [(fill.exit_ms, fill.exit_id, word[fill.exit_ms] if fill.exit_id == "out" else "enough") for fill in fills]
    said = [(time_ms, title, message) for time_ms, message, _, title in host["alerts"]]
    assert [alert for alert in said if alert[2] != "bought"] == outs
    assert {word for *_, word in outs} == {"won", "lost", "enough"}
    assert {fill.entry_ms for fill in fills} <= {time_ms for time_ms, title, _ in said if title == "up"}


def test_a_picture_told_again_is_that_of_who_comes_late() -> None:
    """A new run, or a picture after a gap, leaves nothing behind of what stood before."""
    early, late = Picture(), Picture()
    early.take([Drawing(1, "create", "line", number, {"x": 1, "color": "red"}) for number in (1, 2)])
    again = [Run("script.py", "demo:A@1", "id"), Drawing(5, "create", "line", 1, {"x": 2})]
    for picture in (early, late):
        picture.take(again)
    assert early.messages() == late.messages()
