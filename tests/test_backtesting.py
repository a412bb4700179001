# SPDX-License-Identifier: AGPL-3.0-or-later
"""Strategies of backtesting.py decide live what they decide in a backtest, and those that look ahead are named.

``PYNELIVE_ALL_BARS=1`` makes every bar of both data sets a live one; without it, the last of a shorter piece.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from pynelive.bus.errors import Fault, Hopeless
from pynelive.bus.messages import Account, Bar, Fill, Instrument, Log, Message, Order, Plot, Signal
from pynelive.bus.specs import RunnerSpec
from pynelive.commands.app import main
from topologies import EXAMPLES, Bench

pytest.importorskip("backtesting", reason="backtesting.py is not installed")

import backtesting_strategies as strategies
import numpy as np
import pandas as pd
from backtesting import Strategy
from backtesting.test import EURUSD, GOOG
from pynelive.runners.backtesting_py.compare import Decision, backtest, differing, live
from pynelive.runners.backtesting_py.data import GrowData
from pynelive.runners.backtesting_py.library import Data, Indicator, Trade
from pynelive.runners.backtesting_py.loading import load
from pynelive.runners.backtesting_py.probe import probe
from pynelive.runners.backtesting_py.runner import BacktestingRunner
from pynelive.runners.backtesting_py.settings import Settings
from pynelive.runners.backtesting_py.trial import self_test

FOLDER = EXAMPLES / "backtesting"
ALL_BARS = bool(os.environ.get("PYNELIVE_ALL_BARS"))
LIVE_BARS = 60
PIECE = 2500 if ALL_BARS else 1000
DATA = {"GOOG": GOOG.astype(float), "EURUSD": EURUSD.astype(float)[:2500]}
BROKERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "fees": {"commission": 0.001, "spread": 0.0005, "margin": 0.2},
    "exclusive": {"exclusive_orders": True},
    "on close": {"trade_on_close": True},
    "hedging": {"hedging": True},
}
CAUSAL = ("SmaCross", "Pullback", "Trail", "Vec", "Mtf", "Cum", "Rand")


@cache
def kind_of(name: str) -> type[Strategy]:
    """A strategy of the examples, or of the tests' own."""
    if name in ("SmaCross", "Pullback"):
        return load(FOLDER / ("sma_cross.py" if name == "SmaCross" else "pullback.py"), "", {}).kind
    return getattr(strategies, name)


