"""Strategies in Python: what they are told, what becomes of what they want, and that a kill -9 changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from pynelive.bus.errors import Fault
from pynelive.bus.messages import Account, Bar, Executed, Fill, Instrument, Message, Order, Plot, Seal, Signal, Told
from pynelive.bus.specs import RunnerSpec
from pynelive.runners.paper import Book
from pynelive.runners.python import PythonRunner
from topologies import Bench

DEMO = """
[[producer]]
name = "demo"
provider = "demo"
streams = ["BTC/USDT@1", "AAPL@1"]
options = { seed = 7, speed = 0, bars = 700 }

[[runner]]
name = "rsi"
script = "EXAMPLES/rsi.py"
stream = "demo:BTC/USDT@1"

[[runner]]
name = "momentum"
type = "python"
script = "EXAMPLES/momentum.py"
inputs = { length = 10 }

[runner.instances]
btc = { stream = "demo:BTC/USDT@1" }
fast = { stream = "demo:BTC/USDT@1", inputs = { length = 3 } }
aapl = { stream = "demo:AAPL@1" }

[[runner]]
name = "grid"
type = "python"
script = "EXAMPLES/grid.py"
stream = "demo:BTC/USDT@1"
data = ["run:rsi"]

[[runner]]
name = "follower"
type = "python"
script = "follower.py"
stream = "run:rsi"
data = ["demo:AAPL@1"]
"""
FOLLOWER = '''
from pynelive import Bar, Order, Strategy


class Follower(Strategy):
    """Long while the RSI of another runner is low."""

    def on_start(self) -> None:
        self.rsi, self.plotted_ms, self.others = None, 0, 0

    def on_message(self, stream, message) -> None:
        if stream == "run:rsi" and type(message).__name__ == "Plot":
            self.rsi = message.values["RSI"]
            self.plotted_ms = message.time_ms
        elif isinstance(message, Bar):
            self.others += 1

    def on_data(self, bar: Bar) -> None:
        self.plot("rsi", self.rsi if self.plotted_ms == bar.time_ms else None)
        self.plot("others", float(self.others))

    def generate_signals(self) -> list[Order]:
        return self.target(1.0 if self.rsi is not None and self.rsi < 50 else 0.0)
'''
STREAMS = {
    "momentum": ["run:momentum/btc", "run:momentum/fast", "run:momentum/aapl"], "grid": ["run:grid"],
    "follower": ["run:follower"],
}  # fmt: skip


def bar(minute: int, *prices: float, closed: bool = True) -> Bar:
    """A bar of open, high, low and close."""
    return Bar(minute * 60_000, *prices, 1.0, closed)


def said(bench: Bench) -> dict[str, list[Message]]:
    """All that the Python runners have published, by stream."""
    return {stream: bench.published(name, stream) for name, streams in STREAMS.items() for stream in streams}


def trading(messages: list[Message]) -> list[Message]:
    """What a strategy has said of its trading."""
    return [m for m in messages if isinstance(m, Signal | Fill | Account)]


def demo(folder: Path) -> Bench:
    bench = Bench(folder, DEMO)
    (folder / "follower.py").write_text(FOLLOWER)
    return bench


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The run that the others are compared with."""
    bench = demo(tmp_path_factory.mktemp("python"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("rt")))
        ended = bench.up()
    assert ended.code == 0, ended.output
    return bench


def test_each_bar_has_one_signal_and_the_book_is_true(undisturbed: Bench) -> None:
    """Every instance says one signal a bar, HOLD included; positions are those that its fills come to."""
    for stream, messages in said(undisturbed).items():
        executed = [m.bar.time_ms for m in messages if isinstance(m, Executed) and not m.history]
        signals = [m for m in messages if isinstance(m, Signal)]
        assert len(executed) == 700, stream
        assert [signal.time_ms for signal in signals] == executed
        assert {"hold"} < {signal.action for signal in signals}, stream
        last = [m for m in messages if isinstance(m, Account)][-1]
        assert last.equity == pytest.approx(100_000 + last.net_profit + last.open_profit)
        closed = sum(fill.profit for fill in messages if isinstance(fill, Fill))
        assert closed == pytest.approx(last.net_profit)
        assert sum(isinstance(m, Seal) for m in messages) == 13  # one each 100 bars, one at the end


def test_a_script_follows_another(undisturbed: Bench) -> None:
    """Of a script's stream each live bar comes with what the script said on it; other streams are told beside it."""
    theirs, messages = undisturbed.published("rsi", "run:rsi"), undisturbed.published("follower", "run:follower")
    live = {m.bar.time_ms for m in theirs if isinstance(m, Executed) and not m.history}
    rsi = {m.time_ms: m.values["RSI"] for m in theirs if isinstance(m, Plot) and m.time_ms in live}
    found = {m.time_ms: m.values["rsi"] for m in messages if isinstance(m, Plot) and m.time_ms in live}
    assert found == rsi
    assert sum(isinstance(m, Told) and m.stream == "demo:AAPL@1" for m in messages) >= 700


