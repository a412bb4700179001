"""The example with real bars, as a user runs it: it plays to its end, and a second time nothing is left to play."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from pathlib import Path

import pynelive
import pytest
from pynelive.bus.ohlcv import read_bars

BARS = 3270


def test_real_bars_are_played_once(tmp_path: Path) -> None:
    """All bars are recorded, the strategy has traded on them, and `up` ends by itself, however often it is begun."""
    pytest.importorskip("bokeh_sampledata")
    folder = shutil.copytree(Path(pynelive.__file__).parent / "examples", tmp_path / "examples")
    for said in (f"sample     done  {BARS:,} bars\nema-cross", "all of it was there already"):
        command = [sys.executable, "-m", "pynelive", "up", str(folder / "real-bars.toml")]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=200)
        assert (done.returncode, done.stderr) == (0, "")
        assert said in done.stdout
        assert f"{BARS:,} bars  2000-03-01" in done.stdout
    bars = list(read_bars(folder / "data" / "replay_AAPL_1D.ohlcv"))
    assert (len(bars), bars[0].close, bars[-1].close) == (BARS, 130.31, 430.47)
    with (folder / "output" / "ema-cross" / "trades.csv").open() as file:
        assert sum(1 for _ in csv.DictReader(file)) > 400