def rows(data: pd.DataFrame) -> Iterable[Bar]:
    """A frame's bars."""
    for time, (open_, high, low, close, volume) in zip(data.index, data.to_numpy(), strict=True):
        yield Bar(time.value // 1_000_000, open_, high, low, close, volume)


# --- live equals a backtest -------------------------------------------------------------------------------------------


@pytest.mark.timeout(3600 if ALL_BARS else 300)
@pytest.mark.parametrize("source", DATA)
@pytest.mark.parametrize("name", CAUSAL)
def test_live_equals_the_backtest(name: str, source: str) -> None:
    """No bar differs: orders, cancellations, equity and position, with whatever broker."""
    data, inputs = DATA[source][:PIECE], {"rule": "D"} if (name, source) == ("Mtf", "EURUSD") else {}
    first = 110 if name == "Trail" else 0  # its distance before bar 101 is that of bar 101, by the library's bfill()
    history = first if ALL_BARS else len(data) - LIVE_BARS
    for broker in BROKERS.values():
        settings = Settings(**broker)
        wanted = backtest(kind_of(name), inputs, settings, data)
        found = live(kind_of(name), inputs, settings, data, history)
        assert differing(wanted, found) == []
        assert len(found) > len(data) - 600
        assert ordered(wanted) > 30


def ordered(said: dict[int, Decision]) -> int:
    """How much was ordered in all."""
    return sum(len(decision.placed) for decision in said.values())


@pytest.mark.parametrize("name", ["SmaCross", "Pullback", "Vec", "Rand"])
def test_a_strategy_without_history_begins_where_a_backtest_begins(name: str) -> None:
    """Not while an indicator has no value, although the library takes such a one for ready."""
    data = DATA["GOOG"][:150]
    wanted, found = (run(kind_of(name), {}, Settings(), data) for run in (backtest, from_nothing))
    assert differing(wanted, found) == []
    assert ordered(found)


def from_nothing(kind: type[Strategy], inputs: dict[str, Any], settings: Settings, data: pd.DataFrame) -> Any:
    """Live from the first bar on."""
    return live(kind, inputs, settings, data, 0)


class Added(Strategy):  # type: ignore[misc]
    """Data of its own in the frame, and series in a dict, a Series and an index."""

    def init(self) -> None:
        self.data.df["middle"] = (self.data.df.High + self.data.df.Low) / 2
        self.held = {"slow": pd.Series(self.data.Close).rolling(9).mean().to_numpy(), "count": 0}
        self.closes = self.data.Close.s
        self.days = self.data.index

    def next(self) -> None:
        place = len(self.data) - 1
        assert self.days[place] == self.data.index[-1]
        if self.data.middle[-1] > self.held["slow"][place] and self.closes.iloc[place] > self.data.Open[-1]:
            self.held["count"] += 1
            self.buy(size=1 + self.held["count"] % 3)
        elif self.held["count"]:
            self.position.close()


@pytest.mark.parametrize(("kind", "lookback"), [("SmaCross", 40), ("Trail", 120), ("Mtf", 60), (Added, 30)])
def test_a_window_of_the_last_bars_is_enough(kind: Any, lookback: int) -> None:
    """What was computed before the window stays as it was; nothing is decided differently."""
    kind, data = kind_of(kind) if isinstance(kind, str) else kind, DATA["GOOG"][:600]
    wanted = backtest(kind, {}, Settings(), data)
    assert ordered(wanted) > 20
    assert differing(wanted, live(kind, {}, Settings(), data, 500)) == []
    assert differing(wanted, live(kind, {}, Settings(window=lookback), data, 500)) == []


def test_history_is_for_indicators_alone_when_it_begins_flat() -> None:
    """Without a replay the same decisions as far as the book is the same: after a backtest's first flat bar."""
    data, history = DATA["EURUSD"], 2400
    runner = started(FOLDER / "sma_cross.py", data[:history])
    said = [m for bar in rows(data[history:]) for m in runner.push(bar) if isinstance(m, Signal)]
    wanted = backtest(kind_of("SmaCross"), {}, Settings(), data)
    entries = [n for n in range(history, len(data)) if any(key.startswith("order") for key in wanted[n].placed)]
    assert [place for place, signal in enumerate(said, history) if signal.action in ("buy", "sell")] == entries
    assert (said[0].position, said[0].equity) == (0.0, 10_000.0)
    assert len(entries) > 2


# --- the library ------------------------------------------------------------------------------------------------------


def test_the_library_is_as_it_is_relied_on() -> None:
    """What is private in it has the names that are used, and nothing reads the data behind our back."""
    mine = {name for name in vars(GrowData) if not name.startswith("__")}
    inherited = {name for name, value in vars(Data).items() if callable(value) or isinstance(value, property)}
    pickled = {"__getstate__", "__setstate__", "_Data__get_array"}
    assert {name for name in inherited - pickled if name not in vars(GrowData)} == set()
    assert mine >= {"_set_length", "_current_value", "_update", "df", "pip", "index"}
    assert all(hasattr(Trade, name) for name in ("_sl_order", "_tp_order", "entry_bar", "exit_bar"))
    assert issubclass(Indicator, np.ndarray)
    self_test()


# --- what looks ahead is named ----------------------------------------------------------------------------------------


def check(capsys: pytest.CaptureFixture[str], folder: Path, name: str, *more: str) -> tuple[int, str]:
    """`pynelive check-strategy` on a year and a half of GOOG: its exit code, and what it says."""
    path = folder / "goog.csv"
    if not path.exists():
        DATA["GOOG"][:500].rename_axis("time").rename(columns=str.lower).to_csv(path)
    script = FOLDER / name if name.endswith(".py") else Path(str(strategies.__file__))
    chosen = () if name.endswith(".py") else ("--option", f"strategy={name}")
    code = main(["check-strategy", str(script), str(path), *chosen, *more])
    said = capsys.readouterr()
    return code, said.out + said.err


def test_check_strategy_names_what_looks_ahead(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Repainting series, numbers over all bars and indicators in lists, each by its name; exit code 1."""
    named = {"Repaint": "repainting: m, z", "TrailPct": "_TrailingStrategy__n_atr", "ListInd": "in a list: s[0], s[1]"}
    for name, words in named.items():
        code, said = check(capsys, tmp_path, name)
        assert code == 1
        assert words in said
        assert "\nlook-ahead: " in said


def test_check_strategy_of_sound_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0, and how far back the values look; --lookback asks whether fewer bars would do."""
    code, said = check(capsys, tmp_path, "sma_cross.py", "--lookback", "20", "--input", "fast=5")
    assert (code, "no look-ahead" in said) == (0, True)
    assert "depend on 21 bars" in said
    assert "on 20 bars: the same decisions" in said
    code, said = check(capsys, tmp_path, "sma_cross.py", "--lookback", "12", "--json")
    report = json.loads(said)
    assert (code, report["differing"], report["lookback"], report["declared"]) == (1, 0, 21, 21)
    assert report["asked_differing"] > 0
    code, said = check(capsys, tmp_path, "Cum")
    assert (code, "depend on all bars" in said) == (0, True)


def test_a_weekly_average_of_hours_knows_its_friday() -> None:
    """What no name gives away: the week of an hourly bar is labelled by a Friday that has only begun."""
    found = probe(kind_of("Mtf"), {}, Settings(), DATA["EURUSD"])
    assert found.looks_ahead == ("slow",)
    assert probe(kind_of("Mtf"), {"rule": "D"}, Settings(), DATA["EURUSD"]).looks_ahead == ()


# --- what a runner says -----------------------------------------------------------------------------------------------

SCRIPTED = '''
from backtesting import Strategy

class Scripted(Strategy):
    """Does on each bar what its plan says."""
    plan = ()

    def init(self):
        self.mean = self.I(lambda: self.data.Close.s.rolling(3).mean(), name="mean")

    def next(self):
        step = self.plan[len(self.data) - 4] if len(self.data) - 4 < len(self.plan) else ""
        exec(step)
'''
PLAN = (
    "self.buy(size=10, tag='first')",
    "",
    "self.trades[0].sl = 50",
    "self.trades[0].sl = 60",
    "self.position.close(0.5)",
    "self.buy(size=0.5, limit=80, sl=70, tp=90, tag={'confidence': 0.7})",
    "self.orders[-1].cancel()",
    "self.position.close(); self.sell(size=4)",
    "",
    "self.buy(size=7, stop=130)",
)
FLAT = [Bar((n + 1) * 60_000, 100.0, 101.0, 99.0, 100.0, 5.0) for n in range(20)]


def started(script: Path, history: pd.DataFrame | list[Bar], **more: Any) -> BacktestingRunner:
    """A runner that is live, behind some history."""
    spec = RunnerSpec("bt", str(script), "demo:X@1", type="backtesting", **more)
    runner = BacktestingRunner(spec, script, Instrument("X", "1"), None)
    for bar in history if isinstance(history, list) else rows(history):
        assert runner.push(bar) == []
    runner.go_live()
    return runner


def scripted(tmp_path: Path, plan: Iterable[str] = PLAN, **options: Any) -> list[Message]:
    """What a strategy says that does as it is told."""
    (tmp_path / "scripted.py").write_text(SCRIPTED)
    runner = started(tmp_path / "scripted.py", [], inputs={"plan": tuple(plan)}, options=options)
    return [*chain.from_iterable(runner.push(bar) for bar in FLAT), *runner.close()]


def test_orders_become_intents(tmp_path: Path) -> None:
    """Each kind of decision in the bus's words: what is wanted, the orders, and what will be held."""
    said = [m for m in scripted(tmp_path) if isinstance(m, Signal)]
    assert [signal.time_ms for signal in said] == [bar.time_ms for bar in FLAT]
    assert [(signal.action, signal.reason) for signal in said[:4]] == [("hold", "warming up")] * 3 + [("buy", "")]
    buy, _, placed, moved, half, limit, cancelled, reverse, _, stop = said[3:13]
    entry = f"{buy.time_ms}:0"
    assert buy.orders == (Order(entry, "place", "buy", 10.0, comment="first"),)
    assert (buy.position, buy.target, buy.price) == (0.0, 10.0, 100.0)
    exits = {"kind": "stop", "closes": entry, "oca": entry, "comment": "first"}
    assert placed.orders == (Order(f"{entry}:sl", "place", "sell", 10.0, stop=50.0, **exits),)
    assert moved.orders == (Order(f"{entry}:sl", "replace", "sell", 10.0, stop=60.0, **exits),)
    assert (placed.action, moved.action, placed.target) == ("hold", "hold", 10.0)
    assert (half.action, half.target) == ("close", 5.0)
    assert half.orders == (Order(f"{half.time_ms}:0", "place", "sell", 5.0, closes=entry, comment="first"),)
    (order,) = limit.orders
    assert (order.size, order.size_of, order.kind) == (0.5, "available", "limit")
    assert (order.limit, order.stop_loss, order.take_profit, limit.confidence) == (80.0, 70.0, 90.0, 0.7)
    assert [(each.op, each.id) for each in cancelled.orders] == [("cancel", order.id)]
    assert (cancelled.action, cancelled.confidence) == ("hold", None)
    assert (reverse.action, reverse.reason, reverse.target) == ("sell", "reverse", -4.0)
    assert [(each.side, each.size) for each in reverse.orders] == [("sell", 5.0), ("sell", 4.0)]
    assert (stop.orders[0].kind, stop.orders[0].stop, stop.position) == ("stop", 130.0, -4.0)


def test_trades_and_the_account_follow(tmp_path: Path) -> None:
    """Closed trades name the orders that opened and closed them; the account adds up."""
    said = scripted(tmp_path, commission=0.01)
    signals = [m for m in said if isinstance(m, Signal)]
    orders = {order.id for signal in signals for order in signal.orders}
    first, second = (m for m in said if isinstance(m, Fill))
    assert {first.entry_id, first.exit_id, second.entry_id, second.exit_id} <= orders
    assert (first.size, second.size, first.exit_comment) == (5.0, 5.0, "close")
    assert (first.entry_price, first.exit_price, first.commission, first.profit) == (100.0, 100.0, 10.0, -10.0)
    account = [m for m in said if isinstance(m, Account)][-1]
    assert (account.position, account.average_price, account.net_profit) == (-4.0, 100.0, -20.0)
    assert account.equity == signals[-1].equity == 10_000 - 20 - 4
    assert [trade.size for trade in account.open_trades] == [-4.0]
    assert [m.values for m in said if isinstance(m, Plot)][-1] == {"mean": 100.0}


@pytest.mark.parametrize("name", ["Rand", "Trail", "Pullback"])
@pytest.mark.parametrize("broker", BROKERS)
def test_every_trade_names_the_orders_behind_it(name: str, broker: str) -> None:
    """Whatever the broker does with them: orders in a signal, or the stop or the target of a trade."""
    script = FOLDER / "pullback.py" if name == "Pullback" else Path(str(strategies.__file__))
    chosen = {} if name == "Pullback" else {"strategy": name}
    spec = RunnerSpec("bt", "x", "demo:X@1", options={"start": "replay", **chosen, **BROKERS[broker]})
    runner = BacktestingRunner(spec, script, Instrument("X", "1D"), None)
    for bar in rows(DATA["GOOG"]):
        runner.push(bar)
    said = runner.go_live()
    known = {order.id for m in said if isinstance(m, Signal) for order in m.orders}
    fills = [m for m in said if isinstance(m, Fill)]
    assert {fill.entry_id for fill in fills} <= known
    exits = {fill.entry_id + part for fill in fills for part in (":sl", ":tp")}
    assert {fill.exit_id for fill in fills} <= known | exits
    account = next(m for m in said if isinstance(m, Account))
    assert sum(fill.profit for fill in fills) == pytest.approx(account.net_profit)
    rate = BROKERS[broker].get("commission", 0.0)
    paid = sum(abs(trade.size) * trade.entry_price * rate for trade in account.open_trades)
    assert account.equity == pytest.approx(10_000 + account.net_profit + account.open_profit - paid)
    assert len(fills) > 20


def test_a_refused_order_is_said_and_no_money_is_the_end(tmp_path: Path) -> None:
    """The broker's own words as a log; without equity nothing is decided any more."""
    (log,) = (m for m in scripted(tmp_path, ["self.buy(size=500)"]) if isinstance(m, Log))
    assert "insufficient margin" in log.text
    (tmp_path / "scripted.py").write_text(SCRIPTED)
    options = {"margin": 0.1}
    runner = started(tmp_path / "scripted.py", [], inputs={"plan": ("self.sell(size=900)",)}, options=options)
    crash = [bar if n < 8 else Bar(bar.time_ms, 100.0, 150.0, 99.0, 150.0, 5.0) for n, bar in enumerate(FLAT)]
    said = list(chain.from_iterable(map(runner.push, crash)))
    assert [m.exit_comment for m in said if isinstance(m, Fill)] == ["out of money"]
    last = [m for m in said if isinstance(m, Signal)][-1]
    assert (last.action, last.equity, last.reason) == ("hold", 0.0, "halted: the money is gone")


def test_in_an_outage_only_what_is_allowed_is_ordered(tmp_path: Path) -> None:
    """Exits alone, or nothing at all: then stops stay where they were, and nothing is cancelled."""
    (tmp_path / "scripted.py").write_text(SCRIPTED)
    plan = ("self.buy(size=5, sl=50); self.buy(size=1, limit=60)", "", "self.trades[0].sl = 70; self.buy(size=2)",
            "self.orders[-1].cancel(); self.trades[0].sl = 80; self.position.close()",
            "self.position.close(); self.buy(size=3)")  # fmt: skip
    runner = started(tmp_path / "scripted.py", [], inputs={"plan": plan})
    signals: list[Signal] = []
    for number, bar in enumerate(FLAT[:10]):
        runner.allow({5: "exits", 6: "none", 7: "exits"}.get(number, "all"))
        signals += [m for m in runner.push(bar) if isinstance(m, Signal)]
    moved, nothing, closed = signals[5:8]
    assert [(order.op, order.stop) for order in moved.orders] == [("replace", 70.0)]
    assert (nothing.orders, nothing.action, nothing.target) == ((), "hold", 5.0)
    assert [(order.side, order.closes) for order in closed.orders] == [("sell", f"{signals[3].time_ms}:0")]
    assert [signal.reason for signal in (moved, nothing, closed)] == [
        f"{count} withheld: the stream is out" for count in (1, 2, 1)]
    assert signals[8].position == 0.0


def test_what_is_open_at_the_end(tmp_path: Path) -> None:
    """A position stays, unless it is to be closed; closing twice says nothing."""
    kept, flat = (scripted(tmp_path, ["self.buy(size=3)"], on_stop=how) for how in ("keep", "flatten"))
    assert flat[: len(kept)] == kept
    (last,) = flat[len(kept) :]
    assert isinstance(last, Signal)
    assert (last.action, last.target, last.reason) == ("close", 0.0, "the stream is over")


def test_lookback_says_when_it_begins(tmp_path: Path) -> None:
    """The option wins over LOOKBACK, which wins over the first bar that has all values."""
    text = (FOLDER / "sma_cross.py").read_text()
    for declared, option, first in ((30, 0, 30), (30, 25, 25), (0, 0, 21)):
        path = tmp_path / f"{declared}_{option}.py"
        path.write_text(text.replace("LOOKBACK = 21", f"LOOKBACK = {declared}"))
        runner = started(path, [], options={"lookback": option} if option else {})
        said = [m for bar in rows(DATA["GOOG"][:60]) for m in runner.push(bar) if isinstance(m, Signal)]
        assert [signal.reason for signal in said].index("") == first - 1


def test_too_little_history_is_said() -> None:
    """Of what is odd and no fault a log tells: LOOKBACK too small, all bars needed, a price beyond the cash."""
    runner = BacktestingRunner(
        RunnerSpec("bt", "x", "demo:X@1", options={"cash": 50.0, "trade_on_close": True}), FOLDER / "pullback.py",
        Instrument("X", "1D"), None,
    )  # fmt: skip
    for bar in rows(DATA["GOOG"][:400]):
        runner.push(bar)
    said = " ".join(m.text for m in runner.go_live() if isinstance(m, Log))
    assert all(words in said for words in ("may depend on all bars", "raise cash", "trade_on_close"))


INIT = "class S(Strategy):\n    def init(self):\n        {}\n    def next(self):\n        {}\n"
IMPORT = "import sys\nfrom backtesting import Strategy\n"
FAULTS = {
    "syntax": (IMPORT + "class S(Strategy:\n", {}, "cannot be loaded at line 3: SyntaxError"),
    "none": (IMPORT, {}, "has no class that is derived from backtesting.Strategy"),
    "abstract": (IMPORT + "class S(Strategy):\n    pass\n", {}, "S lacks init, next"),
    "several": (IMPORT + INIT.format("pass", "pass") + INIT.format("pass", "pass").replace("S(", "T("), {}, "(S, T)"),
    "no such": (IMPORT + INIT.format("pass", "pass"), {"options": {"strategy": "SS"}}, "did you mean 'S'?"),
    "parameter": (IMPORT + INIT.format("pass", "pass"), {"inputs": {"n": 3}}, "S has no parameter 'n'"),
    "lookback": (IMPORT + "LOOKBACK = 'x'\n" + INIT.format("pass", "pass"), {}, "LOOKBACK is 'x'"),
    "option": (IMPORT + INIT.format("pass", "pass"), {"options": {"cach": 3}}, "option 'cach' is unknown"),
    "cash": (IMPORT + INIT.format("pass", "pass"), {"options": {"cash": -1.0}}, "cash should be > 0"),
    "init": (IMPORT + INIT.format("self.I(lambda: 1 / 0)", "pass"), {}, "at line 5 on the bar of 1970-01-01T"),
    "order": (IMPORT + INIT.format("self.buy()", "pass"), {}, "an order was placed in init()"),
    "next": (IMPORT + INIT.format("pass", "[][len(self.data)]"), {}, "at line 7 on the bar of 1970-01-01T00:02:00Z"),
    "exit": (IMPORT + INIT.format("pass", "sys.exit()"), {}, "it called sys.exit()"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_one_sentence(name: str, tmp_path: Path) -> None:
    """What is wrong with a strategy names its file, its line and its bar."""
    text, more, words = FAULTS[name]
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(Fault) as raised:
        list(map(started(tmp_path / "mine.py", [], **more).push, FLAT))
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_strategy_that_looks_ahead_is_refused() -> None:
    """Unless somebody insists."""
    script = Path(str(strategies.__file__))
    with pytest.raises(Hopeless, match=r"looks ahead, m, z of the past .* allow_lookahead = true"):
        started(script, DATA["GOOG"][:200], options={"strategy": "Repaint"})
    started(script, DATA["GOOG"][:200], options={"strategy": "Repaint", "allow_lookahead": True})


def test_every_option_is_explained() -> None:
    """The page has a row for each, and none that is gone."""
    table = (EXAMPLES.parent / "docs" / "backtesting.md").read_text().partition("## Options")[2].partition("\n\n`")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = re.findall(r"`(\w+)`", " ".join(cells))
    assert named == list(Settings.__dataclass_fields__)


# --- on the bus -------------------------------------------------------------------------------------------------------

BUS = """
[[producer]]
name = "replay"
provider = "replay"
streams = ["GOOG@1D", "EURUSD@60"]
options = { files = { "GOOG@1D" = "goog.csv", "EURUSD@60" = "eurusd.csv" }, speed = 0 }
"""
TOGETHER = BUS + """
[[runner]]
name = "all"
type = "backtesting"
script = "EXAMPLES/backtesting/sma_cross.py"
history = 300
options = { start = "replay" }

[runner.instances]
goog = { stream = "replay:GOOG@1D" }
eurusd = { stream = "replay:EURUSD@60", inputs = { slow = 30 } }
"""
ALONE = BUS + "".join(
    f"""
[[runner]]
name = "{name}"
type = "backtesting"
script = "EXAMPLES/backtesting/sma_cross.py"
stream = "{stream}"
inputs = {{ {inputs} }}
history = 300
options = {{ start = "replay" }}
"""
    for name, stream, inputs in (("goog", "replay:GOOG@1D", ""), ("eurusd", "replay:EURUSD@60", "slow = 30"))
)
SAID = (Signal, Fill, Plot, Account)


def on_bus(folder: Path, tables: str) -> Bench:
    """A topology with the data that it plays."""
    bench = Bench(folder, tables)
    for name, data in DATA.items():
        data[:500].rename_axis("time").rename(columns=str.lower).to_csv(folder / f"{name.lower()}.csv")
    return bench


def said(bench: Bench, actor: str, stream: str) -> list[Message]:
    """All that the strategy has said of its own accord."""
    return [m for m in bench.published(actor, stream) if isinstance(m, SAID)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Each strategy in a process of its own, undisturbed."""
    bench = on_bus(tmp_path_factory.mktemp("alone"), ALONE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("rt")))
        ended = bench.up()
    assert ended.code == 0, ended.output
    return bench


@pytest.mark.timeout(600)  # processes that import pandas, one after the other
def test_several_in_a_process_equal_separate_ones(alone: Bench, tmp_path: Path) -> None:
    """Strategies and symbols do not know of each other; one that was killed says what it would have said."""
    bench, once = on_bus(tmp_path / "together", TOGETHER), tmp_path / "once"
    ended = bench.up(PYNELIVE_FAILPOINT=f"runner.between-execution-and-journal:700@{once}")
    assert ended.code == 0, ended.output
    assert once.exists(), "nothing died"
    for name in ("goog", "eurusd"):
        wanted = said(alone, name, f"run:{name}")
        assert said(bench, "all", f"run:all/{name}") == wanted
        assert sum(isinstance(m, Fill) for m in wanted) > 5
        phases = [m.phase for m in wanted if isinstance(m, Signal)]
        assert (phases.count("live"), phases[0]) == (200, "history")