@pytest.mark.parametrize("place", ["runner.between-execution-and-journal:900", "runner.between-journal-and-ack:1000"])
def test_a_kill_leaves_no_trace(place: str, undisturbed: Bench, tmp_path: Path) -> None:
    """Between any two steps: nothing is lost, nothing is said twice, whichever instance was hit."""
    bench = demo(tmp_path / "bench")
    ended = bench.up(PYNELIVE_FAILPOINT=f"{place}@{tmp_path / 'once'}")
    assert ended.code == 0, ended.output
    assert (tmp_path / "once").exists(), "nothing died"
    wanted, found = said(undisturbed), said(bench)
    for stream in wanted:
        assert trading(found[stream]) == trading(wanted[stream]), stream


def test_the_book() -> None:
    """Market orders fill at the next open, limits and stops where the price reaches them; the first lot goes first."""
    book = Book(cash=1000, commission=0.01, point=1)
    book.place([Order("a", "place", "buy", 2), Order("low", "place", "buy", 1, kind="limit", limit=8)])
    assert book.target(10) == 2
    assert book.fill(bar(1, 10, 11, 9, 10)) == []
    assert (book.position, book.average_price) == (2, 10)
    assert book.fill(bar(2, 7, 12, 7, 12)) == []  # opens below the limit: filled at its open
    assert (book.position, book.average_price) == (3, 9)
    book.place([Order("out", "place", "sell", 9, closes="*"), Order("s", "place", "sell", 2, kind="stop", stop=11)])
    first, second = book.fill(bar(3, 13, 13, 11.5, 12))
    assert (first.entry_id, first.size, first.profit) == ("a", 2, pytest.approx(2 * 3 - 0.2 - 0.26))
    assert (second.entry_id, second.size, book.position) == ("low", 1, 0)
    book.fill(bar(4, 12, 12, 10, 10))
    assert (book.position, book.average_price) == (-2, 11)
    assert book.equity(10) == pytest.approx(1000 + 6 + 6 + 2 - (20 + 7 + 39 + 22) * 0.01)
    book.place([Order("all", "place", "buy", 0.5, size_of="available")])
    assert book.target(10) is None
    with pytest.raises(Fault, match=r"'x'.*more than 0"):
        book.place([Order("x", "place", "buy", 0)])


def test_what_may_be_ordered_during_an_outage(tmp_path: Path) -> None:
    """`hold` lets nothing through, `exits-only` what closes; the signal says what was withheld."""
    script = tmp_path / "flip.py"
    script.write_text("""
from pynelive import Strategy
class Flip(Strategy):
    def on_data(self, bar): pass
    def generate_signals(self): return [self.close()] if self.position else self.target(1)
""")
    runner = PythonRunner(RunnerSpec("flip", str(script), "demo:X@1"), script, Instrument("X", "1"), None)
    runner.go_live()

    def signal(minute: int) -> Signal:
        return next(m for m in runner.push(bar(minute, 1, 1, 1, 1)) if isinstance(m, Signal))

    runner.allow("none")
    assert (signal(1).action, signal(2).reason) == ("hold", "1 withheld: the stream is out")
    runner.allow("all")
    assert (signal(3).action, signal(4).position) == ("buy", 1)  # bar 4 wants to close
    runner.allow("exits")
    assert signal(5).position == 0
    assert signal(6).action == "hold"
    runner.allow("all")
    assert signal(7).action == "buy"


def test_a_fault_is_one_sentence(tmp_path: Path) -> None:
    """It names the file, the line and the bar; unknown inputs are refused before the first one."""
    script = tmp_path / "broken.py"
    script.write_text("from pynelive import Strategy\nclass A(Strategy):\n  def on_data(self, bar):\n    bar.closes\n")
    spec = RunnerSpec("broken", str(script), "demo:X@1")
    runner = PythonRunner(spec, script, Instrument("X", "1"), None)
    with pytest.raises(Fault, match=r"broken.py failed at line 4 on the bar of 1970-01-01T00:01:00Z: AttributeError"):
        runner.push(bar(1, 1, 1, 1, 1))
    spec = RunnerSpec("broken/b", str(script), "demo:X@1", inputs={"length": 3, "width": 1})
    said = r"^runner 'broken/b': .*broken.py cannot take its inputs: input 'length' is unknown.*; input 'width'.*$"
    with pytest.raises(Fault, match=said):
        PythonRunner(spec, script, Instrument("X", "1"), None)
