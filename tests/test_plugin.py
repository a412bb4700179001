"""Does PyneCore's own command work on a bus, by the provider plugin ``bus``, without a connection of its own?"""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest
from pynelive.bus.messages import Instrument
from pynelive.bus.names import Key
from pynelive.bus.symbols import stream_of
from pynelive.producers.demo import Market
from topologies import PATIENCE_S, Bench, candles, running, wait_for

PRODUCER = """
[[producer]]
name = "demo"
provider = "demo"
streams = ["BTC/USDT@1S", "BTC/USDT@5S", "ETH/USDT@1S"]
options = { speed = 1, now = true }
[[producer]]
name = "fast"
provider = "demo"
streams = ["LTC/USDT@1"]
options = { speed = 600, seed = 8 }
"""
SCRIPT = '''"""@pyne"""
from pynecore.lib import close, plot, request, script


@script.indicator("contexts")
def main():
    plot(close, "chart")
    plot(request.security("DEMO:ETHUSDT", "1S", close), "other")
    plot(request.security("demo:BTC/USDT", "5S", close), "higher")
'''


def value(symbol: str, timeframe: str, time_ms: int) -> float:
    """The close of the demo's bar that opens then."""
    market = Market(7, Key(symbol, timeframe))
    return market.bar(market.hours.index_at(time_ms)).close


class Pyne:
    """PyneCore's command in a working folder of its own, beside the topology."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "wd"
        for name in ("scripts", "data"):
            (self.folder / name).mkdir(parents=True)
        (self.folder / ".pyne").write_text('workdir_version = "1.0"\n')
        (self.folder / "scripts" / "contexts.py").write_text(SCRIPT)
        self._command = (str(Path(sys.executable).with_name("pyne")), "-w", str(self.folder))
        self._settings = {"cwd": folder, "text": True, "stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE,
                          "stderr": subprocess.STDOUT, "env": {**os.environ, "PYNE_NO_LOGO": "1"}}

    def does(self, *words: str) -> tuple[int, str]:
        """The exit code of a command, and all that it says."""
        done = subprocess.run([*self._command, *words], timeout=PATIENCE_S, check=False, **self._settings)  # type: ignore[call-overload]
        return done.returncode, " ".join(done.stdout.split())

    @contextmanager
    def runs(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """A command that goes on until it is interrupted."""
        process = subprocess.Popen([*self._command, *words], **self._settings)  # type: ignore[call-overload]
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def rows(self) -> list[dict[str, str]]:
        """The plots so far; a last row that is just being written is left out."""
        path = self.folder / "output" / "contexts.csv"
        text = path.read_text() if path.is_file() else ""
        return list(csv.DictReader(text[: text.rfind("\n") + 1].splitlines()))


def test_pynes_own_command_is_fed_by_the_bus(tmp_path: Path) -> None:
    """Symbols, downloads, and a live run with contexts: every value is the bus's, and none is na for being late."""
    bench, pyne = Bench(tmp_path, PRODUCER), Pyne(tmp_path)
    with running(bench):
        wait_for(lambda: pyne.does("data", "download", "bus", "--list-symbols")[1].count("demo:") == 3)
        code, said = pyne.does("data", "download", "bus:demo:BTC/USDT@5S", "-f", "1")
        assert code == 0, said
        bars = candles(pyne.folder / "data" / "bus_DEMO_BTC_USDT_5S.ohlcv")
        assert len(bars) > 17_000
        assert all(close == value("BTC/USDT", "5S", time_ms) for time_ms, *_, close, _ in bars[-500:])
        for stream, why in (("LTC/USDT@1", "does not follow the clock on the wall"), ("NIX@1", "nobody publishes")):
            code, said = pyne.does("data", "download", f"bus:demo:{stream}", "-f", "1")
            assert code == 1, said
            assert why in said
        with pyne.runs("run", "contexts.py", "bus:DEMO:BTCUSDT@1S", "-f", "-30", "--live") as process:
            wait_for(lambda: pyne.rows() or process.poll() is not None)
            began = time.time()  # how many bars its history has depends on how long it took to begin
            wait_for(lambda: sum(opened(row) > began for row in pyne.rows()) >= 10 or process.poll() is not None)
            process.send_signal(signal.SIGINT)
            said, _ = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, said
        _judge(pyne.rows())


def opened(row: dict[str, str]) -> float:
    """When a row's bar opened (s)."""
    return datetime.fromisoformat(row["time"]).timestamp()


def _judge(rows: list[dict[str, str]]) -> None:
    times = [int(opened(row) * 1000) for row in rows]
    assert times == list(range(times[0], times[-1] + 1, 1000))
    for time_ms, row in list(zip(times, rows, strict=True))[10:]:
        higher_ms = (time_ms + 1000) // 5000 * 5000 - 5000
        assert float(row["chart"]) == value("BTC/USDT", "1S", time_ms)
        assert float(row["other"]) == value("ETH/USDT", "1S", time_ms), row
        assert float(row["higher"]) == value("BTC/USDT", "5S", higher_ms), row


SPOT, PERPETUAL = "ccxt:BYBIT:BTC/USDT@60", "ccxt:BYBIT:BTC/USDT:USDT@60"
STREAMS = {
    SPOT: Instrument("BTCUSDT", "60", "BYBIT"),
    PERPETUAL: Instrument("BTCUSDT", "60", "BYBIT"),
    "ccxt:KRAKEN:BTC/USDT@60": Instrument("XBTUSDT", "60", "KRAKEN"),
    "capitalcom:AAPL@1D": Instrument("AAPL", "1D", "CAPITALCOM"),
    "demo:AAPL@D": Instrument("AAPL", "D", "DEMO"),
}


@pytest.mark.parametrize(
    ("symbol", "timeframe", "prefix", "stream"),
    [
        ("ccxt:BYBIT:BTC/USDT:USDT", "60", "", PERPETUAL),
        ("BYBIT:BTC/USDT:USDT", "60", "", PERPETUAL),
        ("BYBIT:BTCUSDT.P", "60", "", PERPETUAL),
        ("BYBIT:BTCUSDT", "60", "", SPOT),
        ("BYBIT:BTCUSDT", "240", "", None),
        ("kraken:xbtusdt", "60", "", "ccxt:KRAKEN:BTC/USDT@60"),
        ("AAPL", "1D", "DEMO", "demo:AAPL@D"),
        ("AAPL", "D", "", None),
        ("CAPITALCOM:AAPL", "D", "", "capitalcom:AAPL@1D"),
    ],
)
def test_symbols_are_tradingviews_or_the_buss_own(symbol: str, timeframe: str, prefix: str, stream: str | None) -> None:
    """A perpetual is told from its spot market, a name that several exchanges share by the chart's own."""
    assert stream_of(symbol, timeframe, STREAMS, prefix) == stream
