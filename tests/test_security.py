"""What does request.security give? The oracle is PyneCore itself on history, each context in a file of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pynelive.bus.messages import Bar, Plot, Told
from pynelive.bus.names import Key
from pynelive.producers.demo import Market, expected_bars
from topologies import COMMAND, Bench, rows

HOST = Path(__file__).parent / "security_host.py"
HEAD = '''"""@pyne"""
from pynecore import Persistent
from pynecore.lib import array, barmerge, bar_index, close, high, input, plot, request, script, syminfo, ta, volume


@script.indicator("Contexts")
def main(tf=input.timeframe("TIMEFRAME")):
'''
CRYPTO = HEAD.replace("TIMEFRAME", "5") + '''
    plot(close, "chart")
    plot(request.security("DEMO:BTCUSDT", "5", ta.sma(close, 3) + volume), "own, higher")
    plot(request.security(syminfo.tickerid, tf, high, gaps=barmerge.gaps_on), "own, higher, gaps")
    plot(request.security("ETHUSDT", "1", close), "other, same")
    plot(request.security("ETHUSDT", "1", close, gaps=barmerge.gaps_on), "other, same, gaps")
    plot(request.security("ETHUSDT", "5", ta.ema(close, 5)), "other, higher")
    plot(request.security("ETHUSDT", "60", bar_index), "other, much higher")
    plot(request.security(syminfo.ticker, "15S", ta.ema(close, 9)), "own, lower")
    lower = request.security_lower_tf("DEMO:ETHUSDT", "15S", close)
    plot(array.size(lower), "number of lower")
    plot(array.sum(lower), "sum of lower")
'''
STOCK = HEAD.replace("TIMEFRAME", "1D") + '''
    plot(request.security(syminfo.tickerid, tf, close), "day")
    plot(request.security(syminfo.tickerid, tf, close, gaps=barmerge.gaps_on), "day, gaps")
    plot(request.security(syminfo.tickerid, "60", close), "hour")
    plot(request.security("DEMO:BTCUSDT", "60", close), "round the clock")
    plot(request.security("DEMO:BTCUSDT", "1D", ta.sma(close, 2)), "day round the clock")
    plot(request.security("MSFT", "30", close), "another stock")
    plot(array.size(request.security_lower_tf("AAPL", "15", close)), "number of lower")
'''
JOBS = {
    "round the clock": {
        "source": CRYPTO, "chart": "demo:BTC/USDT@1", "bars": (0, 150, 0.05), "transition": 60,
        "contexts": {
            "demo:BTC/USDT@5": (-20, 30, 0.1), "demo:ETH/USDT@1": (-20, 150, 0.3), "demo:ETH/USDT@5": (-20, 30, 0.2),
            "demo:ETH/USDT@60": (-3, 3, 0), "demo:BTC/USDT@15S": (-40, 600, 0.1), "demo:ETH/USDT@15S": (-40, 600, 0.4),
        },
        "asked": {
            "DEMO:BTCUSDT:5": "demo:BTC/USDT@5", "ETHUSDT:1": "demo:ETH/USDT@1", "ETHUSDT:5": "demo:ETH/USDT@5",
            "ETHUSDT:60": "demo:ETH/USDT@60", "DEMO:BTCUSDT:15S": "demo:BTC/USDT@15S",
            "DEMO:ETHUSDT:15S": "demo:ETH/USDT@15S",
        },
    },
    "in sessions": {
        "source": STOCK, "chart": "demo:AAPL@30", "bars": (0, 80, 0), "transition": 30,
        "contexts": {
            "demo:AAPL@1D": (-20, 7, 0), "demo:AAPL@60": (-20, 43, 0), "demo:BTC/USDT@60": (-50, 200, 0.1),
            "demo:BTC/USDT@1D": (-5, 9, 0), "demo:MSFT@30": (-20, 80, 0.1), "demo:AAPL@15": (-20, 160, 0.1),
        },
        "asked": {
            "DEMO:AAPL:1D": "demo:AAPL@1D", "DEMO:AAPL:60": "demo:AAPL@60", "DEMO:BTCUSDT:60": "demo:BTC/USDT@60",
            "DEMO:BTCUSDT:1D": "demo:BTC/USDT@1D", "MSFT:30": "demo:MSFT@30", "AAPL:15": "demo:AAPL@15",
        },
    },
}  # fmt: skip


@pytest.mark.parametrize("name", JOBS)
def test_live_contexts_have_the_values_that_history_has(name: str, tmp_path: Path) -> None:
    """Higher, same and lower timeframes, own symbol and others, with holes in both, across the transition to live."""
    job: dict[str, Any] = dict(JOBS[name])
    job["script"] = str(tmp_path / "contexts.py")
    Path(job["script"]).write_text(job.pop("source"))
    (tmp_path / "job.json").write_text(json.dumps(job))
    rows = {mode: _rows(mode, tmp_path) for mode in ("ours", "oracle")}
    assert len(rows["oracle"]) > 60
    for mine, wanted in zip(rows["ours"], rows["oracle"], strict=True):
        assert mine == wanted
    said = [values for _, values in rows["oracle"]]
    for title in said[0]:
        assert len({values[title] for values in said}) > 1, f"{title} never moves: this proves nothing"


def _rows(mode: str, folder: Path) -> list[Any]:
    result = folder / f"{mode}.json"
    command = [sys.executable, "-P", str(HOST), mode, str(folder / "job.json"), str(result)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    rows: list[Any] = json.loads(result.read_text())
    return rows


DAY_MS = 86_400_000
BARS = 240
TOPOLOGY = f"""
[[producer]]
name = "coarse"
provider = "demo"
streams = ["BTC/USDT@1", "ETH/USDT@1"]
options = {{ speed = SPEED, bars = {BARS} }}

