"""Real bars through the bus: recorded bar for bar, and every script's files are those of `pyne run` on it.

The daily bars of AAPL come out of a PyPI package; five minutes of BTCUSDT are used where the file is at hand.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from pynelive.bus.messages import Executed, Plot, Signal, State
from topologies import EXAMPLES, Bench, aapl, candles, rows

DATA = Path(os.environ.get("PYNELIVE_SHARED_DATA", Path(__file__).parent.parent.parent / "shared" / "data"))
PRICES = ("open", "high", "low", "close", "volume")
FILES = {
    "rsi": ("plot.csv",),
    "ema_cross": ("plot.csv", "trades.csv"),
    "stops": ("plot.csv", "trades.csv"),
}

REPLAY = """
[[producer]]
name = "replay"
provider = "replay"
streams = ["KEY"]
options = { files = { "KEY" = "bars.csv" }, speed = 0, forming = 4 }

[[sink]]
name = "recorder"
type = "ohlcv"
streams = ["replay:*"]
options = { dir = "data" }
"""
RUNNER = """
[[runner]]
name = "SCRIPT-HISTORY"
script = "EXAMPLES/SCRIPT.py"
stream = "replay:KEY"
history = HISTORY
trade_history = true
"""


def btc(folder: Path) -> str:
    """A week of five-minute bars; the key of their stream."""
    path = DATA / "BTCUSDT_5m.csv"
    if not path.is_file():
        pytest.skip(f"there is no {path}")
    (folder / "bars.csv").write_bytes(path.read_bytes())
    return "BTCUSDT@5"


@pytest.mark.parametrize("source", [aapl, btc])
def test_live_equals_backtest(source: Callable[[Path], str], tmp_path: Path) -> None:
    """Wherever the script goes live: its plots and trades are the backtest's, and all is published once."""
    key = source(tmp_path)
    given = rows(tmp_path / "bars.csv")
    histories = (1, 500, len(given) - 1)
    runners = [
        RUNNER.replace("SCRIPT", script).replace("HISTORY", str(history))
        for script in FILES
        for history in histories
    ]
    bench = Bench(tmp_path, "".join([REPLAY, *runners]).replace("KEY", key))
    ended = bench.up()
    assert ended.code == 0, ended.output
    (recording,) = tmp_path.glob("data/*.ohlcv")
    found = candles(recording)
    assert [candle[1:] for candle in found] == [tuple(float(bar[name]) for name in PRICES) for bar in given]
    times = [candle[0] for candle in found]
    assert all(before < after for before, after in pairwise(times))
    for script, files in FILES.items():
        backtest = pyne_run(script, recording, tmp_path / "backtest" / script)
        for name, history in ((f"{script}-{history}", history) for history in histories):
            check_stream(bench, name, times, history)
            for file in files:
                assert rows(tmp_path / "output" / name / file) == rows(backtest / file), f"{file} of {name}"


def pyne_run(script: str, recording: Path, output: Path) -> Path:
    """The folder of what `pyne run` makes of a recording."""
    for folder in ("data", "scripts", "output", "config"):
        (output / folder).mkdir(parents=True)
    (output / ".pyne").write_text('workdir_version = "1.0"\n')
    options = {"--plot": "plot.csv", "--strat": "strategy.csv", "--trade": "trades.csv"}
    files = [part for option, name in options.items() for part in (option, output / name)]
    command = [Path(sys.executable).with_name("pyne"), "-w", output, "run", EXAMPLES / f"{script}.py"]
    done = subprocess.run(
        [*command, recording, *files], capture_output=True, text=True, check=False,
        env={**os.environ, "PYNE_SAVE_SCRIPT_TOML": "0"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return output


def check_stream(bench: Bench, name: str, times: list[int], history: int) -> None:
    """A plot a bar, in order; a signal a live bar; live from the bar after the history on."""
    said = bench.published(name, f"run:{name}")
    assert [m.time_ms for m in said if isinstance(m, Plot)] == times
    assert [m.bar.time_ms for m in said if isinstance(m, Executed)] == times
    assert [m.since_ms for m in said if isinstance(m, State)] == [times[history]]
    if not name.startswith("rsi"):
        assert [m.time_ms for m in said if isinstance(m, Signal)] == times[history:]
