"""No actor's event loop is held up: asyncio's debug mode, which warns from 100 ms on, is silent."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from topologies import Bench, aapl

DEMO = """
[[producer]]
name = "source"
provider = "demo"
streams = ["BTC/USDT@1"]
options = { speed = 0, bars = 5000 }

[[runner]]
name = "script"
script = "EXAMPLES/ema_cross.py"
stream = "demo:BTC/USDT@1"
"""
REPLAY = """
[[producer]]
name = "source"
provider = "replay"
streams = ["AAPL@1D"]
options = { files = { "AAPL@1D" = "bars.csv" }, speed = 0, forming = 4 }

[[runner]]
name = "script"
script = "EXAMPLES/rsi.py"
stream = "replay:AAPL@1D"
"""
RECORDER = """
[[sink]]
name = "recorder"
type = "ohlcv"
streams = ["*@*"]
options = { dir = "data" }
"""
CLOCK = """
import asyncio, os, time
if os.path.exists("/proc/thread-self/schedstat"):
    def running_s(loop):
        with open("/proc/thread-self/schedstat") as file:
            return time.monotonic() - int(file.read().split()[1]) / 1e9
    asyncio.BaseEventLoop.time = running_s
"""
"""A clock for the loops that stands still while their thread waits for a processor: that is the machine's doing."""
PLACE = re.compile(r"coro=<\S+|Handle \S+")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("tables", [DEMO, REPLAY], ids=["demo", "replay"])
def test_nothing_blocks(tables: str, tmp_path: Path) -> None:
    """A run and its repetition out of the journal: what holds up the loop does it in every attempt, and at the same
    place, which a machine that is busy with something else does not."""
    slow: dict[str, str] = {}
    for attempt in range(4):
        said = _warnings(tmp_path / str(attempt), tables)
        slow = {place: line for place, line in said.items() if attempt == 0 or place in slow}
        if not slow:
            return
    pytest.fail("\n".join(slow.values()))


def _warnings(folder: Path, tables: str) -> dict[str, str]:
    """What asyncio complained of, by the coroutine or callback."""
    bench = Bench(folder, tables + RECORDER)
    aapl(folder)
    (folder / "hook").mkdir()
    (folder / "hook" / "sitecustomize.py").write_text(CLOCK)
    path = os.pathsep.join(filter(None, [str(folder / "hook"), os.environ.get("PYTHONPATH", "")]))
    for _ in range(2):
        ended = bench.up(PYNELIVE_DEBUG="1", PYTHONPATH=path)
        assert ended.code == 0, ended.output
    logs = "".join(bench.log(name) for name in ("source", "script", "recorder", "supervisor"))
    assert "never retrieved" not in logs, logs
    lines = [line for line in logs.splitlines() if "Executing <" in line]
    return {place.group() if (place := PLACE.search(line)) else line: line for line in lines}