[[producer]]
name = "higher"
provider = "demo"
streams = ["BTC/USDT@5", "ETH/USDT@15"]
options = {{ speed = SPEED, bars = {BARS // 5} }}

[[producer]]
name = "fine"
provider = "demo"
streams = ["BTC/USDT@15S"]
options = {{ speed = SPEED, bars = {4 * BARS} }}

[[runner]]
name = "contexts"
script = "contexts.py"
stream = "demo:BTC/USDT@1"
data = ["demo:ETH/USDT@1", "demo:BTC/USDT@5", "demo:ETH/USDT@15", "demo:BTC/USDT@15S"]
history = 100
updates = "closed"
"""
ON_THE_BUS = HEAD.replace("TIMEFRAME", "5") + '''
    plot(close, "chart")
    plot(request.security("DEMO:ETHUSDT", "1", close), "other")
    plot(request.security(syminfo.tickerid, tf, close), "higher")
    plot(request.security("ETHUSDT", "15", close, gaps=barmerge.gaps_on), "much higher, gaps")
    plot(array.sum(request.security_lower_tf("demo:BTC/USDT", "15S", close)), "sum of lower")
'''


def on_the_bus(folder: Path, script: str = ON_THE_BUS, speed: float = 0) -> Bench:
    """A script with contexts on streams of two producers."""
    bench = Bench(folder, TOPOLOGY.replace("SPEED", str(speed)))
    (folder / "contexts.py").write_text(script)
    return bench


@pytest.mark.parametrize("failpoint", ["", "runner.between-execution-and-journal:170"])
def test_contexts_come_from_the_bus_whatever_its_pace(failpoint: str, tmp_path: Path) -> None:
    """As fast as can be, and over a kill -9: every value is that of the bar that has closed by then, none is late."""
    bench, once = on_the_bus(tmp_path / "bench", speed=12_000 if failpoint else 0), tmp_path / "once"
    ended = bench.up(**({"PYNELIVE_FAILPOINT": f"{failpoint}@{once}"} if failpoint else {}))
    assert ended.code == 0, ended.output + bench.log("contexts")
    assert once.exists() is bool(failpoint)
    plots = [said.values for said in bench.published("contexts", "run:contexts") if isinstance(said, Plot)]
    assert len(plots) == 100 + BARS
    plots[0]["much higher, gaps"] = None  # Pine's: what a script finds at its first bar is new to it
    for plot, bar in zip(plots, expected_bars(7, Key("BTC/USDT", "1"), -100, 100 + BARS), strict=True):
        assert plot == _wanted(bar)
    assert len(rows(bench.folder / "output" / "contexts" / "plot.csv")) == 100 + BARS
    command = [*COMMAND, "verify", "run:contexts", "--bus", str(bench.path)]
    proof = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert proof.returncode == 0, proof.stdout + proof.stderr
    told = [said for said in bench.published("contexts", "exec:contexts") if isinstance(said, Told)]
    assert {said.stream for said in told} == {f"demo:{key}" for key in KEYS}


KEYS = ("ETH/USDT@1", "BTC/USDT@5", "ETH/USDT@15", "BTC/USDT@15S")


def _wanted(bar: Bar) -> dict[str, float | None]:
    over_ms = bar.time_ms + 60_000

    def close(symbol: str, timeframe: str, length_ms: int, ago: int = 0) -> float:
        market = Market(7, Key(symbol, timeframe))
        return market.bar(market.hours.index_at(over_ms - length_ms) - ago).close

    return {
        "chart": bar.close,
        "other": close("ETH/USDT", "1", 60_000),
        "higher": close("BTC/USDT", "5", 300_000),
        "much higher, gaps": None if over_ms % 900_000 else close("ETH/USDT", "15", 900_000),
        "sum of lower": sum(close("BTC/USDT", "15S", 15_000, ago) for ago in (3, 2, 1, 0)),
    }


def test_a_missing_stream_is_named_with_the_line_that_brings_it(tmp_path: Path) -> None:
    """A timeframe that nobody publishes ends the runner with one sentence, and nothing is restarted for it."""
    bench = on_the_bus(tmp_path, ON_THE_BUS.replace('"15"', '"240"'))
    assert bench.up().code == 1
    sentence = ('contexts.py, line 12: nobody publishes demo:ETH/USDT@240: add "ETH/USDT@240" to streams of '
                "[[producer]] coarse")
    assert bench.log("contexts").count(sentence) == 1


HOUR = 720
"""Bars of five seconds: more than a producer with this journal says ahead of those that are waited for."""
PLAYED = """
[[producer]]
name = "played"
provider = "replay"
streams = ["X@60", "X@5S"]
options = { speed = 0, files = { "X@60" = "hours.csv", "X@5S" = "bars.csv" } }
journal = { max_mb = 0.25 }

[[runner]]
name = "contexts"
script = "contexts.py"
stream = "replay:X@60"
data = ["replay:X@5S"]
history = 0
"""


def test_a_bar_of_many_others_is_not_waited_for_in_vain(tmp_path: Path) -> None:
    """They are of one producer, which goes on only when it is known that those others are kept."""
    bench = Bench(tmp_path, PLAYED)
    (tmp_path / "contexts.py").write_text(
        HEAD.replace("TIMEFRAME", "5S") + '    plot(array.sum(request.security_lower_tf("X", tf, volume)), "sum")\n'
    )
    for name, length_ms, count in (("hours", 3_600_000, 2), ("bars", 5_000, 2 * HOUR)):
        rows = [f"{DAY_MS * 20_000 + number * length_ms},1,1,1,1,{number % 7}" for number in range(count)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["time,open,high,low,close,volume", *rows]))
    ended = bench.up()
    assert ended.code == 0, ended.output + bench.log("contexts")
    sums = [said.values["sum"] for said in bench.published("contexts", "run:contexts") if isinstance(said, Plot)]
    assert sums == [sum(number % 7 for number in range(first, first + HOUR)) for first in (0, HOUR)]
